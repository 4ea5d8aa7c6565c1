"""A worker that is none: ``python -m tests.supervisor.fake_worker FD worker-N BEHAVIOUR``."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading


def main() -> None:
    end, behaviour = socket.socket(fileno=int(sys.argv[1])), sys.argv[3]
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    end.makefile().readline()
    if behaviour == "garbage":
        end.sendall(b"\x00\xff{]\n" * 3)
    elif behaviour == "endless":
        end.sendall(b"x" * (1 << 21))
    elif behaviour == "no object":
        end.sendall(b'[1]\n{"serving": 5, "stop_within": "long"}\n')
    else:
        told = {"serving": "nowhere:1", "stop_within": 0.5 if behaviour == "deaf" else 30}
        end.sendall(b'{"something": "new"}\n' + json.dumps(told).encode() + b"\n")
    while behaviour == "deaf":
        signal.pause()
    asked.wait()
    sys.exit(7 if behaviour == "sulky" else 0)


if __name__ == "__main__":
    main()
