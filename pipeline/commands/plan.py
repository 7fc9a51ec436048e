"""`plan`: what a run would do and cost. It works on a copy of the records and writes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.commands import finish_survey
from pipeline.commands.lifecycle import Verb
from pipeline.log import Event
from pipeline.records.scratch import scratch_records

if TYPE_CHECKING:
    from pipeline.commands.job import Job


def _start_event(job: Job) -> Event:
    rules, records = len(job.rules.rules), str(job.settings.records)
    return Event(
        name="plan.start",
        message=f"plan: {rules} rules, records {records}{job.only}; nothing is written",
        fields={"rules": rules, "records": records, "shard": job.shard_field},
    )


PLAN = Verb(
    records=lambda job, name: scratch_records(job.settings.records, run=name),
    keeps_state=False,
    stops_at_once=True,
    start_event=_start_event,
    finish=finish_survey.FINISH,
)
