"""What gRPC's sync channels have no public way for. A version of gRPC that is made differently
inside is noticed, and done without: each function says what that costs."""

from __future__ import annotations

import time
from typing import Any, Final

import grpc

_POLL: Final = 0.02
_LONGEST: Final = 0.5
"""Seconds; gRPC looks every 0.2 s whether states are still subscribed to."""


def connectivity(channel: Any, *, try_to_connect: bool = False) -> int | None:
    """A channel's state at this moment, as a number of ``grpc.ChannelConnectivity``; None = this
    gRPC does not say. With ``try_to_connect`` one that is idle begins to connect.

    Without it a call that failed because a connection had just broken counts as sent, and each
    connection has a thread of gRPC's that watches its state.
    """
    try:
        state: int = channel._channel.check_connectivity_state(try_to_connect)
    except AttributeError:
        return None
    except ValueError:  # it is closed
        return grpc.ChannelConnectivity.SHUTDOWN.value[0]
    return state


def close(channel: grpc.Channel) -> None:
    """Close a channel that nobody subscribes to any more.

    If somebody did, gRPC's thread that watches its state is let end first, which takes a fifth of a
    second: it would end with an exception, on stderr, if it found the channel closed.
    """
    state = getattr(channel, "_connectivity_state", None)
    end = time.monotonic() + _LONGEST
    while getattr(state, "polling", False) and time.monotonic() < end:
        time.sleep(_POLL)
    channel.close()


def tell_ends_of_streams(channel: grpc.Channel) -> None:
    """Have the end of a stream told when it comes.

    With GRPC_SINGLE_THREADED_UNARY_STREAM gRPC tells it to whoever reads, and never releases a
    stream that nobody reads any more. So it does without this.
    """
    if hasattr(channel, "_single_threaded_unary_stream"):
        channel._single_threaded_unary_stream = False


def catch_inner_calls(make: Any, catcher: Any) -> bool:
    """Have ``catcher(channel)`` stand in the place of the channel inside a multi-callable, to be
    asked for its blocking calls (``segregated_call``), so that those can be cancelled.

    False if that can't be: then no call blocks in gRPC, which costs twice as much.
    """
    channel = getattr(make, "_channel", None)
    if not hasattr(channel, "segregated_call"):
        return False
    make._channel = catcher(channel)
    return True


def initial_metadata(call: Any) -> Any:
    """An ended call's initial metadata, as far as gRPC has read it; without this, none.

    Its public method waits until it has, which on gRPC's own thread is for ever.
    """
    return getattr(getattr(call, "_state", None), "initial_metadata", None) or ()


def debug_error_string(call: Any) -> str:
    """What gRPC says of an ended call beside its details; without this, nothing.

    Its public method waits for that, for ever if the call was ended on this side.
    """
    said = getattr(getattr(call, "_state", None), "debug_error_string", None) or ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
