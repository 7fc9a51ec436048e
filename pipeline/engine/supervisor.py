"""The supervisor: one single-threaded loop over Flow that routes, counts, writes records and log lines.

It never blocks on a worker: who runs the tasks is behind the interface of WorkerPool, and may be processes
here or elsewhere.
"""

from __future__ import annotations

import selectors
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pipeline.engine.pool import Broken, Gone, Said
from pipeline.engine.signals import Signals
from pipeline.errors import MachineError
from pipeline.log import Event
from pipeline.model.messages import STAGES, BytesMoved, Outcome, TaskLost, UploadProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.engine.pool import Message, WorkerPool, WorkerView
    from pipeline.model.messages import Task
    from pipeline.scheduler.scheduler import Scheduler
    from pipeline.scheduler.view import RunView
    from pipeline.settings import Settings

_FLUSH_EVERY = 0.05
"""Seconds between two transactions of the records; log lines follow the records, never go before them."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at the clock where nothing happens."""
_SHOW_EVERY = 0.25
"""Seconds between two looks of the observers."""


class Store(Protocol):
    """What the supervisor needs of the records."""

    @property
    def pending(self) -> int:
        """Rows that wait to be written."""
        ...

    def flush(self) -> None:
        """Write what is buffered; MachineError where that cannot be done."""
        ...


class Observer(Protocol):
    """Somebody who watches a run: a display, metrics, a report's memory."""

    def tick(self, view: RunView) -> None:
        """Look at the run as it is now; called every quarter of a second, and once at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended."""

    signal: int = 0
    """The signal that stopped it before its end; 0: none did."""
    trouble: MachineError | None = None
    """What this machine refused."""


