"""Rules: the file that maps sources to destinations, and one rule given as words.

What is wrong inside one rule fails that rule alone and is kept, so that thousands of others go on and a file
of what failed can be written; a file of the wrong shape fails as a whole, before any request.
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
    "rules_of",
]

_SHAPE = "write source: destination, or source: [destination, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRule:
    """A rule that fails alone."""

    number: int
    """Place in the file, from 0; good and bad rules share the count."""
    line: int
    """1-based; of the source, or of the destination that is wrong. The same holds for the column."""
    column: int
    text: str
    """The source as written."""
    destinations: tuple[str, ...]
    """As written, variables included."""
    reason: str
    hint: str
    """What to write instead; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """What a rules file says."""

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
    return rules_of(document, document.root, defaults=defaults, environ=environ)


def rules_of(
    document: Document,
    node: Node,
    *,
    defaults: Defaults,
    environ: Mapping[str, str],
) -> RulesFile:
    """Read the rules that `node` of `document` maps.

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
    """The rule that the words of a command line make; its line is 0.

    A source without a tag is one image there, `latest`, as docker, skopeo and crane read it.

    Raises:
        RuleError: something is wrong with it.
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
    """The destinations as written; nothing at all, as after `source:`, is the empty one."""
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
