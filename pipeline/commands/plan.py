"""`plan`: what a run would do and cost. It begins with a copy of the records and writes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.commands.finish_survey import finish
from pipeline.commands.lifecycle import Verb, run
from pipeline.log import Event
from pipeline.records.scratch import scratch_records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.commands.finished_run import Printer
    from pipeline.commands.job import Job
    from pipeline.settings import Options


def plan(options: Options, environ: Mapping[str, str], *, say: Printer) -> int:
    """Plan to the end; returns the exit code: 1 where something would fail.

    Raises:
        UsageError, FileError: before anything was asked.
        MachineError: the records cannot be read, or workers cannot be started.
    """
    return run(_PLAN, options, environ, say=say)


def _start_event(job: Job) -> Event:
    rules, records = len(job.rules.rules), str(job.settings.records)
    only = f", only {job.platforms}" if job.platforms.active else ""
    return Event(
        name="plan.start",
        message=f"plan: {rules} rules, records {records}{only}; nothing is written",
        fields={"rules": rules, "records": records},
    )


_PLAN = Verb(
    records=lambda options, name: scratch_records(options.records, run=name),
    keeps_state=False,
    stops_at_once=True,
    start_event=_start_event,
    finish=finish,
)
