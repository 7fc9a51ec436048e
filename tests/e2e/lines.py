"""Lines of the log, checked against the catalogue in every end-to-end test."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import jsonschema

from pipeline.log.catalogue import EVENTS
from pipeline.log.fields import FIELDS
from scripts.docs import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PAIR = re.compile(r'([a-z_.]+)=("(?:[^"\\]|\\.)*"|[^\s"]*)')
_TEXT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (?P<level>\w+) +(?P<message>\S.*)"
    r" \[run=[0-9a-f]{8} pid=\d+(?: stage=(?:expand|resolve|transfer))?\]"
)
_KINDS = {
    "text": re.compile(r".*"),
    "whole number": re.compile(r"-?\d+"),
    "number": re.compile(r"-?\d+(\.\d+)?"),
    "yes or no": re.compile(r"true|false"),
}
_COMMON = {"time", "level", "msg", "event", "run", "pid"}
_SCHEMA = jsonschema.Draft202012Validator(schema())


def read_logfmt(text: str) -> list[dict[str, str]]:
    """The key-value pairs of each log line; other lines on standard error are skipped."""
    return [
        {key: value.strip('"') for key, value in PAIR.findall(line)}
        for line in text.splitlines()
        if line.startswith("time=")
    ]


def wrong_logfmt(text: str) -> list[str]:
    """The differences between those lines and the catalogue."""
    return [f"{words}: {line}" for line in read_logfmt(text) for words in _complaints(line)]


def _complaints(line: Mapping[str, str]) -> Iterable[str]:
    entry = EVENTS.get(line.get("event", ""))
    if entry is None:
        yield "no such event"
        return
    if line["level"] not in entry.levels:
        yield f"level {line['level']}"
    if missing := (_COMMON | entry.always) - line.keys():
        yield f"lacks {sorted(missing)}"
    for key in line.keys() - _COMMON - {"stage", "host", "worker"}:
        if key not in entry.always | entry.sometimes:
            yield f"may not have {key}"
        elif not _KINDS[FIELDS[key].kind].fullmatch(line[key]):
            yield f"{key}={line[key]} is no {FIELDS[key].kind}"


def wrong_json(text: str) -> list[str]:
    """The differences between these lines and the schema; every line must be one object."""
    return [
        f"{error.json_path} {error.message}: {line}"
        for line in text.splitlines()
        for error in _SCHEMA.iter_errors(json.loads(line))
    ]


def wrong_text(text: str) -> list[str]:
    """The lines that are not valid lines of text in a file."""
    levels = {level for entry in EVENTS.values() for level in entry.levels}
    found = ((line, _TEXT.fullmatch(line)) for line in text.splitlines())
    return [line for line, match in found if match is None or match["level"] not in levels]
