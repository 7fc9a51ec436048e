"""What the pool knows of one worker process: its pipes, its tasks, and when it last said anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.engine.pool import Gone, WorkerView

if TYPE_CHECKING:
    from pipeline.engine.local.process import WorkerProcess
    from pipeline.model.messages import Stage, Task
    from pipeline.model.reference import Repository

_REMEMBERED = 64
"""Repositories that a worker is known to have served."""
_ABORT_TAKES = 2.0
"""Seconds that an aborted worker gets to print its stacks."""


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """One worker process, and what it has been given."""

    process: WorkerProcess
    stage: Stage
    last_word: float
    tasks: dict[str, None] = field(default_factory=dict)
    """Keys of the tasks that it has, in the order in which they were given."""
    ready: bool = False
    """Whether it has said anything yet: until then it runs none of its tasks, from then on all of them."""
    alone: bool = False
    """Whether it runs a task that must have nothing beside it."""
    kept_free: bool = False
    """Whether it is given nothing more until it is idle, for a task that must have nothing beside it."""
    aborted_at: float | None = None
    """When it was told to print its stacks and die."""
    served: dict[Repository, None] = field(default_factory=dict)
    """Destination repositories of its last tasks, the latest at the end: it may hold tokens for them."""
    view: WorkerView = field(init=False)

    def __post_init__(self) -> None:
        """Say who it is, once for all that it says."""
        self.view = WorkerView(name=self.process.name, pid=self.process.pid, stage=self.stage)

    def can_take(self, *, fewer_than: int, alone: bool) -> bool:
        """Whether it takes one more task, having fewer than so many."""
        if len(self.tasks) >= fewer_than or self.alone or self.process.inbox.broken:
            return False
        return alone or not self.kept_free

    def give(self, task: Task, now: float, *, alone: bool) -> None:
        """Queue a task for it."""
        if not self.tasks:
            self.last_word = now
        self.tasks[task.key] = None
        self.alone = alone
        self.process.inbox.put(task)

    def ended(self, key: str) -> bool:
        """Take a task off it; False: it has no such task."""
        if key not in self.tasks:
            return False
        del self.tasks[key]
        self.alone = self.alone and bool(self.tasks)
        return True

    def serve(self, repository: Repository) -> None:
        """Note where its next task goes."""
        self.served.pop(repository, None)
        self.served[repository] = None
        if len(self.served) > _REMEMBERED:
            del self.served[next(iter(self.served))]

    def watch(self, now: float, *, silence: float) -> None:
        """Abort a worker that has tasks and says nothing, so that it prints its stacks; then kill it."""
        if self.aborted_at is not None and now - self.aborted_at >= _ABORT_TAKES:
            self.process.kill()
        if self.tasks and now - self.last_word >= silence and self.aborted_at is None:
            self.process.abort()
            self.aborted_at = now

    def gone(self, reason: str) -> Gone:
        """How it ended, and with what: all that it had was running, unless it had never begun."""
        tasks = tuple((key, self.ready) for key in self.tasks)
        return Gone(worker=self.view, reason=reason, tasks=tasks, alone=self.ready and self.alone)
