"""The entries of kratos and go-zero."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seawall.call import Instance
from seawall.errors import ConfigError, RegistryError
from seawall.events import MalformedEntry
from seawall.registry.etcd.formats import Format, Kratos, Malformed, format_of
from seawall.registry.etcd.naming import end_of
from seawall.registry.etcd.url import parse
from seawall.testing.etcd import EtcdServer
from tests.registry.etcd_fixtures import (
    OpenRegistry,
    Watching,
    away,
    etcd,
    instance,
    opened,
    service,
)

__all__ = ["etcd", "opened"]

SERVICE = "shop.v1.Inventory"
NAMED = f"{SERVICE}=inventory-app"


def form(options: str, path: str = "") -> Format:
    return format_of(parse(f"etcd://a/{path}?{options}"))


def decoded(format_: Format, key: str, value: bytes) -> Instance | None:
    prefix = format_.prefix(SERVICE)
    assert key.encode().startswith(prefix)
    return format_.decode(prefix, key.encode(), value, SERVICE)


def entry(**fields: Any) -> dict[str, Any]:
    """What kratos 2 writes."""
    return {
        "id": "host-1",
        "name": "inventory-app",
        "version": "v1.2",
        "metadata": {"zone": "a", "weight": "10"},
        "endpoints": ["http://10.0.0.1:8000?isSecure=false", "grpc://10.0.0.1:9000?isSecure=false"],
        **fields,
    }


def kratos(**fields: Any) -> Instance | None:
    value = json.dumps(entry(**fields)).encode()
    return decoded(form(f"format=kratos&{NAMED}"), "/microservices/inventory-app/host-1", value)


@pytest.mark.parametrize(
    ("options", "path", "prefix"),
    [
        ("format=kratos", "", b"/microservices/shop.v1.Inventory/"),
        (f"format=kratos&{NAMED}", "prod/eu", b"/prod/eu/inventory-app/"),
        ("format=gozero", "", b"shop.v1.Inventory/"),
        (f"format=gozero&{SERVICE}=inventory.rpc", "", b"inventory.rpc/"),
        (f"format=gozero&{NAMED}", "prod", b"prod/inventory-app/"),
        ("", "", b"seawall/shop.v1.Inventory/"),
    ],
)
def test_where_entries_are(options: str, path: str, prefix: bytes) -> None:
    found = form(options, path).prefix(SERVICE)
    assert found == prefix
    other = prefix[:-1] + b"2/host-1"
    assert not found <= other < end_of(found), "the list takes another service's entries"


@pytest.mark.parametrize("options", ["", "format=kratos", "format=gozero"])
def test_a_service_must_be_a_proto_name(options: str) -> None:
    with pytest.raises(ConfigError, match="service"):
        form(options).prefix("a/b")


def test_a_kratos_instance() -> None:
    facts = {"zone": "a", "weight": 0.1, "version": "v1.2"}
    assert kratos() == Instance(SERVICE, "host-1", "10.0.0.1:9000", facts)


def test_a_kratos_instance_that_says_little() -> None:
    value = b'{"name":"inventory-app","endpoints":["grpc://[::1]:9000"]}'
    found = decoded(Kratos("ms", {SERVICE: "inventory-app"}), "/ms/inventory-app/i1", value)
    assert found == Instance(SERVICE, "i1", "[::1]:9000", {})
    bare = kratos(id="", version="", metadata=None)
    assert bare == Instance(SERVICE, "host-1", "10.0.0.1:9000", {})


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"id": "other"}, {"id": "other"}),
        ({"metadata": {"weight": "100"}}, {"weight": 1.0}),
        ({"metadata": {"weight": "0.5"}}, {"weight": 0.005}),
        ({"metadata": {"weight": "0"}}, {"weight": 0.0}),
        ({"metadata": {"weight": "heavy"}}, {"weight": "heavy"}),
        ({"metadata": {"weight": "Infinity"}}, {"weight": "Infinity"}),
        ({"metadata": {"weight": "9" * 400}}, {"weight": "9" * 400}),
        ({"metadata": {"weight": 3, "n": [1]}}, {"weight": 3, "n": [1]}),
        ({"endpoints": ["grpcs://h:1"]}, {"secure": True}),
        ({"endpoints": ["grpc://h:1?isSecure=true"]}, {"secure": True}),
        ({"endpoints": ["grpcs://h:2", "grpc://h:1"]}, {}),
    ],
)
def test_the_facts_of_a_kratos_instance(fields: dict[str, Any], facts: dict[str, Any]) -> None:
    found = kratos(**{"metadata": {}, "version": "", "endpoints": ["grpc://h:1"], **fields})
    assert found == Instance(SERVICE, "host-1", "h:1", facts)


def test_an_entry_of_another_kratos_service_is_not_ours() -> None:
    value = json.dumps(entry(name="inventory-app/v2")).encode()
    format_ = form(f"format=kratos&{NAMED}")
    assert decoded(format_, "/microservices/inventory-app/v2/host-1", value) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": None}, "name is missing"),
        ({"endpoints": None}, "endpoints is missing"),
        ({"endpoints": {}}, "not a list"),
        ({"endpoints": [7]}, "not a string"),
        ({"endpoints": []}, "no grpc://"),
        ({"endpoints": ["http://h:1"]}, "no grpc://"),
        ({"endpoints": ["grpc://"]}, "the endpoint is missing"),
        ({"endpoints": ["grpc://h"]}, "not host:port"),
        ({"endpoints": ["grpc://[::1:9"]}, "IPv6"),
        ({"endpoints": ["grpc://user@h:1"]}, "host name"),
        ({"endpoints": ["grpc://h:" + "9" * 9000]}, "9002 characters"),
        ({"metadata": "x"}, "metadata is not"),
    ],
)
def test_what_is_wrong_with_a_kratos_entry_is_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Malformed) as error:
        kratos(**fields)
    assert words in str(error.value)
    assert len(str(error.value)) < 250


def test_a_gozero_instance() -> None:
    format_ = form(f"format=gozero&{SERVICE}=inventory.rpc")
    found = decoded(format_, "inventory.rpc/7587870214", b"10.0.0.1:8080")
    assert found == Instance(SERVICE, "7587870214", "10.0.0.1:8080", {})


@pytest.mark.parametrize(
    "value", [b"", b"10.0.0.1", b"10.0.0.1:0", b"10.0.0.1:1\n", b"\xff", b'{"Addr":"a:1"}']
)
def test_a_gozero_value_that_nobody_can_dial_is_malformed(value: bytes) -> None:
    with pytest.raises(Malformed, match=r"value|UTF-8"):
        decoded(form("format=gozero"), f"{SERVICE}/1", value)


def _json_values() -> st.SearchStrategy[bytes]:
    """JSON that comes near to what kratos and etcd's naming write, and falls short of it."""
    scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    anything = st.recursive(
        scalar, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
    )
    endpoint = st.text().map(lambda rest: f"grpc://{rest}") | st.from_regex(
        r"grpcs?://[\[\]:?#@a-z0-9.]*", fullmatch=True
    )
    fields: dict[str, st.SearchStrategy[Any]] = {
        "name": st.just(SERVICE) | anything,
        "endpoints": st.lists(endpoint | anything) | anything,
        "metadata": st.dictionaries(st.just("weight"), scalar) | anything,
        "Op": st.integers(0, 2) | anything,
        "Addr": st.just("a:1") | anything,
        "Metadata": anything,
    }
    entries = st.fixed_dictionaries({}, optional={**fields, "id": anything, "version": anything})
    return entries.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("options", ["", "format=kratos", "format=gozero"])
