"""The interface between the supervisor and a pool of workers; `local` implements it with processes.

Every implementation passes the same suite (tests/engine/test_pool.py) and guarantees:

- Only `dismiss` blocks, and no method raises: a pool that cannot continue reports Broken.
- A given task ends exactly once: with one Outcome, or with its key in one Gone. A task that cannot be sent
  fails. No message of a worker follows its Gone. A pool never gives a task to a second worker: the scheduler
  decides that. After Broken, unfinished tasks stay open.
- A task given with `alone` is the only one in its process, whatever the stages of others.
- Only tasks and setups hold secrets: no repr, reason or name does. `now` is the caller's monotonic clock, and
  only its differences count, because clocks of different machines cannot be compared.

One thread uses a pool. The pool reads only a task's key, its stage and, to choose a worker, the repository
that it writes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.errors import MachineError
    from pipeline.model.budget import Grant, Spent
    from pipeline.model.messages import BytesTransferred, Outcome, Stage, Task, UploadProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """The identity of a worker; host, pid and name together are unique in a run."""

    name: str
    """For people: "transfer-2"."""
    pid: int
    stage: Stage
    """One of the stages whose tasks it runs."""
    host: str = ""
    """Empty: this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A worker's message: about a task any number of BytesTransferred and UploadProgress, then one Outcome.

    Spent is about the worker itself.
    """

    worker: WorkerView
    answer: Outcome | BytesTransferred | UploadProgress | Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A worker is ready and runs its tasks from now on."""

    worker: WorkerView


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A worker died, and with it its tasks; the pool starts another worker if it needs one."""

    worker: WorkerView
    reason: str
    """Its exit status in words."""
    tasks: tuple[tuple[str, bool], ...]
    """The key of each of its tasks, and whether the task may have caused the death. A task that had not
    started has not, and none has if the cause is known, such as a worker that was told to exit."""
    alone: bool = False
    """Whether its task ran alone: then no other task can have caused the death."""
    fence: float = 0.0
    """Seconds until the worker certainly does not run any more. Until then it may still write, so its tasks
    wait, and a CopyBlob that is given again sends a HEAD first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """No worker can be started, and a retry would not help: dismiss the pool."""

    error: MachineError


Message = Said | Joined | Gone | Broken


class WorkerPool(Protocol):
    """Workers: check for room, give, flush, and call `hear` whenever `fileno` is readable."""

    def fileno(self) -> int:
        """One descriptor that is readable while `hear` has something to do; the same one until `dismiss`."""
        ...

    def has_room(self, stage: Stage, *, alone: bool = False) -> bool:
        """Whether a task of the stage may be given now; False once the pool is broken.

        Args:
            stage: the task's.
            alone: whether it has to run alone.
        """
        ...

    def keep_free(self, stage: Stage, *, wanted: bool) -> None:
        """Let one worker of the stage become idle for a task that has to run alone, or stop doing so.

        Idempotent.
        """
        ...

    def give(self, task: Task, now: float, *, alone: bool = False) -> None:
        """Give a task to a worker; the pool owns it from here on, even if no worker can be started.

        The facts that the task relies on have to be on disk. Call it only while `has_room` is true, and never
        for a key that is still running.
        """
        ...

    def grant(self, worker: str, grant: Grant) -> None:
        """Give shares of rates to the worker of that name, if it still exists; `flush` sends them."""
        ...

    def flush(self, now: float) -> None:
        """Send the given tasks. What does not fit into a worker's pipe is sent later by `hear`."""
        ...

    def hear(self, now: float) -> Sequence[Message]:
        """The messages since the last call; may be empty.

        Messages of one worker keep their order. The answers that a dead worker had sent come before its Gone.
        """
        ...

    def tick(self, now: float) -> None:
        """End silent workers; call it about once a second or more often.

        A worker that has tasks and sends nothing for `Settings.silence` is killed, and Gone follows. No
        worker is blamed if the caller itself was suspended.
        """
        ...

    def roster(self) -> Mapping[WorkerView, int]:
        """All workers that have been started, ready or not, and how many tasks each has."""
        ...

    def dismiss(self, *, timeout: float) -> None:
        """End all workers; those that still run after `timeout` seconds are killed.

        No message follows for their tasks. Only this method and `roster` may be called
        afterwards.
        """
        ...
