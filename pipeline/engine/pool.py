"""The interface between the supervisor and those who run its tasks; `local` implements it with processes.

Every implementation passes the same suite (tests/engine/test_pool.py). All of them guarantee:

- Nothing blocks but `dismiss`, and nothing raises: a pool that cannot go on says so with Broken.
- A task that was given ends exactly once: with one Outcome, or with its key in one Gone. Nothing is heard of
  a worker after its Gone. A pool never gives a task to a second worker by itself: the scheduler decides that.
  Only Broken ends this promise: what has not ended by then stays open.
- A task given with `alone` has nothing beside it in its process.
- Secrets travel inside tasks and setups only: no repr, reason or name holds one. `now` is the caller's
  monotonic clock, and only differences of it count: no time of one machine means anything to another.

One thread uses a pool. It does not know what a task is for: it reads a task's key, its stage and, to choose
among several workers, the repository that it writes to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.errors import MachineError
    from pipeline.model.messages import BytesMoved, Outcome, Stage, Task, UploadProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """Who a worker is; host, pid and name together are unique in a run."""

    name: str
    """For people: "transfer-2"."""
    pid: int
    stage: Stage
    """Whose tasks it runs."""
    host: str = ""
    """Empty: this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a worker says of a task that it has: any number of Progress and Kept, then one Outcome."""

    worker: WorkerView
    answer: Outcome | BytesMoved | UploadProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A worker is ready: from now on it runs what it has been given."""

    worker: WorkerView


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A worker has ended, and so have its tasks; the pool starts another worker where it needs one."""

    worker: WorkerView
    reason: str
    """How it ended, in words."""
    tasks: tuple[tuple[str, bool], ...]
    """Key of each task that it had, and whether the task may have caused the end. Not charged: tasks that had
    not begun, and ends with a known other cause, such as a worker that was told to leave."""
    alone: bool = False
    """Whether its task ran with nothing beside it: then no other task can have caused the end."""
    fence: float = 0.0
    """Seconds until it is certain that the worker runs no more. Until then it may still write: its tasks are
    held back so long, and a Move that is given again asks first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """No worker can be had, and trying again would not help: the pool is to be dismissed."""

    error: MachineError


Message = Said | Joined | Gone | Broken


class WorkerPool(Protocol):
    """Those who run tasks: ask for room, give, flush, and hear whenever `fileno` is readable."""

    def fileno(self) -> int:
        """One descriptor that is readable while `hear` has something to do; the same one until `dismiss`."""
        ...

    def has_room(self, stage: Stage, *, alone: bool = False) -> bool:
        """Whether a task of the stage may be given now; False once the pool is broken.

        Args:
            stage: the task's.
            alone: it has to have nothing beside it.
        """
        ...

    def keep_free(self, stage: Stage, *, wanted: bool) -> None:
        """Let one worker of the stage run empty for a task that has to run alone, or stop doing so.

        May be repeated: it changes nothing as long as `wanted` is the same.
        """
        ...

    def give(self, task: Task, now: float, *, alone: bool = False) -> None:
        """Choose a worker for a task; the pool owns the task from here on, even if no worker can be started.

        What the task relies on has to be on disk before. Call it only while `has_room` holds, and never for
        a task that has not ended: keys tell tasks apart.
        """
        ...

    def flush(self, now: float) -> None:
        """Send what was given. What a worker cannot take yet follows by itself from `hear`."""
        ...

    def hear(self, now: float) -> Sequence[Message]:
        """What has happened since the last call; empty where nothing has.

        Each worker's messages are in the order in which it sent them. The answers that a dead worker had
        sent come before its Gone.
        """
        ...

    def tick(self, now: float) -> None:
        """Look after workers that have fallen silent; to be called about once a second, or more often.

        A worker that has tasks and has said nothing for `Settings.silence` is ended, and Gone follows. A
        caller that was itself suspended blames nobody.
        """
        ...

    def roster(self) -> Sequence[WorkerView]:
        """The workers that there are, ready or not."""
        ...

    def dismiss(self, *, timeout: float) -> None:
        """End all workers; those that have not left after `timeout` seconds are killed.

        Tasks that they still have end without a word. Nothing may be called afterwards, but this may be
        called twice.
        """
        ...
