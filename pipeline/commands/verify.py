"""`verify`: compare both sides. It trusts no records and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.commands import finish_survey
from pipeline.commands.lifecycle import Verb
from pipeline.log import Event
from pipeline.records.scratch import scratch_records

if TYPE_CHECKING:
    from pipeline.commands.job import Job


def _start_event(job: Job) -> Event:
    rules, deep = len(job.rules.rules), ", all content is read" if job.settings.deep else ""
    message = f"verify: {rules} rules{job.only}{deep}"
    return Event(name="verify.start", message=message, fields={"rules": rules})


VERIFY = Verb(
    records=lambda _, name: scratch_records(None, run=name),
    keeps_state=False,
    stops_at_once=True,
    start_event=_start_event,
    finish=finish_survey.FINISH,
)
