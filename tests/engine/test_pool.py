"""The guarantees of every WorkerPool, tested on local processes, on Dask, and on the fake."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

import pytest

from pipeline.engine.packing import MAX_MESSAGE
from pipeline.engine.pool import Broken, Gone, Joined, Said
from pipeline.model.manifest import Descriptor
from pipeline.model.messages import (
    BytesTransferred,
    CopyBlob,
    ManifestPushed,
    Outcome,
    TaskFailed,
    UploadCheckpoint,
)
from pipeline.model.reference import Repository
from pipeline.settings import MIB
from tests.engine.harness import PATIENCE, descriptors
from tests.engine.rigs import DaskRig, FakeRig, LocalRig, ends, give, gone, hear, progress, wait_for_room
from tests.engine.runners import ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.engine.pool import Message, WorkerPool, WorkerView
    from tests.engine.rigs import Rig


@pytest.fixture(params=[LocalRig, FakeRig, DaskRig])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Each implementation."""
    return request.param(tmp_path)  # type: ignore[no-any-return] # pytest types it Any


@pytest.fixture
def pool(rig: Rig) -> Iterator[WorkerPool]:
    """A working pool, which must leave no worker behind."""
    made = rig.make()
    yield made
    made.dismiss(timeout=0.0)


def test_each_task_ends_once(pool: WorkerPool) -> None:
    """Each task that was given ends with one outcome, after its worker has joined."""
    keys = give(pool, *(f"echo {number}" for number in range(6)))

    heard = hear(pool, lambda heard: len(ends(heard)) == len(keys))

    assert sorted(ends(heard)) == sorted(keys)
    (first,) = [message for message in heard if isinstance(message, Joined)]
    assert heard[0] == first
    assert first.worker in pool.roster()


def test_not_readable_without_messages(pool: WorkerPool) -> None:
    """A pool without messages is not readable."""
    give(pool, "echo")
    hear(pool, ends)

    assert ([], []) == (select.select([pool], [], [], 0.0)[0], pool.hear(0.0))


def test_bytes_are_reported_while_running(rig: Rig, pool: WorkerPool) -> None:
    """A task's bytes are reported while it runs, by its worker."""
    (key,) = give(pool, "move")

    heard = hear(pool, progress)

    assert [BytesTransferred(key=key, sent=7)] == progress(heard)
    assert {worker.stage for worker in pool.roster()} == {rig.serves}


def test_dead_worker_reports_its_tasks(rig: Rig, pool: WorkerPool) -> None:
    """The end of a worker reports all its tasks in the roster as begun; no other worker gets them."""
    done, *open_ = give(pool, "echo", "move", "wait")
    before = hear(pool, lambda heard: ends(heard) and progress(heard))
    ((worker, count),) = pool.roster().items()
    rig.kill(worker)

    heard = hear(pool, gone)

    (end,) = gone(heard)
    assert count == len(open_)
    assert ([done], worker, [(key, True) for key in open_]) == (ends(before), end.worker, list(end.tasks))
    assert (False, 0.0, True) == (end.alone, end.fence, bool(end.reason))
    assert heard[-1] == end
    assert worker not in pool.roster()
    again = give(pool, "echo again")
    assert again == ends(hear(pool, ends))


def test_task_runs_alone(rig: Rig, pool: WorkerPool) -> None:
    """A task that runs alone has no other task beside it, and the message of its worker's end says so."""
    give(pool, "move", alone=True)
    hear(pool, progress)
    (worker,) = pool.roster()

    assert (False, False) == (pool.has_room("resolve"), pool.has_room("resolve", alone=True))
    rig.kill(worker)
    (end,) = gone(hear(pool, gone))
    assert end.alone


def test_worker_is_kept_free(pool: WorkerPool) -> None:
    """A worker that is kept free gets only a task that runs alone, and only once it is idle."""
    give(pool, "echo")
    pool.keep_free("resolve", wanted=True)
    busy = (pool.has_room("resolve"), pool.has_room("resolve", alone=True))
    hear(pool, ends)
    pool.keep_free("resolve", wanted=True)
    idle = (pool.has_room("resolve"), pool.has_room("resolve", alone=True))
    pool.keep_free("resolve", wanted=False)

    assert ((False, True), True) == (idle, pool.has_room("resolve"))
    assert not busy[0]


