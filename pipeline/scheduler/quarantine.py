"""Quarantine: a digest is copied only if its tag was first seen with it long enough ago (`min_age`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.model.facts import FirstSeen
from pipeline.model.units import format_duration

if TYPE_CHECKING:
    from pipeline.model.reference import Repository
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.shared_state import SharedState


def why_young(age: float | None, of_tag: float, *, least: float) -> str:
    """Why a digest is not old enough; empty: it is.

    Args:
        age: seconds since the tag was first seen with the digest; None: it never was.
        of_tag: seconds from when the tag was first seen until the run began.
        least: seconds that are required.
    """
    if age is None:
        return "it was not seen before, as far as the records know"
    if age >= least:
        return ""
    why = f"first seen {format_duration(max(0.0, age))} ago, copied after {format_duration(least)}"
    return f"{why}; the tag moves too often to get that old" if of_tag >= least else why


class Quarantine:
    """Knows when tags were first seen; a plan or a verification does not start the clock.

    Args:
        state: what all parts share.
        trust_existing: whether what a destination has counts as seen long ago.
    """

    def __init__(self, state: SharedState, *, trust_existing: bool = False) -> None:
        """See the class."""
        self._state = state
        self._trust_existing = trust_existing
        self.seen_before = False
        """Whether an earlier run has seen any of these images."""

    def first_seen(self, repository: Repository, tag: str) -> float:
        """When a tag was first seen, in seconds since 1970.

        Everything that a run sees for the first time counts from the start of the run.
        """
        when = self._state.facts.first_seen(repository, tag, "")
        if when is None:
            when = self._state.began
            self._see(repository, tag, "", when)
        return when

    def note(self, image: Image) -> None:
        """Start the clock of an image, if it has not started before."""
        tag = image.source
        if not image.options.min_age or tag.is_digest:
            return
        known = self._state.facts.first_seen(tag.repository, tag.name, image.source_digest)
        self.seen_before = self.seen_before or (known is not None and known < self._state.began)
        trusted = self._trust_existing and image.digest_there == image.source_digest
        if known is None or (known and trusted):
            self._see(tag.repository, tag.name, image.source_digest, 0.0 if trusted else self._state.wall)
            self.first_seen(tag.repository, tag.name)

    def why_held(self, image: Image) -> str:
        """Why an image may not be copied yet; empty: it may. An image named by digest is never held."""
        least, tag = image.options.min_age, image.source
        if not least or tag.is_digest:
            return ""
        when = self._state.facts.first_seen(tag.repository, tag.name, image.source_digest)
        age = None if when is None else self._state.wall - when
        of_tag = self._state.began - self.first_seen(tag.repository, tag.name)
        return why_young(age, of_tag, least=least)

    def _see(self, repository: Repository, tag: str, digest: str, when: float) -> None:
        if self._state.aim == "copy":
            self._state.facts.write(FirstSeen(repository=repository, tag=tag, digest=digest, when=when))
