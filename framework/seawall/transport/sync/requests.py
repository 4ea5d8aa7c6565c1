"""The request side of a sync stream: messages are kept until the call is committed, so that
another attempt can be given the same ones.

gRPC consumes an attempt's requests on a thread that it makes for that. These threads share the
user's iterator: one of them at a time takes the next message from it, for all of them. So there
is no thread more than without the framework.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from seawall.transport.requests import BUFFER_LIMIT


class RequestBuffer:
    """The user's messages, for any number of attempts one after the other.

    ``commit(feed)`` is asked when more than 256 KiB have been taken: whether the call may be bound
    to the attempt that ``feed`` is for; if not, that attempt is cancelled. ``failed`` is told what
    the user's iterator raised, and ends the call. Neither is called with the lock held.

    The stream of an attempt that goes on is never ended before its time: its server would take
    what it has for all there is. So a feed ends when the messages do, or when its attempt has
    been cancelled, or has ended (``Feed.stop``).
    """

    def __init__(
        self,
        serialize: Callable[[Any], bytes],
        source: Iterator[Any],
        commit: Callable[[Feed], bool],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._serialize = serialize
        self._source = source
        self._commit = commit
        self._failed = failed
        self._kept: deque[bytes] = deque()
        self._dropped = 0
        """Messages no longer kept; the index of the first kept one."""
        self._size = 0
        self._ended = False
        self._over = False
        self._bound: Feed | None = None
        """The attempt that the call is bound to: nothing is kept for another one."""
        self._taking = False
        """A thread waits for the user's next message."""
        self._lock = threading.RLock()  # taken as it is, as in ``Pool``
        self._news = threading.Condition(self._lock)

    def feed(self) -> Feed:
        """All messages from the first on, for a new attempt."""
        return Feed(self)

    def close(self) -> None:
        """The call is over: nothing more is taken from the user."""
        with self._lock:
            self._over = True
            self._news.notify_all()

    def wake(self) -> None:
        """A feed was stopped."""
        with self._lock:
            self._news.notify_all()

    def next_for(self, feed: Feed) -> bytes:
        """The next message of ``feed``. Raises StopIteration at the end, or when it was stopped."""
        while True:
            with self._lock:
                self._news.wait_for(lambda: self._is_ready(feed))
                if not feed.stopped and self._has_more(feed):
                    return self._give(feed)
                if feed.stopped or self._ended:
                    raise StopIteration
                self._taking = True
            try:
                if self._may_take(feed):
                    self._take()
            finally:
                with self._lock:
                    self._taking = False
                    self._news.notify_all()

    def _is_ready(self, feed: Feed) -> bool:
        may_take = not self._taking and not self._over and self._bound in (None, feed)
        return self._has_more(feed) or self._ended or feed.stopped or may_take

    def _has_more(self, feed: Feed) -> bool:
        return feed.index < self._dropped + len(self._kept)

    def _give(self, feed: Feed) -> bytes:
        message = self._kept[feed.index - self._dropped]
        feed.index += 1
        if self._bound is feed:
            while self._dropped < feed.index:
                self._size -= len(self._kept.popleft())
                self._dropped += 1
        return message

    def _may_take(self, feed: Feed) -> bool:
        """Whether one more may be taken; a call that has taken much is bound first."""
        if self._size <= BUFFER_LIMIT or self._bound is feed:
            return True
        if not self._commit(feed):
            return False
        with self._lock:
            self._bound = feed
        return True

    def _take(self) -> None:
        """Take the user's next message."""
        try:
            message = self._serialize(next(self._source))
        except StopIteration:
            with self._lock:
                self._ended = True
            return
        except BaseException as error:
            with self._lock:
                self._over = True
            self._failed(error)
            return
        with self._lock:
            self._kept.append(message)
            self._size += len(message)


class Feed(Iterator[bytes]):
    """The requests of one attempt, as gRPC's thread takes them."""

    __slots__ = ("_buffer", "cancel", "index", "stopped")

    def __init__(self, buffer: RequestBuffer) -> None:
        self._buffer = buffer
        self.index = 0
        self.stopped = False
        self.cancel: weakref.WeakMethod[Callable[[], None]] | None = None
        """Cancels the attempt that it is for."""

    def __next__(self) -> bytes:
        return self._buffer.next_for(self)

    def stop(self) -> None:
        """The attempt has ended, or gRPC has been told to cancel it: give nothing more."""
        self.stopped = True
        self._buffer.wake()
