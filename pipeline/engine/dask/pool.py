"""The pool of workers in a Dask cluster: its members, their tasks, and their messages.

Link talks to Dask in its own thread. Here the supervisor's thread gives tasks, and takes messages from the
mailbox.
"""

from __future__ import annotations

import pickle
import secrets
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from pipeline.dataclass import dataclass
from pipeline.engine.dask.link import Link
from pipeline.engine.dask.mailbox import Mailbox
from pipeline.engine.dask.news import Came, CameHome, Left, Unfit, Unreachable
from pipeline.engine.load import WorkerLoad
from pipeline.engine.packing import pack
from pipeline.engine.pool import Broken, Gone, Joined, Said, WorkerView
from pipeline.engine.worker import Setup, task_failed
from pipeline.errors import MachineError
from pipeline.log import Event
from pipeline.model.life_signs import Alive, BootFailed
from pipeline.model.messages import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.engine.dask.recipe import Recipe
    from pipeline.engine.pool import Message
    from pipeline.model.budget import Grant
    from pipeline.model.messages import Stage, Task
    from pipeline.settings import ClusterOptions, Settings

FENCE = 35.0
"""Seconds after which an unreachable worker certainly writes no more: its guest gives up after 15 s, at the
next piece, and a piece takes less than 20 s.
"""
_ROOM: dict[Stage, int] = {"expand": 64, "resolve": 64, "transfer": 48}
"""Maximum parallel tasks of a stage in a worker; a stage's threads are not taken by the others'."""
_CHECK_EVERY = 1.0
_SUSPENDED = 10.0
"""Seconds between two checks that mean that the supervisor itself was stopped, so no worker is blamed."""
_MAX_FAILED_STARTS = 3
"""Workers in a row that may die before they are ready."""
_TELL_AFTER = 10.0
"""Seconds without a worker after which the user is warned."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Handle(WorkerLoad):
    """One worker and its tasks."""

    process: str
    view: WorkerView
    threads: int
    last_word: float = 0.0
    ready: bool = False
    """Whether its guest has started."""
    hung: bool = False
    """Whether its restart was requested."""
    unsent: list[tuple[str, bytes]] = field(default_factory=list)
    """Given since the last flush."""
    heard: int = 0
    """How many of its visits had returned at the last check."""

    def can_take(self, stage: Stage, *, alone: bool) -> bool:
        """Whether it may get one more task."""
        if self.alone or self.hung:
            return False
        if alone:
            return not self.tasks
        if self.kept_free or len(self.tasks) >= self.threads:
            return False
        return sum(each == stage for each in self.tasks.values()) < _ROOM[stage]


class DaskPool:
    """A WorkerPool whose workers belong to a Dask cluster; they join and leave at any time.

    Args:
        settings: the run's.
        recipe: how a worker makes its keyring.
        options: which cluster.
        say: writes an event to the log, in the supervisor's thread.
        runner: see Setup; empty: the stages.
    """

    def __init__(
        self,
        settings: Settings,
        recipe: Recipe,
        options: ClusterOptions,
        *,
        say: Callable[[Event], None],
        runner: str = "",
    ) -> None:
        """See the class."""
        self._settings, self._recipe, self._say = settings, recipe, say
        self._runner = {"runner": runner} if runner else {}
        self._where = options.scheduler or "this machine"
        self._mailbox = Mailbox()
        self._handles: dict[str, _Handle] = {}
        self._given: dict[_Handle, None] = {}
        self._broken = self._dismissed = False
        self._joined = self._failed_starts = 0
        self._checked: float | None = None
        self._alone_since: float | None = None
        """Since when there has been no worker."""
        self._is_told = False
        self._link = Link(options, run=secrets.token_hex(8), recipe=recipe, tell=self._mailbox.put)

    def fileno(self) -> int:
        """See WorkerPool."""
        return self._mailbox.fileno()

    def has_room(self, stage: Stage, *, alone: bool = False) -> bool:
        """See WorkerPool."""
        return not self._broken and any(self._available(stage, alone=alone))

    def _available(self, stage: Stage, *, alone: bool) -> Iterator[_Handle]:
        return (each for each in self._handles.values() if each.can_take(stage, alone=alone))

    def keep_free(self, stage: Stage, *, wanted: bool) -> None:
        """See WorkerPool: the least busy worker is kept free."""
        handles = self._handles.values()
        if not wanted:
            for handle in handles:
                handle.kept_free.discard(stage)
        elif handles and not any(stage in handle.kept_free or handle.alone for handle in handles):
            min(handles, key=lambda handle: len(handle.tasks)).kept_free.add(stage)

    def give(self, task: Task, now: float, *, alone: bool = False) -> None:
        """See WorkerPool."""
        handle = min(self._available(task.stage, alone=alone), key=lambda each: each.burden(task))
        try:
            packed = pack(task)
        except Exception as error:  # noqa: BLE001 - too large, or not picklable: the task fails, as in a worker
            self._mailbox.put(Said(worker=handle.view, answer=task_failed(task, error)))
            return
        if not handle.tasks:
            handle.last_word = now
        handle.gets(task, alone=alone)
        handle.unsent.append((task.key, packed))
        self._given[handle] = None

    def grant(self, worker: str, grant: Grant) -> None:
        """See WorkerPool."""
        for handle in self._handles.values():
            if handle.view.name == worker and handle.ready:
                handle.unsent.append(("", pack(grant)))
                self._given[handle] = None

    def flush(self, now: float) -> None:  # noqa: ARG002 - of the interface
        """See WorkerPool: Link gathers what is sent."""
        given, self._given = self._given, {}
        for handle in given:
            self._link.post(handle.process, handle.unsent)
            handle.unsent = []

    def hear(self, now: float) -> list[Message]:
        """See WorkerPool."""
        messages: list[Message] = []
        for mail in self._mailbox.take():
            match mail:
                case Came():
                    self._add(mail, now)
                case Unfit():
                    self._warn(f"the worker {mail.address} gets no tasks: {mail.reason}", mail.address)
                case CameHome():
                    messages += self._take_home(mail)
                case Left():
                    messages += self._remove(mail)
                case Unreachable():
                    messages += self._break(f"Dask's scheduler: {mail.reason}")
                case Said() | Broken():
                    messages.append(mail)
        return messages

    def _add(self, came: Came, now: float) -> None:
        """Add a worker; its guest starts with its first tasks."""
        greeting = came.greeting
        self._joined += 1
        view = WorkerView(
            name=f"dask-{self._joined}",
            pid=greeting.identity.pid,
            stage="transfer",
            host=greeting.identity.host,
        )
        threads = min(sum(_ROOM.values()), greeting.threads)
        handle = _Handle(process=greeting.process, view=view, threads=threads, last_word=now)
        setup = Setup(
            stage="transfer", threads=threads, settings=self._settings, keyring=self._recipe, **self._runner
        )
        handle.unsent.append(("", pack(setup)))
        self._handles[handle.process] = handle
        self._alone_since, self._is_told = None, False

    def _take_home(self, came: CameHome) -> Iterator[Message]:
        handle = self._handles.get(came.process)
        if handle is not None:
            for answer in came.answers:
                yield from self._hear_answer(handle, pickle.loads(answer))  # noqa: S301 - from our own worker

    def _hear_answer(self, handle: _Handle, answer: Any) -> Iterator[Message]:
        if isinstance(answer, BootFailed):
            yield from self._cannot_begin(handle, answer.reason)
            return
        if not handle.ready:
            self._failed_starts, handle.ready = 0, True
            yield Joined(worker=handle.view)
        if isinstance(answer, Outcome):
            if not handle.ended(answer.key):
                return
            answer = _with_origin(answer, handle.view)
        if not isinstance(answer, Alive):
            yield Said(worker=handle.view, answer=answer)

    def _cannot_begin(self, handle: _Handle, reason: str) -> Iterator[Message]:
        """A guest cannot start; if there is no other worker, the run cannot continue."""
        del self._handles[handle.process]
        self._given.pop(handle, None)
        if self._handles:
            tasks = tuple((key, False) for key in handle.tasks)
            yield Gone(worker=handle.view, reason=reason, tasks=tasks)
        else:
            yield from self._break(reason)

    def _remove(self, left: Left) -> Iterator[Message]:
        handle = self._handles.pop(left.process, None)
        if handle is None:
            return
        self._given.pop(handle, None)
        unsent = left.unsent | {key for key, _ in handle.unsent}
        charged = handle.ready and left.to_blame
        yield Gone(
            worker=handle.view,
            reason="it said nothing for too long; restarted" if handle.hung else left.reason,
            tasks=tuple((key, charged and key not in unsent) for key in handle.tasks),
            alone=charged and handle.alone,
            fence=0.0 if left.certain or not handle.tasks else FENCE,
        )
        if not handle.ready and left.to_blame and handle.tasks:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                yield from self._break(f"workers die before they are ready: {left.reason}")

    def _break(self, reason: str) -> Iterator[Message]:
        if not self._broken:
            self._broken = True
            yield Broken(error=MachineError(reason))

    def _warn(self, words: str, address: str) -> None:
        self._say(Event(name="worker.unfit", level="warning", message=words, fields={"address": address}))

    def tick(self, now: float) -> None:
        """See WorkerPool: a silent worker is restarted; without any the run ends after --patience."""
        since = 0.0 if self._checked is None else now - self._checked
        if self._checked is not None and since < _CHECK_EVERY:
            return
        self._checked = now
        for handle in self._handles.values():
            heard = self._link.heard.get(handle.process, 0)
            if heard != handle.heard or since >= _SUSPENDED:
                handle.heard, handle.last_word = heard, now
            if handle.tasks and now - handle.last_word >= self._settings.silence and not handle.hung:
                handle.hung = True
                self._link.restart(handle.process)
        self._watch_for_none(now)

    def _watch_for_none(self, now: float) -> None:
        """Wait for a worker if there is none."""
        if self._handles or self._broken:
            return
        if self._alone_since is None:
            self._alone_since = now
        waited = now - self._alone_since
        if waited >= self._settings.patience:
            for message in self._break(f"no worker at {self._where} for {waited:.0f} s (--patience)"):
                self._mailbox.put(message)
        elif waited >= _TELL_AFTER and not self._is_told:
            self._is_told = True
            self._warn(f"no worker at {self._where}; waiting for one", self._where)

    def roster(self) -> dict[WorkerView, int]:
        """See WorkerPool."""
        return {handle.view: len(handle.tasks) for handle in self._handles.values()}

    def dismiss(self, *, timeout: float) -> None:
        """See WorkerPool."""
        if self._dismissed:
            return
        self._dismissed = self._broken = True
        self._link.close(timeout=timeout)
        self._mailbox.close()


def _with_origin(outcome: Outcome, worker: WorkerView) -> Outcome:
    """The outcome, with the worker in its events."""
    if not outcome.events:
        return outcome
    events = tuple(replace(event, host=worker.host, worker=worker.name) for event in outcome.events)
    return replace(outcome, events=events)