class Supervisor:
    """Runs a Flow to its end on the workers of a pool.

    Args:
        flow: the ledger.
        settings: the run's.
        pool: who runs the tasks; dismissed at the end.
        store: the records, flushed here and nowhere else.
        say: writes an event to the log.
        reopen_log: what SIGHUP asks for where there is a log file; None: SIGHUP stops the run.
        observers: look at the run now and then.
        tell_progress: says how far the run is, as the observers saw it last: what SIGUSR1 asks for.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        settings: Settings,
        pool: WorkerPool,
        store: Store,
        say: Callable[[Event], None],
        reopen_log: Callable[[], None] | None,
        observers: Sequence[Observer] = (),
        tell_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """See the class."""
        self._scheduler = scheduler
        self._settings = settings
        self._store = store
        self._say = say
        self._reopen_log = reopen_log
        self._tell_progress = tell_progress
        self._pool = pool
        self._selector = selectors.DefaultSelector()
        self._said: set[str] = set()
        """What every process would say again: which credentials, what registries warn of."""
        self._observers = observers
        self._moving: dict[str, tuple[int, float]] = {}
        """By key of a running task: bytes so far, and when it was given out."""
        self._fenced: list[tuple[float, TaskLost]] = []
        """Lost tasks whose worker may still be running, and when that is over."""
        self._stopped_by = 0
        self._drain_until: float | None = None
        self._trouble: MachineError | None = None
        self._began = self._flushed = self._shown = time.monotonic()

    def run(self) -> Ending:
        """Run until all is over, or a signal or this machine ends it."""
        with Signals() as signals:
            self._selector.register(signals, selectors.EVENT_READ, signals)
            self._selector.register(self._pool, selectors.EVENT_READ)
            try:
                while not self._is_over():
                    self._give_out()
                    self._wait(signals)
                    self._keep_time()
            finally:
                patient = self._scheduler.done and self._trouble is None
                self._pool.dismiss(timeout=1.0 if patient else 0.0)
                self._selector.close()
        self._write_out(last=True)
        self._show()
        return Ending(signal=self._stopped_by, trouble=self._trouble)

    def _is_over(self) -> bool:
        if self._scheduler.done:
            return True
        return self._drain_until is not None and time.monotonic() >= self._drain_until

    def _give_out(self) -> None:
        """Hand ready tasks to workers with room; a task that is suspected of killing workers runs alone."""
        now = time.monotonic()
        for stage in STAGES:
            self._pool.keep_free(stage, wanted=self._scheduler.has_suspects(stage, now))
            while self._pool.has_room(stage) and (task := self._scheduler.take(stage, now)) is not None:
                self._give(task)
            if self._pool.has_room(stage, alone=True):
                task = self._scheduler.take(stage, now, alone=True)
                if task is not None:
                    self._give(task, alone=True)
        self._pool.flush(now)

    def _give(self, task: Task, *, alone: bool = False) -> None:
        """Give a task to the pool; before a repository is entered, the records say so on disk."""
        if task.enters:
            self._write_out()
        now = time.monotonic()
        self._moving[task.key] = (0, now)
        self._pool.give(task, now, alone=alone)

    def _wait(self, signals: Signals) -> None:
        """Sleep until a worker or a signal says something, or until time itself changes something."""
        now = time.monotonic()
        until = [_SHOW_EVERY if self._observers else _LOOK_EVERY]
        wake = self._scheduler.wake(now)
        if wake is not None:
            until.append(wake)
        until.extend(end - now for end, _ in self._fenced)
        if self._drain_until is not None:
            until.append(self._drain_until - now)
        if self._unwritten:
            until.append(self._flushed + _FLUSH_EVERY - now)
        for key, _ in self._selector.select(max(0.0, min(until))):
            if key.data is signals:
                for number in signals.read():
                    self._signalled(number)
            else:
                for message in self._pool.hear(time.monotonic()):
                    self._take_in(message)

    def _take_in(self, message: Message) -> None:
        match message:
            case Said(answer=BytesMoved() as word) if word.key in self._moving:
                self._moving[word.key] = (word.sent, self._moving[word.key][1])
            case Said(answer=UploadProgress() as word):
                self._scheduler.keep(word)
                self._write_out()
            case Said(answer=Outcome() as outcome):
                self._moving.pop(outcome.key, None)
                self._scheduler.settle(_signed(outcome, message.worker), time.monotonic())
            case Gone():
                self._lost(message)
            case Broken():
                self._trouble = message.error
                self._drain_until = time.monotonic()
            case _:
                pass

    def _lost(self, gone: Gone) -> None:
        """A worker is gone: its tasks go back to Flow, those that may be to blame with a mark."""
        worker = gone.worker
        self._write_out()
        self._say(
            Event(
                name="worker.lost",
                level="warning",
                message=f"the worker {worker.name} (pid {worker.pid}) is gone: {gone.reason};"
                f" its {len(gone.tasks)} tasks go to another one",
                fields={"reason": gone.reason, "tasks": len(gone.tasks)},
                stage=worker.stage,
                pid=worker.pid,
            )
        )
        for key, charged in gone.tasks:
            self._moving.pop(key, None)
            fenced = gone.fence > 0
            lost = TaskLost(key=key, reason=gone.reason, begun=charged, alone=gone.alone, fenced=fenced)
            self._fenced.append((time.monotonic() + gone.fence, lost))
        self._settle_lost()

    def _settle_lost(self) -> None:
        """Give back the lost tasks whose worker is certain to be gone."""
        now = time.monotonic()
        due = [lost for until, lost in self._fenced if until <= now]
        self._fenced = [(until, lost) for until, lost in self._fenced if until > now]
        for lost in due:
            self._scheduler.settle(lost, now)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._show()
            self._tell_progress()
        elif number == signal.SIGHUP and self._reopen_log is not None:
            self._reopen_log()
        elif self._drain_until is not None:
            self._stopped_by = self._stopped_by or number
            self._drain_until = time.monotonic()
        else:
            self._stopped_by = number
            self._drain(f"{signal.Signals(number).name}: stopping; what is under way finishes", number)

    def _drain(self, message: str, number: int) -> None:
        if self._drain_until is None:
            self._drain_until = time.monotonic() + self._settings.drain
            self._scheduler.drain(time.monotonic())
            self._write_out()
            seconds = f"{self._settings.drain:.0f}s at most; once more: stop now"
            fields = {"signal": number, "in_flight": len(self._moving)}
            self._say(
                Event(name="run.drain", level="warning", message=f"{message} ({seconds})", fields=fields)
            )

    def _keep_time(self) -> None:
        """What the clock alone brings about: records, observers, patience, the watch over workers."""
        now = time.monotonic()
        if self._unwritten and now - self._flushed >= _FLUSH_EVERY:
            self._write_out()
        if self._observers and now - self._shown >= _SHOW_EVERY:
            self._show()
        self._pool.tick(now)
        if self._fenced:
            self._settle_lost()
        self._scheduler.tick(now)

    def _show(self) -> None:
        """Let the observers look."""
        self._shown = time.monotonic()
        if self._observers:
            view = self._scheduler.view(
                self._shown, began=self._began, moving=self._moving, workers=len(self._pool.roster())
            )
            for observer in self._observers:
                observer.tick(view)

    @property
    def _unwritten(self) -> bool:
        """Whether there is anything for the records or the log."""
        return self._scheduler.has_events or (self._store.pending > 0 and self._trouble is None)

    def _write_out(self, *, last: bool = False) -> None:
        """Records first, then the lines that tell of them; on a full disk the run drains."""
        self._flushed = time.monotonic()
        if self._trouble is None:
            try:
                self._store.flush()
            except MachineError as error:
                self._trouble = error
                if not last:
                    self._drain("the records cannot be written", 0)
        self._say_all()

    def _say_all(self) -> None:
        for event in self._scheduler.events():
            if event.name in ("credentials.chosen", "credentials.rejected", "registry.warning"):
                if event.message in self._said:
                    continue
                self._said.add(event.message)
            self._say(event)


def _signed(outcome: Outcome, worker: WorkerView) -> Outcome:
    """The outcome, its events with the stage and the process that they happened in."""
    if not outcome.events:
        return outcome
    events = tuple(replace(event, stage=worker.stage, pid=worker.pid) for event in outcome.events)
    return replace(outcome, events=events)
