"""The need of a manifest at a destination: what it waits for, and its tasks."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.model.messages import HeadManifests, PushManifest
from pipeline.scheduler.need import Need

if TYPE_CHECKING:
    from pipeline.model.manifest import Manifest
    from pipeline.model.reference import Reference, Repository

Presence = Literal["complete", "exists", "check", "missing", "damaged"]
"""A manifest at its destination. complete: there with all content; exists: there, content unchecked; check:
ask; missing: push; damaged: push, and read it back, since distribution keeps damaged content."""
NeedState = Literal["checking", "gathering", "pushing", "complete"]
"""checking: its HEAD is queued or runs; gathering: it waits for blobs and children; pushing: its push is
queued or runs; complete: it is in place."""


@dataclass(slots=True)
class ManifestNeed(Need):
    """One manifest at one destination reference."""

    destination: Reference
    manifest: Manifest
    sources: list[Repository]
    """Where its blobs can be read, first choice first."""
    presence: Presence
    state: NeedState = "gathering"
    force: bool = False
    """Whether a forced image needs it."""
    sparse: bool = False
    """Whether it is pushed without some of its children, so that it proves nothing."""
    lacks_blobs: set[str] = field(default_factory=set)
    """Digests that are not in the repository yet."""
    lacks_children: set[str] = field(default_factory=set)
    """Keys of needed children that are not in place yet."""
    parents: set[str] = field(default_factory=set)
    """Keys of the needed manifests that name it."""
    awaits: set[str] = field(default_factory=set)
    """Keys of the images' companions that must be stored before it, though it does not name them."""
    merges: bool = False
    """Whether it is added to what its tag lists."""
    turn: str = ""
    """As in PushManifest."""
    pushed: bool = False
    """Whether this run has pushed it, rather than found it."""
    registered: bool = False
    """Whether the registry lists it among the referrers of its subject."""
    heals: int = 0
    """How often the registry lacked what was assumed to be there."""
    key: str = field(init=False)
    """The destination reference as text, and the turn."""

    def __post_init__(self) -> None:
        """Make the key."""
        self.key = f"{self.destination}{self.turn}"

    def check(self) -> HeadManifests:
        """The task that asks the destination for it."""
        return HeadManifests(source=None, destinations=(self.destination,))

    def push(self) -> PushManifest:
        """The task that pushes it."""
        return PushManifest(
            destination=self.destination,
            media_type=self.manifest.media_type,
            digest=self.manifest.digest,
            content=self.manifest.content,
            check=self.presence == "damaged",
            merges=self.merges,
            turn=self.turn,
        )
