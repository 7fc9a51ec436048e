"""Build nodes from the events of PyYAML's parser.

No constructor is ever called, so tags are simply rejected. Building from events instead of yaml.compose()
limits depth and size: composing recurses in C, and an alias bomb needs only nine lines. Keys and values stay
text. No error shows a tag, an anchor or an alias, because an unquoted password that begins with `!`, `&` or
`*` is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from pipeline.config.nodes import MAX_DEPTH, MAX_NODES, Mapping, Scalar, Sequence, drop_duplicates, is_null
from pipeline.errors import FileError
from pipeline.log import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.config.nodes import Node, ScalarKind

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_KEY = 1024
"""Characters of a key without `?`; YAML 1.1, section 7.4.2."""


def read_yaml(path: str, text: str) -> tuple[Node | None, list[Event]]:
    """Read the first document of YAML text.

    Returns:
        Its root (None: there is no document), and warnings of duplicate keys and of a second document.

    Raises:
        FileError: the text is not YAML, has tags, or expands too much; with line and column.
    """
    try:
        reader = _YAMLReader(path, yaml.parse(text, Loader=_LOADER))
        return reader.document(), reader.warnings
    except yaml.MarkedYAMLError as error:
        raise _explain(path, text, error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = "a character that is not allowed in YAML"
        raise FileError(path, message, line=line, hint="is this a text file?") from None


def _explain(path: str, text: str, error: yaml.MarkedYAMLError) -> FileError:
    mark = error.problem_mark or error.context_mark
    begin = error.context_mark or mark
    line, column = (mark.line, mark.column) if mark else (-1, -1)
    lines = text.split("\n")
    if begin and 0 <= begin.line < len(lines) and len(lines[begin.line]) > _MAX_KEY:
        hint = f'over {_MAX_KEY:,} characters: begin the line with "? ", the next one with ": "'
    elif 0 <= line < len(lines) and lines[line][column : column + 1] == "\t":
        hint = "indent with spaces, not with tabs"
    elif "mapping values" in (error.problem or ""):
        hint = (
            "one key on a line, as far in as its siblings, with a colon; a value that holds ': ' needs quotes"
        )
    else:
        hint = "put text with special characters in quotes"
    message = ", ".join(part for part in (error.problem, error.context) if part)
    return FileError(path, f"invalid YAML: {message}", line=line + 1, column=column + 1, hint=hint)


def _place(event: yaml.Event) -> tuple[int, int]:
    """Line and column, both 1-based."""
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


class _YAMLReader:
    """Builds one document."""

    def __init__(self, path: str, events: Iterator[yaml.Event]) -> None:
        self.warnings: list[Event] = []
        self._path, self._events = path, events
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def document(self) -> Node | None:
        """The first document, with a warning about a second one."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), 0)
        next(self._events)
        event = next(self._events)
        if isinstance(event, yaml.DocumentStartEvent):
            line, _ = _place(event)
            self.warnings.append(
                Event(
                    name="config.second_document",
                    message=f"{self._path}:{line}: a second document begins here; only the first one is read",
                    level="warning",
                    fields={"file.path": self._path, "line": line},
                )
            )
        return root

    def _error(self, event: yaml.Event, message: str, *, hint: str) -> FileError:
        line, column = _place(event)
        return FileError(self._path, message, line=line, column=column, hint=hint)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._count
        self._charge(event, 1)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise self._error(
                event, "YAML tags are not supported", hint="a value that begins with ! needs quotes"
            )
        if depth > MAX_DEPTH:
            raise self._error(event, f"more than {MAX_DEPTH} levels", hint="the files need three")
        node: Node
        line, column = _place(event)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            kind: ScalarKind = "text" if not plain else "null" if event.value in _NULLS else "plain"
            node = Scalar(line, column, event.value, kind)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Sequence(line, column, self._items(depth))
        else:
            node = Mapping(line, column, *self._entries(depth))
        anchor = getattr(event, "anchor", None)
        if anchor is not None and is_null(node):
            hint = "a value that begins with & needs quotes"
            raise self._error(event, "the anchor has no value", hint=hint)
        if anchor is not None:
            self._anchors[anchor] = (node, self._count - before)
        return node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        anchor = event.anchor or ""
        found = self._anchors.get(anchor)
        if found is None:
            hint = "a value that begins with * needs quotes"
            raise self._error(event, "the alias has no anchor before it", hint=hint)
        node, size = found
        self._charge(event, size)
        return node

    def _charge(self, event: yaml.Event, size: int) -> None:
        self._count += size
        if self._count > MAX_NODES:
            hint = "split the file, or write out the aliases"
            raise self._error(event, f"more than {MAX_NODES:,} values in one file", hint=hint)

    def _items(self, depth: int) -> tuple[Node, ...]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return tuple(items)

    def _entries(self, depth: int) -> tuple[tuple[tuple[Scalar, Node], ...], Scalar | None]:
        """The entries of a map, and its merge key."""
        pairs, merged, merge = [], [], None
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                hint = "one key, a colon, its value"
                raise self._error(event, "a key must be text, not a list or a map", hint=hint)
            value = self._node(next(self._events), depth + 1)
            if key.text == "<<" and key.kind == "plain":
                merge = key
                merged += self._merged(event, value)
            else:
                pairs.append((key, value))
        entries, warnings = drop_duplicates(self._path, pairs)
        self.warnings += warnings
        known = {key.text: (key, value) for key, value in entries}
        for key, value in merged:
            known.setdefault(key.text, (key, value))
        return tuple(known.values()), merge

    def _merged(self, event: yaml.Event, value: Node) -> list[tuple[Scalar, Node]]:
        """The pairs of a merge key, those that take precedence first (yaml.org/type/merge.html)."""
        maps = value.items if isinstance(value, Sequence) else (value,)
        found: list[tuple[Scalar, Node]] = []
        for each in maps:
            if not isinstance(each, Mapping):
                hint = "write <<: *anchor, or <<: [*anchor, ...]"
                raise self._error(event, "the merge key << takes a map or a list of maps", hint=hint)
            found += each.entries
        self._charge(event, len(found))
        return found
