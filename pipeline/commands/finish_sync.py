"""How a run that copies ends: its lists of images, its report, its summary, its last lines in the log.

Nothing here may hide how the run ended: a file that cannot be written is told, and the rest is done.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.commands.finish import summary_of, write_report
from pipeline.commands.leftovers import command_again, what_is_left, write_files
from pipeline.errors import MachineError
from pipeline.log import Event
from pipeline.model.units import format_count
from pipeline.report.summary import (
    Summary,
    as_object,
    cause_counts,
    command,
    figure_fields,
    shortened,
    such_as,
    summary_lines,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.commands.finished_run import FinishedRun
    from pipeline.commands.leftovers import Leftovers
    from pipeline.report.causes import CauseGroup


def finish(run: FinishedRun) -> Summary:
    """Write and say what is to be left of a run; returns what was said."""
    log, summary = run.log, _write(run)
    *lines, last = summary_lines(summary)
    for_person = log.is_for_people or run.options.log is not None
    speaks = not run.options.quiet or summary.exit_code > 0
    if for_person and speaks:
        for line in lines:
            run.say.tell(line)
    if not (log.is_for_people and speaks):
        for cause in summary.causes:
            log.write(_cause_event(cause))
        if summary.again and run.scheduler.finished:
            log.write(_again_event(command(summary)))
        if summary.is_stopped:
            log.write(_left_event(run, summary))
    finished = _finished(last, summary)
    log.write(finished)
    if speaks and (run.options.log is not None or (log.is_terminal and not log.takes(finished.level))):
        run.say.tell(last)
    if run.options.json:
        run.say.show(json.dumps(as_object(summary), ensure_ascii=True))
    return summary


def _write(run: FinishedRun) -> Summary:
    """Write all files; where one of results is missing, that is the run's failure (exit code 3)."""
    left = write_files(run)
    summary, complete = _summary(run, left), left.complete
    if run.options.report is not None:
        if _write_report(run, summary):
            summary = replace(summary, report=str(run.options.report))
        else:
            complete = False
    if run.exporter is not None:
        complete = run.exporter.end(succeeded=summary.exit_code == 0 and complete) and complete
    lacks_lists = summary.exit_code == 1 and not left.complete  # 1 comes with the list of what is not there
    if lacks_lists or (summary.exit_code == 0 and not complete):
        return replace(summary, exit_code=MachineError.exit_code)
    return summary


def _summary(run: FinishedRun, left: Leftovers) -> Summary:
    figures = run.scheduler.figures
    again = figures.failures > left.beaten or figures.rules_failed or not run.scheduler.finished
    return replace(
        summary_of(run),
        notes=tuple(_notes(run, left)),
        again=command_again(run, left) if again else (),
    )


def _notes(run: FinishedRun, left: Leftovers) -> Iterator[str]:
    foreign = run.scheduler.figures.foreign
    if foreign:
        yield f"{foreign} layers were left to the urls that their manifests name"
    if not run.scheduler.finished:
        yield what_is_left(run)
    if left.beaten:
        images = format_count(left.beaten, "image")
        yield f"{images} lost the destination tag to a rule that stands first; trying again leaves them out"
    if run.ending.trouble is not None:
        yield f"this machine stopped the run: {run.ending.trouble}"
        yield "what is not in the records is only asked for again"


def _cause_event(cause: CauseGroup) -> Event:
    example = cause.examples[0]
    return Event(
        name="run.cause",
        level="error",
        message=f"{cause.title}: {', '.join(cause_counts(cause))}, {such_as(cause)}{example.pair}:"
        f" {shortened(example.words)}; what to do: {cause.advice}",
        fields={
            "side": cause.side or None,
            "registry": cause.registry or None,
            "status": cause.status or None,
            "code": cause.code or None,
            "retryable": cause.retryable,
            "images": cause.images,
            "rules": cause.rules,
            "source": example.source,
            "destination": example.destinations[0] if example.destinations else "",
            "reason": example.words,
            "advice": cause.advice,
        },
    )


def _again_event(words: str) -> Event:
    message = f"to try these again, once what is above is done: {words}"
    return Event(name="run.again", message=message, fields={"command": words})


def _left_event(run: FinishedRun, summary: Summary) -> Event:
    return Event(
        name="run.left",
        level="warning",
        message=f"{what_is_left(run)}; go on with: {command(summary)}",
        fields={"signal": run.ending.signal, "left": summary.figures.unfinished, "rules": summary.unexpanded},
    )


def _finished(message: str, summary: Summary) -> Event:
    return Event(
        name="run.finish",
        level="error" if summary.exit_code else "info",
        message=message,
        fields={
            **figure_fields(summary.figures),
            "duration": round(summary.seconds, 3),
            "exit_code": summary.exit_code,
        },
    )


def _write_report(run: FinishedRun, summary: Summary) -> bool:
    """Write the page; whether it is there."""
    from pipeline.report.page import RuleCounts, count_rules, page  # noqa: PLC0415 - only where it is asked for

    assert run.options.report is not None
    rules = {
        rule.number: RuleCounts(rule.line, rule.text, rule.number in run.scheduler.failed_rules)
        for rule in run.job.rules.rules
    }
    rules |= {bad.number: RuleCounts(bad.line, bad.text, failed_whole=True) for bad in run.job.rules.bad}
    try:
        every = run.records.images(run=run.name, results={"copied", "unchanged", "skipped", "failed"})
        count_rules(rules, every)
    except MachineError as error:
        run.say.tell(f"image-syncer: error: {error}")
        return False
    pieces = page(
        summary,
        run.history,
        rules=[rules[number] for number in sorted(rules)],
        settings=_settings(run),
        ended=dt.datetime.now().astimezone().isoformat(" ", "seconds"),
    )
    return write_report(run, run.options.report, pieces)


def _settings(run: FinishedRun) -> Sequence[tuple[str, str]]:
    """What the run was told, for the report; credentials are in files and never here."""
    options = run.options
    return [
        ("command", " ".join(("image-syncer", *options.arguments))),
        ("rules", run.job.rules.path or " ".join(options.words)),
        ("records", str(options.records)),
        ("platforms", str(run.job.platforms) if run.job.platforms.active else "all"),
        ("--force", "yes" if options.force else "no"),
        ("--proc", str(options.proc or "as many as the registries' limits let")),
        ("--retries", str(options.retries)),
        ("--patience", f"{options.patience:g}s"),
    ]
