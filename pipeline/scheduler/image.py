"""One open image: where it stands, what it needs, what it has cost so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pipeline.model.companions import is_shared
from pipeline.model.faults import filter_changes_digest, source_changed

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.cost import Cost
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import ManifestHead
    from pipeline.model.options import ImageOptions
    from pipeline.model.pruning import Pruning
    from pipeline.model.reference import Reference
    from pipeline.model.tree import Plan

SINGLE_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.artifact.manifest.v1+json",
    }
)
"""Media types of manifests that have no child manifests."""


def image_key(source: str, destination: str, options: ImageOptions) -> str:
    """An image's identity: both references, and what is left out of its content."""
    pruning = str(options.pruning)
    return f"{source} -> {destination} ({pruning})" if pruning else f"{source} -> {destination}"


@dataclass(slots=True)
class Image:
    """One open image."""

    source: Reference
    destination: Reference
    rule: int
    options: ImageOptions
    began: float
    state: Literal["waiting", "looking", "reading", "comparing", "copying"] = "looking"
    """It waits for the image before it at its destination; for both sides' digests; for its manifests; for
    the destination's, to compare it; for what its destination needs."""
    required: str = ""
    """The digest that it must have at the destination; empty: any."""
    rival: str = ""
    """The image (key) whose rule stands first and that has claimed the same destination."""
    source_digest: str = ""
    found: ManifestHead | None = None
    """What the destination has now."""
    tree: dict[str, Manifest] = field(default_factory=dict)
    """What has been read, by digest."""
    plan: Plan | None = None
    needs: set[str] = field(default_factory=set)
    """Keys of all manifests that it needs."""
    waits: set[str] = field(default_factory=set)
    """Keys of those whose end is the image's end."""
    pruning: Pruning = field(init=False)
    """What is kept of it, as its options say; a list of companions stays a list."""
    how: str = ""
    """Why it counts as up to date."""
    doubts: int = 0
    """How often its registry lacked what was taken to be there."""
    sent: bool = False
    """Whether anything had to be stored for it."""
    companions: int = 0
    """What was stored of what belongs to it."""
    requests: int = 0
    bytes: int = 0
    """Received from the source."""
    blobs: Counter[str] = field(default_factory=Counter)
    """Blobs that came for it, by how."""

    vouched: bool = False
    """Whether the records say that all of it is there: only its companions are looked for."""
    with_tags: bool = True
    """Whether tags that list its companions follow it; else its rule copies them as tags."""
    is_shared: bool = field(init=False)
    """Whether its destination's tag has several writers: what is there is joined with, not replaced."""
    key: str = field(init=False)
    """See image_key."""

    def __post_init__(self) -> None:
        """Make the key, which is asked for six times and more."""
        self.is_shared = is_shared(self.destination)
        self.pruning = self.options.pruning
        if self.is_shared:
            self.pruning = replace(self.pruning, index="trim")
        self.key = image_key(str(self.source), str(self.destination), self.options)

    @property
    def asked_for(self) -> Reference | None:
        """The destination, unless it is the source itself."""
        return self.destination if self.destination != self.source else None

    def doubt(self) -> None:
        """Its registry lacks what was taken to be there: begin to read anew."""
        self.needs.clear()
        self.doubts += 1
        self.plan, self.state, self.vouched = None, "reading", False

    def pay(self, cost: Cost) -> None:
        """Count what a task cost that was for the image."""
        self.requests += sum(count for _, count in cost.requests)
        self.bytes += cost.read

    @property
    def digest_there(self) -> str:
        """The destination's digest before the image was copied; empty: not known, or nothing is there."""
        return self.found.digest if self.found else ""

    def other_digest(self, digest: str) -> Fault:
        """The destination requires a digest, and what would be stored there has another one."""
        both = {"digest": digest, "required": self.required}
        if digest == self.source_digest:
            return source_changed(self.source, self.destination, **both)
        return filter_changes_digest(self.destination, **both)
