"""The supervisor: one single-threaded loop over Flow that routes, counts, writes records and log lines.

It never blocks on a worker: neither half a message nor a full pipe can hold it, and a worker's death is the
end-of-file of its outbox, after its last outcomes.
"""

from __future__ import annotations

import selectors
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pipeline.engine.crew import Crew, Member
from pipeline.engine.signals import Signals
from pipeline.errors import MachineError
from pipeline.log import Event
from pipeline.model.messages import STAGES, BootFailed, Expand, Kept, Lost, Outcome, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.model.flow.ledger import Flow
    from pipeline.model.flow.view import View
    from pipeline.model.messages import Answer, Task
    from pipeline.settings import Settings

_FLUSH_EVERY = 0.05
"""Seconds between two transactions of the records; log lines follow the records, never go before them."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at the clock where nothing happens."""
_SHOW_EVERY = 0.25
"""Seconds between two looks of the observers."""
_SUSPENDED = 10.0
"""A loop that took longer than this was stopped itself: its workers are not to blame for their silence."""
_ABORT_TAKES = 2.0
"""Seconds that an aborted worker gets to print its stacks."""
_STILLBORN = 3
"""Workers that may die in a row before their first word."""


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

    def tick(self, view: View) -> None:
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
    """Runs a Flow to its end on worker processes.

    Args:
        flow: the ledger.
        settings: the run's.
        keyring: credentials, handed to the workers unseen.
        store: the records, flushed here and nowhere else.
        say: writes an event to the log.
        reopen_log: what SIGHUP asks for where there is a log file; None: SIGHUP stops the run.
        observers: look at the run now and then.
        tell_progress: says how far the run is, as the observers saw it last: what SIGUSR1 asks for.
        runner: what runs tasks in the workers (see Setup); empty: the stages.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        settings: Settings,
        keyring: object,
        store: Store,
        say: Callable[[Event], None],
        reopen_log: Callable[[], None] | None,
        observers: Sequence[Observer] = (),
        tell_progress: Callable[[], None] = lambda: None,
        runner: str = "",
    ) -> None:
        """See the class."""
        self._flow = flow
        self._settings = settings
        self._store = store
        self._say = say
        self._reopen_log = reopen_log
        self._tell_progress = tell_progress
        self._crew = Crew(settings, keyring, runner=runner)
        self._selector = selectors.DefaultSelector()
        self._said: set[str] = set()
        """What every process would say again: which credentials, what registries warn of."""
        self._observers = observers
        self._moving: dict[str, tuple[int, float]] = {}
        """By key of a running task: bytes so far, and when it was given out."""
        self._stillborn = 0
        self._stopped_by = 0
        self._drain_until: float | None = None
        self._trouble: MachineError | None = None
        self._began = self._flushed = self._looked = self._shown = time.monotonic()

    def run(self) -> Ending:
        """Run until all is over, or a signal or this machine ends it.

        Raises:
            MachineError: no worker can be started.
        """
        with Signals() as signals:
            self._selector.register(signals, selectors.EVENT_READ, signals)
            try:
                while not self._is_over():
                    self._give_out()
                    self._wait(signals)
                    self._keep_time()
            finally:
                patient = self._flow.done and self._trouble is None
                self._crew.dismiss(timeout=1.0 if patient else 0.0)
                self._selector.close()
        self._write_out(last=True)
        self._show()
        return Ending(signal=self._stopped_by, trouble=self._trouble)

    def _is_over(self) -> bool:
        if self._flow.done:
            return True
        return self._drain_until is not None and time.monotonic() >= self._drain_until

    def _give_out(self) -> None:
        """Hand ready tasks to workers with room; a task that is suspected of killing workers runs alone."""
        now = time.monotonic()
        given: dict[int, Member] = {}
        for stage in STAGES:
            self._crew.keep_free(stage, wanted=self._flow.has_suspects(stage, now))
            while self._crew.has_room(stage) and (task := self._flow.take(stage, now)) is not None:
                member = self._crew.pick(stage, now, task=task)
                self._hand(member, task)
                given[member.process.pid] = member
            if self._crew.has_room(stage, idle=True):
                task = self._flow.take(stage, now, alone=True)
                if task is not None:
                    member = self._crew.pick(stage, now, idle=True)
                    member.alone = True
                    self._hand(member, task)
                    given[member.process.pid] = member
        for member in given.values():
            member.process.inbox.flush()
            self._watch(member)
            if ahead := self._crew.start_ahead(member.stage, now):
                self._watch(ahead)

    def _hand(self, member: Member, task: Task) -> None:
        """Give a task to a worker; before a repository is entered, the records say so on disk."""
        if isinstance(task, Expand) and task.side == "destination":
            self._write_out()
        now = time.monotonic()
        if not member.tasks:
            member.last_word = now
        member.tasks[task.key] = task
        self._moving[task.key] = (0, now)
        member.process.inbox.put(task)

    def _watch(self, member: Member) -> None:
        """Have the selector look at a worker's outbox, and at its inbox while that is full."""
        known = self._selector.get_map()
        outbox, inbox = member.process.outbox, member.process.inbox
        if outbox.fileno() not in known:
            self._selector.register(outbox, selectors.EVENT_READ, member)
        if inbox.pending and inbox.fileno() not in known:
            self._selector.register(inbox, selectors.EVENT_WRITE, member)
        elif not inbox.pending and inbox.fileno() in known:
            self._selector.unregister(inbox)

    def _wait(self, signals: Signals) -> None:
        """Sleep until a worker or a signal says something, or until time itself changes something."""
        now = time.monotonic()
        until = [_SHOW_EVERY if self._observers else _LOOK_EVERY]
        wake = self._flow.wake(now)
        if wake is not None:
            until.append(wake)
        if self._drain_until is not None:
            until.append(self._drain_until - now)
        if self._unwritten:
            until.append(self._flushed + _FLUSH_EVERY - now)
        for key, events in self._selector.select(max(0.0, min(until))):
            if key.data is signals:
                for number in signals.read():
                    self._signalled(number)
            elif key.data not in self._crew.members:
                # Both its pipes were reported at once, and the first was its end.
                continue
            elif events & selectors.EVENT_WRITE:
                key.data.process.inbox.flush()
                self._watch(key.data)
            else:
                self._hear(key.data)

    def _hear(self, member: Member) -> None:
        """Take in what a worker says; end-of-file means that it is dead."""
        for answer in member.process.outbox.read():
            self._take_in(member, answer)
        if member.process.outbox.at_end:
            self._lost(member)

    def _take_in(self, member: Member, answer: Answer) -> None:
        now = member.last_word = time.monotonic()
        if not member.ready:
            member.ready, self._stillborn = True, 0
        match answer:
            case BootFailed():
                self._trouble = MachineError(answer.reason)
                self._drain_until = now
            case Progress() if answer.key in self._moving:
                self._moving[answer.key] = (answer.sent, self._moving[answer.key][1])
            case Kept():
                self._flow.keep(answer)
                self._write_out()
            case Outcome():
                self._forget(member, answer.key)
                self._flow.settle(_signed(answer, member), now)
            case _:
                pass

    def _forget(self, member: Member, key: str) -> None:
        member.tasks.pop(key, None)
        self._moving.pop(key, None)
        member.alone = member.alone and bool(member.tasks)

    def _lost(self, member: Member) -> None:
        """A worker is dead: its tasks go back to Flow, those that it was running with a mark."""
        for end in (member.process.outbox, member.process.inbox):
            if end.fileno() in self._selector.get_map():
                self._selector.unregister(end)
        reason = self._crew.bury(member)
        self._write_out()
        self._say(
            Event(
                name="worker.lost",
                level="warning",
                message=f"the worker {member.process.name} (pid {member.process.pid}) is gone: {reason};"
                f" its {len(member.tasks)} tasks go to another one",
                fields={"reason": reason, "tasks": len(member.tasks)},
                stage=member.stage,
                pid=member.process.pid,
            )
        )
        if not member.ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                self._trouble = MachineError(f"workers die before they begin: {reason}")
                self._drain_until = time.monotonic()
        begun, alone = member.ready, member.ready and member.alone
        for key in list(member.tasks):
            self._forget(member, key)
            self._flow.settle(Lost(key=key, reason=reason, begun=begun, alone=alone), time.monotonic())

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
            self._flow.drain(time.monotonic())
            self._write_out()
            seconds = f"{self._settings.drain:.0f}s at most; once more: stop now"
            fields = {"signal": number, "in_flight": len(self._moving)}
            self._say(
                Event(name="run.drain", level="warning", message=f"{message} ({seconds})", fields=fields)
            )

    def _keep_time(self) -> None:
        """What the clock alone brings about: records, observers, patience, the watch over silent workers."""
        now = time.monotonic()
        if self._unwritten and now - self._flushed >= _FLUSH_EVERY:
            self._write_out()
        if self._observers and now - self._shown >= _SHOW_EVERY:
            self._show()
        if now - self._looked >= _LOOK_EVERY:
            if now - self._looked >= _SUSPENDED:
                for member in self._crew.members:
                    member.last_word = now
            self._looked = now
            self._watch_silence(now)
        self._flow.tick(now)

    def _show(self) -> None:
        """Let the observers look."""
        self._shown = time.monotonic()
        if self._observers:
            view = self._flow.view(
                self._shown, began=self._began, moving=self._moving, workers=len(self._crew.members)
            )
            for observer in self._observers:
                observer.tick(view)

    @property
    def _unwritten(self) -> bool:
        """Whether there is anything for the records or the log."""
        return self._flow.has_events or (self._store.pending > 0 and self._trouble is None)

    def _watch_silence(self, now: float) -> None:
        """Kill a worker that runs tasks and says nothing, with its stacks printed where it can."""
        for member in self._crew.members:
            if member.aborted_at is not None and now - member.aborted_at >= _ABORT_TAKES:
                member.process.kill()
            silent = member.tasks and now - member.last_word >= self._settings.silence
            if silent and member.aborted_at is None:
                member.process.abort()
                member.aborted_at = now

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
        for event in self._flow.events():
            if event.name in ("credentials.chosen", "credentials.rejected", "registry.warning"):
                if event.message in self._said:
                    continue
                self._said.add(event.message)
            self._say(event)


def _signed(outcome: Outcome, member: Member) -> Outcome:
    """The outcome, its events with the stage and the process that they happened in."""
    if not outcome.events:
        return outcome
    pid = member.process.pid
    events = tuple(replace(event, stage=member.stage, pid=pid) for event in outcome.events)
    return replace(outcome, events=events)
