"""The tasks of one worker, as a pool that chooses among workers sees them."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.model.messages import Stage, Task
    from pipeline.model.reference import Repository

_REMEMBERED = 64
"""Repositories remembered for each worker."""
_AFFINITY = 2
"""Tasks that a worker may have more than others if it has served the task's repository: tokens and
connections belong to a process."""


@dataclass(slots=True, eq=False, kw_only=True)
class WorkerLoad:
    """The tasks of one worker, and which it may get."""

    tasks: dict[str, Stage] = field(default_factory=dict)
    """Stages of its tasks by key, in the order in which they were given."""
    alone: bool = False
    """Whether it runs a task that must run alone."""
    kept_free: set[Stage] = field(default_factory=set)
    """Stages with a task that must run alone: it gets no more tasks until it is idle."""
    served: dict[Repository, None] = field(default_factory=dict)
    """Destination repositories of its last tasks, the latest last: it may hold tokens for them."""

    def burden(self, task: Task) -> int:
        """How many tasks it has; fewer count where it has served the task's repository."""
        return len(self.tasks) - (_AFFINITY if task.writes_to in self.served else 0)

    def gets(self, task: Task, *, alone: bool) -> None:
        """Add a task."""
        self.tasks[task.key] = task.stage
        self.alone = alone
        place = task.writes_to
        if place is not None:
            self.served.pop(place, None)
            self.served[place] = None
            if len(self.served) > _REMEMBERED:
                del self.served[next(iter(self.served))]

    def ended(self, key: str) -> bool:
        """Remove a finished task; False: it has no such task."""
        if key not in self.tasks:
            return False
        del self.tasks[key]
        self.alone = self.alone and bool(self.tasks)
        return True
