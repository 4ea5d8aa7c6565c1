"""Where Prometheus fetches the metrics: a small HTTP server on threads of its own.

It answers while the event loop is blocked, which is when its figures are wanted most. It speaks as
much HTTP as a scrape takes, and is bounded in all that a client could send or leave undone.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from seawall.errors import ConfigError, ServiceError
from seawall.telemetry.identity import identity
from seawall.telemetry.metrics import turn_on
from seawall.telemetry.prometheus import CONTENT_TYPE, render

_log = logging.getLogger("seawall.telemetry")

PATH: Final = "/metrics"
MOST_CONNECTIONS: Final = 8
"""At a time. One more, and the oldest is closed: a scrape takes milliseconds, so that is hardly
ever a scrape's, and nobody can keep the others out by holding on."""
MOST_REQUEST: Final = 8192
"""Bytes of a request's head."""
REQUEST_TIME: Final = 5.0
"""Seconds that a client has to send all of its request."""
ANSWER_TIME: Final = 10.0
"""Seconds that it has to take all of the answer: Prometheus gives up after ten itself."""


def serve_metrics(address: str) -> Endpoint:
    """Measure from now on, and serve what is measured at ``address``, as Prometheus reads it.

    address: ``host:port``; port 0 is a free one, and the log says which. To be called before the
    channels and the servers are made that are to be measured. Asked for an address that it serves
    already, it returns the same endpoint; that ends when it was closed as often.

    Raises ``ConfigError`` for what is no address, ``ServiceError`` if it can't be listened on.
    """
    host, port = parse_address(address)
    with _lock:
        known = _serving.get(address)
        if known is None:
            metrics = turn_on()
            known = Endpoint(host, port, lambda: render(metrics, identity.attributes()))
            known.key = address
            _serving[address] = known
        known.users += 1
        return known


def parse_address(address: str) -> tuple[str, int]:
    """The host and the port of ``host:port``, ``[v6]:port`` or ``:port`` (all interfaces)."""
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    plain = ":" not in host or host != bare
    if not (colon and plain and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ConfigError(
            "metrics_address", f"must be host:port, as in 127.0.0.1:9464, not {address!r}"
        )
    return bare, int(port)


class Endpoint:
    """Serves ``body()`` until it is closed."""

    def __init__(self, host: str, port: int, body: Callable[[], bytes]) -> None:
        self._body = body
        self._listener = _listen(host, port)
        self.address = _shown(self._listener)
        """Where it listens, ``host:port``."""
        self.key = ""
        self.users = 0
        self._connections: deque[socket.socket] = deque()
        self._wake, self._woken = socket.socketpair()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, name="seawall metrics", daemon=True)
        self._thread.start()
        _log.info("metrics at http://%s%s", self.address, PATH)

    def close(self) -> None:
        """Stop, once all who have asked for it have. Takes milliseconds."""
        with _lock:
            self.users -= 1
            if self.users > 0 or self._closed:
                return
            self._closed = True
            _serving.pop(self.key, None)
        self._wake.send(b"x")
        self._thread.join()
        for connection in list(self._connections):
            _cut(connection)
        for end in (self._listener, self._wake, self._woken):
            end.close()

    def _accept(self) -> None:
        failing = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._closed:
                selector.select()
                if self._closed:
                    return
                try:
                    connection, _ = self._listener.accept()
                except BlockingIOError:
                    continue  # it was gone again
                except OSError as error:  # no file descriptors left, as a rule
                    if not failing:  # said once: it is tried ten times a second
                        _log.warning("requests for metrics can't be accepted: %s", error)
                    failing = True
                    time.sleep(0.1)
                    continue
                failing = False
                self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        self._connections.append(connection)
        if len(self._connections) > MOST_CONNECTIONS:
            with suppress(IndexError):
                _cut(self._connections.popleft())
        thread = threading.Thread(
            target=self._talk, args=(connection,), name="seawall metrics", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._end(connection)

    def _talk(self, connection: socket.socket) -> None:
        try:
            head = _read_head(connection)
            if head:
                connection.settimeout(ANSWER_TIME)
                connection.sendall(self._answer(head))
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is slow, or has gone; its own trouble
        except Exception:
            _log.exception("metrics could not be given")
        finally:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        with suppress(ValueError):  # it was cut
            self._connections.remove(connection)
        connection.close()

    def _answer(self, head: bytes) -> bytes:
        if len(head) > MOST_REQUEST:
            return _response("431 Request Header Fields Too Large", b"")
        parts = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return _response("400 Bad Request", b"this is HTTP/1.1\n")
        method, target, _ = parts
        if target.partition("?")[0] != PATH:
            return _response("404 Not Found", f"the metrics are at {PATH}\n".encode())
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", b"", "Allow: GET, HEAD\r\n")
        body = self._body()
        whole = _response("200 OK", body, kind=CONTENT_TYPE)
        return whole[: len(whole) - len(body)] if method == "HEAD" else whole


_lock = threading.Lock()
_serving: dict[str, Endpoint] = {}


def _read_head(connection: socket.socket) -> bytes:
    """The head of a request; empty if none came, more than ``MOST_REQUEST`` bytes if it is too
    long to be read. Raises ``OSError`` (``TimeoutError``) if it takes too long."""
    until = time.monotonic() + REQUEST_TIME
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= MOST_REQUEST:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(MOST_REQUEST)
        if not part:
            return b""
        head += part
    return head


def _response(status: str, body: bytes, more: str = "", kind: str = "text/plain") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = _on_all(port) if not host else socket.create_server((host, port), family=family)
    except OSError as error:
        raise ServiceError(
            f"can't serve metrics on {host or 'all interfaces'} port {port}: {error.strerror}; "
            "set another address (metrics_address=, SEAWALL_METRICS), or port 0 for a free one"
        ) from None
    listener.setblocking(False)
    return listener


def _on_all(port: int) -> socket.socket:
    """On all interfaces, those of IPv6 too if there is such a thing here."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:  # compiled in, and switched off
                raise
    return socket.create_server(("", port))


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cut(connection: socket.socket) -> None:
    """Have whoever reads or writes there stop at once."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
