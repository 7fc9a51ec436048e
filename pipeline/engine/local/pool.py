"""The pool of local workers: the processes of each stage and their tasks.

A stage's processes start with its first task. The transfer stage has a process for each core; the others have
one, because one process with threads is enough for short requests.
"""

from __future__ import annotations

import os
import selectors
from typing import TYPE_CHECKING

from pipeline.engine.local.descriptors import affordable_threads
from pipeline.engine.local.forking import context
from pipeline.engine.local.handle import WorkerHandle
from pipeline.engine.local.process import start_worker, stop_all
from pipeline.engine.local.worker import Setup, task_failed
from pipeline.engine.pool import Broken, Joined, Said
from pipeline.errors import MachineError
from pipeline.model.messages import STAGES, Alive, BootFailed, Outcome

if TYPE_CHECKING:
    from pipeline.engine.pool import Message, WorkerView
    from pipeline.model.messages import Stage, Task
    from pipeline.settings import Settings

_TRANSFER_PROCESSES = min(os.cpu_count() or 1, 4)
_PROCESSES: dict[Stage, int] = {"expand": 1, "resolve": 1, "transfer": _TRANSFER_PROCESSES}
"""Maximum processes of a stage."""
_THREADS: dict[Stage, int] = {"expand": 16, "resolve": 128, "transfer": 48}
"""Maximum parallel tasks of a process; threads are started as needed."""
_FOLLOWS: dict[Stage, Stage] = {"expand": "resolve"}
"""The stage that has work as soon as this one has a result; resolved images are often up to date."""
_AFFINITY = 2
"""Tasks that a worker may have more than others if it has served the task's repository."""
_MAX_FAILED_STARTS = 3
"""Workers in a row that may die before they are ready."""
_CHECK_EVERY = 1.0
"""Seconds between two checks for silent workers."""
_SUSPENDED = 10.0
"""Seconds between two checks after which the supervisor itself was stopped, so no worker is blamed."""


