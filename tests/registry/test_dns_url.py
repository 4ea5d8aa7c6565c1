"""What a ``dns://`` URL may say, and what the machine says of names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seawall.errors import ConfigError
from seawall.registry import open_registry
from seawall.registry.dns.system import HostsFile
from seawall.registry.dns.system import parse as parse_hosts
from seawall.registry.dns.url import Place, parse


@pytest.mark.parametrize(
    ("url", "service", "places"),
    [
        ("dns://a:1", "x.Y", [Place("a", 1)]),
        ("dns://A.B:1,c:2", "x.Y", [Place("a.b", 1), Place("c", 2)]),
        ("dns://a.b", "x.Y", [Place("_grpc._tcp.a.b", None)]),
        ("dns://_grpc._tcp.a.b", "x.Y", [Place("_grpc._tcp.a.b", None)]),
        ("dns://_rpc._tcp.a.b", "x.Y", [Place("_rpc._tcp.a.b", None)]),
        ("dns://a.b.", "x.Y", [Place("_grpc._tcp.a.b.", None)]),
        ("dns://?x.Y=a:1,b&x.Z=c:3", "x.Y", [Place("a", 1), Place("_grpc._tcp.b", None)]),
        ("dns://?x.Y=a:1", "x.Z", []),
        ("dns://a:1?x.Z=b:2", "x.Y", [Place("a", 1)]),
        ("dns://a:1?x.Z=b:2", "x.Z", [Place("b", 2)]),
        ("dns://10.0.0.1:1,[0::1]:2", "x.Y", [Place("10.0.0.1", 1), Place("::1", 2)]),
    ],
)
def test_places(url: str, service: str, places: list[Place]) -> None:
    assert list(parse(url).places(service)) == places


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dns://", "names nothing to look up"),
        ("dns://?resolver=10.0.0.1", "names nothing to look up"),
        ("dns://a:1,", "'' is not name:port or name"),
        ("dns://a:http", "'a:http' needs a port from 1 to 65535, and has 'http'"),
        ("dns://a:0", "has '0'"),
        ("dns://a:65536", "has '65536'"),
        ("dns://a:", "has ''"),
        ("dns://10.0.0.1", "'10.0.0.1' needs a port"),
        ("dns://::1", "'::1' needs a port"),
        ("dns://[::1]", "'[::1]' needs a port"),
        ("dns://a b:1", "'a b:1' is not name:port"),
        ("dns://käse:1", "xn--"),
        ("dns://a..b:1", "'a..b:1' is not name:port"),
        (f"dns://{'a' * 64}:1", "parts of up to 63"),
        (f"dns://{'a.' * 127}b:1", "is not name:port"),
        ("dns://_grpc._tcp.a:1", "have ports of their own"),
        ("dns:///a:1", "write dns://a:1"),
        ("dns://10.0.0.2/a:1", "?resolver=ip:port"),
        ("dns://a:1,b:2,a:1", "'a:1' is there twice"),
        ("dns://?x.Y=a:1&x.Y=b:2", "'x.Y' is there twice"),
        ("dns://?x.Y", "'x.Y' is not package.Service=name:port"),
        ("dns://a:1?x/y=b:1", "'x/y=b:1' is not package.Service=name:port"),
        ("dns://a:1?resolver=b", "resolver='b' is not ip, ip:port or [v6]:port"),
        ("dns://a:1?resolver=", "resolver='' is not ip"),
        ("dns://a:1?resolver=1.1.1.1&resolver=1.1.1.1", "'resolver' is there twice"),
        ("dns://a:1?min_ttl=0", "min_ttl='0' is not seconds from 0.01 to 86400"),
        ("dns://a:1?min_ttl=-1", "min_ttl='-1'"),
        ("dns://a:1?max_ttl=nan", "max_ttl='nan'"),
        ("dns://a:1?min_ttl=10&max_ttl=5", "min_ttl=10 is more than max_ttl=5"),
    ],
)
def test_a_malformed_part_is_named(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_registry(url)
    assert said in str(caught.value)
    assert repr(url) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "ttls"),
    [
        ("", (5, 60)),
        ("min_ttl=0.5", (0.5, 60)),
        ("min_ttl=90", (90, 90)),
        ("max_ttl=2", (2, 2)),
        ("min_ttl=1&max_ttl=2", (1, 2)),
    ],
)
def test_the_bounds_of_the_ttl(options: str, ttls: tuple[float, float]) -> None:
    url = parse(f"dns://a:1?{options}" if options else "dns://a:1")
    assert (url.min_ttl, url.max_ttl) == ttls


@pytest.mark.parametrize(
    ("option", "resolvers"),
    [
        ("10.0.0.2", [("10.0.0.2", 53)]),
        ("10.0.0.2:5353,10.0.0.3", [("10.0.0.2", 5353), ("10.0.0.3", 53)]),
        ("[::1]:5353", [("::1", 5353)]),
        ("[::1]", [("::1", 53)]),
        ("::1", [("::1", 53)]),
    ],
)
def test_resolvers(option: str, resolvers: list[tuple[str, int]]) -> None:
    assert list(parse(f"dns://a:1?resolver={option}").resolvers) == resolvers


def test_the_identity_is_what_is_listed() -> None:
    one = parse("dns://b:2,A:1?x.Y=c&x.A=[::1]:3&resolver=[::1]:53&min_ttl=1").identity
    other = parse("dns://a:1,b:2?resolver=::1&max_ttl=9&x.A=[0::1]:3&x.Y=_grpc._tcp.c").identity
    assert one == other == "dns://a:1,b:2?x.A=[::1]:3&x.Y=_grpc._tcp.c&resolver=[::1]:53"
    assert parse("dns://a:1").identity != parse("dns://a").identity


def test_the_hosts_file() -> None:
    names = parse_hosts(
        "127.0.0.1 localhost  LOCAL.\n::1\tlocalhost # me\n\n# 9.9.9.9 no\n10.0.0.1\nfe80::1%lo x\n"
        "nonsense name\n10.0.0.2 twice twice\n"
    )
    assert names["localhost"] == ("127.0.0.1", "::1")
    assert names["local"] == ("127.0.0.1",)
    assert names["twice"] == ("10.0.0.2",)
    assert names.keys() == {"localhost", "local", "twice", "x"}


def test_the_hosts_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = HostsFile(path)
    assert hosts.addresses("a") == ()
    path.write_text("10.0.0.1 a\n")
    assert hosts.addresses("a.") == ("10.0.0.1",)
    path.write_text("10.0.0.22 a\n")
    assert hosts.addresses("a") == ("10.0.0.22",)
    path.unlink()
    assert hosts.addresses("a") == ()


def test_a_library_that_is_missing_is_named() -> None:
    code = (
        "import sys; sys.modules['dns'] = None\n"
        "from seawall.registry import open_registry\n"
        "open_registry('static://a:1')\n"
        "try: open_registry('dns://a:1')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30)
    assert said.startswith("ConfigError")
    assert "pip install 'seawall[dns]'" in said


def test_the_library_is_imported_by_who_needs_it() -> None:
    code = (
        "import sys, seawall; seawall.registry.open_registry('static://a:1'); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30).split()
    assert "seawall.registry.static" in loaded
    assert not [name for name in loaded if name == "dns" or name.startswith("dns.")]
