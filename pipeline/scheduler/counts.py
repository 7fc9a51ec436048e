"""The figures of a run, counted by Flow alone, so that they add up."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.model.messages import BlobOrigin, Cost


BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: upper bounds of the classes into which requests are sorted by how long they took."""


@dataclass(slots=True)
class Timing:
    """How long requests of one kind took, until their answers began."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """By class of BOUNDS; the last one has no bound."""
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Take in one request."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def copy(self) -> Timing:
        """As it is now."""
        return Timing(self.counts.copy(), self.seconds)


@dataclass(slots=True)
class Counts:
    """Images by what became of them, blobs by how they came, and what it cost."""

    known: int = 0
    """Images that rules have expanded to so far."""
    copied: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    to_retry: int = 0
    """Images that failed and wait for the next try."""
    rules: int = 0
    rules_failed: int = 0
    uploaded: int = 0
    mounted: int = 0
    present: int = 0
    left: int = 0
    """Blobs left to their urls."""
    spared: int = 0
    """Bytes of blobs that were mounted or found: they did not have to be sent."""
    read: int = 0
    """Bytes of bodies received."""
    written: int = 0
    """Bytes of bodies sent."""
    requests: dict[str, int] = field(default_factory=dict)
    """By registry."""
    foreseen: int = 0
    """Of them: those that a plan did not make."""

    def pay(self, cost: Cost) -> None:
        """Add what one task cost."""
        self.read += cost.read
        self.written += cost.written
        self.foreseen += cost.foreseen
        for registry, count in cost.requests:
            self.requests[registry] = self.requests.get(registry, 0) + count

    def blob(self, how: BlobOrigin, size: int) -> None:
        """Count a blob that is in place or left, of `size` bytes (-1: not known)."""
        setattr(self, how, getattr(self, how) + 1)
        if how in ("mounted", "present"):
            self.spared += max(0, size)

    @property
    def processed(self) -> int:
        """Images that have come to their end."""
        return self.copied + self.unchanged + self.skipped + self.failed
