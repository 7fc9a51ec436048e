"""Pulls that are left to others, if a registry counts them and the user has set `reserve`.

Docker Hub counts reads of manifests over six hours and states with each how many are left; HEAD is free.
Running reads count as made, and answers may overtake each other, so the lowest number is used. When no more
than the reserve is left, only manifests wait: one of them checks by HEAD, alone, and again once a minute,
since the registry does not say when there will be more.
"""

from __future__ import annotations

from pipeline.dataclass import dataclass

LOOKED_AFTER = 60.0
"""Seconds between two checks."""


@dataclass(slots=True)
class PullReserve:
    """Pulls at one registry."""

    kept: int
    """How many to leave to others."""
    left: int | None = None
    """How many the registry allows; None: not stated yet."""
    since: float | None = None
    """When the reserve was first reached; None: more is left."""
    _running: int = 0
    """Running reads of manifests."""
    _looks: bool = False
    """Whether the running read checks first."""
    _looks_at: float = 0.0
    """When the next check may start."""
    _told: bool = False

    def may_pull(self, now: float) -> bool:
        """Whether a read may start: one that leaves the reserve, or one that checks first."""
        if self.since is not None:
            return not self._running and now >= self._looks_at
        return self.left is None or self.left - self._running > self.kept

    def begin(self) -> None:
        """A read has started."""
        self._running += 1
        self._looks = self.since is not None

    def end(self) -> None:
        """The read has ended."""
        self._running -= 1

    def said(self, left: int, now: float, *, by_pull: bool) -> bool:
        """Process the remaining pulls that a registry states; True: report that the reserve is reached.

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
        """When the next check may start; None: none is needed, or one may start already."""
        return self._looks_at if self.since is not None and self._looks_at > now else None
