"""`plan` and `verify`: the same Flow on the same engine as a run, with workers that change nothing.

What they find is kept in records of their own, which are gone when they are over.
"""

from __future__ import annotations

import datetime as dt
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.commands.finish import lost_rules
from pipeline.commands.finished_run import Printer
from pipeline.commands.job import invalid_rules, prepare
from pipeline.commands.sync import run_logged, supervise
from pipeline.engine.local.forking import warm_up
from pipeline.engine.signals import StoppedError, raised
from pipeline.errors import MachineError
from pipeline.log import Event
from pipeline.model.units import format_count, format_duration
from pipeline.observe.run_state import run_state_of
from pipeline.outputs.writing import write_text
from pipeline.records.scratch import scratch_records
from pipeline.report.causes import from_row, group
from pipeline.report.summary import Pause, Summary
from pipeline.report.survey_result import SurveyResult, estimate, finished, json_pieces, survey_lines
from pipeline.scheduler.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.commands.job import Job
    from pipeline.commands.sync import Watch
    from pipeline.engine.supervisor import Ending
    from pipeline.model.facts import ImageRow, Result
    from pipeline.observe.history import RunHistory
    from pipeline.records.store import Records
    from pipeline.settings import Options

_ALL: tuple[Result, ...] = ("copied", "unchanged", "skipped", "failed")
_EXAMPLES = 20


def survey(
    options: Options,
    environ: Mapping[str, str],
    *,
    tell: Callable[[str], None],
    show: Callable[[str], None],
) -> int:
    """Plan or verify to the end; returns the exit code: 0 where nothing fails, 1 where something does.

    Args:
        options: the command line.
        environ: the environment.
        tell: prints a line for a person.
        show: prints a line on standard output.

    Raises:
        UsageError, FileError: before anything was asked.
        MachineError: the records cannot be read, or workers cannot be started.
    """
    job = prepare(options, environ)
    if job.rules.rules:
        warm_up()
    say = Printer(tell=tell, show=show)
    try:
        with raised():
            return run_logged(job, options, environ, say=say, exporter=None, act=_survey)
    except StoppedError as stopped:
        return 128 + stopped.number


def _survey(job: Job, options: Options, *, watch: Watch, run: str, say: Printer) -> int:
    began, clock = _now(), time.monotonic()
    path = options.records if job.settings.aim == "plan" else None
    with ExitStack() as after, scratch_records(path, run=run) as (records, found, noted):
        for event in (*job.warnings, *found, *invalid_rules(job), _started(job)):
            watch.history.hear(event)
            watch.log.write(event)
        scheduler = Scheduler(
            job.rules.rules, run=run, facts=records, settings=job.settings, platforms=job.platforms, now=clock
        )
        scheduler.figures.reject_rules(len(job.rules.bad))
        ending = supervise(scheduler, job, options, watch=watch, recorder=None, store=records, after=after)
        summary = _summary(job, scheduler, ending, records, run=run, seconds=time.monotonic() - clock)
        summary = replace(
            summary, pauses=_pauses(watch.history), notes=tuple(_notes(scheduler, ending, watch.history))
        )
        survey_result = _survey_result(job, summary, records, history=watch.history, began=began, noted=noted)
        survey_result = _conclude(survey_result, options, records, watch=watch, say=say)
    if ending.trouble is not None:
        raise ending.trouble
    return survey_result.summary.exit_code


def _now() -> str:
    return dt.datetime.now().astimezone().isoformat(timespec="seconds")


def _started(job: Job) -> Event:
    rules, aim = len(job.rules.rules), job.settings.aim
    only = f", only {job.platforms}" if job.platforms.active else ""
    if aim == "verify":
        deep = ", all of it is read" if job.settings.deep else ""
        return Event(
            name="verify.start", message=f"verify: {rules} rules{only}{deep}", fields={"rules": rules}
        )
    place = str(job.settings.records)
    message = f"plan: {rules} rules, records {place}{only}; nothing is written"
    return Event(name="plan.start", message=message, fields={"rules": rules, "records": place})


def _summary(
    job: Job, scheduler: Scheduler, ending: Ending, records: Records, *, run: str, seconds: float
) -> Summary:
    figures = scheduler.figures
    code = 1 if figures.failures or figures.rules_failed or not scheduler.finished else 0
    if ending.trouble is not None:
        code = ending.trouble.exit_code
    elif ending.signal and not scheduler.finished:
        code = 128 + ending.signal
    rows = records.images(run=run, results={"failed"})
    return Summary(
        run=run,
        version=__version__,
        exit_code=code,
        figures=figures,
        seconds=seconds,
        causes=group(chain(lost_rules(job, scheduler), map(from_row, rows))),
    )


def _pauses(history: RunHistory) -> tuple[Pause, ...]:
    return tuple(
        Pause(registry=name, times=held.times, seconds=held.seconds)
        for name, held in history.held.items()
        if held.times
    )


def _notes(scheduler: Scheduler, ending: Ending, history: RunHistory) -> Iterator[str]:
    if scheduler.figures.foreign:
        yield f"{scheduler.figures.foreign} layers are left to the urls that their manifests name"
    if history.changed:
        yield f"{format_count(history.changed, 'digest')} changed by --os or --arch: the log names them"
    for pause in _pauses(history):
        yield f"{pause.registry} asked for pauses: {format_duration(round(pause.seconds))}"
    if not scheduler.finished:
        yield (
            f"stopped: this is a part only; {scheduler.figures.unfinished} images were not looked at"
            " to the end,"
            f" {len(scheduler.unexpanded)} rules not fully expanded"
        )
    if ending.trouble is not None:
        yield f"this machine stopped it: {ending.trouble}"


def _survey_result(
    job: Job,
    summary: Summary,
    records: Records,
    *,
    history: RunHistory,
    began: str,
    noted: str,
) -> SurveyResult:
    own = summary.figures.requests - summary.figures.planned_requests
    plan = job.settings.aim == "plan"
    last = run_state_of(noted) if noted else None
    skipped = records.images(run=summary.run, results={"skipped"}) if summary.figures.skipped else iter(())
    return SurveyResult(
        aim=job.settings.aim,
        deep=job.settings.deep,
        summary=summary,
        began=began,
        ended=_now(),
        own=own,
        registries=history.registries,
        estimate=estimate(summary.figures, own=own, seconds=summary.seconds, last=last) if plan else None,
        skipped=tuple(islice(skipped, _EXAMPLES)),
    )


def _conclude(
    survey_result: SurveyResult, options: Options, records: Records, *, watch: Watch, say: Printer
) -> SurveyResult:
    """Write and say what was found."""

    def rows() -> Iterator[ImageRow]:
        return records.images(run=survey_result.summary.run, results=_ALL)

    if options.report is not None:
        from pipeline.report.survey_page import survey_page  # noqa: PLC0415 - only where it is asked for

        try:
            write_text(options.report, survey_page(survey_result, rows(), command=options.arguments))
            summary = replace(survey_result.summary, report=str(options.report))
        except MachineError as error:
            say.tell(f"image-syncer: error: {error}")
            summary = replace(
                survey_result.summary, exit_code=survey_result.summary.exit_code or MachineError.exit_code
            )
        survey_result = replace(survey_result, summary=summary)
    watch.log.write(finished(survey_result))
    for line in json_pieces(survey_result, rows()) if options.json else survey_lines(survey_result):
        say.show(line)
    return survey_result
