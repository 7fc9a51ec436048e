"""A small supervisor for tests that kill it, or that read what its workers print.

Run as `python -m tests.engine.supervise WHAT METHOD`; it reports its steps as lines of JSON.
"""

from __future__ import annotations

import json
import sys

from pipeline.engine.local.fork_server import ForkServer
from pipeline.engine.local.process import stop_all
from pipeline.engine.signals import Signals
from pipeline.model.messages import BytesTransferred, ManifestPushed
from tests.engine.harness import hear_out, listen, start
from tests.engine.runners import ask


def say(what: object) -> None:
    """One line to the test."""
    print(json.dumps(what), flush=True)  # noqa: T201 - the test reads it


def stay_busy(server: ForkServer) -> None:
    """Print the processes, then keep three workers busy forever."""
    workers = [start(server, name=f"resolve-{number}") for number in range(3)]
    for worker in workers:
        worker.inbox.send(ask("move"))
        listen(worker, lambda heard: any(isinstance(answer, BytesTransferred) for answer in heard))
    say([*(worker.pid for worker in workers), server.pid])
    sys.stdin.read()


def run_despite_signals(server: ForkServer) -> None:
    """Start three workers despite signals, use each, and end them."""
    with Signals() as signals:
        say("armed")
        workers = [start(server, name=f"resolve-{number}") for number in range(3)]
        for worker in workers:
            worker.inbox.send(ask("echo"))
            listen(worker, lambda heard: any(isinstance(answer, ManifestPushed) for answer in heard))
        say("ready")
        sys.stdin.read()
        say([stop_all(workers, timeout=10.0), bool(signals.read())])


def abort(server: ForkServer) -> None:
    """Abort a worker that hangs."""
    worker = start(server)
    worker.inbox.send(ask("move"))
    listen(worker, lambda heard: BytesTransferred(key=ask("move").key, sent=7) in heard)
    worker.abort()
    hear_out(worker)
    say(worker.reap(10.0))


if __name__ == "__main__":
    _, wanted, method = sys.argv
    chosen = ForkServer("spawn" if method == "spawn" else "fork")
    {"stay_busy": stay_busy, "run_despite_signals": run_despite_signals, "abort": abort}[wanted](chosen)
