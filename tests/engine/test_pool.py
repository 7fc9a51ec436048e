"""What every WorkerPool guarantees, proved on local processes and on the fake of the tests."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING, Protocol

import pytest

from pipeline.engine.local.pool import LocalPool
from pipeline.engine.pool import Broken, Gone, Joined, Said
from pipeline.model.messages import BytesMoved, ManifestPushed, Outcome
from pipeline.settings import Settings
from tests.engine.fake_pool import FakePool
from tests.engine.harness import PATIENCE, descriptors, wait_until_gone
from tests.engine.runners import BROKEN, PLAIN, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.engine.pool import Message, WorkerPool, WorkerView
    from pipeline.model.messages import Task, UploadProgress

SILENCE = 4.0


class Rig(Protocol):
    """An implementation, and what the suite does to its workers."""

    def make(self, *, unable: bool = False) -> WorkerPool:
        """A pool whose workers understand the words of runners.py; `unable`: none can begin."""
        ...

    def kill(self, worker: WorkerView) -> None:
        """End a worker at once."""
        ...

    def hang(self, worker: WorkerView) -> None:
        """Have a worker run on and say nothing."""
        ...

    def left(self, workers: list[WorkerView]) -> list[int]:
        """Those that are still there after a while."""
        ...


class LocalRig:
    """Processes of this machine."""

    def make(self, *, unable: bool = False) -> WorkerPool:
        """See Rig."""
        return LocalPool(Settings(silence=SILENCE), None, runner=BROKEN if unable else PLAIN)

    def kill(self, worker: WorkerView) -> None:
        """See Rig."""
        os.kill(worker.pid, signal.SIGKILL)

    def hang(self, worker: WorkerView) -> None:
        """See Rig."""
        os.kill(worker.pid, signal.SIGSTOP)

    def left(self, workers: list[WorkerView]) -> list[int]:
        """See Rig."""
        return wait_until_gone([worker.pid for worker in workers])


class FakeRig:
    """No processes."""

    def make(self, *, unable: bool = False) -> WorkerPool:
        """See Rig."""
        self.pool = FakePool(_answer, silence=SILENCE, unable="the keyring is locked" if unable else "")
        return self.pool

    def kill(self, worker: WorkerView) -> None:
        """See Rig."""
        self.pool.kill(worker)

    def hang(self, worker: WorkerView) -> None:
        """See Rig."""
        self.pool.hang(worker)

    def left(self, workers: list[WorkerView]) -> list[int]:
        """See Rig."""
        return [worker.pid for worker in workers if worker in self.pool.roster()]


def _answer(task: Task) -> list[Outcome | BytesMoved | UploadProgress]:  # type: ignore[return] # the words are those of runners.py
    match task.key.rpartition("@")[2].partition(" ")[0]:
        case "echo" | "big":
            return [ManifestPushed(key=task.key)]
        case "move":
            return [BytesMoved(key=task.key, sent=7)]
        case "wait":
            return []


@pytest.fixture(params=[LocalRig, FakeRig])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each implementation."""
    return request.param()  # type: ignore[no-any-return] # pytest types it Any


@pytest.fixture
def pool(rig: Rig) -> Iterator[WorkerPool]:
    """A pool that works, and leaves nobody behind."""
    made = rig.make()
    yield made
    made.dismiss(timeout=0.0)


def give(pool: WorkerPool, *words: str, alone: bool = False, now: float = 0.0) -> list[str]:
    """Give a task for each word; returns their keys."""
    tasks = [ask(word) for word in words]
    for task in tasks:
        assert pool.has_room(task.stage, alone=alone)
        pool.give(task, now, alone=alone)
    pool.flush(now)
    return [task.key for task in tasks]


def hear(pool: WorkerPool, until: Callable[[list[Message]], object], *, now: float = 0.0) -> list[Message]:
    """What the pool says until `until` holds of it, asking only when its descriptor is readable."""
    heard: list[Message] = []
    end = time.monotonic() + PATIENCE
    while not until(heard):
        assert time.monotonic() < end, f"the pool said only {heard}"
        if select.select([pool], [], [], 1.0)[0]:
            heard += pool.hear(now)
    return heard


def ends(heard: list[Message]) -> list[str]:
    """Keys of the tasks that ended with an outcome."""
    return [
        message.answer.key
        for message in heard
        if isinstance(message, Said) and isinstance(message.answer, Outcome)
    ]


def gone(heard: list[Message]) -> list[Gone]:
    """The workers that ended."""
    return [message for message in heard if isinstance(message, Gone)]


def progress(heard: list[Message]) -> list[BytesMoved]:
    """What was said of running tasks."""
    said = [message.answer for message in heard if isinstance(message, Said)]
    return [answer for answer in said if isinstance(answer, BytesMoved)]


def test_each_task_ends_once(pool: WorkerPool) -> None:
    """Each task that was given ends with one outcome, after its worker has joined."""
    keys = give(pool, *(f"echo {number}" for number in range(6)))

    heard = hear(pool, lambda heard: len(ends(heard)) == len(keys))

    assert sorted(ends(heard)) == sorted(keys)
    (first,) = [message for message in heard if isinstance(message, Joined)]
    assert heard[0] == first
    assert first.worker in pool.roster()


def test_quiet_without_news(pool: WorkerPool) -> None:
    """A pool that has said everything is not readable, and has nothing to say."""
    give(pool, "echo")
    hear(pool, ends)

    assert ([], []) == (select.select([pool], [], [], 0.0)[0], pool.hear(0.0))


