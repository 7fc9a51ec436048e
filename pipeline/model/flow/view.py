"""What a run looks like at one moment: for displays, reports and metrics, which only read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.model.flow.counts import Counts
    from pipeline.model.messages import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryView:
    """One registry."""

    name: str
    requests: int
    """Asked of it so far."""
    read: int
    """Bytes of blobs received from it, those of running moves included."""
    written: int
    """Bytes of blobs sent to it, likewise."""
    in_flight: int
    """Tasks that hold a place there now, requests and bodies together."""
    limit: int
    """Places for short requests."""
    waiting: int
    """Ready tasks that need it."""
    cooldown: float
    """Seconds until it may be asked again; 0: now."""
    given_up: str
    """Why nothing is asked there any more in this pass; empty: it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingView:
    """One blob on its way."""

    destination: str
    """The repository as text."""
    digest: str
    size: int
    """Bytes; -1: not known."""
    sent: int
    """Bytes so far in this try."""
    seconds: float
    """Since it was given out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The whole run."""

    seconds: float
    """Since the run began."""
    counts: Counts
    """Live: to be read at once, not to be kept."""
    open_images: int
    expanded: bool
    """Whether all rules have been expanded: then counts.known is the total."""
    registries: tuple[RegistryView, ...]
    """Those that were asked anything, by name."""
    moving: tuple[MovingView, ...]
    """Largest first."""
    running: Mapping[Stage, int]
    """Tasks in flight by stage."""
    workers: int
    """Processes."""
