"""Expansion: a rule with a `*` in its source becomes one rule for each repository of a listing.

The rules keep the number, the place and the options of the one that they come from.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import RuleError
from pipeline.model.reference import Repository, parse_repository
from pipeline.model.selection import Target
from pipeline.model.template import TAG, TextPiece, fill, has_placeholder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.model.repository_pattern import RepositoryPattern
    from pipeline.model.selection import Rule
    from pipeline.settings import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """What a rule with a `*` in its source has besides its options."""

    pattern: RepositoryPattern
    destinations: tuple[tuple[TextPiece, ...], ...]
    """As written, with variables replaced."""
    apart: frozenset[str] = frozenset()
    """Paths that the pattern matches but that have their own key in the file."""
    shard: Shard | None = None
    """Which of the repositories this run copies; None: all."""
    areas: tuple[Repository, ...] = field(init=False, repr=False, compare=False)
    """Where the rule may write: these repositories, or any below them."""

    def __post_init__(self) -> None:
        """Try the destinations with two sources; raises RuleError for an impossible one."""
        areas = tuple(self._area(pieces) for pieces in self.destinations)
        object.__setattr__(self, "areas", areas)

    def _area(self, pieces: tuple[TextPiece, ...]) -> Repository:
        if not has_placeholder(pieces):
            hint = "end it in /, or say with {rest}, {path}, {name} or {flat} what becomes of the names"
            raise RuleError("all repositories of the pattern would become one", hint=hint)
        in_front = f"{self.pattern.fixed}/" if self.pattern.fixed else ""
        one, other = (self._target(pieces, f"{in_front}{sample}").repository for sample in ("x/x1", "y/y1"))
        common = []
        for left, right in zip(one.path.split("/"), other.path.split("/"), strict=False):
            if left != right:
                break
            common.append(left)
        return Repository(one.registry, "/".join(common))

    def _target(self, pieces: tuple[TextPiece, ...], path: str) -> Target:
        source = Repository(self.pattern.registry, path)
        text = fill(pieces, source, rest=self.pattern.rest(path))
        if TAG not in text:
            return Target(repository=parse_repository(text))
        front, _, tag = text.rpartition(":")
        return Target(repository=parse_repository(front), tag=tag)

    def takes(self, repository: Repository) -> bool:
        """Whether a repository is one of the rule's, if it is listed."""
        is_here = repository.registry == self.pattern.registry and repository.path not in self.apart
        return is_here and self.pattern.matches(repository.path)

    def targets(self, path: str) -> Iterator[Target]:
        """The destinations of one repository.

        Raises:
            RuleError: one of them is not a repository, or is of another registry than in the rule.
        """
        for pieces, area in zip(self.destinations, self.areas, strict=True):
            target = self._target(pieces, path)
            if target.repository.registry != area.registry:
                raise RuleError(f"the destination would be at {target.repository.registry}")
            yield target


def expanded(rule: Rule, path: str) -> Rule:
    """The rule of one repository that a pattern matches.

    Raises:
        RuleError: its name makes an invalid destination.
    """
    assert rule.expansion is not None
    targets = tuple(dict.fromkeys(rule.expansion.targets(path)))
    return replace(expanded_source(rule, path), targets=targets)


def expanded_source(rule: Rule, path: str) -> Rule:
    """The rule of one repository without its destinations, for messages."""
    source = Repository(rule.source.registry, path)
    return replace(rule, text=str(source), source=source, targets=(), expansion=None, is_child=True)


def areas_of(rule: Rule) -> Iterable[Repository]:
    """Where a rule may write; for a pattern, these repositories or any below them."""
    return rule.expansion.areas if rule.expansion else [target.repository for target in rule.targets]


def may_read(rule: Rule, places: Iterable[Repository]) -> bool:
    """Whether a rule may read from these places or from below them."""
    return any(overlap(rule.source, place) for place in places)


def may_share(one: Rule, other: Rule) -> bool:
    """Whether two rules may write to one repository."""
    return any(overlap(left, right) for left in areas_of(one) for right in areas_of(other))


def overlap(one: Repository, other: Repository) -> bool:
    """Whether one of them is the other, or is below it."""
    if one.registry != other.registry:
        return False
    left, right = (f"{each.path}/" if each.path else "" for each in (one, other))
    return left.startswith(right) or right.startswith(left)
