"""What an etcd URL may say."""

from __future__ import annotations

import pytest

from seawall.errors import ConfigError
from seawall.registry.etcd.url import EtcdUrl, parse


def test_everything_has_a_default() -> None:
    assert parse("etcd://etcd") == EtcdUrl(("etcd:2379",), "seawall", ttl=10)


def test_every_part() -> None:
    url = "etcd://app:p%40ss%3A@a:1,b,[::1],[fe80::1]:4/prod/eu?ca=/ca&cert=/cert&key=/key&ttl=5"
    assert parse(url) == EtcdUrl(
        endpoints=("a:1", "b:2379", "[::1]:2379", "[fe80::1]:4"),
        namespace="prod/eu",
        user="app",
        password="p@ss:",
        ca="/ca",
        cert="/cert",
        key="/key",
        ttl=5,
    )


@pytest.mark.parametrize(("url", "tls"), [("etcd://a", False), ("etcd://a?ca=/ca", True)])
def test_a_certificate_authority_turns_tls_on(url: str, tls: bool) -> None:
    assert parse(url).tls is tls


def test_what_is_logged_has_no_password() -> None:
    assert str(parse("etcd://app:secret@a,b:1/ns?key=/k&cert=/c")) == "etcd://app@a:2379,b:1/ns"


@pytest.mark.parametrize(
    ("url", "namespace", "names", "shown"),
    [
        (
            "etcd://a?format=kratos",
            "microservices",
            {},
            "etcd://a:2379/microservices?format=kratos",
        ),
        ("etcd://a/?format=gozero", "", {}, "etcd://a:2379/?format=gozero"),
        (
            "etcd://a/prod?shop.v1.Inventory=inventory-app&format=kratos&.Echo=team%2Fecho",
            "prod",
            {"shop.v1.Inventory": "inventory-app", "Echo": "team/echo"},
            "etcd://a:2379/prod?format=kratos",
        ),
    ],
)
def test_entries_of_other_frameworks(
    url: str, namespace: str, names: dict[str, str], shown: str
) -> None:
    found = parse(url)
    assert (found.namespace, found.names, str(found)) == (namespace, names, shown)
    assert parse(shown).namespace == namespace


def test_two_urls_with_the_same_lists_have_one_identity() -> None:
    one = parse("etcd://app:pw@a,b/ns?format=kratos&x.A=a&x.B=b&ttl=5")
    assert one.identity == parse("etcd://b,a/ns?x.B=b&x.A=a&format=kratos").identity
    others = ["etcd://a,b/ns", "etcd://a,b/ns?format=gozero", "etcd://a,b/ns?format=kratos&x.A=b"]
    assert len({one.identity, *(parse(url).identity for url in others)}) == 4


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("etcd://a?format=krato", "format=krato is not known: write kratos or gozero"),
        ("etcd://a?x.A=a", "x.A=a needs format=kratos or format=gozero"),
        ("etcd://a?format=kratos&x.A=a&x.A=b", "'x.A' is given twice"),
        ("etcd://a?format=kratos&Echo=a&.Echo=b", "no option 'Echo'"),
        ("etcd://a?format=kratos&.x.A=a&x.A=b", "'x.A' is given twice"),
        ("etcd://a?format=kratos&x..A=a", "'x..A' is not the full name of a proto service"),
        ("etcd://a?format=kratos&.=a", "'.' is not the full name"),
        ("etcd://a?format=kratos&x.A=", "'x.A' has no value"),
        ("etcd://a?format=kratos&x.A=/a", "would break keys"),
        ("etcd://a?format=kratos&x.A=a%20b", "would break keys"),
        ("etcd://a?format=kratos&x.A=\udcff", "would break keys"),
        ("etcd://a/\udcff", "would break keys"),
        ("http://a", "not an etcd URL"),
        ("etcd://", "endpoint is empty"),
        ("etcd://a,,b", "endpoint is empty"),
        ("etcd://a:b:c", "'a:b:c' is not an etcd endpoint"),
        ("etcd://a:0", "the port"),
        ("etcd://a:70000", "the port"),
        ("etcd://a:1,a:1", "named twice"),
        ("etcd://:pw@a", "the user"),
        ("etcd://a/x//y", "namespace"),
        ("etcd://a/x%20y", "namespace"),
        ("etcd://a/x%00", "namespace"),
        ("etcd://a?tll=5", "no option 'tll'"),
        ("etcd://a?ttl=5&ttl=6", "given twice"),
        ("etcd://a?ttl=", "no value"),
        ("etcd://a?ttl=0", "ttl=0"),
        ("etcd://a?ttl=1.5", "ttl=1.5"),
        ("etcd://a?ttl=99999", "from 1 to 3600"),
        ("etcd://a?cert=/c", "cert and key go together"),
        ("etcd://a#b", "%23"),
        ("etcd://[::1", "is not an etcd endpoint"),
    ],
)
def test_what_is_wrong_is_named(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(url)
    assert words in str(error.value)


@pytest.mark.parametrize("url", ["http://app:secret@a", "etcd://app:secret@[::1"])
def test_no_error_tells_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(url)
    assert "secret" not in str(error.value)
