"""Lookups: one task for the HEAD of a source and of all its destinations.

A destination at a paused registry has a task of its own, so that the others need not wait for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import Fault
from pipeline.model.messages import HeadManifests, ManifestHead, TaskFailed
from pipeline.model.reference import Reference
from pipeline.scheduler.need import Need
from pipeline.scheduler.notices import ImageFailed, Looked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.model.messages import ManifestsHeaded
    from pipeline.scheduler.shared_state import SharedState

    LookupGroup = Mapping[str, Reference | ManifestHead | None]
    """Destinations by image key; a head: a listing told it; None: only the source is asked."""


@dataclass(slots=True)
class Lookup(Need):
    """The digests of one source and of some of its images' destinations."""

    task: HeadManifests
    destinations: dict[str, Reference | ManifestHead | None]
    """By image; see LookupGroup."""


class Lookups:
    """The ledger of lookups; images get the answers as notices."""

    def __init__(self, state: SharedState) -> None:
        """Begin without lookups."""
        self._state = state
        self._lookups: dict[str, Lookup] = {}

    def look(self, source: Reference, images: LookupGroup, *, listed: str = "") -> None:
        """Request the digests of one source and of its images' destinations.

        Args:
            source: a tag or digest.
            images: the destinations.
            listed: the source's digest, if a listing told it.
        """
        together: dict[str, dict[str, Reference | ManifestHead | None]] = {}
        for key, destination in images.items():
            if isinstance(destination, ManifestHead) and listed:
                self._state.notices.append(Looked(key, ManifestHead(digest=listed), destination, listed=True))
                continue
            registry = destination.repository.registry if isinstance(destination, Reference) else ""
            pauses = registry != source.repository.registry and self._state.queue.pauses(
                registry, self._state.now
            )
            together.setdefault(registry if pauses else "", {})[key] = destination
        for group in together.values():
            self._ask(source, group, listed)

    def _ask(self, source: Reference, group: LookupGroup, listed: str) -> None:
        destinations = tuple(each for each in group.values() if isinstance(each, Reference))
        task = HeadManifests(source=source, destinations=destinations, listed=listed)
        for ask in task.asks:
            self._state.queue.registry(ask.repository.registry).by_head[ask.side] += 1
        lookup = self._lookups.setdefault(task.key, Lookup(task, {}))
        lookup.destinations.update(group)
        for image in group:
            lookup.join(image)
        self._state.ready(task)

    def _end(self, task: HeadManifests) -> LookupGroup:
        """Remove a lookup; returns its destinations."""
        lookup = self._lookups.pop(task.key, None)
        return lookup.destinations if lookup else {}

    def looked(self, task: HeadManifests, outcome: ManifestsHeaded | TaskFailed) -> None:
        """Process the answers of both sides."""
        if isinstance(outcome, TaskFailed) and _is_of_destination(task, outcome.fault):
            self.part(task, outcome.fault.registry, outcome.fault)
            return
        answers = () if isinstance(outcome, TaskFailed) else outcome.destinations
        heads = dict(zip(task.destinations, answers, strict=False))
        for key, destination in self._end(task).items():
            source = outcome.fault if isinstance(outcome, TaskFailed) else outcome.source
            if isinstance(source, Fault):
                self._state.notices.append(ImageFailed(key, source))
            else:
                assert source is not None
                told = isinstance(destination, ManifestHead)
                found = heads[destination] if isinstance(destination, Reference) else destination
                self._state.notices.append(Looked(key, source, found, listed=told or bool(task.listed)))

    def part(self, task: HeadManifests, registry: str, fault: Fault | None = None) -> None:
        """Take the destinations at one registry out of a lookup, so that the others need not wait for it.

        With `fault` their images fail, else they get a lookup of their own.
        """
        assert task.source is not None
        group = self._end(task)
        there = {
            key: place
            for key, place in group.items()
            if isinstance(place, Reference) and place.repository.registry == registry
        }
        others = {key: place for key, place in group.items() if key not in there}
        if others:
            self._ask(task.source, others, task.listed)
        if fault is None and there:
            self._ask(task.source, there, task.listed)
        elif fault is not None:
            for key, place in there.items():
                aimed = replace(fault, side="destination", repository=place.repository.path)
                self._state.notices.append(ImageFailed(key, aimed))

    def pause(self, registry: str) -> None:
        """A registry begins to pause: split the lookups that wait for it and for others."""
        queue = self._state.queue
        for task in [lookup.task for lookup in self._lookups.values()]:
            assert task.source is not None
            asked = {place.repository.registry for place in task.destinations}
            apart = registry in asked and asked != {registry} and task.source.repository.registry != registry
            if apart and queue.knows(task.key) and not queue.running(task.key):
                queue.drop(task.key)
                self.part(task, registry)

    def returned(self, task: HeadManifests) -> bool:
        """A lookup came back without an outcome; False: nobody needs it any more."""
        return task.key in self._lookups and self._state.ready(task)

    def held_up(self) -> int:
        """Images whose lookup waits for a paused registry."""
        pausing = self._state.queue.pausing(self._state.now)
        if not pausing:
            return 0
        return sum(
            len(lookup.needed_by)
            for lookup in self._lookups.values()
            if any(place.repository.registry in pausing for place in lookup.task.destinations)
        )

    def payer(self, task: HeadManifests) -> str:
        """The image that pays for a lookup; empty: none."""
        lookup = self._lookups.get(task.key)
        return lookup.payer if lookup else ""

    def validate(self) -> None:
        """Check that each lookup has its task and its images.

        Raises:
            AssertionError: one is not.
        """
        for key, lookup in self._lookups.items():
            assert lookup.needed_by.keys() == lookup.destinations.keys(), f"{key} is for others"
            assert self._state.is_stopping or self._state.queue.knows(key), f"nobody asks {key}"


def _is_of_destination(task: HeadManifests, fault: Fault) -> bool:
    """Whether a lookup failed because of a destination's registry."""
    assert task.source is not None
    there = {destination.repository.registry for destination in task.destinations}
    return fault.registry in there - {task.source.repository.registry}
