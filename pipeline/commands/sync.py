"""`sync` and `copy`: copy images, and keep records for the next run."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from pipeline.commands import finish_sync
from pipeline.commands.lifecycle import Verb
from pipeline.records.store import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.commands.job import Job
    from pipeline.commands.lifecycle import OpenedRecords


@contextmanager
def _records(job: Job, name: str) -> Iterator[OpenedRecords]:
    records, found = Records.open(job.settings.records, run=name)
    with closing(records):
        yield records, found


SYNC = Verb(
    records=_records,
    keeps_state=True,
    stops_at_once=False,
    finish=finish_sync.FINISH,
)
