"""Rules: the file that maps sources to destinations, and a rule from the command line.

An invalid rule fails alone and is kept, so that the other rules continue and a file of failures can be
written. A file of the wrong shape fails as a whole, before any request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config import nodes
from pipeline.config.nodes import Scalar, is_null
from pipeline.config.rule_text import Defaults, make_defaults, parse_source, parse_target
from pipeline.config.text import read_document
from pipeline.errors import RuleError
from pipeline.model.selection import AllTags, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.config.nodes import Document, Node
    from pipeline.log import Event

__all__ = [
    "BadRule",
    "Defaults",
    "RulesFile",
    "make_defaults",
    "read_rules",
    "rule_from_words",
    "rules_from_node",
]

_SHAPE = "write source: destination, or source: [destination, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRule:
    """An invalid rule."""

    number: int
    """Position in the file, from 0; valid and invalid rules are counted together."""
    line: int
    """1-based, like the column: of the source, or of the invalid destination."""
    column: int
    text: str
    """The source as written."""
    destinations: tuple[str, ...]
    """As written, variables included."""
    reason: str
    hint: str
    """How to correct it; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """The content of a rules file."""

    path: str
    rules: tuple[Rule, ...]
    """In file order."""
    bad: tuple[BadRule, ...]
    warnings: tuple[Event, ...] = ()


def read_rules(path: Path, *, defaults: Defaults, environ: Mapping[str, str]) -> RulesFile:
    """Read the rules file at `path`.

    Raises:
        FileError: it cannot be read or parsed, or has the wrong shape.
    """
    document = read_document(path)
    return rules_from_node(document, document.root, defaults=defaults, environ=environ)


def rules_from_node(
    document: Document,
    node: Node,
    *,
    defaults: Defaults,
    environ: Mapping[str, str],
) -> RulesFile:
    """Read the rules in the map `node` of `document`.

    Raises:
        FileError: it has the wrong shape.
    """
    mapping = document.mapping(node, "the rules", hint=_SHAPE)
    rules, bad = [], []
    for number, (source, value) in enumerate(mapping.entries):
        destinations = _destinations(document, source, value)
        rule = _build(number, source, destinations, defaults=defaults, environ=environ)
        if isinstance(rule, Rule):
            rules.append(rule)
        else:
            bad.append(rule)
    return RulesFile(path=document.path, rules=tuple(rules), bad=tuple(bad), warnings=document.warnings)


def rule_from_words(
    source: str,
    destinations: Sequence[str],
    *,
    defaults: Defaults,
    environ: Mapping[str, str],
    all_tags: bool = False,
) -> Rule:
    """The rule given on the command line; its line is 0.

    A source without a tag means the tag `latest`, as in docker, skopeo and crane.

    Raises:
        RuleError: it is invalid.
    """
    is_bare = isinstance(parse_source(source)[1], AllTags)
    if all_tags and not is_bare:
        raise RuleError("--all-tags is given, but the source names its tags", hint="leave one of them out")
    if is_bare and not all_tags:
        source = f"{source.strip()}:latest"
    words = [Scalar(0, 0, word, "text") for word in (source, *destinations)]
    rule = _build(0, words[0], words[1:], defaults=defaults, environ=environ)
    if isinstance(rule, BadRule):
        raise RuleError(rule.reason, hint=rule.hint)
    return rule


def _destinations(document: Document, source: Scalar, value: Node) -> list[Scalar]:
    """The destinations as written; null, as after `source:`, is the empty destination."""
    items: tuple[Node, ...] = (value,)
    what = f"the destination of {source.text!r}"
    if isinstance(value, nodes.Sequence):
        items, what = value.items, f"each destination of {source.text!r}"
    return [
        Scalar(item.line, item.column, "", "text")
        if is_null(item)
        else document.text(item, what, hint=_SHAPE)
        for item in items
    ]


def _build(
    number: int,
    source: Scalar,
    destinations: Sequence[Scalar],
    *,
    defaults: Defaults,
    environ: Mapping[str, str],
) -> Rule | BadRule:
    place = source
    try:
        repository, selection = parse_source(source.text)
        targets = []
        for place in destinations:
            target = parse_target(
                place.text,
                source=repository,
                selection=selection,
                defaults=defaults,
                environ=environ,
            )
            targets.append(target)
        if not targets:
            raise RuleError("the list of destinations is empty", hint="write at least one")
    except RuleError as error:
        words = tuple(destination.text for destination in destinations)
        return _bad(number, source.text, words, place=place, error=error)
    return Rule(
        number=number,
        line=source.line,
        text=source.text,
        source=repository,
        selection=selection,
        targets=tuple(dict.fromkeys(targets)),
    )


def _bad(
    number: int,
    text: str,
    destinations: tuple[str, ...],
    *,
    place: Scalar,
    error: RuleError,
) -> BadRule:
    return BadRule(
        number=number,
        line=place.line,
        column=place.column,
        text=text,
        destinations=destinations,
        reason=error.message,
        hint=error.hint,
    )
