"""Read the options of a rule, or of all rules of a file, from a map.

The types' fields state what each option accepts, so no option is named here, except for a short form of a
map.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.config.nodes import Mapping, Scalar, Sequence, describe, is_null
from pipeline.errors import RuleError
from pipeline.model.patterns import is_literal, tag_matcher
from pipeline.model.platform import parse_platform, parse_platforms
from pipeline.model.reference import is_tag
from pipeline.model.referrers import Referrers, parse_referrers, parse_when
from pipeline.model.rule_options import NOT_BUILT, RuleOptions, TagOptions, option_fields
from pipeline.model.units import meant, parse_age, parse_moment
from pipeline.model.versions import parse_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline.config.nodes import Document, Node
    from pipeline.model.platform import Filter
    from pipeline.model.rule_options import OptionField, OptionKind

_Owner = TypeVar("_Owner")

_COUNT = re.compile(r"[0-9]{1,9}")
_SHORT: dict[type, str] = {TagOptions: "include"}
"""The field of a map that a text or a list stands for."""
_ELSEWHERE = {
    **dict.fromkeys(("dest", "destination", "destinations", "target", "targets"), "to"),
    "allow": "include",
    "deny": "exclude",
    "ignore": "exclude",
    "latest": "newest",
    "semver": "versions",
}
"""What other tools call an option, by their word."""


def read_rule_options(document: Document, node: Mapping) -> RuleOptions:
    """The options in a map.

    Raises:
        FileError: one is unknown, of the wrong type, not understood, or not built yet; with its position.
    """
    options = _read_fields(document, node, RuleOptions, "")
    try:
        check_tags(options.tags)
    except RuleError as error:
        raise document.error(entry(node, "tags") or node, error.message, hint=error.hint) from None
    return options


def check_tags(tags: TagOptions | None) -> None:
    """Check that options do not contradict each other.

    Raises:
        RuleError: exclude and always name the same tag.
    """
    both = set(tags.exclude or ()) & set(tags.always or ()) if tags else set()
    if both:
        hint = "name it in one of them"
        raise RuleError(f"tags.exclude and tags.always both name {min(both)}", hint=hint)


def destinations_in(document: Document, node: Mapping) -> tuple[Scalar, ...] | None:
    """The values of `to` with their positions; None if there is none."""
    value = entry(node, "to")
    return None if value is None else _scalars(document, value, "to")


def entry(node: Mapping, name: str) -> Node | None:
    """The value of an option."""
    return next((value for key, value in node.entries if key.text == name), None)


def _read_fields(document: Document, node: Mapping, owner: type[_Owner], prefix: str) -> _Owner:
    known, values = option_fields(owner), {}
    names = {*known, *NOT_BUILT} if owner is RuleOptions else set(known)
    for key, value in node.entries:
        name = f"{prefix}{key.text}"
        if key.text not in names:
            hint = (
                f"known are {', '.join(sorted(each for each in known if NOT_BUILT.get(each) != frozenset()))}"
            )
            raise document.error(key, f"unknown option {name!r}{_slip(key.text, owner, names)}", hint=hint)
        refused = NOT_BUILT.get(key.text)
        written = value.text if isinstance(value, Scalar) else ""
        if refused is not None and (not refused or written in refused):
            what = f"{name}: {written}" if refused else name
            raise document.error(key, f"this version cannot do {what}", hint="leave it out")
        if is_null(value):
            raise document.error(value, f"{name} is empty", hint="give it a value, or leave it out")
        field = known[key.text]
        values[key.text] = _READERS[field.kind](document, value, name, field)
    return owner(**values)


def _slip(name: str, owner: type, names: Iterable[str]) -> str:
    """What somebody meant who wrote an unknown option, as the end of a sentence."""
    if owner is RuleOptions and name in option_fields(TagOptions):
        return "; it belongs below tags"
    if owner is TagOptions and name in option_fields(RuleOptions):
        return "; it belongs next to tags"
    other = _ELSEWHERE.get(name.lower(), "")
    return f"; did you mean {other}?" if other in names else meant(name.lower(), names)


def _read_map(document: Document, node: Node, name: str, field: OptionField) -> Any:
    assert field.owner is not None
    if isinstance(node, Sequence) and any(isinstance(item, Mapping) for item in node.items):
        raise document.error(
            node, f"{name} is a list of maps", hint=f"write one map: {name}: {{...: ..., ...: ...}}"
        )
    short = _SHORT.get(field.owner)
    if short and not isinstance(node, Mapping):
        texts = option_fields(field.owner)[short]
        return field.owner(**{short: _READERS[texts.kind](document, node, name, texts)})
    mapping = document.mapping(node, name, hint=f"its options are {', '.join(option_fields(field.owner))}")
    return _read_fields(document, mapping, field.owner, f"{name}.")


def _scalars(document: Document, node: Node, name: str) -> tuple[Scalar, ...]:
    """One text or a list of them; a number is its text."""
    items = node.items if isinstance(node, Sequence) else (node,)
    for item in items:
        if not isinstance(item, Scalar) or item.kind in {"boolean", "null"}:
            raise document.error(
                item, f"{name} must be text, not {describe(item)}", hint="or a list of texts"
            )
        if item.kind == "plain" and item.text.lower() in {"true", "false"}:
            hint = f'write a text, such as "*" for all; a text {item.text} needs quotes'
            raise document.error(item, f"{name} must be text, not {item.text}", hint=hint)
    return tuple(item for item in items if isinstance(item, Scalar))


def _texts(check: Callable[[str], object]) -> Callable[[Document, Node, str, OptionField], tuple[str, ...]]:
    """A reader of one text or a list, each of which `check` accepts."""

    def read(document: Document, node: Node, name: str, field: OptionField) -> tuple[str, ...]:
        items = _scalars(document, node, name)
        if len(items) < field.least:
            raise document.error(node, f"the list {name} is empty", hint="write one, or leave it out")
        for item in items:
            try:
                check(item.text)
            except RuleError as error:
                parts = [part.strip() for part in item.text.split(",")]
                is_list = node is item and len(parts) > 1
                hint = f"write a list: {name}: [{', '.join(parts)}]" if is_list else error.hint
                raise document.error(item, f"{name}: {error.message}", hint=hint) from None
        return tuple(item.text for item in items)

    return read


def _check_literal(text: str) -> None:
    if not (is_literal(text) and is_tag(text)):
        raise RuleError(f"{text!r} is not a tag", hint="patterns belong to include")


def _read_platforms(document: Document, node: Node, name: str, field: OptionField) -> Filter:
    texts = [item.text for item in _scalars(document, node, name)]
    if texts not in [[word] for word in field.choices]:
        texts = [*_texts(parse_platform)(document, node, name, field)]
    return parse_platforms(texts)


def _read_referrers(document: Document, node: Node, name: str, field: OptionField) -> Referrers:
    """One word, artifact types, or a map of both."""
    if not isinstance(node, Mapping):
        return _meant_referrers(document, node, name, field)
    known = {"when", "types"}
    for key, _ in node.entries:
        if key.text not in known:
            message = f"unknown option '{name}.{key.text}'{meant(key.text, known)}"
            raise document.error(key, message, hint="known are types, when")
    when, types = entry(node, "when"), entry(node, "types")
    found = Referrers() if types is None else _meant_referrers(document, types, f"{name}.types", field)
    if when is None:
        return found
    return Referrers(when=parse_when(_read_choice(document, when, f"{name}.when", field)), types=found.types)


def _meant_referrers(document: Document, node: Node, name: str, field: OptionField) -> Referrers:
    texts = _texts(str)(document, node, name, field)
    try:
        return parse_referrers(texts)
    except RuleError as error:
        raise document.error(node, f"{name}: {error.message}", hint=error.hint) from None


def _read_count(document: Document, node: Node, name: str, field: OptionField) -> int:
    count = None
    if isinstance(node, Scalar) and node.kind != "text" and _COUNT.fullmatch(node.text):
        count = int(node.text)
    if count is None or count < field.least:
        is_text = isinstance(node, Scalar) and node.kind == "text"
        shown = (repr(node.text) if is_text else node.text) if isinstance(node, Scalar) else describe(node)
        message = f"{name} must be a number of at least {field.least}, not {shown}"
        hint = "write it without quotes" if is_text else f"write {max(1, field.least)} or more"
        raise document.error(node, message, hint=hint)
    return count


def _read_switch(document: Document, node: Node, name: str, _: OptionField) -> bool:
    return document.flag(node, name)


def _read_choice(document: Document, node: Node, name: str, field: OptionField) -> str:
    text = document.text(node, name, hint=f"write {' or '.join(field.choices)}").text
    if text not in field.choices:
        hint = f"write {', '.join(field.choices)}"
        raise document.error(node, f"{name} cannot be {text!r}{meant(text, field.choices)}", hint=hint)
    return text


def _read_text(document: Document, node: Node, name: str, _: OptionField) -> str:
    return document.text(node, name, hint="write one text").text


def _read_time(document: Document, node: Node, name: str, _: OptionField) -> float:
    found = parse_age(node.text) if isinstance(node, Scalar) else None
    if found is None:
        shown = node.text if isinstance(node, Scalar) else describe(node)
        raise document.error(node, f"{name}: {shown} is not a time", hint="write 90s, 15m, 72h or 3d")
    return found


def _read_moment(document: Document, node: Node, name: str, _: OptionField) -> str:
    text = node.text if isinstance(node, Scalar) else describe(node)
    if parse_moment(text, 0.0) is None:
        raise document.error(
            node, f"{name}: {text} is neither a date nor an age", hint="write 2026-01-01 or 90d"
        )
    return text


_READERS: dict[OptionKind, Callable[[Document, Node, str, OptionField], Any]] = {
    "text": _read_text,
    "texts": _texts(str),
    "literals": _texts(_check_literal),
    "patterns": _texts(tag_matcher),
    "versions": _texts(parse_range),
    "count": _read_count,
    "switch": _read_switch,
    "choice": _read_choice,
    "platforms": _read_platforms,
    "referrers": _read_referrers,
    "time": _read_time,
    "moment": _read_moment,
    "map": _read_map,
}