@given(tail=st.binary(), value=st.binary() | st.text().map(str.encode) | _json_values())
@example(tail=b"1", value=b"[" * 100_000)
@example(tail=b"1", value=b"a:" + b"9" * 9000)
@example(tail=b"1", value=b'{"name":"' + SERVICE.encode() + b'","endpoints":["grpc://[\\ud800"]}')
def test_of_hostile_bytes_nothing_comes_but_malformed(
    options: str, tail: bytes, value: bytes
) -> None:
    format_ = form(options)
    prefix = format_.prefix(SERVICE)
    try:
        found = format_.decode(prefix, prefix + tail, value, SERVICE)
    except Malformed as problem:
        assert 0 < len(str(problem)) < 250
        return
    if found is not None:
        assert found.id.encode() == tail
        # What somebody sends on: as text, and as JSON.
        assert found.address.encode()
        assert json.dumps(dict(found.metadata), ensure_ascii=False).encode()


@pytest.mark.parametrize("style", ["kratos", "gozero"])
async def test_nothing_is_announced_in_a_format_for_reading(
    style: str, opened: OpenRegistry
) -> None:
    registry = opened(f"etcd://127.0.0.1:1/?format={style}")
    with pytest.raises(RegistryError, match=f"format={style} is for reading: .*without format"):
        await registry.register([instance()])


