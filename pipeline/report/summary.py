"""The summary of a run, for a person (lines) and for a program (a JSON object): the same figures in both."""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING, Any

from pipeline.dataclass import dataclass
from pipeline.log import printable
from pipeline.model.figures import Figures
from pipeline.model.remedies import RULE_INVALID
from pipeline.model.units import format_count, format_duration, format_size
from pipeline.observe.history import RunHistory
from pipeline.observe.latency import latencies

if TYPE_CHECKING:
    from pipeline.observe.history import PauseRecord
    from pipeline.observe.latency import Latency
    from pipeline.report.causes import CauseGroup

SCHEMA = 1
"""Version of the JSON object: fields may be added, and none changes its meaning."""
ON_TERMINAL = 12
"""Causes, and registries, that fit on a terminal; a file gets all."""
_RULES = 20
"""Invalid rules that are named."""
_WORDS = 240
"""Characters of a registry's words shown to a person."""
_DIGEST = re.compile(r"\b(sha(?:256|512):[0-9a-f]{12})[0-9a-f]{52,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run, a plan or a verification ended: the data of its lines, JSON and pages."""

    run: str = ""
    version: str = ""
    exit_code: int = 0
    figures: Figures = field(default_factory=Figures)
    unexpanded: int = 0
    """Rules with images that an interrupted run does not know."""
    is_stopped: bool = False
    """Whether the run was interrupted with work left."""
    seconds: float = 0.0
    history: RunHistory = field(default_factory=RunHistory)
    """Its registries, pauses, warnings and samples."""
    causes: tuple[CauseGroup, ...] = ()
    notes: tuple[str, ...] = ()
    """Further lines."""
    again: tuple[str, ...] = ()
    """The command that does what is left, word by word; empty if nothing is left."""
    report: str = ""
    """The HTML report's path; empty: none was written."""

    @property
    def pauses(self) -> dict[str, PauseRecord]:
        """The pauses of each registry that had any."""
        return {name: pauses for name, pauses in self.history.held.items() if pauses.times}

    @property
    def latency(self) -> tuple[Latency, ...]:
        """Response times of registries, if requests were timed."""
        return latencies(self.history.registries)


def verdict(summary: Summary) -> str:
    """`3,000 images in 9m24s: 2,741 copied, 257 up to date, 2 FAILED`."""
    figures = summary.figures
    parts = [f"{figures.copied:,} copied", f"{figures.unchanged:,} up to date"]
    parts += set_aside(figures)
    parts += [f"{figures.skipped:,} skipped"] * bool(figures.skipped)
    parts += [f"{figures.unfinished:,} not finished"] * bool(figures.unfinished)
    parts += [f"{figures.failures:,} FAILED"] * bool(figures.failures)
    parts += [f"{format_count(figures.rules_failed, 'rule')} FAILED as a whole"] * bool(figures.rules_failed)
    parts += [optional(figures)] * bool(figures.optional)
    return f"{format_count(figures.known, 'image')} in {format_duration(summary.seconds)}: {', '.join(parts)}"


def last_line(summary: Summary) -> str:
    """The line that users of the original tool search for; a run with work left has not finished."""
    figures = summary.figures
    also = [optional(figures)] * bool(figures.optional) + set_aside(figures)
    tasks = ", ".join([f"{figures.lost} tasks failed", *also])
    took = f"cost {format_duration(summary.seconds)}."
    if not summary.is_stopped:
        return f"Synchronization finished, {tasks}, {took}"
    left = f"{format_count(summary.figures.unfinished, 'image')} not finished"
    rules = f"{format_count(summary.unexpanded, 'rule')} not fully expanded"
    return f"Synchronization stopped, {tasks}, {left}, {rules}, {took}"


def set_aside(figures: Figures) -> list[str]:
    """What was not compared or copied because of a rule; exit code 0 does not include it."""
    parts = [f"{figures.kept:,} kept as they are"] * bool(figures.kept)
    parts += [f"{figures.held:,} held until old enough"] * bool(figures.held)
    return parts + companions_missing(figures)


def companions_missing(figures: Figures) -> list[str]:
    """`2 companions (signatures, SBOMs) missing`, if any."""
    missing = figures.companions_missing
    return [f"{format_count(missing, 'companion')} (signatures, SBOMs) missing"] * bool(missing)


def companions_stored(figures: Figures) -> str:
    """`, 12 companions (signatures, SBOMs)`, if any."""
    stored = figures.companions
    return f", {format_count(stored, 'companion')} (signatures, SBOMs)" if stored else ""


def optional(figures: Figures) -> str:
    """`2 failures are optional`."""
    return f"{format_count(figures.optional, 'failure')} {'is' if figures.optional == 1 else 'are'} optional"


def summary_lines(summary: Summary, *, most: int | None = None) -> list[str]:
    """The summary for a person, most important first; the last line is the original tool's.

    Args:
        summary: how the run ended.
        most: causes, and registries, that are shown; None: all.
    """
    lines = [verdict(summary), f"  {cost(summary)}"]
    shown = (*waits(summary), *map(str, summary.latency[:most]), *summary.notes)
    lines += [f"  {line}" for line in shown]
    lines += cause_lines(summary.causes, most=most)
    if summary.again:
        lines.append(continuation(command(summary), is_stopped=summary.is_stopped))
    if summary.report:
        lines.append(f"Report:  {summary.report}")
    return [printable(line) for line in (*lines, last_line(summary))]


def command(summary: Summary) -> str:
    """The command that does what is left, as typed."""
    import shlex  # noqa: PLC0415 - only where something failed

    return shlex.join(summary.again)


def continuation(words: str, *, is_stopped: bool) -> str:
    """The line with the command that copies what is missing."""
    return f"{'To resume' if is_stopped else 'To retry'}:  {words}"


def cause_lines(causes: tuple[CauseGroup, ...], *, most: int | None = None) -> list[str]:
    """Why images and rules failed, for a person; `most`: causes that are shown, None: all."""
    lines = [line for cause in causes[:most] for line in _cause(cause)]
    more = sum(cause.count for cause in causes[most:]) if most is not None else 0
    return lines + [f"FAILED  {more:,} more for other causes: see the log"] * bool(more)


def cost(summary: Summary) -> str:
    """`84.2GB sent (149MB/s), 61GB saved: 12,944 blobs mounted; 53,120 requests, 17.7 per image`."""
    figures, seconds = summary.figures, summary.seconds
    rate = f" ({format_size(figures.sent / seconds)}/s)" if seconds and figures.sent else ""
    saved = f", {format_size(figures.saved)} saved:" if figures.saved else ","
    blobs = f"{format_count(figures.mounted, 'blob')} mounted"
    blobs += f", {figures.present:,} already there" if figures.present else ""
    blobs += companions_stored(figures)
    return f"{format_size(figures.sent)} sent{rate}{saved} {blobs}; {request_count(figures)}"


def request_count(figures: Figures) -> str:
    """`53,120 requests, 17.7 per image`."""
    each = f", {figures.requests / figures.known:.1f} per image" if figures.known else ""
    return format_count(figures.requests, "request") + each


def figure_fields(figures: Figures) -> dict[str, int]:
    """The fields of the log's last event."""
    return {
        "copied": figures.copied,
        "unchanged": figures.unchanged,
        "kept": figures.kept,
        "held": figures.held,
        "skipped": figures.skipped,
        "failed": figures.failures,
        "rules_failed": figures.rules_failed,
        "left": figures.unfinished,
        "bytes": figures.sent,
        "spared": figures.saved,
        "uploaded": figures.uploaded,
        "mounted": figures.mounted,
        "present": figures.present,
        "requests": figures.requests,
        **({"optional": figures.optional} if figures.optional else {}),
        **({"companions": figures.companions} if figures.companions else {}),
        **({"companions_missing": figures.companions_missing} if figures.companions_missing else {}),
    }


def traffic_object(figures: Figures) -> dict[str, Any]:
    """What was sent and saved, and the companions of images, as JSON."""
    return {
        "bytes": {"received": figures.received, "sent": figures.sent, "spared": figures.saved},
        "blobs": {"uploaded": figures.uploaded, "mounted": figures.mounted, "present": figures.present},
        "companions": {"stored": figures.companions, "missing": figures.companions_missing},
    }


def waits(summary: Summary) -> list[str]:
    """For which registries the run waited, and how many digests the platform filter changed."""
    times = {1: "once", 2: "twice"}
    lines = [
        f"{name} {'rate-limited' if pauses.is_rate else 'paused'}"
        f" {times.get(pauses.times, f'{pauses.times:,} times')},"
        f" waited {format_duration(round(pauses.seconds))}"
        for name, pauses in summary.pauses.items()
    ]
    changed = format_count(summary.history.changed, "digest")
    return lines + [f"{changed} changed by --os or --arch: see the log"] * bool(summary.history.changed)


def _cause(cause: CauseGroup) -> list[str]:
    """A cause: what and how often, an example, the registry's words, what to do."""
    head = f"FAILED  {cause.title} ({', '.join(cause_counts(cause))})"
    advice = f"        what to do: {cause.advice}"
    if cause.code == RULE_INVALID:
        shown = cause.examples[:_RULES]
        lines = [f"        {shortened(each.words)}{f' ({each.hint})' if each.hint else ''}" for each in shown]
        more = cause.count - len(shown)
        return [head, *lines, *[f"        and {more:,} more"] * bool(more), advice]
    example = cause.examples[0]
    return [
        head,
        f"        {such_as(cause)}{example.pair}",
        f"        {shortened(example.words)}",
        advice,
    ]


def cause_counts(cause: CauseGroup) -> list[str]:
    """`2 images`, `1 rule`: those that are not 0."""
    counts = [format_count(cause.images, "image")] * bool(cause.images)
    return counts + [format_count(cause.rules, "rule")] * bool(cause.rules)


def such_as(cause: CauseGroup) -> str:
    """The words before its example; empty if it is the only failure."""
    return "for example " if cause.count > 1 else ""


def shortened(words: str) -> str:
    """A registry's words, shortened for people; digests are shortened first, to leave room for the reason."""
    words = short(words)
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 3]}..."