def test_answers_arrive_before_worker_end(rig: Rig, pool: WorkerPool) -> None:
    """A worker's answers arrive before its end, in order, and nothing follows."""
    give(pool, "echo")
    hear(pool, ends)
    (worker,) = pool.roster()
    keys = give(pool, *(f"echo {number}" for number in range(4)))
    assert select.select([pool], [], [], PATIENCE)[0]
    rig.kill(worker)

    *heard, last = hear(pool, gone)

    assert isinstance(last, Gone)
    lost = [key for key, _ in last.tasks]
    assert sorted(keys) == sorted(ends(heard) + lost)
    assert ends(heard)
    assert pool.hear(0.0) == []


def test_unread_tasks_block_no_call(rig: Rig, pool: WorkerPool) -> None:
    """A worker that reads nothing blocks no call, however many tasks it is given."""
    give(pool, "move")
    hear(pool, progress)
    (worker,) = pool.roster()
    rig.hang(worker)

    keys = give(pool, *(f"wait {number} {'x' * MIB}" for number in range(4)))
    pool.tick(0.0)
    assert pool.hear(0.0) == []

    rig.kill(worker)
    (end,) = gone(hear(pool, gone))
    assert [ask("move").key, *keys] == [key for key, _ in end.tasks]


def test_descriptor_never_changes(rig: Rig, pool: WorkerPool) -> None:
    """The descriptor to wait for stays the same, whatever happens to the workers."""
    before = pool.fileno()
    give(pool, "move")
    hear(pool, progress)
    rig.kill(next(iter(pool.roster())))
    hear(pool, gone)
    give(pool, "echo")
    hear(pool, ends)

    assert before == pool.fileno()


def test_unsendable_task_fails(pool: WorkerPool) -> None:
    """A task that cannot be sent does not raise: it fails, and the worker takes others."""
    large, small = give(pool, "x" * (MAX_MESSAGE + 1), "echo")

    heard = hear(pool, lambda heard: len(ends(heard)) == 2)

    said = {
        each.answer.key: each.answer
        for each in heard
        if isinstance(each, Said) and isinstance(each.answer, Outcome)
    }
    assert isinstance(said[large], TaskFailed)
    assert said[small] == ManifestPushed(key=small)


def test_worker_dies_before_it_is_ready(rig: Rig) -> None:
    """A worker that dies before it is ready ends its tasks as not begun, and the next one can run them."""
    pool = rig.make(stillborn=1)
    try:
        (key,) = give(pool, "echo")
        heard = hear(pool, gone)
        give(pool, "echo")
        heard += hear(pool, ends)

        (end,) = gone(heard)
        assert (((key, False),), False) == (end.tasks, end.alone)
        (joined,) = [message for message in heard if isinstance(message, Joined)]
        assert (heard[0], heard[1]) == (end, joined)
        assert joined.worker != end.worker
    finally:
        pool.dismiss(timeout=0.0)


def test_repeated_early_deaths_break_the_pool(rig: Rig) -> None:
    """After several workers in a row died before they were ready, the pool reports Broken."""
    pool = rig.make(stillborn=5)
    try:
        heard: list[Message] = []
        while not any(isinstance(message, Broken) for message in heard):
            assert len(gone(heard)) < 5
            keys = give(pool, "echo")
            heard += hear(pool, gone)

        assert all(end.tasks == ((keys[0], False),) for end in gone(heard))
        assert not pool.has_room("resolve")
    finally:
        pool.dismiss(timeout=0.0)


def test_no_secret_is_shown(rig: Rig, pool: WorkerPool) -> None:
    """Neither the pool nor its messages show the secrets of a task."""
    there = Repository("registry.test", "a")
    session = UploadCheckpoint(url="https://registry.test/upload?state=hidden", offset=1)
    blob = Descriptor(digest=f"sha256:{'0' * 64}", size=1, media_type="m")
    task = CopyBlob(source=there, blob=blob, destination=there, ask=False, session=session)
    wait_for_room(pool, task.stage)
    pool.give(task, 0.0)
    pool.flush(0.0)
    heard = hear(pool, ends)
    (worker,) = pool.roster()
    rig.kill(worker)
    heard += hear(pool, gone)

    assert "hidden" not in repr((pool, task, heard, worker))


