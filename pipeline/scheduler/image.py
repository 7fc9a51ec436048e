"""One open image: its state, what it needs, and its cost so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import field, replace
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.model.companions import is_fallback, is_shared
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
    from pipeline.scheduler.shared_state import SharedState

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

LISTED = "the registry lists these referrers itself"
"""How a fallback tag is unchanged that is not there."""


def image_key(source: str, destination: str, options: ImageOptions) -> str:
    """An image's identity: both references, and its filter."""
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
    """What it waits for. waiting: the image that it follows; looking: the digests of both sides; reading: its
    manifests; comparing: the destination's manifest; copying: what its destination needs."""
    required: str = ""
    """The digest that it must have at the destination; empty: any."""
    rival: str = ""
    """Key of the image that has claimed the same destination for an earlier rule."""
    source_digest: str = ""
    found: ManifestHead | None = None
    """What the destination has now."""
    damaged: bool = False
    """Whether the destination cannot tell what its tag names."""
    tree: dict[str, Manifest] = field(default_factory=dict)
    """By digest: the manifests that were read."""
    plan: Plan | None = None
    needs: set[str] = field(default_factory=set)
    """Keys of all manifests that it needs."""
    waits: set[str] = field(default_factory=set)
    """Keys of those that it still waits for."""
    pruning: Pruning = field(init=False)
    """Its filter, by its options; a list of companions stays a list."""
    how: str = ""
    """Why it counts as up to date."""
    doubts: int = 0
    """How often its registry lacked what was assumed to be there."""
    sent: bool = False
    """Whether anything had to be stored for it."""
    companions: int = 0
    """Companions that were stored for it."""
    companions_owed: int = 0
    """Companions that its destination lacks, as far as this run or an earlier one has found out."""
    requests: int = 0
    bytes: int = 0
    """Received from the source."""
    blobs: Counter[str] = field(default_factory=Counter)
    """Its blobs by origin."""

    vouched: bool = False
    """Whether the records say that it is complete: only its companions are looked for."""
    with_tags: bool = True
    """Whether tags that list its companions follow it; else its rule copies them as tags."""
    is_shared: bool = field(init=False)
    """Whether its destination's tag has several writers: it is joined with what is there, and replaces
    nothing."""
    key: str = field(init=False)
    """See image_key."""

    def __post_init__(self) -> None:
        """Build the key once; it is read six times and more."""
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
        """Start reading again: its registry lacks what was assumed to be there."""
        self.needs.clear()
        self.doubts += 1
        self.plan, self.state, self.vouched = None, "reading", False

    def pay(self, cost: Cost) -> None:
        """Add the cost of a task."""
        self.requests += sum(count for _, count in cost.requests)
        self.bytes += cost.read

    @property
    def seeks_companions(self) -> bool:
        """Whether its companions are looked for even if the image itself is unchanged."""
        return self.options.referrers.when == "always" or self.companions_owed > 0

    @property
    def may_be_listed(self) -> bool:
        """Whether it is a fallback tag that is not there: a registry with a referrers API needs none."""
        is_index = self.plan is not None and self.plan.manifests[-1].kind == "index"
        return self.found is None and is_index and is_fallback(self.destination)

    def may_replace(self, fault: Fault, state: SharedState) -> bool:
        """Whether to push though the destination cannot tell what its tag names: a push repairs the tag."""
        replaces = state.aim != "verify" and not (self.is_shared or self.options.keeps(self.destination))
        return replaces and fault.may_be_damage and state.queue.registry(fault.registry).may_be_repaired

    @property
    def digest_there(self) -> str:
        """The destination's digest before the image was copied; empty: unknown, or nothing is there."""
        return self.found.digest if self.found else ""

    def other_digest(self, digest: str) -> Fault:
        """The fault of an image whose digest is not the one that its destination requires."""
        both = {"digest": digest, "required": self.required}
        if digest == self.source_digest:
            return source_changed(self.source, self.destination, **both)
        return filter_changes_digest(self.destination, **both)
