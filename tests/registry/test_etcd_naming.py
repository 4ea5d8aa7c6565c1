"""The format of keys and values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.call import Instance
from seawall.errors import ConfigError
from seawall.registry.etcd.naming import (
    Malformed,
    decode,
    encode,
    end_of,
    farewell,
    id_of,
    prefix_of,
)

SERVICE = "shop.v1.Inventory"
PREFIX = prefix_of("ns", SERVICE)

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.from_regex(r"[A-Za-z0-9._:\-]+", fullmatch=True),
    st.integers(1, 65535).map(lambda port: f"host-{port}.example:{port}"),
    st.dictionaries(
        st.text(),
        _json.filter(lambda x: x != float("inf") and x != float("-inf")),
    ),
)
def test_what_is_written_is_read_back(id_: str, address: str, facts: dict[str, object]) -> None:
    try:
        written = Instance(SERVICE, id_, address, facts)  # type: ignore[arg-type]
        key, value = encode("ns", written)
    except ConfigError:
        return
    assert key.startswith(PREFIX)
    assert PREFIX <= key < end_of(PREFIX)
    assert decode(PREFIX, key, value, SERVICE) == written


def test_the_format_is_that_of_etcds_own_naming() -> None:
    key, value = encode("ns", Instance(SERVICE, "i1", "10.0.0.1:50051", {"zone": "a"}))
    assert key == b"ns/shop.v1.Inventory/i1"
    assert value == b'{"Op":0,"Addr":"10.0.0.1:50051","Metadata":null,"Facts":{"zone":"a"}}'


@pytest.mark.parametrize(
    ("metadata", "facts"),
    [
        ("null", {}),
        ('"blue"', {"metadata": "blue"}),
        ('{"a":1}', {"a": 1}),
        ("[1]", {"metadata": [1]}),
    ],
)
def test_an_instance_of_a_go_service_is_read(metadata: str, facts: dict[str, object]) -> None:
    value = f'{{"Op":0,"Addr":"10.0.0.1:50051","Metadata":{metadata}}}'.encode()
    found = decode(PREFIX, PREFIX + b"10.0.0.1:50051", value, SERVICE)
    assert found == Instance(SERVICE, "10.0.0.1:50051", "10.0.0.1:50051", facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metadata", "facts"),
    [('{"id":"i1"}', {}), ('{"id":"x"}', {"id": "x"}), ('{"id":[]}', {"id": []})],
)
def test_the_id_is_the_keys_end_whatever_the_value_says(
    metadata: str, facts: dict[str, object]
) -> None:
    value = f'{{"Addr":"a:1","Metadata":{metadata}}}'.encode()
    found = decode(PREFIX, PREFIX + b"i1", value, SERVICE)
    assert found == Instance(SERVICE, "i1", "a:1", facts)  # type: ignore[arg-type]
    assert found.id == id_of(PREFIX, PREFIX + b"i1")


@pytest.mark.parametrize(("key", "words"), [(b"", "no instance id"), (b"\xff", "UTF-8")])
def test_a_key_without_an_id_is_malformed(key: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        decode(PREFIX, PREFIX + key, b'{"Addr":"a:1"}', SERVICE)


def test_a_farewell_is_no_instance() -> None:
    key, value = encode("ns", Instance(SERVICE, "i1", "10.0.0.1:50051", {"zone": "a"}))
    assert decode(PREFIX, key, farewell(value), SERVICE) is None
    assert json.loads(farewell(value))["Addr"] == "10.0.0.1:50051"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"10.0.0.1:50051",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"Addr":',
        b"{}",
        b'{"Addr":""}',
        b'{"Addr":7}',
        b'{"Op":2,"Addr":"a:1"}',
        b'{"Op":"x","Addr":"a:1"}',
        b'{"Addr":"a:1","Metadata":NaN}',
        b'{"Addr":"a:1","Facts":[]}',
        b"[" * 100_000,
        b'{"Op":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"Op":' + b"7" * 5000 + b"}",
        b'{"Addr":"a:' + b"7" * 5000 + b'"}',
        b'{"Addr":"unix:\\ud800"}',
        b'{"Addr":"[fe80::1%eth0]:80"}',
        b'{"Addr":"a:1","Metadata":{"zone":"\\udfff"}}',
    ],
)
def test_anything_else_is_malformed(value: bytes) -> None:
    with pytest.raises(Malformed) as error:
        decode(PREFIX, PREFIX + b"i1", value, SERVICE)
    assert 0 < len(str(error.value)) < 250


@pytest.mark.parametrize("id_", ["", "a/b", "a b", "a\n", "\x00", "\ud800"])
def test_an_id_must_not_break_the_key(id_: str) -> None:
    with pytest.raises(ConfigError, match="id"):
        encode("ns", Instance(SERVICE, id_, "a:1"))


@pytest.mark.parametrize("name", ["", "a/b", "shop.v1.", "shop v1"])
def test_a_service_must_be_a_proto_name(name: str) -> None:
    with pytest.raises(ConfigError, match="service"):
        prefix_of("ns", name)


def test_facts_must_be_json() -> None:
    with pytest.raises(ConfigError, match="metadata"):
        encode("ns", Instance(SERVICE, "i1", "a:1", {"weight": float("nan")}))
    with pytest.raises(ConfigError, match="address"):
        encode("ns", Instance(SERVICE, "i1", ""))
    with pytest.raises(ConfigError, match="metadata"):
        encode("ns", Instance(SERVICE, "i1", "a:1", {"zone": "\ud800"}))
    with pytest.raises(ConfigError, match="301 characters"):
        encode("ns", Instance(SERVICE, "i1", "unix:".ljust(301, "x")))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "h:0", "h:99999", "a b:1", "h\x00:1", "[zz]:1", ""]
)
def test_an_address_that_nobody_can_dial_is_malformed(address: str) -> None:
    value = json.dumps({"Op": 0, "Addr": address}).encode()
    with pytest.raises(Malformed):
        decode(PREFIX, PREFIX + b"x", value, SERVICE)
