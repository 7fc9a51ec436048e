"""The pool of local workers: the processes of each stage, what each of them has been given, and who is free.

Processes start with the first task of their stage. As many as cores where bytes move; one where only short
requests go out, since one process with threads keeps a registry's places filled.
"""

from __future__ import annotations

import os
import selectors
from typing import TYPE_CHECKING

from pipeline.engine.local.descriptors import affordable_threads
from pipeline.engine.local.forking import context
from pipeline.engine.local.handle import WorkerHandle
from pipeline.engine.local.process import start_worker, stop_all
from pipeline.engine.local.worker import Setup
from pipeline.engine.pool import Broken, Joined, Said
from pipeline.errors import MachineError
from pipeline.model.messages import STAGES, Alive, BootFailed, Outcome

if TYPE_CHECKING:
    from pipeline.engine.pool import Message, WorkerView
    from pipeline.model.messages import Stage, Task
    from pipeline.settings import Settings

_MOVERS = min(os.cpu_count() or 1, 4)
_PROCESSES: dict[Stage, int] = {"expand": 1, "resolve": 1, "transfer": _MOVERS}
"""Processes of a stage at most."""
_THREADS: dict[Stage, int] = {"expand": 16, "resolve": 128, "transfer": 48}
"""Tasks that one process runs at a time at most; threads are started as they are needed."""
_FOLLOWS: dict[Stage, Stage] = {"expand": "resolve"}
"""The stage that has work as soon as this one has an answer. What is resolved is often up to date."""
_WORTH = 2
"""Tasks more that a worker may have for having served a task's repository."""
_STILLBORN = 3
"""Workers that may die in a row before their first word."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at silent workers."""
_SUSPENDED = 10.0
"""A supervisor that took longer than this between two looks was stopped itself: it blames no worker."""


class LocalPool:
    """A WorkerPool of processes on this machine, each with an inbox and an outbox of its own."""

    def __init__(self, settings: Settings, keyring: object, *, runner: str = "") -> None:
        """`keyring`: credentials, handed to the workers unseen; `runner`: see Setup, empty for the stages."""
        self._runner = {"runner": runner} if runner else {}
        self._settings = settings
        self._keyring = keyring
        self._context = context()
        self._most_threads = affordable_threads()
        self._stages: dict[Stage, list[WorkerHandle]] = {stage: [] for stage in STAGES}
        self._given: dict[WorkerHandle, None] = {}
        """Workers whose inboxes are to be flushed."""
        self._selector = selectors.DefaultSelector()
        self._news: list[Message] = []
        """What `hear` says next."""
        self._broken = False
        self._bell = list(os.pipe())
        """Rung by closing its write end: `hear` has something to say that no worker said."""
        self._selector.register(self._bell[0], selectors.EVENT_READ)
        self._started = self._stillborn = 0
        self._looked: float | None = None

    def fileno(self) -> int:
        """See WorkerPool."""
        return self._selector.fileno()

    def has_room(self, stage: Stage, *, alone: bool = False) -> bool:
        """See WorkerPool."""
        if self._broken:
            return False
        return len(self._stages[stage]) < _PROCESSES[stage] or bool(self._able(stage, alone=alone))

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
            handle = self._pick(task, now, alone=alone)
        except MachineError as error:
            self._break(error)
            return
        handle.give(task, now, alone=alone)
        self._given[handle] = None

    def _pick(self, task: Task, now: float, *, alone: bool) -> WorkerHandle:
        """The least busy worker that has room, started where that makes one less busy.

        One that has served the task's repository is preferred where it is hardly busier: tokens and
        connections are its own.

        Raises:
            MachineError: no worker can be started.
        """
        place = task.writes_to

        def burden(handle: WorkerHandle) -> int:
            return len(handle.tasks) - (_WORTH if place in handle.served else 0)

        stage = task.stage
        best = min(self._able(stage, alone=alone), key=burden, default=None)
        if best is None or (best.tasks and len(self._stages[stage]) < _PROCESSES[stage]):
            best = self._start(stage, now)
        if place is not None:
            best.serve(place)
        return best

    def _able(self, stage: Stage, *, alone: bool) -> list[WorkerHandle]:
        """The workers of a stage that can take a task."""
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
        """Be of no more use, and have `hear` say why."""
        if not self._broken:
            self._broken = True
            self._news.append(Broken(error=error))
            os.close(self._bell.pop())

    def flush(self, now: float) -> None:
        """See WorkerPool. The worker to whom the answers will lead is started while this one asks."""
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
        """Write what a worker's inbox takes, and watch the inbox as long as it is full."""
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
                self._selector.unregister(self._bell[0])
            elif handle not in self._stages[handle.stage]:
                # Both its pipes were reported at once, and the first was its end.
                continue
            elif events & selectors.EVENT_WRITE:
                self._write(handle)
            else:
                self._read(handle, now)
        news, self._news = self._news, []
        return news

    def _read(self, handle: WorkerHandle, now: float) -> None:
        """Take in what a worker has said; end-of-file means that it is dead."""
        for answer in handle.process.outbox.read():
            handle.last_word = now
            if isinstance(answer, BootFailed):
                self._break(MachineError(answer.reason))
                continue
            if not handle.ready:
                self._stillborn, handle.ready = 0, True
                self._news.append(Joined(worker=handle.view))
            if isinstance(answer, Outcome) and not handle.ended(answer.key):
                continue
            if not isinstance(answer, Alive):
                self._news.append(Said(worker=handle.view, answer=answer))
        if handle.process.outbox.at_end:
            self._bury(handle)

    def _bury(self, handle: WorkerHandle) -> None:
        """Let a dead worker go, and say so."""
        self._stages[handle.stage].remove(handle)
        self._given.pop(handle, None)
        for end in (handle.process.outbox, handle.process.inbox):
            if end.fileno() in self._selector.get_map():
                self._selector.unregister(end)
        reason = handle.process.reap(1.0)
        self._news.append(handle.gone(reason))
        if not handle.ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                self._break(MachineError(f"workers die before they begin: {reason}"))

    def tick(self, now: float) -> None:
        """See WorkerPool: a silent worker prints its stacks where it can, then it is killed."""
        since = 0.0 if self._looked is None else now - self._looked
        if self._looked is not None and since < _LOOK_EVERY:
            return
        self._looked = now
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
        while self._bell:
            os.close(self._bell.pop())
        stop_all([handle.process for handle in handles], timeout=timeout)
