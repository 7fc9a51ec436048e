"""The pool's state of one worker process: pipes, tasks, and the time of its last message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.engine.load import WorkerLoad
from pipeline.engine.pool import Gone, WorkerView

if TYPE_CHECKING:
    from pipeline.engine.local.process import WorkerProcess
    from pipeline.model.messages import Stage, Task

_EXIT_TAKES = 1.0
"""Seconds between the end of a worker's outbox and its exit; then it is killed."""
_ABORT_TAKES = 2.0
"""Seconds for an aborted worker to print its stacks."""


@dataclass(slots=True, eq=False, kw_only=True)
class WorkerHandle(WorkerLoad):
    """One worker process and its tasks."""

    process: WorkerProcess
    stage: Stage
    """It names the worker, which may run tasks of other stages too."""
    last_word: float
    ready: bool = False
    """Whether it has sent a message: before that it runs no task, after that it runs all its tasks."""
    aborted_at: float | None = None
    """When SIGABRT was sent."""
    ended_at: float | None = None
    """When its outbox ended."""
    _view: WorkerView | None = None

    @property
    def view(self) -> WorkerView:
        """Its identity, of which the pid is 0 until it has been started."""
        if self._view is None or not self._view.pid:
            self._view = WorkerView(name=self.process.name, pid=self.process.pid, stage=self.stage)
        return self._view

    def can_take(self, *, fewer_than: int, alone: bool) -> bool:
        """Whether it has fewer tasks than that and may get one more."""
        if len(self.tasks) >= fewer_than or self.alone or self.process.inbox.broken:
            return False
        return alone or not self.kept_free

    def give(self, task: Task, now: float, *, alone: bool) -> None:
        """Queue a task.

        Raises:
            Exception: it cannot be sent, and the worker does not have it.
        """
        self.process.inbox.put(task)
        if not self.tasks:
            self.last_word = now
        self.gets(task, alone=alone)

    def watch(self, now: float, *, silence: float) -> None:
        """Abort a silent worker that has tasks, so that it prints its stacks; then kill it."""
        if self.aborted_at is not None and now - self.aborted_at >= _ABORT_TAKES:
            self.process.kill()
        if self.tasks and now - self.last_word >= silence and self.aborted_at is None:
            self.process.abort()
            self.aborted_at = now

    def end(self, now: float) -> None:
        """Its outbox is at end-of-file, so it is dead or dying."""
        self.ended_at = now
        if self.process.outbox.error or self.process.is_lost:
            self.process.kill()

    def has_ended(self, now: float) -> bool:
        """Whether its exit status is known, or will not be known any more."""
        if self.process.status or self.process.is_lost:
            return True
        waited = 0.0 if self.ended_at is None else now - self.ended_at
        if waited >= _EXIT_TAKES:
            self.process.kill()
        if waited >= 2 * _EXIT_TAKES:
            self.process.failed("did not exit; killed")
        return bool(self.process.status)

    def gone(self, reason: str) -> Gone:
        """The message of its end: all its tasks were running if it was ready, else none."""
        tasks = tuple((key, self.ready) for key in self.tasks)
        return Gone(worker=self.view, reason=reason, tasks=tasks, alone=self.ready and self.alone)
