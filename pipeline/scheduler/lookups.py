"""Lookups: one HEAD of a source, and of all its destinations that may be asked at the same time.

A destination at a registry that pauses is asked by itself, so that it holds up no other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.model.messages import HeadManifests, TaskFailed
from pipeline.scheduler.notices import ImageFailed, Looked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.model.messages import ManifestsHeaded
    from pipeline.model.reference import Reference
    from pipeline.scheduler.shared_state import SharedState

    LookupGroup = Mapping[str, Reference | None]
    """Destinations by image key; None: only the source is asked."""


class Lookups:
    """The ledger of lookups; answers are told to images."""

    def __init__(self, state: SharedState) -> None:
        """Nothing is asked."""
        self._state = state
        self._asked: dict[str, dict[str, Reference | None]] = {}

    def look(self, source: Reference, images: LookupGroup) -> None:
        """Ask for the digests of one source and of its images' destinations."""
        together: dict[str, dict[str, Reference | None]] = {}
        for key, destination in images.items():
            registry = destination.repository.registry if destination else ""
            pauses = registry != source.repository.registry and self._state.queue.pauses(
                registry, self._state.now
            )
            together.setdefault(registry if pauses else "", {})[key] = destination
        for group in together.values():
            self._ask(source, group)

    def _ask(self, source: Reference, group: LookupGroup) -> None:
        destinations = tuple(destination for destination in group.values() if destination)
        task = HeadManifests(source=source, destinations=destinations)
        self._asked.setdefault(task.key, {}).update(group)
        self._state.ready(task)

    def looked(self, task: HeadManifests, outcome: ManifestsHeaded | TaskFailed) -> None:
        """Both sides have answered."""
        if isinstance(outcome, TaskFailed) and _is_of_destination(task, outcome.fault):
            self.part(task, outcome.fault.registry, outcome.fault)
            return
        answers = () if isinstance(outcome, TaskFailed) else outcome.destinations
        heads = dict(zip(task.destinations, answers, strict=False))
        for key, destination in self._asked.pop(task.key, {}).items():
            source = outcome.fault if isinstance(outcome, TaskFailed) else outcome.source
            if isinstance(source, Fault):
                self._state.notices.append(ImageFailed(key, source))
            else:
                assert source is not None
                found = heads[destination] if destination else None
                self._state.notices.append(Looked(key, source, found))

    def part(self, task: HeadManifests, registry: str, fault: Fault | None = None) -> None:
        """Take the destinations at one registry out of a look, so that the others need not wait for it.

        With `fault` their images fail, else they are looked at by themselves.
        """
        assert task.source is not None
        group = self._asked.pop(task.key, {})
        there = {
            key: place for key, place in group.items() if place and place.repository.registry == registry
        }
        others = {key: place for key, place in group.items() if key not in there}
        if others:
            self._ask(task.source, others)
        if fault is None and there:
            self._ask(task.source, there)
        elif fault is not None:
            for key, place in there.items():
                assert place is not None
                aimed = replace(fault, side="destination", repository=place.repository.path)
                self._state.notices.append(ImageFailed(key, aimed))

    def pause(self, registry: str) -> None:
        """A registry begins to pause: looks that wait for it and for others are taken apart."""
        for task in self._state.queue.tasks():
            if (
                isinstance(task, HeadManifests)
                and task.source
                and task.source.repository.registry != registry
            ):
                places = {place.repository.registry for place in task.destinations}
                if registry in places and places != {registry}:
                    self._state.queue.drop(task.key)
                    self.part(task, registry)

    def returned(self, task: HeadManifests) -> bool:
        """A look came back undone; False: nobody needs it any more."""
        return task.key in self._asked and self._state.ready(task)

    def held_up(self) -> int:
        """Images whose look waits for a registry that pauses."""
        pausing = self._state.queue.pausing(self._state.now)
        if not pausing:
            return 0
        return sum(
            any(place is not None and place.repository.registry in pausing for place in group.values())
            * len(group)
            for group in self._asked.values()
        )

    def first_image(self, key: str) -> str:
        """An image that waits for the look; empty: none."""
        return next(iter(self._asked.get(key, ())), "")


def _is_of_destination(task: HeadManifests, fault: Fault) -> bool:
    """Whether a whole look failed for a registry that is none of the source's."""
    assert task.source is not None
    there = {destination.repository.registry for destination in task.destinations}
    return fault.registry in there - {task.source.repository.registry}
