"""Programs that the tests run as processes of their own: ``python -m tests.sync.programs NAME
ADDRESS``. Each prints what the test waits for."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc

import seawall
import seawall.sync
from tests.protos import echo_pb2 as pb
from tests.protos import echo_pb2_grpc as pb_grpc

REQUEST = pb.EchoRequest(text="hello")
SLOW = pb.EchoRequest(text="slow", delay=60)


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fork(address: str) -> None:
    """A fork in the midst of calls; the child uses what it has inherited."""
    channel = seawall.sync.connect(f"static://{address}")
    stub = pb_grpc.EchoStub(channel)
    say(stub.Say(REQUEST).text)
    under_way = [stub.Say.future(SLOW), stub.Count(SLOW)]
    for _ in range(4):
        threading.Thread(target=call_on, args=(stub,), daemon=True).start()
    with_child(channel, stub, under_way)
    for call in under_way:
        call.cancel()
    channel.close()


def fork_quietly(address: str) -> None:
    """A fork while no call is under way."""
    with seawall.sync.connect(f"static://{address}") as channel:
        stub = pb_grpc.EchoStub(channel)
        say(stub.Say(REQUEST).text)
        ended = stub.Say.future(REQUEST), stub.Count(REQUEST)
        for call in ended:
            call.cancel()
        with_child(channel, stub, ended)


def with_child(channel: grpc.Channel, stub: pb_grpc.EchoStub, calls: Any) -> None:
    child = os.fork()
    if child == 0:
        in_the_child(channel, stub, calls)
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    say(f"child: {os.waitstatus_to_exitcode(status)}")
    say(stub.Say(REQUEST).text)


def call_on(stub: pb_grpc.EchoStub) -> None:
    try:
        while True:
            stub.Say(REQUEST)
    except (grpc.RpcError, ValueError):
        return  # the channel was closed


def in_the_child(channel: grpc.Channel, stub: pb_grpc.EchoStub, stub_calls: Any) -> None:
    uses = {
        "blocking": lambda: stub.Say(REQUEST),
        "future": lambda: stub.Say.future(REQUEST),
        "stream": lambda: stub.Count(REQUEST),
        "upload": lambda: stub.Join(iter([REQUEST])),
        "conversation": lambda: stub.Chat(iter([REQUEST])),
        "stub": lambda: pb_grpc.EchoStub(channel),
        "subscribe": lambda: channel.subscribe(print),
    }
    future, stream = stub_calls
    uses |= {
        "result": future.result,
        "cancel": future.cancel,
        "callback": lambda: future.add_done_callback(print),
        "next": lambda: next(stream),
        "unsubscribe": lambda: channel.unsubscribe(print),
    }
    for name, use in uses.items():
        try:
            use()
        except RuntimeError as error:
            say(f"{name}: {'before the fork' in str(error) or 'after the fork' in str(error)}")
    channel.close()
    channel.close()
    say("closed in the child")


def open_at_exit(address: str) -> None:
    """The program ends with everything under way."""
    channel = seawall.sync.connect(f"static://{address}")
    stub = pb_grpc.EchoStub(channel)
    say(stub.Say(REQUEST).text)
    talk = stub.Chat(iter(threading.Event().wait, 0))
    globals()["kept"] = [stub.Say.future(SLOW), stub.Count(SLOW), talk, channel]
    threading.Thread(target=call_on, args=(stub,), daemon=True).start()
    say("leaving")


def interrupted(address: str) -> None:
    """Ctrl-C in a blocking call."""
    channel = seawall.sync.connect(f"static://{address}")
    stub = pb_grpc.EchoStub(channel)
    say(stub.Say(REQUEST).text)
    try:
        stub.Say(SLOW, timeout=60)
    except KeyboardInterrupt:
        say("interrupted")
    group = channel.discoveries[0].group
    say(f"outstanding: {[e.outstanding for e in group.endpoints]}")
    say(f"active: {len(channel.calls.active)}")
    say(stub.Say(REQUEST).text)


def time_limit(address: str) -> None:
    """A signal handler raises in a blocking call, as time limits of tasks do."""
    channel = seawall.sync.connect(f"static://{address}")
    stub = pb_grpc.EchoStub(channel)
    say(stub.Say(REQUEST).text)

    def too_long(*_: object) -> None:
        raise TimeoutError("the task's time is up")

    signal.signal(signal.SIGALRM, too_long)
    for call in (stub.Say, stub.Charge, stub.Say.with_call):
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            call(SLOW, timeout=60)
        except TimeoutError as error:
            say(error)
    group = channel.discoveries[0].group
    say(f"outstanding: {[e.outstanding for e in group.endpoints]}")
    say(f"active: {len(channel.calls.active)}")
    say(stub.Say(REQUEST).text)


def main_ends(address: str) -> None:
    """The main thread ends, another goes on: what is watched is still watched."""
    path = Path(os.environ["CONFIG"])
    channel = seawall.sync.connect(f"static://{address}", service_config=path)
    stub = pb_grpc.EchoStub(channel)
    say(stub.Say(REQUEST).text)

    def go_on() -> None:
        threading.main_thread().join()
        path.write_text(path.read_text().replace("9s", "3s"))
        end = time.monotonic() + 10
        while stub.Say(REQUEST).remaining > 3 and time.monotonic() < end:
            time.sleep(0.02)
        say(f"obeyed: {stub.Say(REQUEST).remaining <= 3}")
        channel.close()

    threading.Thread(target=go_on).start()


def interrupted_waiting(address: str) -> None:
    """Ctrl-C in a blocking call that waits for an instance."""
    channel = seawall.sync.connect("static://127.0.0.1:1")
    stub = pb_grpc.EchoStub(channel)
    threading.Timer(0.3, say, ("waiting",)).start()
    try:
        stub.Say(REQUEST, wait_for_ready=True, timeout=60)
    except KeyboardInterrupt:
        say("interrupted")
    say(f"waiting: {len(channel.discoveries[0].waiting)} active: {len(channel.calls.active)}")


def closed_by_signals(address: str) -> None:
    """A signal handler closes the channel, wherever its thread may be."""
    draw = random.Random(1)
    for _ in range(6):
        channel = seawall.sync.connect(f"static://{address}")
        stub = pb_grpc.EchoStub(channel)
        stub.Say(REQUEST)
        other = stub.Say.future(SLOW)
        signal.signal(signal.SIGALRM, lambda *_, channel=channel: channel.close())
        signal.setitimer(signal.ITIMER_REAL, 0.005 + draw.random() * 0.01)
        call_on(stub)
        assert other.done() and not channel.calls.active
    say("closed each time")


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
