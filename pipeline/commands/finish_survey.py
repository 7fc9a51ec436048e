"""How a plan or a verification ends: its report, its last line in the log, what it prints."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.commands.finish import summary_of, write_report
from pipeline.errors import MachineError
from pipeline.model.units import format_count, format_duration
from pipeline.observe.run_state import run_state_of
from pipeline.report.survey_result import SurveyResult, estimate, finished, json_pieces, survey_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.commands.finished_run import FinishedRun
    from pipeline.model.facts import ImageRow, Result
    from pipeline.report.summary import Summary

_ALL: tuple[Result, ...] = ("copied", "unchanged", "skipped", "failed")
_EXAMPLES = 20


def finish(run: FinishedRun) -> Summary:
    """Write and tell what was found; returns what was told."""
    summary = summary_of(run)
    result = _survey_result(run, replace(summary, notes=tuple(_notes(run, summary))))
    return _tell(run, result).summary


def _notes(run: FinishedRun, summary: Summary) -> Iterator[str]:
    figures = summary.figures
    if figures.foreign:
        yield f"{figures.foreign} layers are left to the urls that their manifests name"
    if summary.rewritten:
        yield f"{format_count(summary.rewritten, 'digest')} changed by --os or --arch: the log names them"
    for pause in summary.pauses:
        yield f"{pause.registry} asked for pauses: {format_duration(round(pause.seconds))}"
    if summary.is_stopped:
        yield (
            f"stopped: this is a part only; {figures.unfinished} images were not looked at to the end,"
            f" {summary.unexpanded} rules not fully expanded"
        )
    if run.ending.trouble is not None:
        yield f"this machine stopped it: {run.ending.trouble}"


def _survey_result(run: FinishedRun, summary: Summary) -> SurveyResult:
    figures, settings = summary.figures, run.job.settings
    own = figures.requests - figures.planned_requests
    last = run_state_of(run.previous) if run.previous else None
    skipped = run.records.images(run=run.name, results={"skipped"}) if figures.skipped else iter(())
    is_plan = settings.aim == "plan"
    return SurveyResult(
        aim=settings.aim,
        deep=settings.deep,
        summary=summary,
        began=run.began,
        ended=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        own=own,
        registries=run.history.registries,
        estimate=estimate(figures, own=own, seconds=run.seconds, last=last) if is_plan else None,
        skipped=tuple(islice(skipped, _EXAMPLES)),
    )


def _tell(run: FinishedRun, found: SurveyResult) -> SurveyResult:
    """Write the report, tell what was found; returns it with the report's path."""
    options, summary = run.options, found.summary

    def rows() -> Iterator[ImageRow]:
        return run.records.images(run=run.name, results=_ALL)

    if options.report is not None:
        from pipeline.report.survey_page import survey_page  # noqa: PLC0415 - only where it is asked for

        page = survey_page(found, rows(), command=options.arguments)
        if write_report(run, options.report, page):
            summary = replace(summary, report=str(options.report))
        else:
            summary = replace(summary, exit_code=summary.exit_code or MachineError.exit_code)
        found = replace(found, summary=summary)
    run.log.write(finished(found))
    for line in json_pieces(found, rows()) if options.json else survey_lines(found):
        run.say.show(line)
    return found
