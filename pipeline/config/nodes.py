"""Nodes: the content of a file with positions.

JSON and YAML are parsed to the same types, so rules and credentials do not depend on the format. Scalars stay
text (`1.10`, `yes`, `5` are not converted), and every node has its line and column, because in a file with
thousands of rules an error needs a position.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pipeline.dataclass import dataclass
from pipeline.errors import FileError
from pipeline.log import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ScalarKind = Literal["text", "plain", "number", "boolean", "null"]
"""text: quoted; plain: an unquoted YAML word, which may be text or a boolean."""

MAX_DEPTH = 64
"""Nesting depth; the files need three."""
MAX_NODES = 2_000_000
"""Scalars and collections of one file, with aliases expanded."""

_COUNT = re.compile(r"0|[1-9][0-9]{0,17}")
"""A number whose text is not lost: 007 is a tag."""
_YAML_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One scalar value."""

    line: int
    """1-based, like the column."""
    column: int
    text: str
    """Without quotes and escapes; JSON numbers and literals as written."""
    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    line: int
    column: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map; each key once, in the order of the entries that count."""

    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...]
    merge: Scalar | None = None
    """The merge key `<<`, if some of the entries come from another map."""


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file."""

    path: str
    """As the user named it."""
    root: Node
    warnings: tuple[Event, ...] = ()

    def error(self, node: Node, message: str, *, hint: str) -> FileError:
        """An error at the position of `node`."""
        return FileError(self.path, message, line=node.line, column=node.column, hint=hint)

    def mapping(self, node: Node, what: str, *, hint: str) -> Mapping:
        """`node` as a map.

        Raises:
            FileError: it is not.
        """
        if isinstance(node, Mapping):
            return node
        raise self.error(node, f"{what} {_not(node, 'a map')}", hint=hint)

    def fields(self, mapping: Mapping) -> tuple[dict[str, tuple[Scalar, Node]], list[Event]]:
        """The entries of a map with fixed names, by name.

        As in Go, which read existing files, names in JSON match in any letter case, but not in YAML.

        Returns:
            The entries, and a warning for each one that a later one with the same name replaces.
        """
        name = str.casefold if self.path.lower().endswith(".json") else str
        pairs, warnings = drop_duplicates(self.path, mapping.entries, name=name)
        return {name(key.text): (key, value) for key, value in pairs}, warnings

    def text(self, node: Node, what: str, *, hint: str) -> Scalar:
        """`node` as a string, or an unquoted YAML word.

        Raises:
            FileError: it is not.
        """
        if isinstance(node, Scalar) and node.kind in {"text", "plain"}:
            return node
        raise self.error(node, f"{what} {_not(node, 'text')}", hint=hint)

    def flag(self, node: Node, what: str) -> bool:
        """`node` as a boolean: `true` or `false`, or YAML's other words for them; null is false.

        Raises:
            FileError: it is not.
        """
        if is_null(node):
            return False
        if isinstance(node, Scalar) and node.kind != "text":
            value = _YAML_BOOLEANS.get(node.text.lower())
            if value is not None:
                return value
        raise self.error(node, f"{what} {_not(node, 'true or false')}", hint="without quotes")


def _not(node: Node, expected: str) -> str:
    return "is empty" if is_null(node) else f"must be {expected}, not {describe(node)}"


def is_null(node: Node) -> bool:
    """Whether `node` is null."""
    return isinstance(node, Scalar) and node.kind == "null"


def plain(node: Node) -> Any:
    """The node as Python values; an unquoted word is a number or a boolean where it reads as one."""
    if isinstance(node, Mapping):
        return {key.text: plain(value) for key, value in node.entries}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    if node.kind == "text":
        return node.text
    if is_null(node):
        return None
    number = int(node.text) if _COUNT.fullmatch(node.text) else node.text
    return _YAML_BOOLEANS.get(node.text.lower(), number)


def describe(node: Node) -> str:
    """The kind of `node` in words; never its text, which may be a secret."""
    if isinstance(node, Mapping):
        return "a map"
    if isinstance(node, Sequence):
        return "a list"
    words = {"null": "nothing", "number": "a number", "boolean": "a boolean"}
    return words.get(node.kind, "text")


def drop_duplicates(
    path: str, pairs: Iterable[tuple[Scalar, Node]], *, name: Callable[[str], str] = str
) -> tuple[tuple[tuple[Scalar, Node], ...], list[Event]]:
    """Keep the last pair of every key.

    Args:
        path: the file.
        pairs: keys with their values.
        name: keys with the same result are duplicates.

    Returns:
        The pairs, and a warning for each dropped one.
    """
    kept: dict[str, tuple[Scalar, Node]] = {}
    warnings = []
    for key, value in pairs:
        earlier = kept.pop(name(key.text), None)
        if earlier is not None:
            warnings.append(warn_of_duplicate(path, key.text, line=key.line, first_line=earlier[0].line))
        kept[name(key.text)] = (key, value)
    return tuple(kept.values()), warnings


def warn_of_duplicate(path: str, key: str, *, line: int, first_line: int) -> Event:
    """The warning that the key on `line` replaces the one on `first_line`."""
    return Event(
        name="config.duplicate_key",
        message=f"{path}:{line}: the key {key!r} is already on line {first_line}; the last one counts",
        level="warning",
        fields={"file.path": path, "key": key, "line": line, "first_line": first_line},
    )


def warn_of_unknown(path: str, key: str, *, line: int, hint: str) -> Event:
    """The warning about an unknown key."""
    return Event(
        name="config.unknown_key",
        message=f"{path}:{line}: the key {key!r} is unknown and ignored; {hint}",
        level="warning",
        fields={"file.path": path, "key": key, "line": line},
    )
