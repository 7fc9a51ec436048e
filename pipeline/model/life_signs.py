"""A worker's messages about itself."""

from __future__ import annotations

from pipeline.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """A worker's heartbeat: once when it is ready, then every 5 s while tasks run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFailed:
    """A worker cannot start, and another one would not either."""

    reason: str
    """One line, no secrets."""
