"""Events: what happened, as data; workers put them into their outcomes, the supervisor writes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Fault

Level = Literal["debug", "info", "warning", "error"]
Value = str | int | float | bool | None
"""None stands for nothing: no rendering shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; `name` is stable, `message` is for people."""

    name: str
    """One of catalogue.EVENTS: `image.done`, `blob.left`, `credentials.chosen`."""
    message: str
    level: Level = "info"
    fields: Mapping[str, Value] = field(default_factory=dict)
    """By names of catalogue.FIELDS."""
    stage: str = ""
    """The stage in which it happened; empty: in none."""
    pid: int = 0
    """The worker process in which it happened; 0: in the supervisor's own."""


def about(fault: Fault) -> dict[str, Value]:
    """The fields of a failure: whose it is, what was answered, whether the same request may succeed later."""
    return {
        "side": fault.side or None,
        "registry": fault.registry or None,
        "status": fault.status,
        "code": fault.code or None,
        "retryable": fault.retryable,
    }


def printable(text: str) -> str:
    """The text on one line, what steers a terminal as escapes: registries choose most of our words."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
