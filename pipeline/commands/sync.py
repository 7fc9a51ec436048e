"""`sync` and `copy`: copy images, and keep records for the next run.

Whatever can be wrong with flags and files is found before any request.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from pipeline.commands.finish_sync import finish
from pipeline.commands.lifecycle import Verb, run
from pipeline.log import Event
from pipeline.records.store import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.commands.finished_run import Printer
    from pipeline.commands.job import Job
    from pipeline.commands.lifecycle import OpenedRecords
    from pipeline.settings import Options


def sync(options: Options, environ: Mapping[str, str], *, say: Printer) -> int:
    """Copy to the end; returns the exit code.

    Raises:
        UsageError, FileError: before anything was asked.
        MachineError: the records cannot be used, or workers cannot be started.
    """
    return run(_SYNC, options, environ, say=say)


@contextmanager
def _records(options: Options, name: str) -> Iterator[OpenedRecords]:
    records, found = Records.open(options.records, run=name)
    with closing(records):
        yield records, found, ""


def _start_event(job: Job) -> Event:
    rules, records = len(job.rules.rules), str(job.settings.records)
    only = f", only {job.platforms}" if job.platforms.active else ""
    return Event(
        name="run.start",
        message=f"{rules} rules, records {records}{only}",
        fields={"rules": rules, "records": records, "proc": job.settings.limits.proc},
    )


_SYNC = Verb(records=_records, keeps_state=True, stops_at_once=False, start_event=_start_event, finish=finish)
