"""The figures of a run: the scheduler counts them, and whoever shows, writes or exports figures holds these.

There is one object for each run, so log, summary, report, metrics and records cannot disagree.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import field, fields, replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.model.cost import Cost
    from pipeline.model.messages import BlobOrigin


BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: the upper bounds of the buckets into which requests are sorted by how long they took."""


@dataclass(slots=True)
class Timing:
    """How long requests of one kind took until their answers began."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    """One for each bucket of BOUNDS; the last bucket has no upper bound."""
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one request."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def copy(self) -> Timing:
        """A copy that does not change any more."""
        return Timing(self.counts.copy(), self.seconds)


@dataclass(slots=True)
class Figures:
    """Images by their result, blobs by how they came to the destination, and what it cost."""

    known: int = 0
    """Images that rules have expanded to so far."""
    copied: int = 0
    unchanged: int = 0
    kept: int = 0
    """Images whose tag exists and is never moved; they were not compared."""
    held: int = 0
    """Images that were first seen too recently."""
    skipped: int = 0
    failed: int = 0
    to_retry: int = 0
    """Images that failed and wait for the next attempt."""
    companions: int = 0
    """Signatures, SBOMs and other artifacts that were stored for images."""
    companions_missing: int = 0
    """Companions that could not be stored, or are missing, without failing their image."""
    rules: int = 0
    """Rules of the rules file, invalid ones included."""
    rules_failed: int = 0
    """Rules that failed as a whole."""
    optional: int = 0
    """Of the failed images and rules, those whose rule is optional."""
    uploaded: int = 0
    mounted: int = 0
    present: int = 0
    foreign: int = 0
    """Blobs that are not copied: clients fetch them from the URLs in the manifest."""
    saved: int = 0
    """Bytes of blobs that were mounted or present, and did not have to be sent."""
    received: int = 0
    """Bytes of response bodies."""
    sent: int = 0
    """Bytes of request bodies."""
    requests: int = 0
    requests_by_registry: dict[str, int] = field(default_factory=dict)
    planned_requests: int = 0
    """Requests (part of `requests`) that a plan only counted and did not make."""

    def pay(self, cost: Cost) -> None:
        """Add what one task cost."""
        self.received += cost.read
        self.sent += cost.written
        self.planned_requests += cost.planned
        for registry, count in cost.requests:
            self.requests += count
            self.requests_by_registry[registry] = self.requests_by_registry.get(registry, 0) + count

    def add(self, other: Figures) -> None:
        """Add the figures of another run."""
        for each in fields(self):
            mine, others = getattr(self, each.name), getattr(other, each.name)
            both = Counter(mine) + Counter(others) if isinstance(mine, dict) else mine + others
            setattr(self, each.name, both)

    def blob(self, how: BlobOrigin, size: int) -> None:
        """Count one blob of `size` bytes (-1: unknown)."""
        name = "foreign" if how == "left" else how
        setattr(self, name, getattr(self, name) + 1)
        if how in ("mounted", "present"):
            self.saved += max(0, size)

    def reject_rules(self, count: int) -> None:
        """Count invalid rules, which the scheduler does not get."""
        self.rules += count
        self.rules_failed += count

    @property
    def processed(self) -> int:
        """Images that are finished."""
        return self.copied + self.unchanged + self.kept + self.held + self.skipped + self.failed

    @property
    def failures(self) -> int:
        """Images that failed, those that wait for another attempt included."""
        return self.failed + self.to_retry

    @property
    def lost(self) -> int:
        """Failed images and rules that are not optional; if there are none, the run has succeeded."""
        return self.failures + self.rules_failed - self.optional

    @property
    def unfinished(self) -> int:
        """Known images without a result that do not wait for another attempt."""
        return self.known - self.processed - self.to_retry

    def copy(self) -> Figures:
        """A copy that does not change any more."""
        return replace(self, requests_by_registry=self.requests_by_registry.copy())
