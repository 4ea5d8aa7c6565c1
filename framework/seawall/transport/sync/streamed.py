"""Attempts that are answered by a stream."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from functools import partial

from grpc import StatusCode

from seawall.transport.sync.attempts import Attempt, Owner
from seawall.transport.sync.requests import Feed
from seawall.transport.sync.twin import Twin

_log = logging.getLogger("seawall.transport")


class Streamed(Attempt):
    """An attempt that is answered by a stream, which whoever reads it takes from ``call``.

    gRPC holds on to a stream's callbacks until its end. This one holds neither the stream nor who
    reads it, so that a stream that is dropped half read is collected, which cancels it.
    """

    __slots__ = ()

    def start(self, owner: Owner, orphan: Callable[[], None]) -> None:
        """Send it, unless it was cancelled before. ``orphan`` is called if it ends when its owner
        is gone; ``owner`` is not held for that."""
        if self.cancelled:
            self.leave()
            return
        try:
            call = self.twin.make(
                self.first, timeout=self.timeout, metadata=self.metadata, **self.named
            )
        except Exception as error:
            self.refused, self.code = error, StatusCode.UNAVAILABLE
            self.leave()
            owner.attempt_ended(self)
            return
        except BaseException:  # Ctrl-C
            self.leave()
            raise
        self.call = call
        if self.cancelled:
            self._cancel(call)
        owner.attempt_started(self)
        feed = self.first if type(self.first) is Feed else None
        over = partial(
            _stream_over,
            weakref.ref(self),
            weakref.ref(owner),
            self.twin,
            self._token,
            feed,
            orphan,
        )
        if not call.add_callback(over):
            over()

    def ended(self) -> None:
        """Take note of its status: it has one."""
        if self.code is None:
            self.code = self.call.code()


def _stream_over(
    attempt: weakref.ref[Streamed],
    owner: weakref.ref[Owner],
    twin: Twin,
    token: object,
    feed: Feed | None,
    orphan: Callable[[], None],
) -> None:
    """On gRPC's thread: a stream has ended."""
    try:
        twin.line.leave(token)
        if feed is not None:
            feed.stop()
        ended, told = attempt(), owner()
        if ended is None or told is None:
            orphan()
        else:
            ended.ended()
            told.attempt_ended(ended)
    except Exception:  # as in Managed
        _log.exception("a call could not go on after its stream")
