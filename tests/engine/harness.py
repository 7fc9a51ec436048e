"""Helpers for tests of real workers: start them, read their messages, see them end."""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.engine.local.process import start_worker
from pipeline.engine.worker import Setup
from pipeline.settings import Settings
from tests.engine.runners import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.engine.local.fork_server import ForkServer
    from pipeline.engine.local.process import WorkerProcess
    from pipeline.model.messages import WorkerMessage

Kind = TypeVar("Kind")

PATIENCE = 30.0
"""Seconds after which a test fails; nothing should take a tenth of it."""


def start(
    server: ForkServer, *, name: str = "resolve-1", threads: int = 2, runner: str = PLAIN
) -> WorkerProcess:
    """One worker with the plain runner; its process exists."""
    setup = Setup(stage="resolve", threads=threads, settings=Settings(), keyring=None, runner=runner)
    worker = start_worker(server, name, setup)
    server.wait(lambda: worker.pid, PATIENCE)
    assert worker.pid, worker.status
    return worker


def listen(worker: WorkerProcess, until: Callable[[list[WorkerMessage]], bool]) -> list[WorkerMessage]:
    """The worker's messages until `until` holds for them."""
    heard: list[WorkerMessage] = []
    end = time.monotonic() + PATIENCE
    while not until(heard):
        assert not worker.outbox.at_end, f"the worker is gone, it said {heard}"
        assert time.monotonic() < end, f"the worker said only {heard}"
        select.select([worker.outbox], [], [], 1.0)
        heard += worker.outbox.read()
    return heard


def hear_out(worker: WorkerProcess) -> list[WorkerMessage]:
    """The worker's messages until its outbox is at end-of-file."""
    heard: list[WorkerMessage] = []
    end = time.monotonic() + PATIENCE
    while not worker.outbox.at_end:
        assert time.monotonic() < end, f"the worker lives on, it said {heard}"
        select.select([worker.outbox], [], [], 1.0)
        heard += worker.outbox.read()
    return heard


def of_kind(heard: list[WorkerMessage], kind: type[Kind]) -> list[Kind]:
    """Those of one type."""
    return [answer for answer in heard if isinstance(answer, kind)]


def is_gone(pid: int) -> bool:
    """Whether no such process runs; a zombie does not count as running."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def descriptors() -> set[str]:
    """The open descriptors of this process."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def wait_until_gone(pids: list[int]) -> list[int]:
    """Wait until all of `pids` are gone; returns those that are not."""
    end = time.monotonic() + PATIENCE
    while (left := [pid for pid in pids if not is_gone(pid)]) and time.monotonic() < end:
        time.sleep(0.01)
    return left
