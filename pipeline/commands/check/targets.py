"""What a run needs from each registry: each repository once for each side, in the order of the rules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.model.selection import Named, read_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.errors import Side
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule

_ANY_TAG = "latest"
"""Requested at a destination if the rule does not name its tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTarget:
    """One repository as one side of a copy."""

    side: Side
    repository: Repository
    name: str
    """A tag or digest that the rules name; empty at a source whose rules name none."""
    lists: bool = False
    """Whether its tag list is needed too."""


def targets_by_registry(rules: Iterable[Rule]) -> dict[str, tuple[CheckTarget, ...]]:
    """What the rules need; rules for the same repository share one target."""
    found: dict[tuple[Side, Repository], CheckTarget] = {}
    for each in (each for rule in rules for each in _targets(rule)):
        key = (each.side, each.repository)
        known = found.get(key, each)
        found[key] = replace(known, name=known.name or each.name, lists=known.lists or each.lists)
    registries: dict[str, tuple[CheckTarget, ...]] = {}
    for each in found.values():
        registry = each.repository.registry
        registries[registry] = (*registries.get(registry, ()), each)
    return registries


def _targets(rule: Rule) -> Iterator[CheckTarget]:
    names = rule.selection.names if isinstance(rule.selection, Named) else ()
    first = names[0] if names else ""
    if rule.targets:
        yield CheckTarget(side="source", repository=rule.source, name=read_name(first), lists=not names)
    for target in rule.targets:
        name = target.written(first or _ANY_TAG, 0)
        yield CheckTarget(side="destination", repository=target.repository, name=name)
