"""Rules: the file that maps sources to destinations, and a rule from the command line.

An invalid rule fails alone and is kept, so that the other rules continue and a file of failures can be
written. A file of the wrong shape fails as a whole, before any request.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config import nodes
from pipeline.config.nodes import Mapping as MappingNode
from pipeline.config.nodes import Scalar, is_null
from pipeline.config.pattern_rules import expansion_of, with_apart
from pipeline.config.rule_options import check_tags, destinations_in, entry, read_rule_options
from pipeline.config.rule_text import Defaults, make_defaults, parse_source, parse_target
from pipeline.config.text import read_document
from pipeline.dataclass import dataclass
from pipeline.errors import FileError, RuleError
from pipeline.model.repository_pattern import is_repository_pattern
from pipeline.model.rule_options import NO_OPTIONS, RuleOptions, option_fields, plain_options
from pipeline.model.selection import AllTags, Matching, Named, Rule
from pipeline.model.units import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.config.nodes import Document, Node
    from pipeline.log import Event
    from pipeline.model.expansion import Expansion
    from pipeline.model.selection import Selection

__all__ = [
    "BadRule",
    "Defaults",
    "RulesFile",
    "make_defaults",
    "read_rules",
    "rule_from_words",
    "rules_from_node",
]

_SHAPE = "write source: destination, source: [destination, ...], or source: {to: destination, ...}"
_DEFAULTS, _ANCHORS = ".defaults", ".anchors"
"""Keys that are not sources: options for all rules of the file, and a place for YAML anchors."""
_MISREAD = {key[1:]: f"write {key}, with a leading dot" for key in (_DEFAULTS, _ANCHORS)}
_MISREAD |= dict.fromkeys(("auth", "images"), "give a file that has auth and images with --config")
"""Names that are read as sources, and what is meant by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRule:
    """An invalid rule."""

    number: int
    """Position among all rules, from 0; valid and invalid rules are counted together."""
    path: str
    """The file; empty: the command line."""
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
    options: MappingNode | None = None
    """As written; None: the rule has none."""
    base: RuleOptions = NO_OPTIONS
    """The options of `.defaults`."""

    @property
    def said(self) -> dict[str, Any]:
        """The options merged with those of `.defaults`, as in a rules file without `.defaults`."""
        own: dict[str, Any] = nodes.plain(self.options) if self.options else {}
        base = plain_options(_inherited(self.base, _selection_of(self.text)))
        if self.destinations:
            base.pop("to", None)
        tags = own.get("tags", {})
        if "tags" in base and tags is not None:
            own["tags"] = base["tags"] | (tags if isinstance(tags, dict) else {"include": tags})
        return base | own

    @property
    def place(self) -> str:
        """`images.yaml:7:1`."""
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesFile:
    """The content of a rules file, or of several."""

    path: str
    """As the user named it; of several, all names."""
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
        FileError: it has the wrong shape, or `.defaults` is invalid.
    """
    mapping = document.mapping(node, "the rules", hint=_SHAPE)
    if mapping.merge is not None and node is document.root:
        hint = "merge inside of options: source: {<<: *anchor, to: ...}"
        raise document.error(mapping.merge, "the merge key << is among the sources", hint=hint)
    special = {key.text: value for key, value in mapping.entries if key.text in {_DEFAULTS, _ANCHORS}}
    base = _read_base(document, special.get(_DEFAULTS))
    stray = " and ".join(key.text for key, _ in mapping.entries if key.text in option_fields(RuleOptions))
    context = _Context(base=base, defaults=defaults, environ=environ, stray=stray)
    rules, bad = [], []
    sources = ((key, value) for key, value in mapping.entries if key.text not in special)
    forms = ((key, form, line) for key, value in sources for form, line in _forms(key, value))
    for number, (source, value, line) in enumerate(forms):
        rule = _read_rule(
            document, _Written(number, line, source, path=document.path, base=base.options), value, context
        )
        if isinstance(rule, Rule):
            rules.append(rule)
        else:
            bad.append(rule)
    warnings = tuple(_with_advice(document, mapping))
    return RulesFile(path=document.path, rules=with_apart(rules), bad=tuple(bad), warnings=warnings)


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
    if is_repository_pattern(source) and not all_tags:
        raise RuleError("a source with * means every tag", hint="add --all-tags")
    if all_tags and not is_bare:
        raise RuleError("--all-tags is given, but the source names its tags", hint="leave one of them out")
    if is_bare and not all_tags:
        source = f"{source.strip()}:latest"
    words = [Scalar(0, 0, word, "text") for word in (source, *destinations)]
    context = _Context(base=_Base(), defaults=defaults, environ=environ)
    rule = _build(_Written(0, 0, words[0]), words[1:], context)
    if isinstance(rule, BadRule):
        raise RuleError(rule.reason, hint=rule.hint)
    return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """The options of `.defaults`."""

    options: RuleOptions = NO_OPTIONS
    to: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What all rules of a file have in common."""

    base: _Base
    defaults: Defaults
    environ: Mapping[str, str]
    stray: str = ""
    """Options that stand among the sources, as `to and tags`."""