def short(words: str) -> str:
    """The words with shortened digests: `sha256:0123456789ab`."""
    return _DIGEST.sub(r"\1", words)


def as_object(summary: Summary) -> dict[str, Any]:
    """The summary for a program: sizes in bytes, times in seconds."""
    figures = summary.figures
    return {
        "schema": SCHEMA,
        "version": summary.version,
        "run": summary.run,
        "exit_code": summary.exit_code,
        "seconds": round(summary.seconds, 3),
        "images": {
            "total": figures.known,
            "copied": figures.copied,
            "unchanged": figures.unchanged,
            "kept": figures.kept,
            "held": figures.held,
            "skipped": figures.skipped,
            "failed": figures.failures,
            "unfinished": figures.unfinished,
        },
        "optional_failures": figures.optional,
        "rules": {"total": figures.rules, "failed": figures.rules_failed, "unexpanded": summary.unexpanded},
        **traffic_object(figures),
        "requests": {"total": figures.requests, "by_registry": dict(figures.requests_by_registry)},
        "latency": [each.fields for each in summary.latency],
        "digests_changed": summary.history.changed,
        "pauses": [
            {"registry": name, "times": pauses.times, "seconds": round(pauses.seconds, 1)}
            for name, pauses in summary.pauses.items()
        ],
        "failures": [cause_object(cause) for cause in summary.causes],
        "notes": list(summary.notes),
        "try_again": list(summary.again),
        "report": summary.report,
    }


def cause_object(cause: CauseGroup) -> dict[str, Any]:
    """A cause for a program."""
    return {
        "cause": cause.title,
        "side": cause.side,
        "registry": cause.registry,
        "status": cause.status or None,
        "code": cause.code,
        "retryable": cause.retryable,
        "images": cause.images,
        "rules": cause.rules,
        "what_to_do": cause.advice,
        "examples": [
            {"source": each.source, "destinations": list(each.destinations), "message": each.words}
            for each in cause.examples
        ],
    }
