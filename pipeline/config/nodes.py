"""Nodes: what a file says, with the place of every word.

JSON and YAML are read to the same few types, so that rules and credentials know neither format. Scalars stay
text (`1.10`, `yes`, `5` are never turned into numbers or booleans), and everything knows its line and column,
since an error without a place sends a person searching through thousands of rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.errors import FileError
from pipeline.log import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ScalarKind = Literal["text", "plain", "number", "boolean", "null"]
"""text: in quotes; plain: an unquoted word of YAML, which may be meant as text or as a boolean."""

MAX_DEPTH = 64
"""Collections within collections; the files need three."""
MAX_NODES = 2_000_000
"""Scalars and collections of one file, aliases counted with all that they stand for."""

_YAML_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One word."""

    line: int
    """1-based, as is the column."""
    column: int
    text: str
    """As written, quotes and escapes taken off; a JSON number or literal as it stands in the file."""
    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    line: int
    column: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A map; each key once, in the order of the places that count."""

    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file that was read."""

    path: str
    """As the user named it."""
    root: Node
    warnings: tuple[Event, ...] = ()

    def error(self, node: Node, message: str, *, hint: str) -> FileError:
        """The error that points at `node`."""
        return FileError(self.path, message, line=node.line, column=node.column, hint=hint)

    def mapping(self, node: Node, what: str, *, hint: str) -> Mapping:
        """`node` as a map.

        Raises:
            FileError: it is none.
        """
        if isinstance(node, Mapping):
            return node
        raise self.error(node, f"{what} must be a map, not {describe(node)}", hint=hint)

    def fields(self, mapping: Mapping) -> tuple[dict[str, tuple[Scalar, Node]], list[Event]]:
        """The pairs of a map whose keys are names of ours, by name.

        Existing files were read by Go, which takes names in JSON in any letter case, in YAML not.

        Returns:
            The pairs, and a warning for each one that is lost to a later one of the same name.
        """
        name = str.casefold if self.path.lower().endswith(".json") else str
        pairs, warnings = unite(self.path, mapping.entries, name=name)
        return {name(key.text): (key, value) for key, value in pairs}, warnings

    def text(self, node: Node, what: str, *, hint: str) -> Scalar:
        """`node` as a string, or an unquoted word of YAML.

        Raises:
            FileError: it is none.
        """
        if isinstance(node, Scalar) and node.kind in {"text", "plain"}:
            return node
        raise self.error(node, f"{what} must be text, not {describe(node)}", hint=hint)

    def flag(self, node: Node, what: str) -> bool:
        """`node` as a boolean: `true` or `false`, in YAML any of its words for these; null is false.

        Raises:
            FileError: it is none.
        """
        if is_null(node):
            return False
        if isinstance(node, Scalar) and node.kind != "text":
            value = _YAML_BOOLEANS.get(node.text.lower())
            if value is not None:
                return value
        raise self.error(node, f"{what} must be true or false, not {describe(node)}", hint="without quotes")


def is_null(node: Node) -> bool:
    """Whether `node` says that there is nothing."""
    return isinstance(node, Scalar) and node.kind == "null"


def describe(node: Node) -> str:
    """What `node` is, in words; never its text, which may be a secret."""
    if isinstance(node, Mapping):
        return "a map"
    if isinstance(node, Sequence):
        return "a list"
    words = {"null": "nothing", "number": "a number", "boolean": "a boolean"}
    return words.get(node.kind, "text")


def unite(
    path: str, pairs: Iterable[tuple[Scalar, Node]], *, name: Callable[[str], str] = str
) -> tuple[tuple[tuple[Scalar, Node], ...], list[Event]]:
    """Keep the last pair of every key.

    Args:
        path: the file.
        pairs: keys with their values.
        name: what two keys have in common that are the same.

    Returns:
        The pairs, and a warning for each one that is lost.
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
    """The warning that the key on `first_line` is lost to the one on `line`."""
    return Event(
        name="config.duplicate_key",
        message=f"{path}:{line}: the key {key!r} stands on line {first_line} already; the last one counts",
        level="warning",
        fields={"file.path": path, "key": key, "line": line, "first_line": first_line},
    )


def warn_of_unknown(path: str, key: str, *, line: int, hint: str) -> Event:
    """The warning that nothing is made of a key."""
    return Event(
        name="config.unknown_key",
        message=f"{path}:{line}: the key {key!r} is not read; {hint}",
        level="warning",
        fields={"file.path": path, "key": key, "line": line},
    )