class LocalPool:
    """A WorkerPool of processes on this machine, each with its own inbox and outbox."""

    def __init__(self, settings: Settings, keyring: object, *, runner: str = "") -> None:
        """`keyring`: credentials for the workers; `runner`: see Setup, empty for the stages."""
        self._runner = {"runner": runner} if runner else {}
        self._settings = settings
        self._keyring = keyring
        self._context = context()
        self._most_threads = affordable_threads()
        self._stages: dict[Stage, list[WorkerHandle]] = {stage: [] for stage in STAGES}
        self._given: dict[WorkerHandle, None] = {}
        """Workers whose inboxes need a flush."""
        self._selector = selectors.DefaultSelector()
        self._messages: list[Message] = []
        """What `hear` returns next."""
        self._broken = False
        self._wakeup = list(os.pipe())
        """A pipe; a byte in it wakes the supervisor for messages that no worker sent."""
        self._selector.register(self._wakeup[0], selectors.EVENT_READ)
        self._started = self._failed_starts = 0
        self._checked: float | None = None

    def fileno(self) -> int:
        """See WorkerPool."""
        return self._selector.fileno()

    def has_room(self, stage: Stage, *, alone: bool = False) -> bool:
        """See WorkerPool."""
        if self._broken:
            return False
        return len(self._stages[stage]) < _PROCESSES[stage] or bool(self._available(stage, alone=alone))

    def keep_free(self, stage: Stage, *, wanted: bool) -> None:
        """See WorkerPool: the least busy worker is kept free."""
        handles = self._stages[stage]
        if not wanted:
            for handle in handles:
                handle.kept_free = False
        elif handles and not any(handle.kept_free or handle.alone for handle in handles):
            min(handles, key=lambda handle: len(handle.tasks)).kept_free = True

    def give(self, task: Task, now: float, *, alone: bool = False) -> None:
        """See WorkerPool."""
        try:
            handle = self._choose(task, now, alone=alone)
        except MachineError as error:
            self._break(error)
            return
        try:
            handle.give(task, now, alone=alone)
        except Exception as error:  # noqa: BLE001 - too large, or not picklable: the task fails, as in a worker
            self._tell(Said(worker=handle.view, answer=task_failed(task, error)))
            return
        self._given[handle] = None

    def _choose(self, task: Task, now: float, *, alone: bool) -> WorkerHandle:
        """The least busy worker with room; a new one if all are busy and another may be started.

        A worker that has served the task's repository is preferred unless it is much busier: tokens and
        connections belong to a process.

        Raises:
            MachineError: no worker can be started.
        """
        place = task.writes_to

        def burden(handle: WorkerHandle) -> int:
            return len(handle.tasks) - (_AFFINITY if place in handle.served else 0)

        stage = task.stage
        best = min(self._available(stage, alone=alone), key=burden, default=None)
        if best is None or (best.tasks and len(self._stages[stage]) < _PROCESSES[stage]):
            best = self._start(stage, now)
        if place is not None:
            best.serve(place)
        return best

    def _available(self, stage: Stage, *, alone: bool) -> list[WorkerHandle]:
        """The workers of a stage that may get a task."""
        most = 1 if alone else self._threads(stage)
        return [handle for handle in self._stages[stage] if handle.can_take(fewer_than=most, alone=alone)]

    def _threads(self, stage: Stage) -> int:
        return min(_THREADS[stage], self._most_threads)

    def _start(self, stage: Stage, now: float) -> WorkerHandle:
        self._started += 1
        setup = Setup(
            stage=stage,
            threads=self._threads(stage),
            settings=self._settings,
            keyring=self._keyring,
            **self._runner,
        )
        handle = WorkerHandle(start_worker(self._context, f"{stage}-{self._started}", setup), stage, now)
        self._stages[stage].append(handle)
        self._selector.register(handle.process.outbox, selectors.EVENT_READ, handle)
        return handle

    def _break(self, error: MachineError) -> None:
        """Stop working and have `hear` return Broken."""
        if not self._broken:
            self._broken = True
            self._tell(Broken(error=error))

    def _tell(self, message: Message) -> None:
        """Have `hear` return a message that no worker sent."""
        if not self._messages:
            os.write(self._wakeup[1], b".")
        self._messages.append(message)

    def flush(self, now: float) -> None:
        """See WorkerPool. The next stage's worker is started while this one waits for responses."""
        given, self._given = self._given, {}
        for handle in given:
            self._write(handle)
            following = _FOLLOWS.get(handle.stage)
            if following is not None and not self._stages[following] and not self._broken:
                try:
                    self._start(following, now)
                except MachineError as error:
                    self._break(error)

    def _write(self, handle: WorkerHandle) -> None:
        """Write to a worker's inbox what fits; while it is full, wait until it is writable."""
        inbox = handle.process.inbox
        inbox.flush()
        is_watched = inbox.fileno() in self._selector.get_map()
        if inbox.pending and not is_watched:
            self._selector.register(inbox, selectors.EVENT_WRITE, handle)
        elif is_watched and not inbox.pending:
            self._selector.unregister(inbox)

    def hear(self, now: float) -> list[Message]:
        """See WorkerPool."""
        for key, events in self._selector.select(0.0):
            handle = key.data
            if handle is None:
                os.read(self._wakeup[0], 1)
            elif handle not in self._stages[handle.stage]:
                # Both its pipes were reported at once, and the first was at end-of-file.
                continue
            elif events & selectors.EVENT_WRITE:
                self._write(handle)
            else:
                self._read(handle, now)
        messages, self._messages = self._messages, []
        return messages

    def _read(self, handle: WorkerHandle, now: float) -> None:
        """Read a worker's messages; end-of-file means that it is dead."""
        for answer in handle.process.outbox.read():
            handle.last_word = now
            if isinstance(answer, BootFailed):
                self._break(MachineError(answer.reason))
                continue
            if not handle.ready:
                self._failed_starts, handle.ready = 0, True
                self._messages.append(Joined(worker=handle.view))
            if isinstance(answer, Outcome) and not handle.ended(answer.key):
                continue
            if not isinstance(answer, Alive):
                self._messages.append(Said(worker=handle.view, answer=answer))
        if handle.process.outbox.at_end:
            self._remove_dead(handle)

    def _remove_dead(self, handle: WorkerHandle) -> None:
        """Remove a dead worker and report it."""
        self._stages[handle.stage].remove(handle)
        self._given.pop(handle, None)
        for end in (handle.process.outbox, handle.process.inbox):
            if end.fileno() in self._selector.get_map():
                self._selector.unregister(end)
        reason = handle.process.reap(1.0)
        self._messages.append(handle.gone(reason))
        if not handle.ready:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                self._break(MachineError(f"workers die before they are ready: {reason}"))

    def tick(self, now: float) -> None:
        """See WorkerPool: a silent worker prints its stacks if it can, then it is killed."""
        since = 0.0 if self._checked is None else now - self._checked
        if self._checked is not None and since < _CHECK_EVERY:
            return
        self._checked = now
        for handle in self._handles():
            if since >= _SUSPENDED:
                handle.last_word = now
            handle.watch(now, silence=self._settings.silence)

    def _handles(self) -> list[WorkerHandle]:
        return [handle for handles in self._stages.values() for handle in handles]

    def roster(self) -> list[WorkerView]:
        """See WorkerPool."""
        return [handle.view for handle in self._handles()]

    def dismiss(self, *, timeout: float) -> None:
        """See WorkerPool."""
        handles = self._handles()
        self._stages = {stage: [] for stage in STAGES}
        self._selector.close()
        while self._wakeup:
            os.close(self._wakeup.pop())
        stop_all([handle.process for handle in handles], timeout=timeout)
