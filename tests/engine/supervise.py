"""A small supervisor for tests that kill it, or that read what its workers print.

Run as `python -m tests.engine.supervise WHAT METHOD`; says what it does in lines of JSON on its output.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING

from pipeline.engine.local.forking import context
from pipeline.engine.local.process import stop_all
from pipeline.engine.signals import Signals
from pipeline.model.messages import BytesMoved, ManifestPushed
from tests.engine.harness import hear_out, listen, start
from tests.engine.runners import ask

if TYPE_CHECKING:
    from pipeline.engine.local.forking import Context


def say(what: object) -> None:
    """One line to the test."""
    print(json.dumps(what), flush=True)  # noqa: T201 - the test reads it


def be_killed(ctx: Context) -> None:
    """Keep three workers busy for ever, having named every process."""
    workers = [start(ctx, name=f"resolve-{number}") for number in range(3)]
    for worker in workers:
        worker.inbox.send(ask("move"))
        listen(worker, lambda heard: any(isinstance(answer, BytesMoved) for answer in heard))
    servers = [forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid]  # type: ignore[attr-defined] # typeshed leaves them out
    say([worker.pid for worker in workers] + [pid for pid in servers if pid is not None])
    sys.stdin.read()


def be_interrupted(ctx: Context) -> None:
    """Start three workers under whatever signals come, use each, let them go."""
    with Signals() as signals:
        say("armed")
        workers = [start(ctx, name=f"resolve-{number}") for number in range(3)]
        for worker in workers:
            worker.inbox.send(ask("echo"))
            listen(worker, lambda heard: any(isinstance(answer, ManifestPushed) for answer in heard))
        say("ready")
        sys.stdin.read()
        say([stop_all(workers, timeout=10.0), bool(signals.read())])


def abort(ctx: Context) -> None:
    """Abort a worker that hangs."""
    worker = start(ctx)
    worker.inbox.send(ask("move"))
    listen(worker, lambda heard: BytesMoved(key=ask("move").key, sent=7) in heard)
    worker.abort()
    hear_out(worker)
    say(worker.reap(10.0))


if __name__ == "__main__":
    _, wanted, method = sys.argv
    chosen = multiprocessing.get_context("spawn") if method == "spawn" else context()
    {"be_killed": be_killed, "be_interrupted": be_interrupted, "abort": abort}[wanted](chosen)
