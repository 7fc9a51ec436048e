"""`verify`: compare both sides. It trusts no records and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.commands import finish_survey
from pipeline.commands.lifecycle import Verb
from pipeline.records.scratch import scratch_records

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pipeline.commands.job import Job
    from pipeline.commands.lifecycle import OpenedRecords


def _records(job: Job, name: str) -> AbstractContextManager[OpenedRecords]:
    """Records are read only for when tags were first seen, not for the content of a destination."""
    is_needed = any(rule.options.min_age for rule in job.rules.rules)
    return scratch_records(job.settings.records if is_needed else None, run=name)


VERIFY = Verb(
    records=_records,
    keeps_state=False,
    stops_at_once=True,
    finish=finish_survey.FINISH,
)
