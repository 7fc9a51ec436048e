"""A run, plan or verification that is over: all that is known of it, for the files and the summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.commands.job import Job
    from pipeline.engine.supervisor import Ending
    from pipeline.log import Log
    from pipeline.observe.history import RunHistory
    from pipeline.observe.metrics.export import Exporter
    from pipeline.records.store import Records
    from pipeline.scheduler.scheduler import Scheduler
    from pipeline.settings import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """Where lines are printed."""

    tell: Callable[[str], None]
    """Prints a line for a person."""
    show: Callable[[str], None]
    """Prints what was asked for on standard output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """All that is known of a run when it is over."""

    name: str
    job: Job
    options: Options
    scheduler: Scheduler
    records: Records
    previous: str
    """The state of the run before, as text; empty: unknown, or nobody needs it."""
    history: RunHistory
    ending: Ending
    began: str
    """Date and time as in ISO 8601."""
    seconds: float
    log: Log
    say: Printer
    exporter: Exporter | None
