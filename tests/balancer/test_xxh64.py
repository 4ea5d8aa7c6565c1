import pytest

from seawall.balancer.xxh64 import xxh64


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
        (bytes(range(100)), 0x6AC1E58032166597),
    ],
)
def test_the_published_vectors(data, expected):
    assert xxh64(data) == expected


def test_a_seed_and_each_kind_of_tail():
    """By the reference implementation (xxHash 0.8): 4, 8, 12, 32, 33, 63 and 64 bytes."""
    expected = {
        4: 0xB8F1A51893FA14E6,
        8: 0xCB74EF9D044DCF44,
        12: 0x360A9AD658668EBC,
        32: 0x7181354774E0D600,
        33: 0x57BD8AD0A0390E6D,
        63: 0x892362045C7BADFB,
        64: 0x6E545403B828CF8B,
    }
    assert {n: xxh64(bytes(range(n)), seed=2654435761) for n in expected} == expected
