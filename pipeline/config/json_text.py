"""A JSON parser (RFC 8259) that builds nodes.

The standard library's parser gives no positions, drops duplicate keys silently, accepts NaN and raises
RecursionError for `[[[[...`. PyYAML is not an alternative: it rejects keys of more than 1,024 characters (a
long list of tags) and escaped surrogate pairs. The standard library still parses strings, the only hard part.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NoReturn

from pipeline.config.nodes import MAX_DEPTH, MAX_NODES, Mapping, Scalar, Sequence, drop_duplicates
from pipeline.errors import FileError

if TYPE_CHECKING:
    from pipeline.config.nodes import Node, ScalarKind
    from pipeline.log import Event

_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(
    r"(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|true|false|(?P<null>null)"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HINTS = {
    "'": "JSON takes double quotes only",
    "#": "JSON has no comments; YAML has",
    "/": "JSON has no comments; YAML has",
    "": "the file ends too early: a bracket, a brace or a quote is not closed",
}


def read_json(path: str, text: str) -> tuple[Node, list[Event]]:
    """Read one JSON document.

    Returns:
        Its root, and a warning for each duplicate key.

    Raises:
        FileError: the text is not JSON; with line and column.
    """
    reader = _JSONReader(path, text)
    node, at = reader.value(reader.skip(0), 0)
    at = reader.skip(at)
    if at < len(text):
        reader.fail(at, "there is text after the end of the document", hint="one document, one closing brace")
    return node, reader.warnings


class _JSONReader:
    """Parses one document; `at` is an offset into its text."""

    def __init__(self, path: str, text: str) -> None:
        self.warnings: list[Event] = []
        self._path, self._text = path, text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._decode = json.JSONDecoder().raw_decode
        self._count = 0

    def place(self, at: int) -> tuple[int, int]:
        """Line and column, both 1-based."""
        line = bisect_right(self._starts, at)
        return line, at - self._starts[line - 1] + 1

    def fail(self, at: int, message: str, *, hint: str = "") -> NoReturn:
        """Raise the error that points at `at`."""
        line, column = self.place(at)
        hint = hint or _HINTS.get(self._text[at : at + 1], "")
        raise FileError(self._path, message, line=line, column=column, hint=hint)

    def skip(self, at: int) -> int:
        """The offset after white space."""
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def value(self, at: int, depth: int) -> tuple[Node, int]:
        """Parse the value at `at`: the node, and the offset after it."""
        self._count += 1
        if self._count > MAX_NODES:
            self.fail(at, f"more than {MAX_NODES:,} values in one file", hint="split it")
        if depth > MAX_DEPTH:
            self.fail(at, f"more than {MAX_DEPTH} levels of brackets", hint="the files need three")
        match self._text[at : at + 1]:
            case '"':
                return self._string(at)
            case "{":
                return self._mapping(at, depth)
            case "[":
                return self._sequence(at, depth)
        word = _WORD.match(self._text, at)
        if word is None:
            self.fail(at, "invalid JSON: a value is expected here")
        kind: ScalarKind = "number" if word["number"] else "null" if word["null"] else "boolean"
        return Scalar(*self.place(at), word[0], kind), word.end()

    def _string(self, at: int) -> tuple[Scalar, int]:
        try:
            text, end = self._decode(self._text, at)
        except json.JSONDecodeError as error:
            hint = 'write a backslash twice; a line break is \\n; a quote within is \\"'
            self.fail(error.pos, f"invalid JSON: {error.msg[:1].lower()}{error.msg[1:]}", hint=hint)
        if _SURROGATE.search(text):
            self.fail(at, "half of a surrogate pair is not a character", hint="write the character itself")
        return Scalar(*self.place(at), text, "text"), end

    def _sequence(self, opening: int, depth: int) -> tuple[Sequence, int]:
        items = []
        at = self.skip(opening + 1)
        more = self._text[at : at + 1] != "]"
        while more:
            item, at = self.value(at, depth + 1)
            items.append(item)
            at, more = self._next(at, "]")
        return Sequence(*self.place(opening), tuple(items)), at + 1

    def _mapping(self, opening: int, depth: int) -> tuple[Mapping, int]:
        pairs = []
        at = self.skip(opening + 1)
        more = self._text[at : at + 1] != "}"
        while more:
            if self._text[at : at + 1] != '"':
                self.fail(at, "invalid JSON: a key in double quotes is expected here")
            key, at = self._string(at)
            at = self.skip(at)
            if self._text[at : at + 1] != ":":
                self.fail(at, "invalid JSON: a colon is expected after a key")
            value, at = self.value(self.skip(at + 1), depth + 1)
            pairs.append((key, value))
            at, more = self._next(at, "}")
        entries, warnings = drop_duplicates(self._path, pairs)
        self.warnings += warnings
        return Mapping(*self.place(opening), entries), at + 1

    def _next(self, at: int, closing: str) -> tuple[int, bool]:
        """Skip a comma: the offset of the next element or closing bracket, and whether an element follows."""
        at = self.skip(at)
        sign = self._text[at : at + 1]
        if sign == closing:
            return at, False
        if sign != ",":
            self.fail(at, f"invalid JSON: a comma or {closing!r} is expected here")
        after = self.skip(at + 1)
        if self._text[after : after + 1] == closing:
            self.fail(at, "invalid JSON: a comma follows the last element", hint="leave it out")
        return after, True
