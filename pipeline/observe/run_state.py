"""The run state, which a run writes to its records every two seconds for `status` in another terminal.

Images have their own rows and are counted there. This row has the rest: when the run started and was last
seen, its process, what it waits for, how it ended. A killed process writes no end, so the row identifies
the process in a way that distinguishes it from a later one with the same number.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from pipeline.dataclass import dataclass
from pipeline.model.figures import Figures
from pipeline.process import Process  # noqa: TC001 - get_type_hints needs it
from pipeline.report.causes import Failure  # noqa: TC001 - get_type_hints needs it

RUNNING = -1
"""The exit code of a run that has not ended."""
_FIGURES = {
    "known": "known",
    "to_retry": "to_retry",
    "rules": "rules",
    "rules_failed": "rules_failed",
    "optional": "optional",
    "companions": "companions",
    "companions_missing": "companions_missing",
    "bytes": "sent",
    "read": "received",
    "spared": "saved",
    "uploaded": "uploaded",
    "mounted": "mounted",
    "present": "present",
    "requests": "requests",
}
"""By name in the row: its figures; those of images are counted from the images' own rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A registry that gets no requests for now."""

    registry: str
    until: float
    """Unix time; 0: unavailable in this pass."""
    why: str = ""
    """`429 TOOMANYREQUESTS`, or why it is unavailable."""
    tasks: int = 0
    """Ready tasks that need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run as it was last seen; times are Unix times."""

    run: str
    version: str
    process: Process
    command: tuple[str, ...]
    """The command line, word by word."""
    folder: str
    """Its working directory."""
    began: float
    seen: float
    seconds: float = 0.0
    """Since it started, by the monotonic clock."""
    exit_code: int = RUNNING
    stopping: bool = False
    """Whether it was told to stop, and finishes running transfers."""
    trouble: str = ""
    """The problem of this machine, if any."""
    figures: Figures = field(default_factory=Figures)
    """`sent` includes running transfers."""
    final: bool = False
    """Whether all rules have been expanded."""
    planned: int = 0
    """Tags that wait for room; each becomes an image per destination."""
    left: float = -1.0
    """Estimated seconds until the end; -1: unknown."""
    rate: float = 0.0
    """Bytes sent per second, recently."""
    waits: tuple[Wait, ...] = ()
    lost: tuple[Failure, ...] = ()
    """The first rules that failed."""
    again: tuple[str, ...] = ()
    """The command that retries only what failed, word by word."""


def text_of(run_state: RunState) -> str:
    """As JSON."""
    row = asdict(run_state)
    figures = row.pop("figures")
    return json.dumps(row | {name: figures[figure] for name, figure in _FIGURES.items()})


def run_state_of(text: str) -> RunState | None:
    """The run state; None if the text has another shape. Fields of later versions are ignored."""
    try:
        row = json.loads(text)
        if not isinstance(row, dict):
            return None
        figures = {figure: row[name] for name, figure in _FIGURES.items() if name in row}
        found = _built(RunState, row | {"figures": figures})
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, RunState) else None


def _built(kind: Any, value: Any) -> Any:
    """The value as that kind; TypeError if it is not one."""
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        known = {each.name for each in fields(kind)}
        return kind(**{name: _built(hints[name], each) for name, each in value.items() if name in known})
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_built(get_args(kind)[0], each) for each in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not a {kind}")
    return value


def current_folder() -> str:
    """The working directory; empty: it was removed."""
    with suppress(OSError):
        return os.getcwd()  # noqa: PTH109 - Path.cwd() is the same call
    return ""