def test_bytes_of_a_running_task(pool: WorkerPool) -> None:
    """What a task has moved is said while it runs, by the worker that runs it."""
    (key,) = give(pool, "move")

    heard = hear(pool, progress)

    assert [BytesMoved(key=key, sent=7)] == progress(heard)
    assert {worker.stage for worker in pool.roster()} == {"resolve"}


def test_dead_worker(rig: Rig, pool: WorkerPool) -> None:
    """The tasks of a worker that dies end with it, charged, and none of them is given to another worker."""
    done, *open_ = give(pool, "echo", "move", "wait")
    before = hear(pool, lambda heard: ends(heard) and progress(heard))
    (worker,) = pool.roster()
    rig.kill(worker)

    heard = hear(pool, gone)

    (end,) = gone(heard)
    assert ([done], worker, [(key, True) for key in open_]) == (ends(before), end.worker, list(end.tasks))
    assert (False, 0.0, True) == (end.alone, end.fence, bool(end.reason))
    assert heard[-1] == end
    assert worker not in pool.roster()
    again = give(pool, "echo again")
    assert again == ends(hear(pool, ends))


def test_alone(rig: Rig, pool: WorkerPool) -> None:
    """A task that runs alone has nothing beside it, and its worker's end says so."""
    give(pool, "move", alone=True)
    hear(pool, progress)
    (worker,) = pool.roster()

    assert (False, False) == (pool.has_room("resolve"), pool.has_room("resolve", alone=True))
    rig.kill(worker)
    (end,) = gone(hear(pool, gone))
    assert end.alone


def test_kept_free(pool: WorkerPool) -> None:
    """A worker that is kept free gets nothing but a task that runs alone, and that once it is idle."""
    give(pool, "echo")
    pool.keep_free("resolve", wanted=True)
    busy = (pool.has_room("resolve"), pool.has_room("resolve", alone=True))
    hear(pool, ends)
    pool.keep_free("resolve", wanted=True)
    idle = (pool.has_room("resolve"), pool.has_room("resolve", alone=True))
    pool.keep_free("resolve", wanted=False)

    assert ((False, True), True) == (idle, pool.has_room("resolve"))
    assert not busy[0]


def test_no_worker_can_be_had(rig: Rig) -> None:
    """Where no worker can begin, giving does not raise: the pool says so once, and has no room any more."""
    pool = rig.make(unable=True)
    try:
        give(pool, "echo")
        heard = hear(pool, lambda heard: any(isinstance(message, Broken) for message in heard))

        (broken,) = [message for message in heard if isinstance(message, Broken)]
        assert "the keyring is locked" in str(broken.error)
        assert not pool.has_room("transfer")
        assert ends(heard) == []
    finally:
        pool.dismiss(timeout=0.0)


def test_silent_worker(rig: Rig, pool: WorkerPool) -> None:
    """A worker that has tasks and says nothing for too long is ended."""
    (key,) = give(pool, "move")
    hear(pool, progress)
    (worker,) = pool.roster()
    rig.hang(worker)
    for now in (0.0, 3.0, 6.0, 9.0):
        pool.tick(now)

    (end,) = gone(hear(pool, gone, now=9.0))

    assert (worker, ((key, True),)) == (end.worker, end.tasks)


def test_idle_worker(pool: WorkerPool) -> None:
    """A worker without tasks may be silent as long as it likes."""
    give(pool, "echo")
    hear(pool, ends)
    (worker,) = pool.roster()
    for now in (0.0, 3.0, 6.0, 9.0, 12.0):
        pool.tick(now)

    give(pool, "echo again", now=12.0)

    heard = hear(pool, ends, now=12.0)
    assert ([], [worker]) == (gone(heard), pool.roster())


def test_caller_was_suspended(pool: WorkerPool) -> None:
    """When the caller itself did not run for a while, no worker is blamed for its silence."""
    give(pool, "move")
    hear(pool, progress)
    (worker,) = pool.roster()
    for now in (0.0, 1000.0, 1001.0):
        pool.tick(now)

    give(pool, "echo", now=1001.0)

    heard = hear(pool, ends, now=1001.0)
    assert ([], [worker]) == (gone(heard), pool.roster())


def test_dismissed(rig: Rig) -> None:
    """A pool that is dismissed, twice even, leaves no worker and no descriptor, whatever was running."""
    rig.make().dismiss(timeout=0.0)
    before = descriptors()
    pool = rig.make()
    give(pool, "wait", "move")
    hear(pool, progress)
    workers = list(pool.roster())

    pool.dismiss(timeout=0.0)
    pool.dismiss(timeout=0.0)

    assert ([], set()) == (rig.left(workers), descriptors() - before)


def test_deaths_at_any_time(rig: Rig, pool: WorkerPool) -> None:
    """Whenever workers die, each giving of a task has one end: an outcome, or its key in a Gone."""
    words = {ask(word).key: word for word in (f"{'big' if n % 20 == 0 else 'echo'} {n}" for n in range(100))}
    todo, done, deaths = list(words), list[str](), 0
    open_: set[str] = set()
    while len(done) < len(words):
        while todo and len(open_) < 8 and pool.has_room("resolve"):
            open_.add(todo[-1])
            give(pool, words[todo.pop()])
        heard = hear(pool, bool)
        for message in heard:
            match message:
                case Said(answer=Outcome() as outcome):
                    open_.remove(outcome.key)
                    done.append(outcome.key)
                    if len(done) % 10 == 0 and message.worker in pool.roster():
                        rig.kill(message.worker)
                case Gone():
                    deaths += 1
                    for key, _ in message.tasks:
                        open_.remove(key)
                        todo.append(key)

    assert (sorted(words), set()) == (sorted(done), open_)
    assert deaths > 5
