"""Reads rules files and plain lists in the forms that rounds draw, without the program's code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.choosing import choose
from tests.chaos.expect import Form, Pair, Place, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    TagsOf = Callable[[str, str], Collection[str]]
    IsNew = Callable[[str, str, str], bool]
    """Whether a tag of a repository of a registry was first seen after others."""

_SECONDS = {"s": 1, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A source with one set of options."""

    source: str
    """As written."""
    to: tuple[str, ...]
    form: Form
    tags: Mapping[str, Any] | None = None
    keep: tuple[str, ...] = ()
    min_age: int = 0
    """Seconds."""
    force: bool = False
    optional: bool = False
    owes: bool = False
    """In a list of failures: only companions are missing; no round writes this into a rule."""


class Source(NamedTuple):
    """The key of a rule, parsed; `names` and `pattern` are both None for all tags."""

    registry: str
    repository: str
    names: list[str] | None
    pattern: str | None


def read_rules(content: Mapping[str, Any], base: Form) -> list[Rule]:
    """The rules of a file; `base` is the form that the flags set."""
    defaults = content.get(".defaults", {})
    return [
        _rule(source, said, defaults, base)
        for source, value in content.items()
        if not source.startswith(".")
        for said in _maps(value)
    ]


def read_list(lines: Iterable[str], to: str, base: Form) -> list[Rule]:
    """The rules of a plain list: a line without tag or digest means `latest`."""
    found = filter(None, (line.partition("#")[0].strip() for line in lines))
    sources = [each if re.search("[:@]", each.partition("/")[2]) else f"{each}:latest" for each in found]
    return [Rule(source=each, to=(to,), form=base) for each in dict.fromkeys(sources)]


def _maps(value: Any) -> list[dict[str, Any]]:
    """The sets of options in a rule's value."""
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return value
    return [{"to": value}]


def _listed(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _tags(said: Mapping[str, Any]) -> dict[str, Any]:
    """`tags` as a map of lists."""
    value = said.get("tags", {})
    value = value if isinstance(value, dict) else {"include": value}
    lists = ("include", "exclude", "versions", "always")
    return {name: _listed(each) if name in lists else each for name, each in value.items()}


def _rule(source: str, near: Mapping[str, Any], far: Mapping[str, Any], base: Form) -> Rule:
    said = {**far, **near}
    age = str(said.get("min_age", "0s"))
    form = Form(
        base.wanted if "platforms" not in said else read_platforms(_listed(said["platforms"])),
        said.get("index", base.index),
        said.get("attestations", base.attestations),
    )
    return Rule(
        source=source,
        to=_listed(said["to"]),
        form=form,
        tags=_tags(far) | _tags(near) if "tags" in said else None,
        keep=_listed(said.get("keep", ())),
        min_age=int(age[:-1]) * _SECONDS[age[-1]],
        force=said.get("force", False),
        optional=said.get("optional", False),
        owes=said.get("referrers") == "always",
    )


def read_platforms(texts: Iterable[str]) -> Wanted:
    """Alternatives: os/arch, os/arch/variant, os:version/arch; or all."""
    parts = [text.partition("/") for text in texts if text != "all"]
    return Wanted(any_of=tuple(sorted({((os,), (arch.replace("/", ":"),)) for os, _, arch in parts})))


def read_source(text: str) -> Source:
    """Parse a source.

    Raises:
        ValueError: it is not a source.
    """
    registry, slash, rest = text.partition("/")
    head, colon, pattern = rest.partition(":/")
    if colon:
        return Source(registry, head, None, pattern.removesuffix("/"))
    match = re.fullmatch(r"([a-z0-9/._-]+)(?:[:@](.+))?", rest)
    if not slash or match is None:
        raise ValueError(text)
    names = [name.split("@")[-1] for name in match[2].split(",")] if match[2] else None
    return Source(registry, match[1], names, None)


def names_of(rule: Rule, tags_of: TagsOf, is_new: IsNew) -> list[str] | None:
    """The tags and digests that a rule selects; None if it cannot be read or selects too few."""
    try:
        source = read_source(rule.source)
    except ValueError:
        return None
    if source.names is not None:
        return source.names
    place = source.registry, source.repository
    return choose(tags_of(*place), rule.tags, source.pattern, lambda tag: is_new(*place, tag))


def expand(rules: Iterable[Rule], tags_of: TagsOf, is_new: IsNew) -> Iterator[tuple[Pair, Rule]]:
    """The images that rules name, in the file's order; rules that fail name none."""
    for rule in rules:
        for position, name in enumerate(names_of(rule, tags_of, is_new) or ()):
            source = read_source(rule.source)
            place = Place(source.registry, source.repository, name)
            for to in rule.to:
                yield Pair(place, _destination(to, source, name, position), rule.form), rule


def _destination(text: str, source: Source, name: str, position: int) -> Place:
    """The destination of a tag or digest: placeholders are replaced, names matched by position."""
    last = source.repository.rpartition("/")
    parts = {
        "{path}": source.repository, "{namespace}": last[0], "{name}": last[2], "{rest}": last[2],
        "{flat}": source.repository.replace("/", "-"), "{registry}": source.registry.replace(":", "-"),
        "{tag}": name,
    }  # fmt: skip
    text += last[2] if text.endswith("/") else ""
    for word, value in parts.items():
        text = text.replace(word, value)
    found = read_source(text)
    names = found.names or [name]
    return Place(found.registry, found.repository, names[position if len(names) > 1 else 0])
