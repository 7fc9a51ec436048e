"""Messages to the pool from the thread that talks to Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.engine.dask.guest import Greeting


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A suitable worker has joined the cluster."""

    greeting: Greeting
    name: str
    """Its name in the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """A worker that cannot work for this run."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CameHome:
    """Visits returned answers, in the order in which they were given."""

    process: str
    answers: tuple[bytes, ...]
    """Each pickled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A worker has left the cluster."""

    process: str
    reason: str
    to_blame: bool
    """Whether a task may have caused it."""
    certain: bool
    """Whether its process is known to be dead."""
    unsent: frozenset[str]
    """Keys of tasks that were never sent to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """No scheduler can be reached."""

    reason: str
