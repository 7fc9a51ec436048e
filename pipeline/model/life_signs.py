"""What a worker says of itself, whatever its tasks are."""

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
    """A worker cannot start; neither would another one."""

    reason: str
    """One line, no secrets."""