class _Written(NamedTuple):
    """The place of a rule, and what it states besides its destinations."""

    number: int
    line: int
    source: Scalar
    node: MappingNode | None = None
    options: RuleOptions = NO_OPTIONS
    path: str = ""
    base: RuleOptions = NO_OPTIONS

    def bad(
        self, place: Node | FileError, error: RuleError | FileError, words: Iterable[str] = ()
    ) -> BadRule:
        """The invalid rule with the place of its error."""
        return BadRule(
            number=self.number,
            path=self.path,
            line=place.line,
            column=place.column,
            text=self.source.text,
            destinations=tuple(words),
            reason=error.message,
            hint=error.hint,
            options=self.node,
            base=self.base,
        )


def _read_base(document: Document, node: Node | None) -> _Base:
    """Read `.defaults`.

    Raises:
        FileError: it is invalid, so all rules of the file would be wrong.
    """
    if node is None:
        return _Base()
    mapping = document.mapping(node, _DEFAULTS, hint="write a map of options")
    options = read_rule_options(document, mapping)
    return _Base(options=options, to=destinations_in(document, mapping) or ())


def _forms(source: Scalar, value: Node) -> tuple[tuple[Node, int], ...]:
    """The values of a source's rules with their lines: one, or one for each map of a list."""
    items = value.items if isinstance(value, nodes.Sequence) else ()
    if items and all(isinstance(item, MappingNode) for item in items):
        return tuple((item, item.line) for item in items)
    return ((value, source.line),)


def _read_rule(document: Document, written: _Written, value: Node, context: _Context) -> Rule | BadRule:
    """Read one rule.

    Raises:
        FileError: its value has a wrong type.
    """
    items = value.items if isinstance(value, nodes.Sequence) else ()
    mixed = next((item for item in items if isinstance(item, MappingNode)), None)
    if mixed is None and not isinstance(value, MappingNode):
        return _build(written, _destinations(document, written.source, value), context)
    try:
        if mixed is not None or not isinstance(value, MappingNode):
            hint = "give each map its own to, or write destinations only"
            raise document.error(mixed or value, "a list is all of one kind", hint=hint)
        written = written._replace(node=value)
        if (meaning := _MISREAD.get(written.source.text)) and entry(value, "to") is None:
            what = f"{written.source.text!r} is read as an image"
            raise document.error(written.source, what, hint=meaning)
        written = written._replace(options=read_rule_options(document, value))
        to = destinations_in(document, value) or context.base.to
    except FileError as error:
        return written.bad(error, error)
    return _build(written, to, context)


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


