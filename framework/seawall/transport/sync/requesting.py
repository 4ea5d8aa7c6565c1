"""What sync calls with a stream of requests share."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import Any

from grpc import StatusCode

from seawall.call import Failure
from seawall.transport.sync.requests import Feed, RequestBuffer
from seawall.transport.sync.rpc import SyncRpc


class Requesting(SyncRpc):
    """A call whose requests come from an iterator of the user's."""

    def __init__(
        self, serialize: Callable[[Any], bytes], source: Iterator[Any], bound: Any, *facts: Any
    ) -> None:
        super().__init__(None, bound, *facts)
        me = weakref.ref(self)
        self._buffer = RequestBuffer(
            serialize, source, lambda feed: _commit(me, feed), lambda error: _fail(me, error)
        )

    def _take_first(self) -> Any:
        return self._buffer.feed()

    def _tell_end(self) -> None:
        self._buffer.close()
        super()._tell_end()

    def bind_to(self, feed: Feed) -> bool:
        """Bind the call to the attempt of ``feed``. False if that isn't the one in hand."""
        with self._lock:
            attempt = self._inner
            if attempt is None or attempt.first is not feed or self._outcome is not None:
                return False
            self._call.committed = True  # no other attempt, so no limit for this one
            self._call.limit = None
            self._clear_alarm()
            return True


def iterator_of(requests: Iterable[Any]) -> Iterator[Any]:
    """The user's requests. Raises TypeError if they don't come from a plain iterator."""
    if isinstance(requests, AsyncIterable):
        raise TypeError(
            "the requests of a sync call come from a plain iterator, not from an async one: that "
            "is for seawall.connect()"
        )
    return iter(requests)


def _commit(call: weakref.ref[Requesting], feed: Feed) -> bool:
    owner = call()
    if owner is not None and owner.bind_to(feed):
        return True
    cancel = feed.cancel and feed.cancel()
    if cancel is not None:
        cancel()
    return False


def _fail(call: weakref.ref[Requesting], error: BaseException) -> None:
    """The user's iterator raised: end the call, as there is nothing more to send."""
    owner = call()
    if owner is not None:
        details = f"the iterator of requests raised {error!r}"
        owner.end_with(Failure(StatusCode.CANCELLED, details, error=error))
