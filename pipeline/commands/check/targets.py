"""What a run needs from each registry: each repository once for each side, in the order of the rules."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.chains import links
from pipeline.model.registry_settings import NO_SETTINGS
from pipeline.model.selection import Named, read_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipeline.errors import Side
    from pipeline.model.reference import Repository
    from pipeline.model.registry_settings import RegistrySettings
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
    is_mirror: bool = False
    """Whether a run can do without it."""
    after: str = ""
    """The place of the rule that writes it, if all rules that read it come later."""
    is_namespace: bool = False
    """Whether a listing names its repositories. At a source it is read; at a destination only the login is
    tried."""


def targets_by_registry(
    rules: Sequence[Rule], settings_of: Callable[[str], RegistrySettings] = lambda _: NO_SETTINGS
) -> dict[str, tuple[CheckTarget, ...]]:
    """What the rules need, and the mirrors of their sources; the same repository is one target."""
    found: dict[tuple[Side, Repository, bool, bool], CheckTarget] = {}
    places = {rule.number: rule.place for rule in rules}
    fed = {each.rule.number: places[max(each.writers)] for each in links(rules) if each.writers}
    for rule in rules:
        for each in _targets(rule, settings_of):
            key = (each.side, each.repository, each.is_mirror, each.is_namespace)
            after = fed.get(rule.number, "") if each.side == "source" else ""
            known = found.get(key, replace(each, after=after))
            found[key] = replace(
                known,
                name=known.name or each.name,
                lists=known.lists or each.lists,
                after=known.after and after and known.after,
            )
    registries: dict[str, tuple[CheckTarget, ...]] = {}
    for each in found.values():
        registry = each.repository.registry
        registries[registry] = (*registries.get(registry, ()), each)
    return registries


def _targets(rule: Rule, settings_of: Callable[[str], RegistrySettings]) -> Iterator[CheckTarget]:
    names = rule.selection.names if isinstance(rule.selection, Named) else ()
    first = names[0] if names else ""
    if rule.expansion is not None:
        yield CheckTarget(side="source", repository=rule.source, name="", is_namespace=True)
        for area in rule.expansion.areas:
            yield CheckTarget(side="destination", repository=area, name="", is_namespace=True)
    if rule.targets:
        yield CheckTarget(side="source", repository=rule.source, name=read_name(first), lists=not names)
        for mirror in settings_of(rule.source.registry).mirrors:
            place, name = mirror.repository(rule.source), read_name(first) or _ANY_TAG
            yield CheckTarget(side="source", repository=place, name=name, is_mirror=True)
    for target in rule.targets:
        name = target.written(first or _ANY_TAG, 0)
        yield CheckTarget(side="destination", repository=target.repository, name=name)