def _build(written: _Written, destinations: Sequence[Scalar], context: _Context) -> Rule | BadRule:
    place: Node = written.source
    base, targets, written_to = context.base, [], list(_filled(destinations, context.base.to))
    try:
        if slip := written.source.text.startswith(".") and meant(written.source.text, (_DEFAULTS, _ANCHORS)):
            raise RuleError(
                f"{written.source.text!r} is not a source{slip}", hint="a misspelt key means nothing"
            )
        repository, selection = parse_source(written.source.text)
        if written.node is not None:
            place = entry(written.node, "tags") or written.node
        options = _effective(written.options, base.options, selection)
        expansion = _expansion(written, written_to, options, context)
        for place in () if expansion else written_to:
            target = parse_target(
                place.text,
                source=repository,
                selection=selection,
                defaults=context.defaults,
                environ=context.environ,
            )
            targets.append(target)
        if not written_to:
            is_map = written.node is not None
            words = "the option 'to' is missing" if is_map else "the list of destinations is empty"
            raise RuleError(words, hint="write to: registry/repository" if is_map else "write at least one")
    except RuleError as error:
        said = [destination.text for destination in destinations]
        return written.bad(place, _advised(error, written, said, stray=context.stray), said)
    return Rule(
        number=written.number,
        line=written.line,
        text=written.source.text,
        source=repository,
        selection=selection,
        targets=tuple(dict.fromkeys(targets)),
        options=options,
        expansion=expansion,
        written=tuple(each.text for each in written_to) if expansion else (),
    )


def _advised(error: RuleError, written: _Written, said: Sequence[str], *, stray: str) -> RuleError:
    """The error, with the likely cause where options stand among the sources."""
    if stray and (written.source.text in option_fields(RuleOptions) or not any(said)):
        return RuleError(error.message, hint=f"{stray} are among the sources: indent them below theirs")
    return error


def _expansion(
    written: _Written, to: Sequence[Scalar], options: RuleOptions, context: _Context
) -> Expansion | None:
    """What a source with a `*` stands for; None: it has none.

    Raises:
        RuleError: it cannot be meant.
    """
    source = written.source.text
    if is_repository_pattern(source):
        return expansion_of(source, [place.text for place in to], options, context.environ)
    if written.options.repositories is not None:
        raise RuleError("repositories is for a source with *", hint="leave it out")
    return None


def _filled(destinations: Sequence[Scalar], base: Sequence[Scalar]) -> Iterator[Scalar]:
    """The destinations; an empty one stands for those of `.defaults`, if there are any."""
    for destination in destinations:
        yield from (destination,) if destination.text.strip() or not base else base


def _effective(options: RuleOptions, base: RuleOptions, selection: Selection) -> RuleOptions:
    """The options of a rule merged with those of its file.

    Raises:
        RuleError: they contradict the source, or each other.
    """
    tags = options.tags
    if isinstance(selection, Named) and tags is not None:
        raise RuleError("the tags are named twice", hint="name them in the source or in tags, not in both")
    if isinstance(selection, Matching) and tags is not None and tags.include is not None:
        hint = "the source's regular expression is the include: leave one of them out"
        raise RuleError("the tags are named twice", hint=hint)
    found = options.over(_inherited(base, selection))
    check_tags(found.tags)
    return found


def _inherited(base: RuleOptions, selection: Selection) -> RuleOptions:
    """The options of `.defaults` for a source; its `tags` do not apply to tags that a source names."""
    if base.tags is None or isinstance(selection, AllTags):
        return base
    return replace(base, tags=None if isinstance(selection, Named) else replace(base.tags, include=None))


def _selection_of(text: str) -> Selection:
    """What a source selects, or seems to select if it is invalid."""
    try:
        return parse_source(text)[1]
    except RuleError:
        return Matching(pattern="") if ":/" in text else AllTags()


def _with_advice(document: Document, mapping: MappingNode) -> Iterator[Event]:
    """The file's warnings; the one about a duplicate source says what to write instead."""
    sources = {(key.text, key.line) for key, _ in mapping.entries if key.text not in {_DEFAULTS, _ANCHORS}}
    for event in document.warnings:
        fields = event.fields
        if event.name == "config.duplicate_key" and (fields["key"], fields["line"]) in sources:
            yield replace(event, message=f"{event.message}; for two rules write one list of maps")
        else:
            yield event
