"""`plan`: what a run would do and cost. It works on a copy of the records and writes nothing else."""

from __future__ import annotations

from pipeline.commands import finish_survey
from pipeline.commands.lifecycle import Verb
from pipeline.records.scratch import scratch_records

PLAN = Verb(
    records=lambda job, name: scratch_records(job.settings.records, run=name),
    keeps_state=False,
    stops_at_once=True,
    finish=finish_survey.FINISH,
)
