"""The state of a run at one moment, for displays, reports and metrics, which only read it."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Side
    from pipeline.model.cost import RequestTopic
    from pipeline.model.figures import Figures, Timing
    from pipeline.model.messages import BlobOrigin, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryView:
    """One registry."""

    name: str
    requests: int
    """Requests so far."""
    read: int
    """Bytes of blobs received from it, running transfers included."""
    written: int
    """Bytes of blobs sent to it, likewise."""
    in_flight: int
    """Tasks that hold a place there now, short requests and blobs together."""
    limit: int
    """Places for short requests."""
    blobs_in_flight: int
    """Tasks among them that transfer blobs."""
    blobs_limit: int
    """Places for blobs, small and large ones."""
    waiting: int
    """Ready tasks that need it."""
    pause: float
    """Seconds until its pause ends; 0: it does not pause."""
    unavailable: str
    """Why it gets no more requests in this pass; empty: it gets some."""
    blobs: Mapping[BlobOrigin, int] = field(default_factory=dict)
    """Blobs in place there, by origin. This and the following fields are live: read them at once."""
    saved: Mapping[BlobOrigin, int] = field(default_factory=dict)
    """Bytes that did not have to be sent there, by reason."""
    calls: Mapping[tuple[str, int], Timing] = field(default_factory=dict)
    """By method and status (0: no answer), where requests are timed."""
    retries: Mapping[str, int] = field(default_factory=dict)
    """Attempts that were repeated, by status or our own code."""
    asked: Mapping[tuple[str, RequestTopic], int] = field(default_factory=dict)
    """By method and topic, if requests are timed."""
    pulls_left: int | None = None
    """Remaining pulls by its rate limit headers, if it states them and requests are timed."""
    by_head: Mapping[Side, int] = field(default_factory=dict)
    """By side: references whose digest was asked for; `by_listing`: whose digest a listing told."""
    by_listing: Mapping[Side, int] = field(default_factory=dict)
    least_seconds: float = 0.0
    """How long its requests and bytes take at least, by the rate and bandwidth that the user has set."""
    reserve: int = 0
    """Pulls to leave to others."""
    pulls_limit: tuple[int, int] | None = None
    """Pulls that it allows, and within how many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferView:
    """One blob that is being transferred."""

    destination: str
    """The repository as text."""
    image: str
    """The image's reference at the destination as text; empty: unknown."""
    digest: str
    size: int
    """Bytes; -1: not known."""
    sent: int
    """Bytes so far in this attempt."""
    seconds: float
    """Since it was given out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostView:
    """Another machine and its workers."""

    name: str
    workers: int
    tasks: int
    """Tasks that its workers have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """The whole run."""

    seconds: float
    """Since the run began."""
    figures: Figures
    """Live: read them at once, or keep a copy."""
    expanded: bool
    """Whether all rules have been expanded: then figures.known is the total."""
    registries: tuple[RegistryView, ...]
    """Registries with requests, by name."""
    transfers: tuple[TransferView, ...]
    """Largest first."""
    running: Mapping[Stage, int]
    """Tasks in flight by stage."""
    workers: int
    """Processes."""
    hosts: tuple[HostView, ...] = ()
    """By name; empty if all workers are processes of this machine."""
    unsent: int = 0
    """Bytes of blobs that open images still need at most, without those already sent."""
    sized: bool = False
    """Whether every image has been read, so that `unsent` is all that is left."""
    planned: int = 0
    """Selected tags that wait for room; each becomes an image for each destination."""

    @property
    def sent(self) -> int:
        """Bytes of request bodies sent, running transfers included."""
        return self.figures.sent + sum(transfer.sent for transfer in self.transfers)
