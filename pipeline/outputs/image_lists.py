"""The files of successes and failures: rules files with sources in order, each with its destinations.

They are written row by row, so their length does not matter. Text is quoted here because neither json nor
yaml writes row by row, and so that JSON and YAML readers read the same text.
"""

from __future__ import annotations

import json
import re
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.errors import FileError
from pipeline.outputs.writing import is_stream, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from pipeline.model.facts import ImageRow

ListFormat = Literal["yaml", "json"]


class ListEntry(NamedTuple):
    """A source and its destinations."""

    source: str
    destinations: tuple[str, ...]
    options: str = ""
    """The rule's other options, as JSON; empty: none."""


_Forms = dict[str, dict[str, None]]
"""Of one source: the destinations without duplicates, by options."""
_SourceEntry = tuple[str, _Forms]

_FORMATS: dict[str, ListFormat] = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
"""Characters that json does not escape but YAML rejects or reads as line breaks."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = re.compile(r"[a-z0-9][a-zA-Z0-9.-]*(:[0-9]+)?/[a-zA-Z0-9._/:@+-]*[a-zA-Z0-9_]")
"""Text that YAML reads as text without quotes: with a slash, without a colon at the end."""
_SIMPLE_KEY = 1_000
"""Characters; YAML reads a key of over 1,024 only behind a question mark (YAML 1.2, 7.4.2)."""


def format_of(path: Path) -> ListFormat:
    """The format by the file's name; YAML for a device or a pipe.

    Raises:
        FileError: the name ends in neither .json, .yaml nor .yml.
    """
    known = _FORMATS.get(path.suffix.lower())
    if known is None and is_stream(path):
        return "yaml"
    if known is None:
        raise FileError(str(path), "the name must end in .json, .yaml or .yml")
    return known


def write_success(path: Path, rows: Iterable[ImageRow], *, fmt: ListFormat, remark: str = "") -> None:
    """Write a rules file of the images that are at their destination, without options.

    Args:
        path: the file; replaced when the new one is complete.
        rows: in order of source, then destination.
        fmt: yaml or json.
        remark: a comment at the end of a YAML file; empty: none.

    Raises:
        MachineError: it cannot be written.
    """
    end = (f"# {remark}\n",) if fmt == "yaml" and remark else ()
    write_text(path, chain(_FORMS[fmt](_grouped(rows, lambda _: "")), end))


def write_failed(
    path: Path,
    rows: Iterable[ImageRow],
    more: Iterable[ListEntry],
    *,
    fmt: ListFormat,
    remark: Callable[[], str] = lambda: "",
    options: Callable[[ImageRow], str] = lambda _: "",
) -> None:
    """Write a rules file of what is not at its destination, for the next run.

    Args:
        path: the file; replaced when the new one is complete.
        rows: images in order of source, then destination: failed ones, and those without their companions.
        more: further sources with their destinations: rules that failed or were not fully expanded, as
            written, and unfinished images.
        fmt: yaml or json.
        remark: a comment at the end of a YAML file, called when all rows are read; empty: none.
        options: the options of an image, as in ListEntry.

    Raises:
        MachineError: it cannot be written.
    """

    def pieces() -> Iterator[str]:
        yield from _FORMS[fmt](_with_rules(_grouped(rows, options), more))
        if fmt == "yaml" and (text := remark()):
            yield f"# {text}\n"

    write_text(path, pieces())


def _grouped(rows: Iterable[ImageRow], options: Callable[[ImageRow], str]) -> Iterator[_SourceEntry]:
    """One entry for each source, with its destinations without duplicates (two filters make two rows)."""
    for source, group in groupby(rows, key=attrgetter("source")):
        forms: _Forms = {}
        for row in group:
            forms.setdefault(options(row), {})[row.destination] = None
        yield source, forms


def _with_rules(entries: Iterable[_SourceEntry], more: Iterable[ListEntry]) -> Iterator[_SourceEntry]:
    """Merge both, with each source once, since the second of two equal keys would hide the first."""
    waiting: dict[str, _Forms] = {}
    for entry in more:
        forms = waiting.setdefault(entry.source, {})
        forms.setdefault(entry.options, {}).update(dict.fromkeys(entry.destinations))
    for source, forms in entries:
        for options, destinations in waiting.pop(source, {}).items():
            forms.setdefault(options, {}).update(destinations)
        yield source, forms
    yield from waiting.items()


def rules_text(entries: Iterable[ListEntry]) -> str:
    """The entries as a rules file in YAML."""
    return "".join(_yaml(_with_rules((), entries)))


def _json(entries: Iterable[_SourceEntry]) -> Iterator[str]:
    separator = "{\n"
    for source, forms in entries:
        if forms.keys() <= {""}:
            (destinations,) = forms.values()
            value = _json_list(destinations)
        else:
            maps = [_quoted(_map(options, destinations)) for options, destinations in forms.items()]
            value = maps[0] if len(maps) == 1 else "[\n    " + ",\n    ".join(maps) + "\n  ]"
        yield f"{separator}  {_quoted(source)}: {value}"
        separator = ",\n"
    yield "{}\n" if separator == "{\n" else "\n}\n"


def _json_list(destinations: Iterable[str]) -> str:
    listed = ",\n".join(f"    {_quoted(destination)}" for destination in destinations)
    return f"[\n{listed}\n  ]" if listed else "[]"


def _yaml(entries: Iterable[_SourceEntry]) -> Iterator[str]:
    empty = True
    for source, forms in entries:
        empty = False
        key = _scalar(source)
        head = f"{key}:" if len(key) <= _SIMPLE_KEY else f"? {key}\n:"
        if forms.keys() <= {""}:
            (destinations,) = forms.values()
            items = "".join(f"\n- {_scalar(destination)}" for destination in destinations) or " []"
        else:
            maps = [_map(options, destinations) for options, destinations in forms.items()]
            items = "".join(_yaml_map(each, "- " if len(maps) > 1 else "  ") for each in maps)
        yield f"{head}{items}\n"
    if empty:
        yield "{}\n"


def _yaml_map(options: Mapping[str, Any], first: str) -> str:
    """A line for each option; a value is JSON, which YAML reads too."""
    signs = [first, *["  "] * len(options)]
    return "".join(
        f"\n{sign}{name if name.isidentifier() else _quoted(name)}: {_quoted(value)}"
        for sign, (name, value) in zip(signs, options.items(), strict=False)
    )


def _map(options: str, destinations: Iterable[str]) -> dict[str, Any]:
    """The options after their destinations; rules that failed may have neither."""
    there = [*destinations]
    return ({"to": there} if there else {}) | (json.loads(options) if options else {})


def _quoted(value: Any) -> str:
    """Text in double quotes, or another value, for both JSON and YAML."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _scalar(text: str) -> str:
    """The text for YAML, quoted if necessary; YAML cannot express lone surrogates."""
    return text if _PLAIN.fullmatch(text) else _quoted(_SURROGATE.sub("\ufffd", text))


_FORMS: dict[ListFormat, Callable[[Iterable[_SourceEntry]], Iterator[str]]] = {"yaml": _yaml, "json": _json}
