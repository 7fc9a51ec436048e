"""The pool of local workers: processes and their tasks.

A process starts with the first task for it. Blobs and pushes have a process for each core; all other tasks
share one, because one process with threads is enough for short requests.
"""

from __future__ import annotations

import os
import selectors
from typing import TYPE_CHECKING

from pipeline.engine.descriptors import affordable_threads
from pipeline.engine.local.fork_server import ForkServer, take_server
from pipeline.engine.local.handle import WorkerHandle
from pipeline.engine.local.process import start_worker, stop_all
from pipeline.engine.pool import Broken, Joined, Said
from pipeline.engine.worker import Setup, task_failed
from pipeline.errors import MachineError
from pipeline.model.life_signs import Alive, BootFailed
from pipeline.model.messages import Outcome

if TYPE_CHECKING:
    from pipeline.engine.pool import Message, WorkerView
    from pipeline.model.budget import Grant
    from pipeline.model.messages import Stage, Task
    from pipeline.settings import Settings

_TRANSFER_PROCESSES = min(os.cpu_count() or 1, 4)
_SERVED_BY: dict[Stage, Stage] = {"expand": "resolve", "resolve": "resolve", "transfer": "transfer"}
"""The stage that names the workers of a stage's tasks."""
_PROCESSES: dict[Stage, int] = {"resolve": 1, "transfer": _TRANSFER_PROCESSES}
"""Maximum processes of that name."""
_THREADS: dict[Stage, int] = {"resolve": 128, "transfer": 48}
"""Maximum parallel tasks of a process; threads are started as needed."""
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
        self._server: ForkServer | None = None
        self._most_threads = affordable_threads()
        self._workers: dict[Stage, list[WorkerHandle]] = {name: [] for name in _PROCESSES}
        self._given: dict[WorkerHandle, None] = {}
        """Workers whose inboxes need a flush."""
        self._selector = selectors.DefaultSelector()
        self._starting: list[WorkerHandle] = []
        """Workers without a process: nothing is heard of them before their pid is known."""
        self._ending: list[WorkerHandle] = []
        """Workers that said their last word, and whose exit status is to come."""
        self._messages: list[Message] = []
        """What `hear` returns next."""
        self._broken = self._dismissed = False
        self._wakeup = os.pipe()
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
        name = _SERVED_BY[stage]
        return len(self._workers[name]) < _PROCESSES[name] or bool(self._available(name, alone=alone))

    def keep_free(self, stage: Stage, *, wanted: bool) -> None:
        """See WorkerPool: the least busy worker is kept free."""
        handles = self._workers[_SERVED_BY[stage]]
        if not wanted:
            for handle in handles:
                handle.kept_free.discard(stage)
        elif handles and not any(stage in handle.kept_free or handle.alone for handle in handles):
            min(handles, key=lambda handle: len(handle.tasks)).kept_free.add(stage)

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

    def grant(self, worker: str, grant: Grant) -> None:
        """See WorkerPool."""
        for handle in self._handles():
            if handle.view.name == worker:
                handle.process.inbox.put(grant)
                self._given[handle] = None

    def _choose(self, task: Task, now: float, *, alone: bool) -> WorkerHandle:
        """The least busy worker with room; a new one if all are busy and another may be started.

        Raises:
            MachineError: no worker can be started.
        """
        name = _SERVED_BY[task.stage]
        available = self._available(name, alone=alone)
        best = min(available, key=lambda handle: handle.burden(task), default=None)
        if best is None or (best.tasks and len(self._workers[name]) < _PROCESSES[name]):
            best = self._start(name, now)
        return best

    def _available(self, name: Stage, *, alone: bool) -> list[WorkerHandle]:
        """The workers of a name that may get a task."""
        most = 1 if alone else self._threads(name)
        return [handle for handle in self._workers[name] if handle.can_take(fewer_than=most, alone=alone)]

    def _threads(self, name: Stage) -> int:
        return min(_THREADS[name], self._most_threads)

    def _start(self, name: Stage, now: float) -> WorkerHandle:
        self._started += 1
        setup = Setup(
            stage=name,
            threads=self._threads(name),
            settings=self._settings,
            keyring=self._keyring,
            **self._runner,
        )
        process = start_worker(self._running_server(), f"{name}-{self._started}", setup)
        handle = WorkerHandle(process=process, stage=name, last_word=now)
        self._workers[name].append(handle)
        self._starting.append(handle)
        return handle

    def _running_server(self) -> ForkServer:
        if self._server is None or self._server.dead:
            self._stop_server()
            self._server = take_server()
            self._selector.register(self._server, selectors.EVENT_READ, self._server)
        return self._server

    def _stop_server(self) -> None:
        if self._server is not None:
            if self._server.fileno() in self._selector.get_map():
                self._selector.unregister(self._server)
            self._server.stop()
            self._server = None

    def _break(self, error: MachineError) -> None:
        """Stop working and have `hear` return Broken."""
        if not self._broken:
            self._broken = True
            self._tell(Broken(error=error))

    def _tell(self, message: Message) -> None:
        """Have `hear` return a message that no worker sent."""
        if not self._messages:
            self._wake()
        self._messages.append(message)

    def _wake(self) -> None:
        """Make the descriptor readable once."""
        os.write(self._wakeup[1], b".")

    def flush(self, now: float) -> None:  # noqa: ARG002 - of the interface
        """See WorkerPool."""
        given, self._given = self._given, {}
        for handle in given:
            self._write(handle)

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
            elif isinstance(handle, ForkServer):
                handle.hear()
            elif handle not in self._workers[handle.stage]:
                # Both its pipes were reported at once, and the first was at end-of-file.
                continue
            elif events & selectors.EVENT_WRITE:
                self._write(handle)
            else:
                self._read(handle, now)
        self._follow_processes(now)
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
            self._remove(handle)
            handle.end(now)

    def _follow_processes(self, now: float) -> None:
        """Listen to processes that have been started, and report those that have ended."""
        if self._server is not None and self._server.dead:
            self._stop_server()
        for handle in [handle for handle in self._starting if handle.process.pid]:
            self._starting.remove(handle)
            self._selector.register(handle.process.outbox, selectors.EVENT_READ, handle)
        for handle in [handle for handle in self._starting if handle.process.status]:
            self._starting.remove(handle)
            self._remove(handle)
        for handle in [handle for handle in self._ending if handle.has_ended(now)]:
            self._ending.remove(handle)
            self._report_end(handle)

    def _remove(self, handle: WorkerHandle) -> None:
        """Give no more tasks to a worker, and wait for its exit status."""
        self._workers[handle.stage].remove(handle)
        self._given.pop(handle, None)
        for end in (handle.process.outbox, handle.process.inbox):
            if end.fileno() in self._selector.get_map():
                self._selector.unregister(end)
        self._ending.append(handle)

    def _report_end(self, handle: WorkerHandle) -> None:
        reason = handle.process.reap(0.0)
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
        if any(handle.has_ended(now) for handle in self._ending):
            self._wake()
        for handle in self._handles():
            if since >= _SUSPENDED:
                handle.last_word = now
            handle.watch(now, silence=self._settings.silence)

    def _handles(self) -> list[WorkerHandle]:
        return [handle for handles in self._workers.values() for handle in handles]

    def roster(self) -> dict[WorkerView, int]:
        """See WorkerPool."""
        return {handle.view: len(handle.tasks) for handle in self._handles() if handle.process.pid}

    def dismiss(self, *, timeout: float) -> None:
        """See WorkerPool."""
        if self._dismissed:
            return
        self._dismissed = self._broken = True
        stop_all([handle.process for handle in (*self._handles(), *self._ending)], timeout=timeout)
        self._stop_server()
        self._selector.close()
        for end in self._wakeup:
            os.close(end)
