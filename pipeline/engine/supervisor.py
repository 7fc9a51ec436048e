"""The supervisor: a single-threaded loop that connects the scheduler, the workers, the records and the log.

It never blocks on a worker. Workers are behind the interface WorkerPool and may run on other machines.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from pipeline.dataclass import dataclass
from pipeline.engine.pool import Broken, Gone, Joined, Said
from pipeline.engine.signals import Signals
from pipeline.errors import MachineError
from pipeline.log import Event, Once
from pipeline.model.budget import Spent
from pipeline.model.messages import STAGES, BytesTransferred, Outcome, TaskLost, UploadProgress
from pipeline.scheduler.view import HostView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.engine.pool import Message, WorkerPool, WorkerView
    from pipeline.model.messages import Task
    from pipeline.scheduler.scheduler import Scheduler
    from pipeline.scheduler.view import RunView
    from pipeline.settings import Settings

_FLUSH_EVERY = 0.05
"""Seconds between two transactions of the records; log lines are written after the records, never before."""
_BUSY = 8
"""Running tasks from which messages are gathered: each pass of the loop costs as much as a few messages."""
_GATHER = 0.001
"""Seconds for which messages are gathered."""
_MAX_WAIT = 1.0
"""Seconds to wait at most if nothing happens."""
_SHOW_EVERY = 0.25
"""Seconds between two calls of the observers."""
_SAID_ONCE = frozenset({"credentials.chosen", "credentials.rejected", "registry.warning"})


class Store(Protocol):
    """The part of the records that the supervisor uses."""

    @property
    def pending(self) -> int:
        """Number of rows to flush."""
        ...

    def flush(self) -> None:
        """Write the buffer; MachineError if that fails."""
        ...


class Observer(Protocol):
    """A watcher of a run: a display, metrics, the history for a report."""

    def tick(self, view: RunView) -> None:
        """Get the state of the run; called every quarter of a second, and once at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended."""

    signal: int = 0
    """The signal that stopped it; 0: none."""
    trouble: MachineError | None = None
    """The problem of this machine that stopped it."""


class Supervisor:
    """Runs a scheduler's tasks on the workers of a pool until the end.

    Args:
        scheduler: decides what to do next.
        settings: the run's.
        pool: runs the tasks; dismissed at the end.
        store: the records; only the supervisor flushes them.
        say: writes an event to the log.
        reopen_log: called at SIGHUP; None: there is no log file, so SIGHUP stops the run.
        observers: get the state of the run regularly.
        tell_progress: called at SIGUSR1 to log the progress that the observers saw last.
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
        self._once = Once()
        """Suppresses repeated events that every worker sends: credentials, registries' warnings."""
        self._observers = observers
        self._running: dict[str, tuple[int, float]] = {}
        """By key of a running task: bytes so far, and the time when it was given."""
        self._fenced: list[tuple[float, TaskLost]] = []
        """Lost tasks whose worker may still run, with the time when that ends."""
        self._stopped_by = 0
        self._drain_until: float | None = None
        self._trouble: MachineError | None = None
        self._began = self._flushed = self._shown = time.monotonic()

    def run(self) -> Ending:
        """Run until everything is done, or a signal or a problem of this machine ends the run."""
        with Signals() as signals:
            self._selector.register(signals, selectors.EVENT_READ, signals)
            self._selector.register(self._pool, selectors.EVENT_READ)
            try:
                while not self._is_over():
                    self._dispatch()
                    self._wait(signals)
                    self._run_timers()
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

    def _dispatch(self) -> None:
        """Give ready tasks to workers with room; a task that may have killed a worker runs alone."""
        now = time.monotonic()
        for stage in STAGES:
            self._pool.keep_free(stage, wanted=self._scheduler.has_suspects(stage, now))
            while self._pool.has_room(stage) and (task := self._scheduler.take(stage, now)) is not None:
                self._give(task)
            if self._pool.has_room(stage, alone=True):
                task = self._scheduler.take(stage, now, alone=True)
                if task is not None:
                    self._give(task, alone=True)
        for worker, grant in self._scheduler.budgets.grants(now).items():
            self._pool.grant(worker, grant)
        self._pool.flush(now)

    def _give(self, task: Task, *, alone: bool = False) -> None:
        """Give a task to the pool; the records are flushed before the first write to a repository."""
        if task.enters:
            self._write_out()
        now = time.monotonic()
        self._running[task.key] = (0, now)
        self._pool.give(task, now, alone=alone)

    def _wait(self, signals: Signals) -> None:
        """Wait for a worker, a signal, or the next timer."""
        now = time.monotonic()
        until = [_SHOW_EVERY if self._observers else _MAX_WAIT]
        wake = self._scheduler.wake(now)
        if wake is not None:
            until.append(wake)
        until.extend(end - now for end, _ in self._fenced)
        if self._drain_until is not None:
            until.append(self._drain_until - now)
        if self._unwritten:
            until.append(self._flushed + _FLUSH_EVERY - now)
        ready = self._selector.select(max(0.0, min(until)))
        if len(self._running) >= _BUSY:
            time.sleep(_GATHER)
        for key, _ in ready:
            if key.data is signals:
                for number in signals.read():
                    self._on_signal(number)
            else:
                for message in self._pool.hear(time.monotonic()):
                    self._handle(message)

    def _handle(self, message: Message) -> None:
        match message:
            case Said(answer=BytesTransferred() as word) if word.key in self._running:
                self._running[word.key] = (word.sent, self._running[word.key][1])
            case Said(answer=UploadProgress() as word):
                self._scheduler.keep(word)
                self._write_out()
            case Said(answer=Outcome() as outcome):
                self._running.pop(outcome.key, None)
                self._scheduler.settle(outcome, time.monotonic())
            case Said(answer=Spent() as report):
                self._scheduler.budgets.spent(message.worker.name, report, time.monotonic())
            case Joined():
                self._scheduler.budgets.joined(message.worker.name)
                self._resize()
            case Gone():
                self._on_gone(message)
            case Broken():
                self._trouble = message.error
                self._drain_until = time.monotonic()
            case _:
                pass

    def _on_gone(self, gone: Gone) -> None:
        """Return a dead worker's tasks to the scheduler; those that may have killed it are marked."""
        worker = gone.worker
        on = f"{worker.host}, " if worker.host else ""
        self._scheduler.budgets.gone(worker.name)
        self._resize()
        self._write_out()
        self._say(
            Event(
                name="worker.lost",
                level="warning",
                message=f"the worker {worker.name} ({on}pid {worker.pid}) died: {gone.reason};"
                f" its {len(gone.tasks)} tasks go to another worker",
                fields={"reason": gone.reason, "tasks": len(gone.tasks)},
                stage=worker.stage,
                pid=worker.pid,
                host=worker.host,
                worker=worker.name if worker.host else "",
            )
        )
        for key, begun in gone.tasks:
            self._running.pop(key, None)
            fenced = gone.fence > 0
            lost = TaskLost(key=key, reason=gone.reason, begun=begun, alone=gone.alone, fenced=fenced)
            self._fenced.append((time.monotonic() + gone.fence, lost))
        self._return_lost()

    def _resize(self) -> None:
        """Tell the scheduler how many workers other machines give."""
        self._scheduler.resize(sum(bool(worker.host) for worker in self._pool.roster()))

    def _return_lost(self) -> None:
        """Return the lost tasks whose worker certainly does not run any more."""
        now = time.monotonic()
        due = [lost for until, lost in self._fenced if until <= now]
        self._fenced = [(until, lost) for until, lost in self._fenced if until > now]
        for lost in due:
            self._scheduler.settle(lost, now)

    def _on_signal(self, number: int) -> None:
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
            name = signal.Signals(number).name
            self._drain("Interrupted" if number == signal.SIGINT else f"Stopped by {name}", number)

    def _drain(self, message: str, number: int) -> None:
        if self._drain_until is None:
            self._drain_until = time.monotonic() + self._settings.drain
            self._scheduler.drain(time.monotonic())
            self._write_out()
            again = {0: "", signal.SIGINT: ". Press Ctrl-C again to stop now"}.get(
                number, ". Signal again to stop now"
            )
            message += f": finishing current transfers ({self._settings.drain:.0f}s at most){again}"
            fields = {"signal": number, "in_flight": len(self._running)}
            self._say(Event(name="run.drain", level="warning", message=message, fields=fields))

    def _run_timers(self) -> None:
        """Do what is due by the clock: records, observers, patience, silent workers."""
        now = time.monotonic()
        if self._unwritten and now - self._flushed >= _FLUSH_EVERY:
            self._write_out()
        if self._observers and now - self._shown >= _SHOW_EVERY:
            self._show()
        self._pool.tick(now)
        if self._fenced:
            self._return_lost()
        self._scheduler.tick(now)

    def _show(self) -> None:
        """Call the observers."""
        self._shown = time.monotonic()
        if self._observers:
            roster = self._pool.roster()
            view = self._scheduler.view(
                self._shown, began=self._began, running=self._running, workers=len(roster)
            )
            view = replace(view, hosts=hosts_of(roster))
            for observer in self._observers:
                observer.tick(view)

    @property
    def _unwritten(self) -> bool:
        """Whether the records or the log have something to write."""
        return self._scheduler.has_events or (self._store.pending > 0 and self._trouble is None)

    def _write_out(self, *, last: bool = False) -> None:
        """Flush the records, then log the events; on a full disk the run drains."""
        self._flushed = time.monotonic()
        if self._trouble is None:
            try:
                self._store.flush()
            except MachineError as error:
                self._trouble = error
                if not last:
                    self._drain("The records cannot be written", 0)
        self._say_all()

    def _say_all(self) -> None:
        for event in self._scheduler.events():
            if event.name not in _SAID_ONCE or self._once.first(event.message):
                self._say(event)


def hosts_of(roster: Mapping[WorkerView, int]) -> tuple[HostView, ...]:
    """The other machines of a roster."""
    workers, tasks = Counter[str](), Counter[str]()
    for worker, count in roster.items():
        if worker.host:
            workers[worker.host] += 1
            tasks[worker.host] += count
    return tuple(HostView(name=host, workers=workers[host], tasks=tasks[host]) for host in sorted(workers))
