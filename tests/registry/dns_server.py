"""A DNS server on loopback, over UDP and TCP, whose zone and manners a test decides."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

Manner = Callable[[dns.message.Message], dns.message.Message | bytes | None]
"""From a query to what is sent back: a message, any bytes, or nothing."""

LARGEST_DATAGRAM = 512


class DnsServer:
    """Answers from ``zone``, until ``manner`` says otherwise.

    The port stays the same from ``stop`` to ``start``. Queries are counted by name and type.
    """

    def __init__(self) -> None:
        self.ttl = 0
        self.manner: Manner | None = None
        self.additional: dict[str, str] = {}
        """Addresses by host name, that go along with SRV records which name the host."""
        self.asked: Counter[tuple[str, str]] = Counter()
        self.over_tcp = 0
        self._zone: dict[tuple[str, str], tuple[str, ...]] = {}
        self._names: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._port = 0
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def put(self, name: str, kind: str, *records: str) -> None:
        """Set all records of one kind; none of them = remove them."""
        key = (name.lower(), kind)
        self._names[key[0]] += bool(records) - (key in self._zone)
        if records:
            self._zone[key] = records
        else:
            self._zone.pop(key, None)

    async def start(self) -> Self:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                udp.bind(("127.0.0.1", self._port))
                port = udp.getsockname()[1]
                try:
                    self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", port)
                except OSError:
                    continue  # somebody has that port for TCP
                self._port = port
                self._udp, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), sock=udp.dup()
                )
                return self
        raise OSError("no port is free for both UDP and TCP")

    async def stop(self) -> None:
        """Say nothing more, and close every connection."""
        if self._udp is not None and self._tcp is not None:
            self._udp.close()
            self._tcp.close()
            for task in self._busy:
                task.cancel()
            if self._busy:
                await asyncio.wait(self._busy)
            await self._tcp.wait_closed()
        self._udp = self._tcp = None

    async def queried(self, name: str, kind: str, times: int = 1) -> None:
        """Wait until the question has been asked so many times more."""
        wanted = self.asked[name, kind] + times
        async with asyncio.timeout(20):
            while self.asked[name, kind] < wanted:
                self._news.clear()
                await self._news.wait()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def reply(self, wire: bytes) -> bytes | None:
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked[name, dns.rdatatype.to_text(question.rdtype)] += 1
        self._news.set()
        said = self.manner(query) if self.manner is not None else self.answer(query)
        return said.to_wire(max_size=65535) if isinstance(said, dns.message.Message) else said

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """What the zone says."""
        (question,) = query.question
        response = dns.message.make_response(query, recursion_available=True)
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        for _ in range(20):
            key = name.to_text(omit_final_dot=True).lower()
            alias = self._zone.get((key, "CNAME"), ())
            records = self._zone.get((key, kind)) or alias
            if records:
                response.answer.append(
                    self.rrset(name, kind if records != alias else "CNAME", records)
                )
            for host, address in self.additional.items() if kind == "SRV" else ():
                response.additional.append(self.rrset(dns.name.from_text(host), "A", [address]))
            if not alias or records != alias:
                break
            name = dns.name.from_text(alias[0])
        if not response.answer and not self._names[key]:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    def rrset(self, name: dns.name.Name, kind: str, records: Iterable[str]) -> dns.rrset.RRset:
        return dns.rrset.from_text_list(name, self.ttl, "IN", kind, list(records))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                reply = self.reply(await reader.readexactly(length))
                self.over_tcp += 1
                if reply is not None:
                    writer.write(len(reply).to_bytes(2, "big") + reply)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._busy.discard(task)
            writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        reply = self._server.reply(data)
        if reply is None:
            return
        if len(reply) > LARGEST_DATAGRAM:
            reply = truncated(data)
        self._transport.sendto(reply, address)


def truncated(wire: bytes) -> bytes:
    """The answer that says: ask again over TCP."""
    response = dns.message.make_response(dns.message.from_wire(wire))
    response.flags |= dns.flags.TC
    return response.to_wire()


def says(rcode: dns.rcode.Rcode) -> Manner:
    """A server that answers everything with this code."""

    def manner(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(rcode)
        return response

    return manner


def silent(query: dns.message.Message) -> None:
    """A server that is frozen."""


class Zone:
    """SRV records of one service name, kept by those who announce there."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._entries: dict[object, dict[str, list[str]]] = {}

    def announce(self, key: object, records: dict[str, list[str]]) -> None:
        """Set the SRV records, by name, that ``key`` announces; nothing = withdraw them."""
        touched = records.keys() | self._entries.get(key, {}).keys()
        self._entries[key] = records
        if not self._entries[key]:
            del self._entries[key]
        for name in touched:
            every = [one for entry in self._entries.values() for one in entry.get(name, ())]
            self._server.put(name, "SRV", *every)

    def host(self, address: str) -> str:
        """A name whose A record is ``address``."""
        name = f"h-{address.replace('.', '-')}.test"
        self._server.put(name, "A", address)
        return name
