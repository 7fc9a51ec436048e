"""How any run ends, and a plan or verification too: its exit code, its summary, its report."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.commands.leftovers import destinations_of
from pipeline.errors import MachineError
from pipeline.observe.latency import latencies
from pipeline.outputs.writing import write_text
from pipeline.report.causes import Failure, from_row, from_rule, group
from pipeline.report.summary import Pause, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pipeline.commands.finished_run import FinishedRun
    from pipeline.commands.job import Job
    from pipeline.config.rules import BadRule
    from pipeline.report.causes import CauseGroup
    from pipeline.scheduler.scheduler import Scheduler


def summary_of(run: FinishedRun) -> Summary:
    """The summary, but for its notes, the command that continues, and the report."""
    held = run.history.held.items()
    return Summary(
        run=run.name,
        version=__version__,
        exit_code=_exit_code(run),
        figures=run.scheduler.figures,
        unexpanded=len(run.scheduler.unexpanded),
        is_stopped=not run.scheduler.finished,
        latency=latencies(run.history.registries),
        seconds=run.seconds,
        rewritten=run.history.changed,
        pauses=tuple(Pause(registry=name, times=p.times, seconds=p.seconds) for name, p in held if p.times),
        causes=_causes(run),
    )


def write_report(run: FinishedRun, path: Path, pieces: Iterable[str]) -> bool:
    """Write the report; returns whether it is there. A failure is told and hides nothing else."""
    try:
        write_text(path, pieces)
    except MachineError as error:
        run.say.tell(f"image-syncer: error: {error}")
        return False
    return True


def lost_rules(job: Job, scheduler: Scheduler) -> Iterator[Failure]:
    """The rules that are invalid, then those whose tags could not be listed so far."""
    rules = {rule.number: rule for rule in job.rules.rules} if scheduler.failed_rules else {}
    yield from (_from_bad(job.rules.path, bad) for bad in job.rules.bad)
    for number, fault in scheduler.failed_rules.items():
        yield from_rule(rules[number], destinations_of(rules[number]), fault)


def _exit_code(run: FinishedRun) -> int:
    figures, stopped = run.scheduler.figures, not run.scheduler.finished
    if run.ending.trouble is not None:
        return run.ending.trouble.exit_code
    if run.ending.signal and stopped:
        return 128 + run.ending.signal
    return 1 if figures.failures or figures.rules_failed or stopped else 0


def _causes(run: FinishedRun) -> tuple[CauseGroup, ...]:
    """Why images and rules failed, from the rows on disk; if these cannot be read, that is told."""
    figures = run.scheduler.figures
    if not (figures.failures or figures.rules_failed):
        return ()
    lost = lost_rules(run.job, run.scheduler)
    try:
        return group(chain(lost, map(from_row, run.records.images(run=run.name, results={"failed"}))))
    except MachineError as error:
        run.say.tell(f"image-syncer: error: {error}")
        return ()


def _from_bad(path: str, bad: BadRule) -> Failure:
    return Failure(
        source=bad.text,
        destinations=bad.destinations,
        words=f"{path}:{bad.line}:{bad.column}: {bad.reason}",
        is_rule=True,
        code="RULE_INVALID",
        hint=bad.hint,
    )