@pytest.mark.usefixtures("little_doubt")
async def test_a_kratos_fleet_is_followed(etcd: EtcdServer, opened: OpenRegistry) -> None:
    base = "/microservices/inventory-app"
    one, two = f"{base}/host-1", f"{base}/host-2"
    await away(etcd.etcdctl, "put", one, json.dumps(entry()))
    await away(etcd.etcdctl, "put", f"{base}2/x", json.dumps(entry(name="inventory-app2")))
    await away(etcd.etcdctl, "put", f"{base}/v2/x", json.dumps(entry(name="inventory-app/v2")))
    await away(etcd.etcdctl, "put", f"{base}/bad", "10.0.0.1:9000")
    registry = opened(f"{etcd.url}?format=kratos&{NAMED}")
    facts = {"zone": "a", "weight": 0.1, "version": "v1.2"}
    first = Instance(service(), "host-1", "10.0.0.1:9000", facts)
    async with Watching(registry) as watching:
        await watching.shows(first)
        assert (await registry.told(MalformedEntry)).key == f"{base}/bad"
        await away(etcd.etcdctl, "put", two, json.dumps(entry(endpoints=["grpc://10.0.0.2:9000"])))
        second = Instance(service(), "host-2", "10.0.0.2:9000", {**facts, "id": "host-1"})
        await watching.shows(first, second)
        await away(etcd.etcdctl, "put", two, json.dumps(entry(endpoints=["grpc://10.0.0.3:9000"])))
        await watching.shows(first, Instance(service(), "host-2", "10.0.0.3:9000", second.metadata))
        await away(etcd.etcdctl, "del", one)
        await watching.until("host-2")
    assert len(registry.of(MalformedEntry)) == 1


@pytest.mark.usefixtures("little_doubt")
async def test_a_gozero_fleet_is_followed(etcd: EtcdServer, opened: OpenRegistry) -> None:
    await away(etcd.etcdctl, "put", "inventory.rpc/1001", "10.0.0.1:8080")
    await away(etcd.etcdctl, "put", "inventory.rpc2/1002", "10.0.0.2:8080")
    await away(etcd.etcdctl, "put", "inventory.rpc/1003", '{"Addr":"10.0.0.2:8080"}')
    registry = opened(f"{etcd.url}?format=gozero&{SERVICE}=inventory.rpc")
    async with Watching(registry) as watching:
        await watching.shows(Instance(service(), "1001", "10.0.0.1:8080"))
        assert (await registry.told(MalformedEntry)).key == "inventory.rpc/1003"
        await away(etcd.etcdctl, "put", "inventory.rpc/1004", "10.0.0.4:8080")
        await watching.until("1001", "1004")
        await away(etcd.etcdctl, "put", "inventory.rpc/1001", "10.0.0.5:8080")
        await watching.shows(
            Instance(service(), "1001", "10.0.0.5:8080"),
            Instance(service(), "1004", "10.0.0.4:8080"),
        )
        await away(etcd.etcdctl, "del", "inventory.rpc/1004")
        await watching.until("1001")
