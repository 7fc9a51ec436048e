"""How local workers are chosen and started, and what only they have: pipes that fill up."""

from __future__ import annotations

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
from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import PushManifest
from pipeline.model.reference import Reference, parse_repository
from pipeline.settings import MIB, Settings
from tests.engine.harness import wait_until_gone
from tests.engine.rigs import ends, give, gone, hear
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
        WorkerHandle(
            process=MagicMock(pid=number, **{"inbox.broken": False}), stage="transfer", last_word=0.0
        )
        for number in range(count)
    ]


def test_worker_dies_with_a_full_inbox(pool: LocalPool) -> None:
    """A worker that dies while its inbox is full is reported once, although both its pipes end."""
    task = put("a", content=bytes(MIB))
    handle = pool._choose(task, 0.0, alone=False)
    hear(pool, lambda heard: heard)
    os.kill(handle.process.pid, signal.SIGSTOP)
    handle.give(task, 0.0, alone=False)
    pool._write(handle)
    assert handle.process.inbox.pending

    handle.process.kill()
    heard = [message for message in hear(pool, gone) if not isinstance(message, Joined)]

    (end,) = heard
    assert isinstance(end, Gone)
    assert [task.key] == [key for key, _ in end.tasks]
    assert ({}, []) == (pool.roster(), pool.hear(0.0))


def test_task_prefers_worker_of_its_repository(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task goes to the worker that has served its repository, unless that one is much busier."""
    idle = workers(4)
    monkeypatch.setitem(pool._workers, "transfer", idle)
    first = pool._choose(put("a"), 0.0, alone=False)
    first.give(put("a", "v1"), 0.0, alone=False)

    again = pool._choose(put("a"), 0.0, alone=False)
    other = pool._choose(put("b"), 0.0, alone=False)
    for tag in ("v2", "v3"):
        first.give(put("a", tag), 0.0, alone=False)
    busy = pool._choose(put("a"), 0.0, alone=False)

    assert [True, False, False] == [first is each for each in (again, other, busy)]


def test_one_worker_lists_and_resolves(pool: LocalPool) -> None:
    """Tags and manifests are requested by one worker, and a task that runs alone has it for itself."""
    listing = ListTags(repository=parse_repository(f"{MIRROR}/a"), count=1)
    pool.give(listing, 0.0)
    give(pool, "echo")
    hear(pool, lambda heard: len(ends(heard)) == 2)
    give(pool, "move", alone=True)

    assert ["resolve"] == [worker.stage for worker in pool.roster()]
    assert not pool.has_room("expand")


def test_stopped_fork_server_blocks_nothing(pool: LocalPool) -> None:
    """A stopped fork server blocks no call, and the worker starts when the server continues."""
    server = pool._running_server()
    os.kill(server.pid, signal.SIGSTOP)
    (key,) = give(pool, "echo")
    pool.tick(0.0)
    assert ([], {}) == (pool.hear(0.0), pool.roster())

    os.kill(server.pid, signal.SIGCONT)
    assert [key] == ends(hear(pool, ends))


def test_dead_fork_server_is_replaced(pool: LocalPool) -> None:
    """If the fork server dies, its workers continue, and another server starts the next one."""
    give(pool, "echo")
    hear(pool, ends)
    (worker,) = pool.roster()
    os.kill(pool._running_server().pid, signal.SIGKILL)
    wait_until_gone([pool._running_server().pid])
    pool.hear(0.0)
    (again,) = give(pool, "echo again")
    assert [again] == ends(hear(pool, ends))

    os.kill(worker.pid, signal.SIGKILL)
    (end,) = gone(hear(pool, gone))
    (last,) = give(pool, "echo at last")
    assert [last] == ends(hear(pool, ends))
    assert "unknown: the fork server died; killed" == end.reason


def test_worker_that_does_not_exit_is_killed(pool: LocalPool) -> None:
    """A worker that closed its outbox and continues is killed, and nothing waits for it."""
    give(pool, "echo")
    hear(pool, ends)
    (worker,) = pool.roster()
    os.kill(worker.pid, signal.SIGSTOP)
    (handle,) = pool._handles()
    handle.process.outbox.at_end = True
    pool._remove(handle)
    handle.end(0.0)
    assert [] == pool.hear(0.5)
    pool.tick(1.5)

    (end,) = gone(hear(pool, gone, now=1.5))
    assert end.reason == "killed by SIGKILL"


def test_failed_process_start_breaks_the_pool(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot be started breaks the pool, and `give` does not raise."""

    def refuse(*_: object) -> None:
        raise MachineError("cannot start the worker: Too many open files")

    monkeypatch.setattr(local, "start_worker", refuse)
    pool.give(put("a"), 0.0)
    pool.flush(0.0)

    (broken,) = pool.hear(0.0)
    assert isinstance(broken, Broken)
    assert "Too many open files" in str(broken.error)
    assert ([], False) == (pool.hear(0.0), pool.has_room("resolve"))
