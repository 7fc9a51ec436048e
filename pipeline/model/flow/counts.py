"""The figures of a run, counted by Flow alone, so that they add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.model.messages import Cost, How


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

    def pay(self, cost: Cost) -> None:
        """Add what one task cost."""
        self.read += cost.read
        self.written += cost.written
        for registry, count in cost.requests:
            self.requests[registry] = self.requests.get(registry, 0) + count

    def blob(self, how: How, size: int) -> None:
        """Count a blob that is in place or left, of `size` bytes (-1: not known)."""
        setattr(self, how, getattr(self, how) + 1)
        if how in ("mounted", "present"):
            self.spared += max(0, size)

    @property
    def processed(self) -> int:
        """Images that have come to their end."""
        return self.copied + self.unchanged + self.skipped + self.failed
