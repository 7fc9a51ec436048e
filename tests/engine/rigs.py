"""The WorkerPools of the suite, and how it controls and observes their workers."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pipeline.engine.dask.pool import DaskPool
from pipeline.engine.local.pool import LocalPool
from pipeline.engine.pool import Gone, Said
from pipeline.model.messages import BytesTransferred, ManifestPushed, Outcome
from pipeline.settings import ClusterOptions, Settings
from tests.engine.fake_pool import FakePool
from tests.engine.harness import PATIENCE, wait_until_gone
from tests.engine.runners import BROKEN, PLAIN, STILLBORN, ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.engine.pool import Message, WorkerPool, WorkerView
    from pipeline.log import Event
    from pipeline.model.messages import Stage, Task, UploadProgress

SILENCE = 4.0


class Rig(Protocol):
    """An implementation, and the suite's actions on its workers."""

    serves: Stage
    """The name of the stage whose worker runs the suite's tasks."""

    def make(self, *, unable: bool = False, stillborn: int = 0) -> WorkerPool:
        """A pool whose workers run the tasks of runners.py.

        Args:
            unable: no worker can start, and the pool says why.
            stillborn: how many workers die before they are ready.
        """
        ...

    def kill(self, worker: WorkerView) -> None:
        """End a worker at once."""
        ...

    def hang(self, worker: WorkerView) -> None:
        """Let a worker run without messages."""
        ...

    def left(self, workers: list[WorkerView]) -> list[int]:
        """The processes that still exist after a while."""
        ...


class LocalRig:
    """Worker processes of this machine."""

    serves: Stage = "resolve"

    def __init__(self, folder: Path) -> None:
        """Args: folder: an empty one."""
        self._folder = folder

    def make(self, *, unable: bool = False, stillborn: int = 0) -> WorkerPool:
        """See Rig."""
        for number in range(stillborn):
            (self._folder / f"{number}").touch()
        runner = BROKEN if unable else STILLBORN if stillborn else PLAIN
        return LocalPool(Settings(silence=SILENCE), str(self._folder), runner=runner)

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

    serves: Stage = "resolve"

    def __init__(self, _folder: Path) -> None:
        """No folder is needed."""

    def make(self, *, unable: bool = False, stillborn: int = 0) -> WorkerPool:
        """See Rig."""
        reason = "the keyring is locked" if unable else ""
        self.pool = FakePool(_answer, silence=SILENCE, unable=reason, stillborn=stillborn)
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


@dataclass(frozen=True)
class FolderRecipe:
    """A keyring for the runners of the tests: the folder."""

    folder: str

    def open(self, _environ: object) -> str:
        """See Recipe."""
        return self.folder

    def misfit(self, _environ: object) -> str:
        """See Recipe."""
        return ""


class DaskRig:
    """One worker of a cluster on this machine."""

    serves: Stage = "transfer"

    def __init__(self, folder: Path) -> None:
        """Args: folder: an empty one."""
        self._folder = folder
        self.said: list[Event] = []

    def make(self, *, unable: bool = False, stillborn: int = 0) -> DaskPool:
        """See Rig."""
        for number in range(stillborn):
            (self._folder / f"{number}").touch()
        return DaskPool(
            Settings(silence=SILENCE),
            FolderRecipe(str(self._folder)),
            ClusterOptions(workers=1),
            say=self.said.append,
            runner=BROKEN if unable else STILLBORN if stillborn else PLAIN,
        )

    def kill(self, worker: WorkerView) -> None:
        """See Rig."""
        os.kill(worker.pid, signal.SIGKILL)

    def hang(self, worker: WorkerView) -> None:
        """See Rig."""
        os.kill(worker.pid, signal.SIGSTOP)

    def left(self, workers: list[WorkerView]) -> list[int]:
        """See Rig."""
        return wait_until_gone([worker.pid for worker in workers])


def _answer(task: Task) -> list[Outcome | BytesTransferred | UploadProgress]:
    """The words are those of runners.py."""
    match task.key.rpartition("@")[2].partition(" ")[0]:
        case "move":
            return [BytesTransferred(key=task.key, sent=7)]
        case "wait":
            return []
    return [ManifestPushed(key=task.key)]


def give(pool: WorkerPool, *words: str, alone: bool = False, now: float = 0.0) -> list[str]:
    """Give a task for each word; returns their keys."""
    tasks = [ask(word) for word in words]
    for task in tasks:
        wait_for_room(pool, task.stage, alone=alone, now=now)
        pool.give(task, now, alone=alone)
    pool.flush(now)
    return [task.key for task in tasks]


def wait_for_room(pool: WorkerPool, stage: Stage, *, alone: bool = False, now: float = 0.0) -> None:
    """Wait for a worker that joins by itself: it sends no message before it has a task."""
    end = time.monotonic() + PATIENCE
    while not pool.has_room(stage, alone=alone):
        assert time.monotonic() < end, "there is no room"
        if select.select([pool], [], [], 1.0)[0]:
            assert [] == pool.hear(now)


def hear(pool: WorkerPool, until: Callable[[list[Message]], object], *, now: float = 0.0) -> list[Message]:
    """The pool's messages until `until` holds for them; read only when its descriptor is readable."""
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


def progress(heard: list[Message]) -> list[BytesTransferred]:
    """The progress messages of running tasks."""
    said = [message.answer for message in heard if isinstance(message, Said)]
    return [answer for answer in said if isinstance(answer, BytesTransferred)]
