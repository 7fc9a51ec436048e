"""The summary of a run, for a person (lines) and for a program (a JSON object): the same figures in both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.log import printable
from pipeline.model.units import format_count, format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.observe.latency import Latency
    from pipeline.report.causes import CauseGroup

SCHEMA = 1
"""Version of the JSON object: fields may be added under it, none changes its meaning."""
_SHOWN = 12
"""Causes, and registries, shown to a person."""
_WORDS = 240
"""Characters of a registry's words shown to a person."""
_DIGEST = re.compile(r"\b(sha(?:256|512):[0-9a-f]{12})[0-9a-f]{52,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What a registry made a run wait."""

    registry: str
    times: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of a run."""

    run: str = ""
    version: str = ""
    exit_code: int = 0
    copied: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    left: int = 0
    """Images that an interrupted run had begun and did not finish."""
    rules: int = 0
    """Rules in the rules file, wrong ones included."""
    rules_failed: int = 0
    """Rules that failed as a whole."""
    unexpanded: int = 0
    """Rules of which an interrupted run does not know all images."""
    is_stopped: bool = False
    """Whether the run was interrupted with work left."""
    bytes: int = 0
    """Bytes of blobs and manifests sent."""
    read: int = 0
    """Bytes of blobs and manifests received."""
    spared: int = 0
    """Bytes of blobs that did not have to be sent."""
    uploaded: int = 0
    mounted: int = 0
    present: int = 0
    """Blobs, by how they came to be where they are."""
    requests: int = 0
    requests_by_registry: Mapping[str, int] | None = None
    latency: tuple[Latency, ...] = ()
    """How fast registries answered, where requests were timed."""
    seconds: float = 0.0
    rewritten: int = 0
    """Indexes that the platform filter gave a new digest."""
    pauses: tuple[Pause, ...] = ()
    causes: tuple[CauseGroup, ...] = ()
    notes: tuple[str, ...] = ()
    """Further lines: what else is to be known."""
    again: tuple[str, ...] = ()
    """The command that does what is left, word by word; empty: there is none."""
    report: str = ""
    """The HTML report's path; empty: none was written."""

    @property
    def images(self) -> int:
        """All that are known of."""
        return self.copied + self.unchanged + self.skipped + self.failed + self.left


def verdict(summary: Summary) -> str:
    """`3,000 images in 9m24s: 2,741 copied, 257 up to date, 2 FAILED`."""
    parts = [f"{summary.copied:,} copied", f"{summary.unchanged:,} up to date"]
    parts += [f"{summary.skipped:,} skipped"] * bool(summary.skipped)
    parts += [f"{summary.left:,} not finished"] * bool(summary.left)
    parts += [f"{summary.failed:,} FAILED"] * bool(summary.failed)
    parts += [f"{format_count(summary.rules_failed, 'rule')} FAILED as a whole"] * bool(summary.rules_failed)
    return (
        f"{format_count(summary.images, 'image')} in {format_duration(summary.seconds)}: {', '.join(parts)}"
    )


def last_line(summary: Summary) -> str:
    """The line that users of the original tool search logs for; a run with work left has not finished."""
    tasks = f"{summary.failed + summary.rules_failed} tasks failed"
    took = f"cost {format_duration(summary.seconds)}."
    if not summary.is_stopped:
        return f"Synchronization finished, {tasks}, {took}"
    left = f"{format_count(summary.left, 'image')} begun and not finished"
    rules = f"{format_count(summary.unexpanded, 'rule')} not fully expanded"
    return f"Synchronization stopped, {tasks}, {left}, {rules}, {took}"


def summary_lines(summary: Summary) -> list[str]:
    """The summary for a person, in the order in which it is needed; the last line is the original tool's."""
    lines = [verdict(summary), f"  {cost(summary)}"]
    lines += [f"  {line}" for line in (*_waits(summary), *summary.notes)]
    lines += cause_lines(summary.causes)
    if summary.again:
        lines.append(f"{'Go on' if summary.is_stopped else 'Try these again'}:  {command(summary)}")
    if summary.report:
        lines.append(f"Report:  {summary.report}")
    return [printable(line) for line in (*lines, last_line(summary))]


def command(summary: Summary) -> str:
    """The command that does what is left, as one types it."""
    import shlex  # noqa: PLC0415 - only where something failed

    return shlex.join(summary.again)


def cause_lines(causes: tuple[CauseGroup, ...]) -> list[str]:
    """Why images and rules failed, for a person."""
    lines = [line for cause in causes[:_SHOWN] for line in _cause(cause)]
    more = sum(cause.count for cause in causes[_SHOWN:])
    return lines + [f"FAILED  {more:,} more for other causes: the log names them"] * bool(more)


def cost(summary: Summary) -> str:
    """`84.2GB sent (149MB/s), 61GB spared: 12,944 blobs mounted; 53,120 requests, 17.7 an image`."""
    rate = f" ({format_size(summary.bytes / summary.seconds)}/s)" if summary.seconds and summary.bytes else ""
    spared = f", {format_size(summary.spared)} spared:" if summary.spared else ","
    blobs = f"{format_count(summary.mounted, 'blob')} mounted"
    blobs += f", {summary.present:,} found there" if summary.present else ""
    each = f", {summary.requests / summary.images:.1f} an image" if summary.images else ""
    requests = format_count(summary.requests, "request")
    return f"{format_size(summary.bytes)} sent{rate}{spared} {blobs}; {requests}{each}"


def _waits(summary: Summary) -> list[str]:
    times = {1: "once", 2: "twice"}
    lines = [
        f"{pause.registry} cooled down {times.get(pause.times, f'{pause.times:,} times')}"
        f" ({format_duration(round(pause.seconds))})"
        for pause in summary.pauses
    ]
    lines += map(str, summary.latency[:_SHOWN])
    if summary.rewritten:
        lines.append(
            f"{format_count(summary.rewritten, 'digest')} changed by --os or --arch: the log names them"
        )
    return lines


def _cause(cause: CauseGroup) -> list[str]:
    """A cause: what and how often, an example, the registry's words, what to do."""
    example = cause.examples[0]
    return [
        f"FAILED  {cause.title} ({', '.join(cause_counts(cause))})",
        f"        {such_as(cause)}{example.pair}",
        f"        {shortened(example.words)}",
        f"        what to do: {cause.advice}",
    ]


def cause_counts(cause: CauseGroup) -> list[str]:
    """`2 images`, `1 rule`: those that there are."""
    counts = [format_count(cause.images, "image")] * bool(cause.images)
    return counts + [format_count(cause.rules, "rule")] * bool(cause.rules)


def such_as(cause: CauseGroup) -> str:
    """What goes before its example: nothing where there is no other."""
    return "such as " if cause.count > 1 else ""


def shortened(words: str) -> str:
    """As much of a registry's words as a person wants to read; digests leave room for the reason behind."""
    words = _DIGEST.sub(r"\1", words)
    return words if len(words) <= _WORDS else f"{words[: _WORDS - 3]}..."


def as_object(summary: Summary) -> dict[str, Any]:
    """The summary for a program: sizes in bytes, times in seconds."""
    return {
        "schema": SCHEMA,
        "version": summary.version,
        "run": summary.run,
        "exit_code": summary.exit_code,
        "seconds": round(summary.seconds, 3),
        "images": {
            "total": summary.images,
            "copied": summary.copied,
            "unchanged": summary.unchanged,
            "skipped": summary.skipped,
            "failed": summary.failed,
            "unfinished": summary.left,
        },
        "rules": {"total": summary.rules, "failed": summary.rules_failed, "unexpanded": summary.unexpanded},
        "bytes": {"received": summary.read, "sent": summary.bytes, "spared": summary.spared},
        "blobs": {"uploaded": summary.uploaded, "mounted": summary.mounted, "present": summary.present},
        "requests": {"total": summary.requests, "by_registry": dict(summary.requests_by_registry or {})},
        "latency": [
            {
                "registry": each.registry,
                "requests": each.requests,
                "p50": round(each.p50, 4),
                "p95": round(each.p95, 4),
            }
            for each in summary.latency
        ],
        "digests_changed": summary.rewritten,
        "pauses": [
            {"registry": pause.registry, "times": pause.times, "seconds": round(pause.seconds, 1)}
            for pause in summary.pauses
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
