"""A WorkerPool without processes: tasks run and workers die when the test says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.engine.packing import pack
from pipeline.engine.pool import Broken, Gone, Joined, Said, WorkerView
from pipeline.engine.worker import task_failed
from pipeline.errors import MachineError
from pipeline.model.messages import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.engine.pool import Message
    from pipeline.model.budget import Grant
    from pipeline.model.messages import BytesTransferred, Stage, Task, UploadProgress

    Answer = Callable[[Task], list[Outcome | BytesTransferred | UploadProgress]]
    """A worker's messages about a task as soon as it has it; without an Outcome the task continues."""

_MAX_FAILED_STARTS = 3


class Worker:
    """One worker of a stage, and its tasks."""

    def __init__(self, view: WorkerView, now: float) -> None:
        """Start without tasks."""
        self.view = view
        self.tasks: dict[str, None] = {}
        self.alone = self.kept_free = self.hangs = False
        self.last_word = now


class FakePool:
    """One worker for each stage.

    Args:
        answer: a worker's messages about a task.
        room: tasks that a worker takes.
        silence: seconds after which a hanging worker is ended.
        fence: seconds until a death is certain.
        unable: why no worker can start, or empty.
        stillborn: how many workers die before they are ready.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        room: int = 8,
        silence: float = 300.0,
        fence: float = 0.0,
        unable: str = "",
        stillborn: int = 0,
    ) -> None:
        """See the class."""
        self._answer = answer
        self._room, self._silence, self._fence, self._unable = room, silence, fence, unable
        self._workers: dict[Stage, Worker] = {}
        self._given: list[tuple[Worker, Task]] = []
        self._news: list[Message] = []
        self._started = 0
        self._stillborn = stillborn
        self._broken = False
        self._ends = list(os.pipe())

    def fileno(self) -> int:
        """See WorkerPool."""
        return self._ends[0]

    def has_room(self, stage: Stage, *, alone: bool = False) -> bool:
        """See WorkerPool."""
        worker = self._workers.get(stage)
        if worker is None or self._broken:
            return not self._broken
        if alone:
            return not worker.tasks
        return len(worker.tasks) < self._room and not (worker.alone or worker.kept_free)

    def keep_free(self, stage: Stage, *, wanted: bool) -> None:
        """See WorkerPool."""
        if stage in self._workers:
            self._workers[stage].kept_free = wanted

    def give(self, task: Task, now: float, *, alone: bool = False) -> None:
        """See WorkerPool."""
        worker = self._workers.get(task.stage)
        if worker is None:
            if self._unable:
                self._break(self._unable)
                return
            self._started += 1
            view = WorkerView(name=f"{task.stage}-{self._started}", pid=self._started, stage=task.stage)
            if self._started <= self._stillborn:
                self._tell(Gone(worker=view, reason="exit status 3", tasks=((task.key, False),)))
                if self._started == _MAX_FAILED_STARTS:
                    self._break("workers die before they are ready")
                return
            worker = self._workers[task.stage] = Worker(view, now)
            self._tell(Joined(worker=view))
        try:
            pack(task)
        except ValueError as error:
            self._tell(Said(worker=worker.view, answer=task_failed(task, error)))
            return
        worker.tasks[task.key] = None
        worker.alone = alone
        self._given.append((worker, task))

    def grant(self, worker: str, grant: Grant) -> None:
        """See WorkerPool."""

    def _break(self, reason: str) -> None:
        self._broken = True
        self._tell(Broken(error=MachineError(reason)))

    def flush(self, now: float) -> None:
        """See WorkerPool."""
        given, self._given = self._given, []
        for worker, task in given:
            if worker.view in self.roster() and not worker.hangs:
                worker.last_word = now
                for answer in self._answer(task):
                    self.say(worker.view, answer)

    def say(self, view: WorkerView, answer: Outcome | BytesTransferred | UploadProgress) -> None:
        """Let a worker send a message about one of its tasks."""
        worker = self._workers[view.stage]
        if isinstance(answer, Outcome):
            del worker.tasks[answer.key]
            worker.alone = False
        self._tell(Said(worker=view, answer=answer))

    def kill(self, view: WorkerView, reason: str = "killed") -> None:
        """End a worker."""
        worker = self._workers.pop(view.stage)
        tasks = tuple((key, True) for key in worker.tasks)
        self._tell(Gone(worker=view, reason=reason, tasks=tasks, alone=worker.alone, fence=self._fence))

    def hang(self, view: WorkerView) -> None:
        """Silence a worker: it sends nothing more."""
        self._workers[view.stage].hangs = True

    def _tell(self, message: Message) -> None:
        self._news.append(message)
        os.write(self._ends[1], b".")

    def hear(self, now: float) -> list[Message]:
        """See WorkerPool."""
        news, self._news = self._news, []
        if news:
            os.read(self._ends[0], len(news))
        for worker in self._workers.values():
            if not worker.hangs:
                worker.last_word = now
        return news

    def tick(self, now: float) -> None:
        """See WorkerPool."""
        for worker in list(self._workers.values()):
            if worker.hangs and worker.tasks and now - worker.last_word >= self._silence:
                self.kill(worker.view, "silent")

    def roster(self) -> dict[WorkerView, int]:
        """See WorkerPool."""
        return {worker.view: len(worker.tasks) for worker in self._workers.values()}

    def dismiss(self, *, timeout: float) -> None:
        """See WorkerPool."""
        del timeout
        self._workers.clear()
        while self._ends:
            os.close(self._ends.pop())
