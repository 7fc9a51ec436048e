"""The options of an image: what its rule says, and the command line where the rule says nothing.

A new option is a field here, of the same name as in RuleOptions; commands/job.py gives its default, and the
scheduler finds it at each image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from pipeline.model.patterns import tag_matcher
from pipeline.model.platform import Filter
from pipeline.model.pruning import Attestations, IndexForm, Pruning
from pipeline.model.referrers import NO_REFERRERS, Referrers

if TYPE_CHECKING:
    from pipeline.model.reference import Reference
    from pipeline.model.rule_options import RuleOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """How an image is copied."""

    platforms: Filter = field(default_factory=Filter)
    """Which entries of an index are copied."""
    index: IndexForm = "trim"
    attestations: Attestations = "keep"
    referrers: Referrers = NO_REFERRERS
    """Which of its signatures and SBOMs come along."""
    force: bool = False
    """Whether to push again what the destination has, and to begin unfinished uploads anew."""
    retries: int = 2
    """Extra passes for a failed image."""
    optional: bool = False
    """Whether its failure leaves the exit code as it is."""
    keep: tuple[str, ...] = ()
    """Patterns of the destination's tags that are never moved once they are there."""
    min_age: float = 0.0
    """Seconds for which a digest must have been seen before it is copied."""
    pruning: Pruning = field(init=False)
    """The first three in one: it is asked for with each manifest."""

    def __post_init__(self) -> None:
        """Put together what concerns the tree of manifests."""
        pruning = Pruning(platforms=self.platforms, index=self.index, attestations=self.attestations)
        object.__setattr__(self, "pruning", pruning)

    def keeps(self, destination: Reference) -> bool:
        """Whether the destination's tag, if it is there, is not to be moved."""
        return (
            bool(self.keep)
            and not (self.force or destination.is_digest)
            and any(tag_matcher(pattern)(destination.name) for pattern in self.keep)
        )

    def under(self, rule: RuleOptions) -> ImageOptions:
        """What the rule says, and these where it says nothing."""
        said = {each.name: getattr(rule, each.name) for each in fields(self) if each.init}
        return replace(self, **{name: value for name, value in said.items() if value is not None})
