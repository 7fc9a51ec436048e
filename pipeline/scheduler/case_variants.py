"""Case variants: tags of one destination repository that differ only in case.

Some registries treat them as one tag: they confirm both, and the second replaces the first. So both are
read back when all images are finished; an image whose tag has changed has failed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.log import event_of
from pipeline.model.faults import overwritten
from pipeline.model.messages import HeadManifests, TaskFailed
from pipeline.model.reference import Reference, parse_reference
from pipeline.scheduler.image import Image
from pipeline.scheduler.previous_results import PreviousResults

if TYPE_CHECKING:
    from pipeline.model.facts import ImageRow
    from pipeline.model.messages import ManifestsHeaded
    from pipeline.scheduler.image_results import ImageResults
    from pipeline.scheduler.shared_state import SharedState


class CaseVariants:
    """Finds case variants among the destinations of a run, and reads them back at its end.

    Tags with capital letters are kept in memory; all others are in the records.
    """

    def __init__(self, state: SharedState, results: ImageResults) -> None:
        """Start without tags."""
        self._state = state
        self._results = results
        self._figures = state.figures
        self._previous = PreviousResults(state)
        self._capitals: dict[Reference, dict[str, None]] = {}
        """By reference in lower case: names with capital letters, in order."""
        self._groups: dict[Reference, dict[str, None]] = {}
        """By reference in lower case: names, if there are two or more."""
        self._awaited: dict[str, ImageRow] = {}
        """By key of a lookup: the digest that the destination must have."""

    @property
    def open(self) -> bool:
        """Whether some have not been read back yet."""
        return bool(self._groups or self._awaited)

    def note(self, destination: Reference) -> None:
        """Note the destination of an image that has claimed it."""
        if destination.is_digest:
            return
        small = Reference(destination.repository, destination.name.lower())
        if destination != small:
            self._capitals.setdefault(small, {})[destination.name] = None
        elif small not in self._capitals:
            return
        claim = self._state.facts.claim(str(small))
        known = {small.name: None} if claim is not None and claim.run == self._state.run else {}
        names = {**known, **self._capitals[small]}
        if len(names) > 1 and names != self._groups.get(small):
            self._groups[small] = names
            both = {"destination": str(small.repository), "twins": ", ".join(names)}
            self._state.events.append(event_of("tags.twins", both, stage="expand"))

    def begin(self) -> None:
        """Read back the variants of tags that this run has stored, each once."""
        groups, self._groups = self._groups, {}
        for small, names in groups.items():
            rows = [row for name in names if (row := self._row(Reference(small.repository, name)))]
            if self._state.aim == "copy" and any(row.result == "copied" for row in rows):
                for row in rows:
                    look = HeadManifests(source=None, destinations=(parse_reference(row.destination),))
                    self._awaited[look.key] = row
                    self._state.ready(look)

    def _row(self, destination: Reference) -> ImageRow | None:
        """The row of the image that this run stored at the destination."""
        claim = self._state.facts.claim(str(destination))
        if claim is None or claim.run != self._state.run:
            return None
        row = self._previous.row(claim.source, destination, claim.rule)
        arrived = row is not None and row.run == self._state.run and row.result in ("copied", "unchanged")
        return row if arrived else None

    def awaits(self, task: HeadManifests) -> bool:
        """Whether the task reads a variant back."""
        return task.key in self._awaited

    def looked(self, task: HeadManifests, outcome: ManifestsHeaded | TaskFailed) -> None:
        """A variant was read back: its image has failed if it is not what was stored."""
        row, destination = self._awaited.pop(task.key), task.destinations[0]
        options = replace(self._state.options[row.rule], retries=0)
        image = Image(parse_reference(row.source), destination, row.rule, options, self._state.now)
        image.source_digest = row.source_digest
        found = outcome.fault if isinstance(outcome, TaskFailed) else outcome.destinations[0]
        if not isinstance(found, Fault):
            if found is not None and found.digest == row.destination_digest:
                return
            now = found.digest if found else ""
            found = overwritten(destination, stored=row.destination_digest, found=now)
        setattr(self._figures, row.result, getattr(self._figures, row.result) - 1)
        self._results.end(image, "failed", digest=row.destination_digest, reason="", fault=found)
