"""How local workers are chosen and started, and what no other pool has: pipes that fill."""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest

from pipeline.engine.local import pool as local
from pipeline.engine.local.handle import WorkerHandle
from pipeline.engine.local.pool import LocalPool
from pipeline.engine.pool import Broken, Gone, Joined
from pipeline.errors import MachineError
from pipeline.model.messages import ListTags, PushManifest
from pipeline.model.reference import Reference, parse_repository
from pipeline.settings import MIB, Settings
from tests.engine.rigs import gone, hear
from tests.engine.runners import PLAIN
from tests.unit.scheduler.world import MIRROR

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool() -> Iterator[LocalPool]:
    """A pool with the plain runner."""
    made = LocalPool(Settings(), None, runner=PLAIN)
    yield made
    made.dismiss(timeout=0.0)


def put(path: str, tag: str = "v1", content: bytes = b"") -> PushManifest:
    """A task of the stage that may have several workers."""
    place = Reference(parse_repository(f"{MIRROR}/{path}"), tag)
    return PushManifest(destination=place, media_type="", digest="", content=content)


def workers(count: int) -> list[WorkerHandle]:
    """Workers of that stage, without processes."""
    return [
        WorkerHandle(MagicMock(pid=number, **{"inbox.broken": False}), "transfer", 0.0)
        for number in range(count)
    ]


def test_worker_dies_with_a_full_inbox(pool: LocalPool) -> None:
    """A worker that dies while its inbox waits for room is gone once: its pipes' ends come together."""
    task = put("a", content=bytes(MIB))
    handle = pool._choose(task, 0.0, alone=False)
    os.kill(handle.process.pid, signal.SIGSTOP)
    handle.give(task, 0.0, alone=False)
    pool._write(handle)
    assert handle.process.inbox.pending

    handle.process.kill()
    multiprocessing.connection.wait([handle.process._process.sentinel], 10)
    heard = [message for message in hear(pool, gone) if not isinstance(message, Joined)]

    (end,) = heard
    assert isinstance(end, Gone)
    assert [task.key] == [key for key, _ in end.tasks]
    assert ([], []) == (pool.roster(), pool.hear(0.0))


def test_worker_that_knows_the_repository(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task goes to the worker that has served its repository, unless that one is much busier."""
    idle = workers(4)
    monkeypatch.setitem(pool._stages, "transfer", idle)
    first = pool._choose(put("a"), 0.0, alone=False)
    first.give(put("a", "v1"), 0.0, alone=False)

    again = pool._choose(put("a"), 0.0, alone=False)
    other = pool._choose(put("b"), 0.0, alone=False)
    for tag in ("v2", "v3"):
        first.give(put("a", tag), 0.0, alone=False)
    busy = pool._choose(put("a"), 0.0, alone=False)

    assert [True, False, False] == [first is each for each in (again, other, busy)]


def test_next_stage_is_started_ahead(pool: LocalPool) -> None:
    """The worker that resolves is started while the first one still expands, and once."""
    for page in ("", "2"):
        pool.give(ListTags(repository=parse_repository(f"{MIRROR}/a"), page=page, count=1), 0.0)
        pool.flush(0.0)

        assert ["expand", "resolve"] == [worker.stage for worker in pool.roster()]


def test_no_process_can_be_had(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot be started breaks the pool, instead of raising where a task is given."""

    def refuse(*_: object) -> None:
        raise MachineError("cannot start the worker: Too many open files")

    monkeypatch.setattr(local, "start_worker", refuse)
    pool.give(put("a"), 0.0)
    pool.flush(0.0)

    (broken,) = pool.hear(0.0)
    assert isinstance(broken, Broken)
    assert "Too many open files" in str(broken.error)
    assert ([], False) == (pool.hear(0.0), pool.has_room("resolve"))
