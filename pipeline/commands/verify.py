"""`verify`: compare both sides. It trusts no records, and changes nothing."""

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


def verify(options: Options, environ: Mapping[str, str], *, say: Printer) -> int:
    """Verify to the end; returns the exit code: 1 where something is missing or differs.

    Raises:
        UsageError, FileError: before anything was asked.
        MachineError: workers cannot be started.
    """
    return run(_VERIFY, options, environ, say=say)


def _start_event(job: Job) -> Event:
    rules = len(job.rules.rules)
    only = f", only {job.platforms}" if job.platforms.active else ""
    deep = ", all of it is read" if job.settings.deep else ""
    return Event(name="verify.start", message=f"verify: {rules} rules{only}{deep}", fields={"rules": rules})


_VERIFY = Verb(
    records=lambda _, name: scratch_records(None, run=name),
    keeps_state=False,
    stops_at_once=True,
    start_event=_start_event,
    finish=finish,
)
