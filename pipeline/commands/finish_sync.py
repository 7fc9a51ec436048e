"""How a run that copies ends: lists of images, report, summary, last events in the log."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.commands.finish import Finish, FinishedRun, summary_of
from pipeline.commands.leftovers import command_again, what_is_left, write_files
from pipeline.errors import MachineError
from pipeline.log import Event, event_of
from pipeline.report.summary import (
    ON_TERMINAL,
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
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.commands.leftovers import Leftovers
    from pipeline.report.causes import CauseGroup


def _summarize(run: FinishedRun) -> Summary:
    left, summary = write_files(run), summary_of(run)
    notes = (*summary.notes, *_notes(run, left))
    again = command_again(run, left) if summary.is_stopped or left.any_to_retry else ()
    if not left.complete and summary.exit_code <= 1:
        # Exit codes 0 and 1 promise that the lists of images are complete.
        summary = replace(summary, exit_code=MachineError.exit_code)
    return replace(summary, notes=notes, again=again)


def _notes(run: FinishedRun, left: Leftovers) -> Iterator[str]:
    if run.is_stopped:
        yield what_is_left(run)
    if left.beaten:
        yield left.remark
    if run.trouble:
        yield run.trouble
        yield "missing records only cost requests in the next run"


def _tell(run: FinishedRun, summary: Summary) -> None:
    log = run.log
    *lines, last = summary_lines(summary, most=ON_TERMINAL if log.is_terminal else None)
    speaks = not run.options.quiet or summary.exit_code > 0
    if speaks and (log.is_for_people or run.options.log is not None):
        for line in lines:
            run.say.tell(line)
    if not (log.is_for_people and speaks):
        for cause in summary.causes:
            log.write(_cause_event(cause))
        if summary.again and not run.is_stopped:
            log.write(_again_event(command(summary)))
        if run.is_stopped:
            log.write(_left_event(run, summary))
    if run.scheduler.quarantine_begins:
        log.write(event_of("run.quarantine", {"held": summary.figures.held}))
    finished = _finished(last, summary)
    log.write(finished)
    if speaks and (run.options.log is not None or (log.is_terminal and not log.takes(finished.level))):
        run.say.tell(last)
    if run.options.json:
        run.say.show(json.dumps(as_object(summary), ensure_ascii=True))


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
    message = f"to retry, after resolving the failures above: {words}"
    return Event(name="run.again", message=message, fields={"command": words})


def _left_event(run: FinishedRun, summary: Summary) -> Event:
    return Event(
        name="run.left",
        level="warning",
        message=f"{what_is_left(run)}; to resume: {command(summary)}",
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


def _page(run: FinishedRun, summary: Summary) -> Iterable[str]:
    from pipeline.report.page import RuleCounts, count_rules, page  # noqa: PLC0415 - only if a report is requested

    failed = {rule.number for rule, _ in run.scheduler.failed_rules}
    rules = {
        rule.number: RuleCounts(_place(run, rule.file, rule.line), rule.text, rule.number in failed)
        for rule in run.job.rules.rules
    }
    rules |= {
        bad.number: RuleCounts(_place(run, bad.path, bad.line), bad.text, failed_whole=True)
        for bad in run.job.rules.bad
    }
    count_rules(rules, run.rows())
    return page(
        summary,
        rules=[rules[number] for number in sorted(rules)],
        settings=_settings(run),
        ended=run.ended.isoformat(" ", "seconds"),
    )


def _place(run: FinishedRun, path: str, line: int) -> str:
    """The place of a rule; the only file need not be named."""
    return f"{path}:{line}" if path not in ("", run.job.rules.path) else str(line or "")


def _settings(run: FinishedRun) -> Sequence[tuple[str, str]]:
    """The settings of the run, for the report; credentials are in files and never here."""
    options = run.options
    return [
        ("command", " ".join(("image-syncer", *options.arguments))),
        ("rules", run.job.rules.path or " ".join(options.words)),
        ("records", str(options.records)),
        ("platforms", str(run.job.options.platforms) if run.job.options.platforms.active else "all"),
        ("--force", "yes" if options.force else "no"),
        ("--proc", str(options.proc or "only the registries' limits")),
        ("--retries", str(options.retries)),
        ("--patience", f"{options.patience:g}s"),
    ]


FINISH = Finish(summarize=_summarize, page=_page, tell=_tell)
