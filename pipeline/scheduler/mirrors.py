"""Mirrors: other places to read content that is known by its digest.

A mirror only saves requests to its registry. If it fails, the next place is asked, last the registry itself.
Nothing waits for a mirror: one that fails or asks for a pause is not used for a while, not even by queued
tasks. One that repeatedly lacks the content of a repository is not asked for that repository again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.log import event_of, fault_fields
from pipeline.model.messages import CopyBlob, FetchManifest, TaskFailed, TaskLost, Throttled

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.messages import Outcome, Task
    from pipeline.model.reference import Repository
    from pipeline.scheduler.shared_state import SharedState

_AGAIN = 30.0
"""Seconds for which a failed mirror is not used; doubled after each failure in a row."""
_LONGEST = 900.0
_IN_VAIN = 3
"""Answers in a row without the content after which a repository's mirror is not used in this run."""
_SERVERS_FAULT = 500
_SILENT = frozenset({"UNREACHABLE", "TIMEOUT", "CONNECTION_LOST", "CERTIFICATE", "CREDENTIALS"})
"""Codes of faults of the mirror itself, not of the content."""


class Mirrors:
    """The mirrors of all registries of a run."""

    def __init__(self, state: SharedState) -> None:
        """Begin with all mirrors usable."""
        self._state = state
        self._tried: dict[str, set[Repository]] = {}
        """By key of a task: the mirrors that did not serve it."""
        self._failures: Counter[str] = Counter()
        """By registry of mirrors: failures in a row."""
        self._until: dict[str, float] = {}
        """By registry of mirrors: when it may be asked again."""
        self._misses: Counter[Repository] = Counter()
        """By mirror: answers in a row without the content."""

    def choose(self, task: Task) -> Task:
        """The task with the place to read from."""
        if not isinstance(task, (FetchManifest, CopyBlob)) or (original := _original(task)) is None:
            return task
        mirrors = self._state.queue.registry(original.registry).settings.mirrors
        if not mirrors or self._state.aim == "verify":
            return task
        tried = self._tried.get(task.key, ())
        places = (mirror.repository(original) for mirror in mirrors)
        place = next((each for each in places if each not in tried and self._is_usable(each)), None)
        return replace(task, mirror=place)

    def _is_usable(self, mirror: Repository) -> bool:
        """Whether it can be asked now, as far as is known."""
        now, registry = self._state.now, self._state.queue.registry(mirror.registry)
        rests = max(registry.paused_until, self._until.get(mirror.registry, 0.0)) > now
        return not rests and registry.unavailable is None and self._misses[mirror] < _IN_VAIN

    def failed(self, task: Task, outcome: Outcome) -> bool:
        """Process an outcome; True: a mirror failed, and the task must read from another place."""
        if not isinstance(task, (FetchManifest, CopyBlob)) or isinstance(outcome, TaskLost):
            return False
        place = task.mirror
        fault = outcome.fault if isinstance(outcome, (TaskFailed, Throttled)) else None
        if place is None or (fault and (fault.side, fault.registry) != ("source", place.registry)):
            if not isinstance(outcome, Throttled):
                self._tried.pop(task.key, None)
            return False
        if fault is None:
            self._tried.pop(task.key, None)
            self._served(place)
            return False
        self._tried.setdefault(task.key, set()).add(place)
        if isinstance(outcome, Throttled):
            self._throttled(task, outcome)
        elif fault.code in _SILENT or (fault.status or 0) >= _SERVERS_FAULT:
            self._failures[place.registry] += 1
            again = min(_LONGEST, _AGAIN * 2 ** (self._failures[place.registry] - 1))
            self._leave(place.registry, fault, seconds=again)
        else:
            self._misses[place] += 1
            if self._misses[place] == _IN_VAIN:
                self._say(fault, seconds=None)
        return True

    def _served(self, place: Repository) -> None:
        self._misses.pop(place, None)
        self._failures.pop(place.registry, None)

    def _throttled(self, task: Task, outcome: Throttled) -> None:
        """A mirror asks for a pause: lower its limits like those of any registry."""
        now, name = self._state.now, outcome.fault.registry
        registry = self._state.queue.registry(name)
        for place, kind in self._state.queue.demand(task):
            if place == name:
                registry.limits[kind].push_back(now, until=now + outcome.delay)
        self._leave(name, outcome.fault, seconds=outcome.delay)

    def _leave(self, registry: str, fault: Fault, *, seconds: float) -> None:
        """Do not use a mirror for a while; several tasks may report the same failure."""
        if self._until.get(registry, 0.0) <= self._state.now:
            self._say(fault, seconds=seconds)
        self._until[registry] = max(self._until.get(registry, 0.0), self._state.now + seconds)
        self.avoid(registry)

    def avoid(self, registry: str) -> None:
        """Let queued tasks read from another place than the mirror."""
        for task in self._state.queue.tasks():
            if (
                isinstance(task, (FetchManifest, CopyBlob))
                and task.mirror
                and task.mirror.registry == registry
            ):
                self._state.queue.drop(task.key)
                self._state.ready(task)

    def _say(self, fault: Fault, *, seconds: float | None) -> None:
        fields = {**fault_fields(fault), "again": seconds is not None, "delay": seconds and round(seconds, 1)}
        self._state.events.append(event_of("mirror.left", fields, facts={"fault": str(fault)}))


def _original(task: FetchManifest | CopyBlob) -> Repository | None:
    """The repository that a mirror may stand in for; None: no mirror serves this.

    Whether a foreign layer is left to its urls only the source can tell.
    """
    if isinstance(task, CopyBlob):
        return None if task.blob.has_urls else task.source
    return task.repository if task.side == "source" else None
