"""A worker's messages about itself."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.model.fast_pickle import fast_pickle


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """A worker's heartbeat: once when it is ready, then every 5 s while tasks run."""


@fast_pickle
@dataclass(frozen=True, slots=True, kw_only=True)
class BootFailed:
    """A worker cannot start, and another one would not either."""

    reason: str
    """One line, no secrets."""
