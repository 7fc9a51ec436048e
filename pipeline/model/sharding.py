"""Sharding: which of several runs writes which destination.

Each run reads all rules and keeps its part, so runs need no shared state. A destination repository is never
split: rules that write to it stay together, in file order. A rule that reads what another one writes belongs
to the same run: its destinations belong to the shard of its source.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.model.chains import links

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.settings import Shard


def rules_of_shard(rules: Sequence[Rule], shard: Shard) -> tuple[Rule, ...]:
    """The rules with their targets in the shard; rules without such targets are left out.

    Raises:
        UsageError: a destination belongs to more than one shard.
    """
    homes = _Homes(shard)
    for each in links(rules):
        if each.writers:
            if each.rule.expansion is not None:
                raise UsageError(
                    f"--shard {shard}: {each.rule.place} ({each.rule.text}) reads what other rules write: its"
                    " repositories would belong to the shards of those; give it a run of its own"
                )
            homes.bind(each.rule)
    return tuple(_kept(rules, homes, shard))


def part_of_shard(rule: Rule, shard: Shard | None) -> Rule:
    """A rule with those of its targets that belong to the shard; None: all."""
    return next(_kept([rule], _Homes(shard), shard), replace(rule, targets=())) if shard else rule


def _kept(rules: Sequence[Rule], homes: _Homes, shard: Shard) -> Iterator[Rule]:
    for rule in rules:
        if rule.expansion is not None:
            yield replace(rule, expansion=replace(rule.expansion, shard=shard))
            continue
        targets = tuple(each for each in rule.targets if homes.shard_of(each.repository) == shard.index)
        if targets:
            yield rule if len(targets) == len(rule.targets) else replace(rule, targets=targets)


class _Homes:
    """The shard of each destination repository."""

    def __init__(self, shard: Shard) -> None:
        """Begin with every repository by itself."""
        self._shard = shard
        self._fed: dict[Repository, tuple[Repository, Rule]] = {}
        """By destination of a rule that another one feeds: that rule, and its source, whose shard it has."""

    def shard_of(self, repository: Repository) -> int:
        """The index of the shard that writes the repository."""
        key = self._key(self._home(repository))
        return int(hashlib.sha256(key.encode()).hexdigest()[:16], 16) % self._shard.count

    def bind(self, rule: Rule) -> None:
        """Put the rule's destinations into the shard of its source.

        Raises:
            UsageError: one of them has to be in another shard already.
        """
        for each in rule.targets:
            home, source = self._home(each.repository), self._home(rule.source)
            if home == source:
                continue
            if each.repository in self._fed and self._key(home) != self._key(source):
                raise self._torn(each.repository, self._fed[each.repository][1], rule)
            self._fed[home] = rule.source, rule

    def _home(self, repository: Repository) -> Repository:
        while repository in self._fed:
            repository = self._fed[repository][0]
        return repository

    def _key(self, repository: Repository) -> str:
        """The text to hash: equal for repositories that stay together."""
        if self._shard.by == "repository":
            return str(repository)
        return f"{repository.registry}/{repository.path.rpartition('/')[0]}"

    def _torn(self, repository: Repository, first: Rule, second: Rule) -> UsageError:
        also = "" if self._shard.by == "namespace" else ", try --shard-by namespace"
        return UsageError(
            f"--shard {self._shard}: {first.place} ({first.text}) and {second.place} ({second.text}) both"
            f" write {repository} and read what other rules write: it would belong to the shards of both"
            f" sources; give each pair of rules that feed each other a run of its own{also}"
        )
