"""Pulls that are left to others, where a registry counts them and the user has set `reserve`.

Docker Hub counts reads of manifests over six hours and says with each how many are left; HEAD is free. Reads
that are under way count as made, and answers may overtake each other, so the lowest number holds. When no
more than the reserve is left, manifests wait, and nothing else does: one of them looks by HEAD, alone, and
again once a minute, as the registry does not say when there will be more.
"""

from __future__ import annotations

from pipeline.dataclass import dataclass

LOOKED_AFTER = 60.0
"""Seconds between two looks."""


@dataclass(slots=True)
class PullReserve:
    """Pulls at one registry."""

    kept: int
    """How many to leave to others."""
    left: int | None = None
    """How many the registry allows; None: it has not said anything."""
    since: float | None = None
    """When no more than the reserve was left first; None: there is more."""
    _running: int = 0
    """Reads of manifests that are under way."""
    _looks: bool = False
    """Whether the one that is under way looks first."""
    _looks_at: float = 0.0
    """When one may look."""
    _told: bool = False

    def may_pull(self, now: float) -> bool:
        """Whether a read may start: one that leaves the reserve, or looks first."""
        if self.since is not None:
            return not self._running and now >= self._looks_at
        return self.left is None or self.left - self._running > self.kept

    def begin(self) -> None:
        """A read is under way."""
        self._running += 1
        self._looks = self.since is not None

    def end(self) -> None:
        """It has come back."""
        self._running -= 1

    def said(self, left: int, now: float, *, by_pull: bool) -> bool:
        """Take in how many the registry says are left; True: it is to be told that no more are.

        `by_pull`: in the answer to a read.
        """
        looked, self._looks = by_pull and self._looks, self._looks and not by_pull
        self.left = left if looked or self.left is None else min(self.left, left)
        if self.left > self.kept:
            self.since, self._told = None, False
            return False
        self.since = now if self.since is None else self.since
        if not looked:
            return False
        self._looks_at = now + LOOKED_AFTER
        told, self._told = self._told, True
        return not told

    def wake(self, now: float) -> float | None:
        """When one may look; None: nobody has to, or one may already."""
        return self._looks_at if self.since is not None and self._looks_at > now else None
