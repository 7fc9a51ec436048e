"""One worker process: reads tasks, runs several at a time on threads, sends outcomes.

It owns only its connections and may be killed at any moment. The main thread only reads the inbox: at
end-of-file it exits at once, whatever the other threads do, so no worker survives a killed supervisor.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from pipeline.engine.local.fork_server import IGNORED
from pipeline.engine.local.queues import AnswerWriter, TaskReader
from pipeline.engine.worker import Worker, describe, make_runner
from pipeline.model.budget import Grant
from pipeline.model.life_signs import Alive, BootFailed
from pipeline.registry.pacing import PACER

if TYPE_CHECKING:
    from pipeline.engine.worker import Setup


_M_ARENA_MAX = -8
"""glibc's parameter (malloc.h): most memory pools of a process."""
_ARENAS = 2


def main(inbox: int, outbox: int) -> NoReturn:
    """Run a worker until the inbox ends or the outbox has no reader.

    Args:
        inbox: descriptor to read the Setup and tasks from.
        outbox: descriptor to write answers to.
    """
    _prepare_process()
    with suppress(EOFError, BrokenPipeError, MemoryError):
        _work(TaskReader(inbox), AnswerWriter(outbox))
    os._exit(0)


def _work(tasks: TaskReader, answers: AnswerWriter) -> NoReturn:
    setup: Setup = tasks.receive()
    if setup.stage == "transfer":
        _share_memory()
    try:
        worker = Worker(answers.send, make_runner(setup), threads=setup.threads)
        worker.start()
    except BaseException as error:  # noqa: BLE001 - the supervisor reports it, whatever it is
        answers.send(BootFailed(reason=f"the {setup.stage} worker cannot start: {describe(error)}"))
        os._exit(1)
    answers.send(Alive())
    while True:
        message = tasks.receive()
        if isinstance(message, Grant):
            PACER.grant(message)
        else:
            worker.take(message)


def _prepare_process() -> None:
    """Ignore signals, print stacks on a crash, and never write a core dump: it would hold credentials."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.stderr is not None:
        faulthandler.enable()


def _share_memory() -> None:
    """Let the threads share two pools of memory: glibc has up to eight a core, of which none uses another's.

    That saves 10 MB in a worker whose threads have moved many blobs. Other C libraries have no such pools;
    ctypes may be missing, or find no memory to load.
    """
    with suppress(ImportError, OSError, AttributeError):
        import ctypes  # noqa: PLC0415 - 5 ms that lookups do not need

        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
