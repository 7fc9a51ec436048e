"""Events as data: workers put them into their outcomes, the supervisor writes them to the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Fault

Level = Literal["debug", "info", "warning", "error"]
Value = str | int | float | bool | None
"""None: not shown in any rendering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; `name` is stable, `message` is for people."""

    name: str
    """One of catalogue.EVENTS: `image.done`, `blob.left`, `credentials.chosen`."""
    message: str
    level: Level = "info"
    fields: Mapping[str, Value] = field(default_factory=dict)
    """Keys are names of catalogue.FIELDS."""
    stage: str = ""
    """The stage that it comes from; empty: none."""
    pid: int = 0
    """The worker process that it comes from; 0: the supervisor."""


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
