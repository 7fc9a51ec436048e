"""How a run, a plan or a verification ends: files, report, metrics, exit code, then the output.

The Verb's Finish has the differences. Nothing here may hide how the run ended: a file that cannot be
written is reported and the rest is done.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.commands.leftovers import destinations_of, options_of_images, options_of_rule
from pipeline.dataclass import dataclass
from pipeline.errors import MachineError
from pipeline.model.facts import RESULTS
from pipeline.model.remedies import RULE_INVALID
from pipeline.model.units import format_count
from pipeline.outputs.writing import write_text
from pipeline.report.causes import Failure, from_row, from_rule, group
from pipeline.report.summary import Summary

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.commands.job import Job
    from pipeline.config.rules import BadRule
    from pipeline.engine.supervisor import Ending
    from pipeline.log import Log
    from pipeline.model.facts import ImageRow
    from pipeline.observe.history import RunHistory
    from pipeline.observe.metrics.export import Exporter
    from pipeline.records.store import Records
    from pipeline.report.causes import CauseGroup
    from pipeline.scheduler.scheduler import Scheduler
    from pipeline.settings import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Printer:
    """Where lines are printed."""

    tell: Callable[[str], None]
    """Prints a line for a person."""
    show: Callable[[str], None]
    """Prints requested output on standard output."""

    def error(self, error: MachineError) -> None:
        """Report a file that cannot be written or rows that cannot be read."""
        self.tell(f"image-syncer: error: {error}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """All that is known of a run, plan or verification when it is over."""

    name: str
    job: Job
    options: Options
    scheduler: Scheduler
    records: Records
    history: RunHistory
    ending: Ending
    began: dt.datetime
    ended: dt.datetime
    seconds: float
    log: Log
    say: Printer
    exporter: Exporter | None

    @property
    def is_stopped(self) -> bool:
        """Whether work is left because a signal or this machine stopped the run."""
        return not self.scheduler.finished

    @property
    def trouble(self) -> str:
        """The machine's fault that stopped it; empty if none did."""
        trouble = self.ending.trouble
        return "" if trouble is None else f"stopped by a problem of this machine: {trouble}"

    def rows(self) -> Iterator[ImageRow]:
        """All its images, by source, then destination."""
        return self.records.images(run=self.name, results=RESULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The differences between the ends of a run, a plan and a verification."""

    summarize: Callable[[FinishedRun], Summary]
    """Writes the lists of images, if any; returns the summary with its exit code."""
    page: Callable[[FinishedRun, Summary], Iterable[str]]
    """The report, in pieces."""
    tell: Callable[[FinishedRun, Summary], None]
    """Writes the last events, prints the summary."""


def finish(run: FinishedRun, how: Finish) -> Summary:
    """Write all files, then report; returns what was reported."""
    summary, complete = how.summarize(run), True
    if run.options.report is not None:
        try:
            write_text(run.options.report, how.page(run, summary))
            summary = replace(summary, report=str(run.options.report))
        except MachineError as error:
            run.say.error(error)
            complete = False
    if run.exporter is not None:
        complete = run.exporter.end(succeeded=summary.exit_code == 0 and complete) and complete
    if not complete:
        summary = replace(summary, exit_code=summary.exit_code or MachineError.exit_code)
    how.tell(run, summary)
    return summary


def summary_of(run: FinishedRun) -> Summary:
    """The summary without the command that continues and the report."""
    summary = Summary(
        run=run.name,
        version=__version__,
        exit_code=_exit_code(run),
        figures=run.scheduler.figures,
        unexpanded=len(run.scheduler.unexpanded),
        is_stopped=run.is_stopped,
        seconds=run.seconds,
        history=run.history,
        causes=_causes(run),
    )
    foreign = summary.figures.foreign
    notes = (f"{format_count(foreign, 'layer')} not copied: the manifests name urls for them",)
    return replace(summary, notes=notes if foreign else ())


def lost_rules(job: Job, scheduler: Scheduler) -> Iterator[Failure]:
    """The rules that are invalid, then those whose tags could not be listed so far."""
    yield from map(_from_bad, job.rules.bad)
    for rule, fault in scheduler.failed_rules:
        yield from_rule(rule, destinations_of(rule), fault, options=options_of_rule(rule))


def _exit_code(run: FinishedRun) -> int:
    figures = run.scheduler.figures
    if run.ending.trouble is not None:
        return run.ending.trouble.exit_code
    if run.ending.signal and run.is_stopped:
        return 128 + run.ending.signal
    return 1 if figures.lost or run.is_stopped else 0


def _causes(run: FinishedRun) -> tuple[CauseGroup, ...]:
    """Why images and rules failed, from the rows on disk; if these cannot be read, that is reported."""
    figures = run.scheduler.figures
    if not (figures.failures or figures.rules_failed):
        return ()
    lost = lost_rules(run.job, run.scheduler)
    try:
        options = options_of_images(run.job)
        rows = run.records.images(run=run.name, results={"failed"})
        return group(chain(lost, (from_row(row, options.get(row.rule, "")) for row in rows)))
    except MachineError as error:
        run.say.error(error)
        return ()


def _from_bad(bad: BadRule) -> Failure:
    return Failure(
        source=bad.text,
        destinations=bad.destinations,
        words=f"{bad.place}: {bad.reason}",
        is_rule=True,
        code=RULE_INVALID,
        hint=bad.hint,
    )
