"""Events as data: workers put them into their outcomes, the supervisor writes them to the log."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.log.catalogue import EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Fault

Level = Literal["debug", "info", "warning", "error"]
Value = str | int | float | bool | None
"""None: not shown in any rendering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; `name` is stable, its sentence is for people."""

    name: str
    """One of catalogue.EVENTS: `image.done`, `blob.left`, `credentials.chosen`."""
    message: str = ""
    """Its sentence, unless it has facts."""
    level: Level = "info"
    fields: Mapping[str, Value] = field(default_factory=dict)
    """Keys are names of catalogue.FIELDS."""
    facts: Mapping[str, object] | None = None
    """Facts from which wording.py makes its sentence; None: it has a message."""
    stage: str = ""
    """The stage that it comes from; empty: none."""
    pid: int = 0
    """The worker process that it comes from; 0: the supervisor."""
    host: str = ""
    """The machine of that worker, and its name there; empty: this machine."""
    worker: str = ""


def event_of(
    name: str,
    fields: Mapping[str, Value],
    *,
    facts: Mapping[str, object] | None = None,
    level: Level | None = None,
    stage: str = "",
) -> Event:
    """An event that wording.py words; its level is the catalogue's, or the first of several."""
    level = level or EVENTS[name].levels[0]
    return Event(name=name, level=level, fields=fields, facts=facts or {}, stage=stage)


def fault_fields(fault: Fault) -> dict[str, Value]:
    """A fault's side, registry, status and code as fields of an event."""
    return {
        "side": fault.side or None,
        "registry": fault.registry or None,
        "status": fault.status,
        "code": fault.code or None,
        "retryable": fault.retryable,
    }


def printable(text: str) -> str:
    """The text on one line, control characters escaped: much of it comes from registries."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
