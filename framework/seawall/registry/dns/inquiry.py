"""One look-up of one name: all questions that it takes, and what to make of the answers."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from seawall.registry.dns.lookup import (
    PER_QUESTION,
    Answer,
    Kind,
    Record,
    Resolver,
    Service,
    Unanswered,
)

DOUBT: Final = 30.0
"""Seconds for which the DNS must say that there is nothing, after there was something, until
that is believed: a zone that is loaded anew, or a server that has lost it, is back by then. It
takes two look-ups at least, as the first one only begins the time."""
MOST: Final = 1000
"""Addresses that one name may have. Of more, the first in order are used."""
AT_ONCE: Final = 16
"""Hosts of one SRV record that are asked for at the same time."""
WHOLE: Final = 3 * PER_QUESTION
"""Seconds for a whole look-up; what isn't answered by then stays as it was."""
FAINT: Final = 0.01
"""The weight for SRV's 0, which means: hardly ever chosen beside others (RFC 2782)."""

_KINDS: Final[tuple[Kind, Kind]] = ("A", "AAAA")
Question = tuple[str, Kind]


class Found(NamedTuple):
    """Where an instance is."""

    host: str
    """An IP address."""
    port: int | None = None
    """None = the URL says it."""
    weight: float | None = None
    """None = the DNS doesn't say."""


@dataclass(slots=True)
class Belief:
    """What the answers to one question are taken to mean."""

    records: tuple[Record, ...] = ()
    denial: str = ""
    """Why the last answer had no records."""
    since: float | None = None
    """When the DNS began to deny ``records``; None = it doesn't."""

    def take(self, answer: Answer, now: float) -> None:
        """Take an answer in. A denial is believed only when it lasts."""
        self.denial = answer.denial
        if answer.records or not self.records:
            self.records, self.since = answer.records, None
        elif self.since is None:
            self.since = now
        elif now - self.since >= DOUBT:
            self.records, self.since = (), None


@dataclass(frozen=True, slots=True)
class Look:
    """What a look-up came to."""

    found: tuple[Found, ...] | None
    """In order; None = not known yet."""
    ttl: float
    """Seconds for which that may be used."""
    failed: bool
    """Something is missing, or rests on an old answer, because a question wasn't answered."""
    away: bool
    """No question was answered."""
    doubted: bool
    """The DNS denies something that it had said."""
    problem: str | None
    """What is wrong, in words; None = nothing."""
    malformed: tuple[str, ...]
    """What was left out, and why."""


@dataclass(slots=True)
class _Round:
    """What has come of the questions of one look-up."""

    until: float
    answered: int = 0
    failed: dict[Question, str] = field(default_factory=dict)
    ttl: float = inf
    negative_ttl: float = inf
    malformed: list[str] = field(default_factory=list)


