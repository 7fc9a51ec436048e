"""A run that is over: all that is known of it, for the files, the summary and the report that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.engine.supervisor import Ending
    from pipeline.job import Job
    from pipeline.metrics.export import Exporter
    from pipeline.model.flow.ledger import Flow
    from pipeline.records import Records
    from pipeline.report.history import History
    from pipeline.settings import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Where words go."""

    tell: Callable[[str], None]
    """Prints a line for a person."""
    show: Callable[[str], None]
    """Prints what was asked for on standard output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that is known of a run when it is over."""

    name: str
    job: Job
    options: Options
    flow: Flow
    records: Records
    history: History
    ending: Ending
    seconds: float
    say: Say
    exporter: Exporter | None
