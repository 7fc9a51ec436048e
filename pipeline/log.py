"""Events as data; the catalogue of their names, and (Log) their renderings.

Workers put events into their outcomes; only the supervisor writes lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Level = Literal["debug", "info", "warning", "error"]
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; `name` is stable, `message` is for people."""

    name: str
    """One of the catalogue: `image.done`, `blob.left`, `credentials.chosen`."""
    message: str
    level: Level = "info"
    fields: Mapping[str, Value] = field(default_factory=dict)
