"""One question to the DNS, one answer. The only module that knows the library dnspython."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.nameserver
import dns.rdatatype
import dns.resolver

from seawall.registry.dns.system import HostsFile, Stamp, stamp
from seawall.registry.dns.url import PORT, join

Kind = Literal["A", "AAAA", "SRV"]

PER_SERVER: Final = 2.0
"""Seconds that one server has for its answer, before the next is asked or the same again."""
PER_QUESTION: Final = 5.0
"""Seconds after which a question is given up: two tries, as the system's own resolver has."""
RESOLV_CONF: Final = Path("/etc/resolv.conf")

_SLACK: Final = 0.5
"""Seconds beyond which we end a question ourselves: the library goes by the wall clock."""
_AGAIN: Final = 0.05
"""Seconds until what was cancelled, and goes on, is cancelled again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record."""

    priority: int
    weight: int
    port: int
    target: str
    """The host's name, in lower case, with its dot at the end."""


Record = str | Service
"""An address, or what an SRV record says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS says to one question. No records: it says that there are none."""

    records: tuple[Record, ...]
    ttl: float
    """Seconds for which it may be used."""
    name: str = ""
    """The name that was asked for in the end, after the search list."""
    denial: str = ""
    """Why there are no records: ``NXDOMAIN``, or that the name has none of this kind."""
    hosts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses of SRV targets that came along unasked."""
    malformed: tuple[str, ...] = ()
    """What is wrong with the records that were left out."""


class Unanswered(Exception):
    """Nothing is known: no server answered, or none with sense."""


class Resolver:
    """Asks the servers that it is given, or those of ``/etc/resolv.conf`` (none given).

    Only in the second case do ``/etc/hosts`` and the search list count, as they do for every
    other program on the machine. Both files are read again when they have changed.
    """

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._servers = tuple(servers)
        self._hosts = None if servers else HostsFile()
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._made: dns.asyncresolver.Resolver | None = None
        self._stamp: Stamp | None = None

    @property
    def where(self) -> str:
        """Who is asked, in words."""
        named = ", ".join(join(*each) for each in self._servers)
        return f"the DNS server {named}" if named else f"the DNS server of {RESOLV_CONF}"

    def in_hosts_file(self, name: str) -> tuple[str, ...]:
        """The addresses that ``/etc/hosts`` has for ``name``; then the DNS isn't asked."""
        return self._hosts.addresses(name) if self._hosts is not None else ()

    async def ask(self, name: str, kind: Kind, within: float = PER_QUESTION) -> Answer:
        """Ask one question. Raises ``Unanswered`` after ``within`` seconds at the latest."""
        try:
            asking = self._resolver().resolve(
                name,
                kind,
                raise_on_no_answer=False,
                lifetime=within,
                search=self._hosts is not None,
                backend=self._backend,
            )
            return _answer(await _ended(asking, within + _SLACK), kind)
        except dns.resolver.NXDOMAIN as error:
            return _denied(error)
        except Exception as error:  # whatever a hostile answer makes the library raise
            raise Unanswered(self._problem(name, kind, error)) from error

    def _resolver(self) -> dns.asyncresolver.Resolver:
        now = None if self._servers else stamp(RESOLV_CONF)
        if self._made is None or now != self._stamp:
            made = dns.asyncresolver.Resolver(str(RESOLV_CONF), configure=not self._servers)
            if self._servers:
                made.nameservers = [dns.nameserver.Do53Nameserver(h, p) for h, p in self._servers]
            made.port, made.timeout = PORT, PER_SERVER
            self._made, self._stamp = made, now
        return self._made

    def _problem(self, name: str, kind: Kind, error: Exception) -> str:
        if isinstance(error, dns.resolver.NoResolverConfiguration):
            return f"{RESOLV_CONF} names no DNS server: name one in the URL, resolver=ip:port"
        return (
            f"{self.where} does not answer for {name} {kind} ({_reason(error)}): does it run? "
            "Name another one in the URL, resolver=ip:port"
        )


async def _ended(asking: Coroutine[Any, Any, T], limit: float) -> T:
    """What ``asking`` returns, within ``limit`` seconds (``TimeoutError``).

    The library waits by ``asyncio.wait_for``, which before Python 3.12 loses a cancellation that
    comes together with a datagram: it is cancelled until it has ended.
    """
    task = asyncio.create_task(asking)
    try:
        await asyncio.wait([task], timeout=limit)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_AGAIN)
        if not task.cancelled():
            task.exception()  # what was given up may fail in silence


def _reason(error: Exception) -> str:
    """What was wrong in the end, without the library's way of putting it."""
    tries = getattr(error, "kwargs", {}).get("errors") or ()
    last = tries[-1][3] if tries else error
    if isinstance(last, dns.exception.Timeout | TimeoutError):
        return "no answer in time"
    return str(last) or type(last).__name__


def _answer(answer: dns.resolver.Answer, kind: Kind) -> Answer:
    if answer.response.flags & dns.flags.TC:
        raise ValueError("an answer cut short, over TCP too")
    ttl = float(answer.chaining_result.minimum_ttl)
    name = answer.qname.to_text().lower()
    if not answer.rrset:
        return Answer((), ttl, name, f"no {kind} record")
    if kind != "SRV":
        return Answer(tuple(sorted(rdata.address for rdata in answer.rrset)), ttl, name)
    every = sorted((_service(rdata) for rdata in answer.rrset), key=_order)
    usable = tuple(one for one in every if one.port and one.target != ".")
    denial = "" if usable else "an SRV record that says there is none, or none with a port"
    malformed = tuple(
        f"its SRV record for {one.target} has the port 0"
        for one in every
        if not one.port and one.target != "."  # a single dot means: decidedly no service
    )
    return Answer(usable, ttl, name, denial, _additional(answer.response), malformed)


def _order(service: Service) -> tuple[int, str, int]:
    return service.priority, service.target, service.port


def _service(rdata: Any) -> Service:
    return Service(rdata.priority, rdata.weight, rdata.port, rdata.target.to_text().lower())


def _additional(response: dns.message.Message) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for rrset in response.additional:
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            found[rrset.name.to_text().lower()] += [rdata.address for rdata in rrset]
    return {name: tuple(sorted(addresses)) for name, addresses in found.items()}


def _denied(error: dns.resolver.NXDOMAIN) -> Answer:
    responses = error.responses().values()  # type: ignore[no-untyped-call]
    ttls = [response.resolve_chaining().minimum_ttl for response in responses]
    return Answer((), float(min(ttls, default=0)), denial="NXDOMAIN")
