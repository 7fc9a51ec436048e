"""`sync` and `copy`: copy images, and keep records for the next run."""

from __future__ import annotations

import shutil
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.commands import finish_sync
from pipeline.commands.lifecycle import Verb
from pipeline.records.reader import RecordsReader, read_records
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


@contextmanager
def _records_of_copy(job: Job, name: str) -> Iterator[OpenedRecords]:
    """Records that are removed again if this run has created them and a later one could not use them.

    People type `copy` anywhere: one that failed should leave no folder behind.
    """
    path = job.settings.records
    is_new = not path.exists()
    with _records(job, name) as opened:
        yield opened
    if is_new and not read_records(path, RecordsReader.vouches):
        shutil.rmtree(path, ignore_errors=True)


SYNC = Verb(
    records=_records,
    keeps_state=True,
    stops_at_once=False,
    finish=finish_sync.FINISH,
)
COPY = replace(SYNC, records=_records_of_copy)
