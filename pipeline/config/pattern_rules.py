"""Rules with a `*` in their source: `harbor.corp/team/**: {to: mirror.corp/team/}`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.config.variables import expanded_pieces
from pipeline.errors import RuleError
from pipeline.model.expansion import Expansion
from pipeline.model.reference import Repository
from pipeline.model.repository_pattern import parse_repository_pattern
from pipeline.model.rule_options import RepositoryOptions
from pipeline.model.selection import AllTags
from pipeline.model.template import REST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.model.rule_options import RuleOptions
    from pipeline.model.selection import Rule
    from pipeline.model.template import TextPiece


def pattern_source(text: str) -> Repository:
    """The fixed part of a source with a `*`: where its repositories are listed.

    Raises:
        RuleError: it is invalid.
    """
    pattern = parse_repository_pattern(text.strip())
    return Repository(pattern.registry, pattern.fixed)


def expansion_of(
    text: str, destinations: Iterable[str], options: RuleOptions, environ: Mapping[str, str]
) -> Expansion:
    """What a rule with a `*` expands to.

    Raises:
        RuleError: the source, a filter or a destination is invalid.
    """
    filters = options.repositories or RepositoryOptions()
    pattern = parse_repository_pattern(
        text.strip(), include=filters.include or (), exclude=filters.exclude or ()
    )
    return Expansion(
        pattern=pattern, destinations=tuple(_pieces(destination, environ) for destination in destinations)
    )


def _pieces(text: str, environ: Mapping[str, str]) -> tuple[TextPiece, ...]:
    text = text.strip()
    if not text:
        hint = "write registry/namespace/, or a template"
        raise RuleError("a source with * needs a destination of its own", hint=hint)
    pieces, unset = expanded_pieces(text + REST if text.endswith("/") else text, environ)
    if unset:
        raise RuleError(f"the variable {unset[0]} is not set", hint="set it, or write the destination out")
    return pieces


def with_apart(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules of a file; a repository with its own key is not part of a pattern."""
    named = {rule.source for rule in rules if rule.expansion is None and isinstance(rule.selection, AllTags)}
    return tuple(_apart(rule, named) for rule in rules)


def _apart(rule: Rule, named: Iterable[Repository]) -> Rule:
    if rule.expansion is None:
        return rule
    pattern = rule.expansion.pattern
    paths = frozenset(
        each.path for each in named if each.registry == pattern.registry and pattern.matches(each.path)
    )
    return replace(rule, expansion=replace(rule.expansion, apart=paths)) if paths else rule