def test_failed_worker_starts_break_the_pool(rig: Rig) -> None:
    """If no worker can start, `give` does not raise, and the pool reports Broken once and has no room."""
    pool = rig.make(unable=True)
    try:
        give(pool, "echo")
        heard = hear(pool, lambda heard: any(isinstance(message, Broken) for message in heard))

        (broken,) = [message for message in heard if isinstance(message, Broken)]
        assert "the keyring is locked" in str(broken.error)
        assert not pool.has_room("transfer")
        assert ends(heard) == []

        pool.keep_free("resolve", wanted=True)
        pool.tick(0.0)
        pool.flush(0.0)
        assert not any(isinstance(message, Broken | Said) for message in pool.hear(0.0))
    finally:
        pool.dismiss(timeout=0.0)


@pytest.mark.parametrize("began", [-1e6, 0.0, 1e6])
def test_silent_busy_worker_is_ended(rig: Rig, pool: WorkerPool, began: float) -> None:
    """A worker with tasks that is silent for too long is ended, whatever the caller's clock shows."""
    (key,) = give(pool, "move", now=began)
    hear(pool, progress, now=began)
    (worker,) = pool.roster()
    rig.hang(worker)
    for seconds in (0.0, 3.0, 6.0, 9.0):
        pool.tick(began + seconds)

    (end,) = gone(hear(pool, gone, now=began + 9.0))

    assert (worker, ((key, True),)) == (end.worker, end.tasks)


def test_idle_worker_may_be_silent(pool: WorkerPool) -> None:
    """A worker without tasks may be silent as long as it likes."""
    give(pool, "echo")
    hear(pool, ends)
    (worker,) = pool.roster()
    for now in (0.0, 3.0, 6.0, 9.0, 12.0):
        pool.tick(now)

    give(pool, "echo again", now=12.0)

    heard = hear(pool, ends, now=12.0)
    assert ([], [worker]) == (gone(heard), list(pool.roster()))


def test_suspended_caller_blames_no_worker(pool: WorkerPool) -> None:
    """If the caller itself did not run for a while, no worker is blamed for silence."""
    give(pool, "move")
    hear(pool, progress)
    (worker,) = pool.roster()
    for now in (0.0, 1000.0, 1001.0):
        pool.tick(now)

    give(pool, "echo", now=1001.0)

    heard = hear(pool, ends, now=1001.0)
    assert ([], [worker]) == (gone(heard), list(pool.roster()))


def test_dismissed_pool_leaves_nothing(rig: Rig) -> None:
    """A pool that is dismissed, even twice, leaves no worker and no descriptor, whatever was running."""
    rig.make().dismiss(timeout=0.0)
    before = descriptors()
    pool = rig.make()
    give(pool, "wait", "move")
    hear(pool, progress)
    workers = list(pool.roster())

    pool.dismiss(timeout=0.0)
    pool.dismiss(timeout=0.0)

    assert ([], set()) == (rig.left(workers), descriptors() - before)


def test_each_task_ends_once_despite_deaths(rig: Rig, pool: WorkerPool) -> None:
    """Whenever workers die, each given task ends once: with an outcome, or with its key in a Gone."""
    words = {ask(word).key: word for word in (f"{'big' if n % 20 == 0 else 'echo'} {n}" for n in range(100))}
    todo, done = list(words), list[str]()
    open_: set[str] = set()
    dead: list[WorkerView] = []
    while len(done) < len(words):
        while todo and len(open_) < 8 and pool.has_room("resolve"):
            open_.add(todo[-1])
            give(pool, words[todo.pop()])
        assert select.select([pool], [], [], PATIENCE)[0]
        for message in pool.hear(0.0):
            assert isinstance(message, Broken) or message.worker not in dead
            match message:
                case Said(answer=Outcome() as outcome):
                    open_.remove(outcome.key)
                    done.append(outcome.key)
                    if len(done) % 10 == 0 and message.worker in pool.roster():
                        rig.kill(message.worker)
                case Gone():
                    dead.append(message.worker)
                    for key, _ in message.tasks:
                        open_.remove(key)
                        todo.append(key)

    assert (sorted(words), set()) == (sorted(done), open_)
    assert len(dead) > 5
