"""The options of an image: from its rule, or from the command line if the rule does not state them.

A new option is a field here, of the same name as in RuleOptions; commands/job.py gives its default, and the
scheduler finds it at each image.
"""

from __future__ import annotations

from dataclasses import field, fields, replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
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
    """Which of its companions are copied."""
    force: bool = False
    """Whether to push again what the destination has, and to restart unfinished uploads."""
    retries: int = 2
    """Extra passes for a failed image."""
    optional: bool = False
    """Whether its failure does not change the exit code."""
    keep: tuple[str, ...] = ()
    """Patterns of the destination's tags that are never moved once they exist."""
    min_age: float = 0.0
    """Seconds for which a digest must have been seen before it is copied."""
    pruning: Pruning = field(init=False)
    """The options about the tree of manifests, in one object: it is used for each manifest."""

    def __post_init__(self) -> None:
        """Collect what concerns the tree of manifests."""
        pruning = Pruning(platforms=self.platforms, index=self.index, attestations=self.attestations)
        object.__setattr__(self, "pruning", pruning)

    def keeps(self, destination: Reference) -> bool:
        """Whether the destination's tag, if it exists, must not be moved."""
        return (
            bool(self.keep)
            and not (self.force or destination.is_digest)
            and any(tag_matcher(pattern)(destination.name) for pattern in self.keep)
        )

    def under(self, rule: RuleOptions) -> ImageOptions:
        """The rule's options, and these if the rule does not state them."""
        said = {each.name: getattr(rule, each.name) for each in fields(self) if each.init}
        return replace(self, **{name: value for name, value in said.items() if value is not None})
