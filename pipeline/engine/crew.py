"""The crew: the worker processes of each stage, what each of them is running, and who is free.

Processes start with the first task of their stage. As many as cores where bytes move; one where only short
requests go out, since one process with threads keeps a registry's places filled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.engine.descriptors import affordable_threads
from pipeline.engine.forking import context
from pipeline.engine.process import start_worker, stop_all
from pipeline.engine.worker import Setup
from pipeline.model.messages import STAGES, Move, Put

if TYPE_CHECKING:
    from pipeline.engine.process import WorkerProcess
    from pipeline.model.messages import Stage, Task
    from pipeline.model.reference import Repository
    from pipeline.settings import Settings

_MOST_PROCESSES = 4
_REMEMBERED = 64
"""Repositories that a worker is known to have served."""
_WORTH = 2
"""Tasks more that a worker may have for having served a task's repository."""
_THREADS: dict[Stage, int] = {"expand": 16, "resolve": 128, "transfer": 48}
"""Tasks that one process runs at a time at most; threads are started as they are needed."""
_FOLLOWS: dict[Stage, Stage] = {"expand": "resolve"}
"""The stage that has work as soon as this one has an answer. What is resolved is often up to date."""


@dataclass(slots=True, eq=False)
class Member:
    """One worker process, and what it has been given."""

    process: WorkerProcess
    stage: Stage
    last_word: float
    tasks: dict[str, Task] = field(default_factory=dict)
    ready: bool = False
    """Whether it has said anything yet: until then it runs none of its tasks, from then on all of them."""
    alone: bool = False
    """Whether it runs a task that must have nothing beside it."""
    kept_free: bool = False
    """Whether it is given nothing more until it is idle, for a task that must have nothing beside it."""
    aborted_at: float | None = None
    """When it was told to print its stacks and die."""
    served: dict[Repository, None] = field(default_factory=dict)
    """Destination repositories of its last tasks, the latest at the end: it may hold tokens for them."""

    def serve(self, repository: Repository) -> None:
        """Take down where its next task goes."""
        self.served.pop(repository, None)
        self.served[repository] = None
        if len(self.served) > _REMEMBERED:
            del self.served[next(iter(self.served))]


class Crew:
    """Starts, finds and lets go workers; the supervisor speaks to them."""

    def __init__(self, settings: Settings, keyring: object, *, runner: str = "") -> None:
        """`keyring`: credentials, handed to the workers unseen; `runner`: see Setup, empty for the stages."""
        self._runner = {"runner": runner} if runner else {}
        self._settings = settings
        self._keyring = keyring
        self._context = context()
        self._started = 0
        self._most_threads = affordable_threads()
        self.members: list[Member] = []
        self._stages: dict[Stage, list[Member]] = {stage: [] for stage in STAGES}

    def has_room(self, stage: Stage, *, idle: bool = False) -> bool:
        """Whether a worker of the stage can take a task, be it one that is still to be started.

        Args:
            stage: the stage.
            idle: the worker must be running nothing else.
        """
        most, members = self._most(stage, idle=idle), self._stages[stage]
        return len(members) < _processes(stage) or any(_can_take(member, most, idle) for member in members)

    def keep_free(self, stage: Stage, *, wanted: bool) -> None:
        """Have the least busy worker of a stage run empty for a task that must run alone, or not any more."""
        members = self._stages[stage]
        if not wanted:
            for member in members:
                member.kept_free = False
        elif members and not any(member.kept_free or member.alone for member in members):
            min(members, key=lambda member: len(member.tasks)).kept_free = True

    def pick(self, stage: Stage, now: float, *, task: Task | None = None, idle: bool = False) -> Member:
        """The least busy worker of a stage that has room, started where that makes one less busy.

        One that has served the task's repository is preferred where it is hardly busier: tokens and
        connections are its own.

        Raises:
            MachineError: no worker can be started.
        """
        most = self._most(stage, idle=idle)
        able = [member for member in self._stages[stage] if _can_take(member, most, idle)]
        place = _destination(task)

        def burden(member: Member) -> int:
            return len(member.tasks) - (_WORTH if place in member.served else 0)

        best = min(able, key=burden, default=None)
        if best is None or (best.tasks and len(self._stages[stage]) < _processes(stage)):
            best = self._start(stage, now)
        if place is not None:
            best.serve(place)
        return best

    def start_ahead(self, stage: Stage, now: float) -> Member | None:
        """Start the worker to whom the answers of a stage will lead, while that stage is asking.

        Raises:
            MachineError: it cannot be started.
        """
        following = _FOLLOWS.get(stage)
        return None if following is None or self._stages[following] else self._start(following, now)

    def _most(self, stage: Stage, *, idle: bool) -> int:
        """Tasks that a worker may have, so that one more may be given to it."""
        return 1 if idle else self._threads(stage)

    def _start(self, stage: Stage, now: float) -> Member:
        self._started += 1
        setup = Setup(
            stage=stage,
            threads=self._threads(stage),
            settings=self._settings,
            keyring=self._keyring,
            **self._runner,
        )
        member = Member(start_worker(self._context, f"{stage}-{self._started}", setup), stage, now)
        self.add(member)
        return member

    def add(self, member: Member) -> None:
        """Take in a worker that runs."""
        self.members.append(member)
        self._stages[member.stage].append(member)

    def _threads(self, stage: Stage) -> int:
        return min(_THREADS[stage], self._most_threads)

    def bury(self, member: Member) -> str:
        """Let a dead worker go; returns how it ended, in words."""
        self.members.remove(member)
        self._stages[member.stage].remove(member)
        return member.process.reap(1.0)

    def dismiss(self, *, timeout: float) -> None:
        """Let all go; who is not gone after `timeout` seconds is killed."""
        stop_all([member.process for member in self.members], timeout=timeout)
        self.members.clear()
        for members in self._stages.values():
            members.clear()


def _can_take(member: Member, most: int, idle: bool) -> bool:  # noqa: FBT001 - private, on the hot path
    """Whether a worker that may have fewer than `most` tasks takes one more."""
    if len(member.tasks) >= most or member.alone or member.process.inbox.broken:
        return False
    return idle or not member.kept_free


_MOVERS = min(os.cpu_count() or 1, _MOST_PROCESSES)


def _destination(task: Task | None) -> Repository | None:
    """The repository that a task of the stage with several workers writes to."""
    match task:
        case Move():
            return task.destination
        case Put():
            return task.destination.repository
        case _:
            return None


def _processes(stage: Stage) -> int:
    """Processes of a stage at most."""
    return _MOVERS if stage == "transfer" else 1
