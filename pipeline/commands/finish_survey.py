"""How a plan or a verification ends: its report, its last log line, its output."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from pipeline.commands.finish import Finish, FinishedRun, summary_of
from pipeline.model.chains import links
from pipeline.model.units import format_count
from pipeline.observe.run_state import run_state_of
from pipeline.report.summary import waits
from pipeline.report.survey_result import SurveyResult, estimate, finished, json_pieces, survey_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.report.summary import Summary

_EXAMPLES = 20
_NAMED = 8
"""Maximum rules that wait for others in the text."""


def _summarize(run: FinishedRun) -> Summary:
    summary = summary_of(run)
    return replace(summary, notes=(*summary.notes, *_notes(run, summary)))


def _notes(run: FinishedRun, summary: Summary) -> Iterator[str]:
    yield from waits(summary)
    if run.job.settings.aim == "plan":
        fed = [each for each in links(run.job.rules.rules) if each.writers]
        places = {rule.number: rule.place for rule in run.job.rules.rules}
        yield from (
            f"after {places[max(each.writers)]}: rule {each.rule.text} ({each.rule.place}); what its source"
            " lacks until then is not counted"
            for each in fed[:_NAMED]
        )
        if len(fed) > _NAMED:
            yield f"and {format_count(len(fed) - _NAMED, 'rule')} more that read what others write"
    created = [*summary.history.to_create]
    yield from created[:_NAMED]
    if len(created) > _NAMED:
        yield f"and would create {len(created) - _NAMED:,} more"
    if summary.is_stopped:
        images, rules = summary.figures.unfinished, summary.unexpanded
        yield (
            f"stopped, so incomplete: {format_count(images, 'image')} not checked to the end,"
            f" {format_count(rules, 'rule')} not fully expanded"
        )
    if run.trouble:
        yield run.trouble


def _page(run: FinishedRun, summary: Summary) -> Iterable[str]:
    from pipeline.report.survey_page import survey_page  # noqa: PLC0415 - only if a report is requested

    return survey_page(_result(run, summary), run.rows(), command=run.options.arguments)


def _tell(run: FinishedRun, summary: Summary) -> None:
    found = _result(run, summary)
    run.log.write(finished(found))
    for line in json_pieces(found, run.rows()) if run.options.json else survey_lines(found):
        run.say.show(line)


def _result(run: FinishedRun, summary: Summary) -> SurveyResult:
    figures, settings = summary.figures, run.job.settings
    own = figures.requests - figures.planned_requests
    last = run_state_of(run.records.run_state)
    skipped = run.records.images(run=run.name, results={"skipped"}) if figures.skipped else iter(())
    is_plan = settings.aim == "plan"
    return SurveyResult(
        aim=settings.aim,
        deep=settings.deep,
        least_seconds=max(figures.sent, figures.received) / settings.bandwidth if settings.bandwidth else 0.0,
        summary=summary,
        began=run.began.isoformat(timespec="seconds"),
        ended=run.ended.isoformat(timespec="seconds"),
        own=own,
        estimate=estimate(figures, own=own, seconds=run.seconds, last=last) if is_plan else None,
        skipped=tuple(islice(skipped, _EXAMPLES)),
    )


FINISH = Finish(summarize=_summarize, page=_page, tell=_tell)
