"""The files that a run leaves: written beside their name and renamed when complete.

So a reader never sees half a file, and a run that is killed leaves the old one. The files of successes and
failures are rules files: sources in order, each with the list of its destinations. They are written row by
row, so their length does not matter. Text is quoted by hand since neither json nor yaml writes row by row,
and so that JSON and YAML readers both get back what was written.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from pipeline.errors import FileError, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pipeline.model.facts import ImageRow

Format = Literal["yaml", "json"]
Entry = tuple[str, tuple[str, ...]]
"""A source and its destinations."""

_FORMATS: dict[str, Format] = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
"""What json leaves as it is and YAML does not take raw, or takes for a line break."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = re.compile(r"[a-z0-9][a-zA-Z0-9.-]*(:[0-9]+)?/[a-zA-Z0-9._/:@+-]*[a-zA-Z0-9_]")
"""Text that YAML takes for nothing but text, quotes or none: it has a slash, and no colon at its end."""
_SIMPLE_KEY = 1_000
"""Characters; YAML reads a key of over 1,024 only behind a question mark (YAML 1.2, 7.4.2)."""


def format_of(path: Path) -> Format:
    """The format that a file's name asks for.

    Raises:
        FileError: it ends in neither .json, .yaml nor .yml.
    """
    known = _FORMATS.get(path.suffix.lower())
    if known is None:
        raise FileError(str(path), f"a file's name ends in {', '.join(_FORMATS)}")
    return known


def check_writable(path: Path) -> None:
    """Make sure, before anything begins, that the file can be written when all is over.

    Raises:
        FileError: its folder is missing or not writable, or the path is a folder.
    """
    try:
        if path.is_dir():
            raise FileError(str(path), "it is a folder; name a file")
        beside = _beside(path)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise FileError(str(path), f"it cannot be written: {error.strerror}") from error


def write_success(path: Path, rows: Iterable[ImageRow], *, fmt: Format) -> None:
    """Write what is at its destination, as a rules file.

    Args:
        path: the file; an old one is replaced when the new one is complete.
        rows: in order of source, then destination.
        fmt: yaml or json.

    Raises:
        MachineError: it cannot be written.
    """
    write_text(path, _FORMS[fmt](_grouped(rows)))


def write_failed(path: Path, rows: Iterable[ImageRow], bad_rules: Iterable[Entry], *, fmt: Format) -> None:
    """Write what is not at its destination, as a rules file for the next run.

    Args:
        path: the file; an old one is replaced when the new one is complete.
        rows: failed images in order of source, then destination.
        bad_rules: rules that failed as a whole: the source as written, the destinations as written.
        fmt: yaml or json.

    Raises:
        MachineError: it cannot be written.
    """
    write_text(path, _FORMS[fmt](_with_rules(_grouped(rows), bad_rules)))


def _grouped(rows: Iterable[ImageRow]) -> Iterator[Entry]:
    """One entry per source, each destination once (two filters make two rows)."""
    for source, group in groupby(rows, key=attrgetter("source")):
        yield source, tuple(dict.fromkeys(row.destination for row in group))


def _with_rules(entries: Iterable[Entry], bad_rules: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, then the rules, each source once: the second of two equal keys would hide the first."""
    waiting: dict[str, dict[str, None]] = {}
    for source, destinations in bad_rules:
        waiting.setdefault(source, {}).update(dict.fromkeys(destinations))
    for source, destinations in entries:
        more = waiting.pop(source, {})
        yield source, tuple(dict.fromkeys((*destinations, *more)))
    for source, rest in waiting.items():
        yield source, tuple(rest)


def rules_text(entries: Iterable[Entry]) -> str:
    """The entries as a rules file in YAML."""
    return "".join(_yaml(entries))


def write_text(path: Path, pieces: Iterable[str]) -> None:
    """Write a file; an old one is replaced when the new one is complete and on disk.

    Raises:
        MachineError: it cannot be written.
    """
    beside = _beside(path)
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise MachineError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _beside(path: Path) -> Path:
    """The name under which the file is written: hidden, and this process's own."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def _json(entries: Iterable[Entry]) -> Iterator[str]:
    separator = "{\n"
    for source, destinations in entries:
        listed = ",\n".join(f"    {_quoted(destination)}" for destination in destinations)
        value = f"[\n{listed}\n  ]" if destinations else "[]"
        yield f"{separator}  {_quoted(source)}: {value}"
        separator = ",\n"
    yield "{}\n" if separator == "{\n" else "\n}\n"


def _yaml(entries: Iterable[Entry]) -> Iterator[str]:
    empty = True
    for source, destinations in entries:
        empty = False
        key = _scalar(source)
        head = f"{key}:" if len(key) <= _SIMPLE_KEY else f"? {key}\n:"
        items = "".join(f"\n- {_scalar(destination)}" for destination in destinations) or " []"
        yield f"{head}{items}\n"
    if empty:
        yield "{}\n"


def _quoted(text: str) -> str:
    """The text in double quotes as JSON and YAML both read it."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _scalar(text: str) -> str:
    """The text for YAML: bare where it cannot be misread; half a surrogate pair has no form there."""
    return text if _PLAIN.fullmatch(text) else _quoted(_SURROGATE.sub("\ufffd", text))


_FORMS: dict[Format, Callable[[Iterable[Entry]], Iterator[str]]] = {"yaml": _yaml, "json": _json}