class Inquiry:
    """What is known of one name, from one look-up to the next."""

    def __init__(self, name: str, srv: bool, resolver: Resolver) -> None:
        self._name = name
        self._srv = srv
        self._resolver = resolver
        self._beliefs: dict[Question, Belief] = {}
        """By question that has been answered."""
        self._services: tuple[Service, ...] = ()

    async def look(self) -> Look:
        """Look the name up. Takes ``WHOLE`` seconds at most; never raises for what the DNS does."""
        now = asyncio.get_running_loop().time()
        round_ = _Round(now + WHOLE)
        hosts = await self._ask_services(round_) if self._srv else (self._name,)
        free = asyncio.Semaphore(AT_ONCE)

        async def ask(host: str) -> None:
            async with free:
                await self._ask_host(host, round_)

        async with asyncio.TaskGroup() as group:
            for host in hosts:
                group.create_task(ask(host))
        return self._conclude(round_)

    async def _ask(self, name: str, kind: Kind, round_: _Round) -> Answer | None:
        loop = asyncio.get_running_loop()
        left = round_.until - loop.time()
        try:
            if left <= 0:
                raise Unanswered(f"looking up {self._name} took more than {WHOLE:g} s")
            answer = await self._resolver.ask(name, kind, min(left, PER_QUESTION))
        except Unanswered as problem:
            round_.failed[name, kind] = str(problem)
            return None
        round_.answered += 1
        if answer.records:
            round_.ttl = min(round_.ttl, answer.ttl)
        else:
            round_.negative_ttl = min(round_.negative_ttl, answer.ttl)
        self._beliefs.setdefault((name, kind), Belief()).take(answer, loop.time())
        return answer

    async def _ask_services(self, round_: _Round) -> Sequence[str]:
        """Ask for the SRV records; returns the hosts whose addresses must be asked for."""
        answer = await self._ask(self._name, "SRV", round_)
        if answer is None:
            return ()
        round_.malformed += answer.malformed
        known = [r for r in self._beliefs[self._name, "SRV"].records if isinstance(r, Service)]
        best = min((one.priority for one in known), default=0)
        self._services = tuple(one for one in known if one.priority == best)[:MOST]
        self._count(len([one for one in known if one.priority == best]), round_)
        hosts = dict.fromkeys(one.target for one in self._services)
        for name, kind in tuple(self._beliefs):
            if name not in hosts and kind != "SRV":
                del self._beliefs[name, kind]
        for host in hosts.keys() & answer.hosts.keys():
            self._know(host, answer.hosts[host])
        return [host for host in hosts if host not in answer.hosts]

    async def _ask_host(self, name: str, round_: _Round) -> None:
        known = _literal(name) or self._resolver.in_hosts_file(name)
        if known:
            round_.answered += 1
            self._know(name, known)
            return
        async with asyncio.TaskGroup() as group:
            v4, v6 = (group.create_task(self._ask(name, kind, round_)) for kind in _KINDS)
        one, other = v4.result(), v6.result()
        if one and other and one.records and other.records and one.name != other.name:
            # The search list led to two hosts, of which the other programs here mean the first.
            self._beliefs[name, "AAAA"] = Belief()

    def _know(self, host: str, addresses: tuple[str, ...]) -> None:
        """Set what doesn't come from questions of our own."""
        self._beliefs[host, "A"] = Belief(addresses)
        self._beliefs[host, "AAAA"] = Belief()

    def _addresses(self, host: str) -> list[str]:
        beliefs = (self._beliefs.get((host, kind)) for kind in _KINDS)
        return [str(record) for belief in beliefs if belief for record in belief.records]

    def _conclude(self, round_: _Round) -> Look:
        places = [
            Found(one.target, one.port, float(one.weight or FAINT)) for one in self._services
        ] or ([] if self._srv else [Found(self._name)])
        found = {
            (address, place.port): place._replace(host=address)
            for place in reversed(places)
            for address in self._addresses(place.host)
        }
        listed = tuple(found[key] for key in sorted(found, key=_order))
        self._count(len(listed), round_)
        questions = [(self._name, "SRV")] if self._srv else []
        questions += [(place.host, kind) for place in places for kind in _KINDS]
        complete = all(question in self._beliefs for question in questions)
        failing = [text for question, text in round_.failed.items() if self._matters(question)]
        return Look(
            found=listed[:MOST] if listed or complete else None,
            ttl=round_.ttl if round_.ttl < inf else round_.negative_ttl,
            failed=bool(failing),
            away=bool(round_.failed) and not round_.answered,
            doubted=any(belief.since is not None for belief in self._beliefs.values()),
            problem=failing[0] if failing else self._denied(listed),
            malformed=tuple(round_.malformed),
        )

    def _matters(self, question: Question) -> bool:
        """Whether it is a loss that this wasn't answered.

        Servers that never answer for AAAA are common, and it isn't, where A says enough.
        """
        name, _ = question
        belief = self._beliefs.get(question)
        return bool(belief and belief.records) or not self._addresses(name)

    def _denied(self, found: Sequence[Found]) -> str | None:
        for (name, _), belief in self._beliefs.items():
            if belief.since is not None:
                return (
                    f"{self._resolver.where} says of {name} {belief.denial}: what it had stays in "
                    f"use until that has been said for {DOUBT:g} s"
                )
        if found:
            return None
        kinds = "SRV record with an address" if self._srv else "A or AAAA record"
        reason = next((b.denial for b in self._beliefs.values() if b.denial), "an empty answer")
        return (
            f"{self._name} has no {kinds} ({self._resolver.where} says {reason}): is the name "
            "right, and does anybody serve there?"
        )

    def _count(self, number: int, round_: _Round) -> None:
        if number > MOST:
            round_.malformed.append(f"has {number} addresses; the first {MOST} are used")


def _literal(name: str) -> tuple[str, ...]:
    try:
        return (str(ipaddress.ip_address(name)),)
    except ValueError:
        return ()


def _order(key: tuple[str, int | None]) -> tuple[str, int]:
    return key[0], key[1] or 0
