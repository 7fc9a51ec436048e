"""What a run would want of whom: each repository once for each side, by registry, in the rules' order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.model.selection import Named, read_name, written_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.errors import Side
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule

_ANY_TAG = "latest"
"""Asked for at a destination where the rule does not say which tags there will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTarget:
    """One repository as one side of a copy."""

    side: Side
    repository: Repository
    name: str
    """A tag or digest that the rules name there; empty at a source whose rules name none."""
    lists: bool = False
    """Whether its tag list is needed too."""


def targets_by_registry(rules: Iterable[Rule]) -> dict[str, tuple[CheckTarget, ...]]:
    """What the rules ask for; rules for the same repository make one aim."""
    found: dict[tuple[Side, Repository], CheckTarget] = {}
    for aim in (aim for rule in rules for aim in _aims(rule)):
        key = (aim.side, aim.repository)
        known = found.get(key, aim)
        found[key] = replace(known, name=known.name or aim.name, lists=known.lists or aim.lists)
    registries: dict[str, tuple[CheckTarget, ...]] = {}
    for aim in found.values():
        registry = aim.repository.registry
        registries[registry] = (*registries.get(registry, ()), aim)
    return registries


def _aims(rule: Rule) -> Iterator[CheckTarget]:
    names = rule.selection.names if isinstance(rule.selection, Named) else ()
    first = names[0] if names else ""
    if rule.targets:
        yield CheckTarget(side="source", repository=rule.source, name=read_name(first), lists=not names)
    for target in rule.targets:
        name = target.names[0] if target.names else first or _ANY_TAG
        yield CheckTarget(side="destination", repository=target.repository, name=written_name(name))
