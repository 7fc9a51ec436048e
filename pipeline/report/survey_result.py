"""The result of a plan or verification: for a person, for a program, and as an event, with the same figures.

The list of images is never held in memory: rows are read one by one from the records.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.dataclass import dataclass
from pipeline.log import Event, printable
from pipeline.model.units import format_count, format_duration, format_size
from pipeline.report.summary import (
    SCHEMA,
    Summary,
    cause_lines,
    cause_object,
    companions_missing,
    companions_stored,
    figure_fields,
    optional,
    request_count,
    traffic_object,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.model.facts import ImageRow, Result
    from pipeline.model.figures import Figures
    from pipeline.observe.run_state import RunState
    from pipeline.scheduler.view import RegistryView
    from pipeline.settings import Aim

_OF_COPIES = frozenset({"copied", "bytes", "spared", "uploaded", "mounted"})
"""Fields of the last event that make no sense if nothing is copied."""
_SHOWN = 5
"""Skipped images shown to a person."""

RESULTS: Mapping[Aim, Mapping[Result, str]] = {
    "plan": {
        "copied": "to copy",
        "unchanged": "up to date",
        "kept": "kept",
        "held": "held",
        "skipped": "skipped",
        "failed": "would FAIL",
    },
    "verify": {
        "copied": "complete",
        "unchanged": "complete",
        "kept": "kept",
        "held": "held",
        "skipped": "skipped",
        "failed": "INCOMPLETE",
    },
}
"""The meaning of a row's result, by aim."""
_KEYS: Mapping[Aim, Mapping[Result, str]] = {
    aim: {result: words.lower().replace(" ", "_") for result, words in results.items()}
    for aim, results in RESULTS.items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulls:
    """Manifests to read at a registry that limits such pulls."""

    registry: str
    pulls: int
    limit: int
    window: int
    """Seconds."""
    left: int
    """Pulls that it still allows now."""
    reserve: int = 0
    """How many of these, and of each limit, are left to others."""

    @property
    def seconds(self) -> float:
        """The least time because of the limit: excess pulls wait for the next windows."""
        over = self.pulls - max(0, self.left - self.reserve)
        return math.ceil(over / max(1, self.limit - self.reserve)) * self.window if over > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How long a run would take without the limits on pulls."""

    seconds: float
    basis: str
    """What the estimate is based on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyResult:
    """The result."""

    aim: Aim
    deep: bool
    summary: Summary
    """Of a plan: the summary that a run would have, but with the plan's `seconds`."""
    began: str
    ended: str
    """Date and time as in ISO 8601."""
    own: int
    """Requests that were really made."""
    estimate: Estimate | None = None
    least_seconds: float = 0.0
    """The least time of its bytes, by --bandwidth."""
    skipped: tuple[ImageRow, ...] = ()
    """The first ones."""

    @property
    def registries(self) -> tuple[RegistryView, ...]:
        """As they were last seen."""
        return self.summary.history.registries

    @property
    def pulls(self) -> tuple[Pulls, ...]:
        """Of registries that state a limit."""
        return tuple(
            Pulls(
                registry=each.name,
                pulls=each.asked.get(("GET", "manifest"), 0),
                limit=each.pulls_limit[0],
                window=each.pulls_limit[1],
                left=each.pulls_left if each.pulls_left is not None else each.pulls_limit[0],
                reserve=each.reserve,
            )
            for each in self.registries
            if each.pulls_limit is not None
        )

    @property
    def seconds(self) -> float:
        """How long a run would take, including limits of pulls and of the user; 0: unknown."""
        estimated = self.estimate.seconds if self.estimate else 0.0
        limits = (each.least_seconds for each in self.registries)
        return max(estimated, self.least_seconds, *limits, *(each.seconds for each in self.pulls))

    @property
    def results(self) -> dict[str, int]:
        """Numbers of images by the verb's words for their results."""
        figures = self.summary.figures
        counts: dict[Result, int] = {
            "copied": figures.copied,
            "unchanged": figures.unchanged,
            "kept": figures.kept,
            "held": figures.held,
            "skipped": figures.skipped,
            "failed": figures.failures,
        }
        added: dict[str, int] = {}
        for result, count in counts.items():
            words = RESULTS[self.aim][result]
            added[words] = added.get(words, 0) + count
        return added


def estimate(figures: Figures, *, own: int, seconds: float, last: RunState | None) -> Estimate | None:
    """How long a run would take, by measured rates; None: nothing was measured.

    Args:
        figures: what a run would do.
        own: requests that the plan itself made,
        seconds: in that time.
        last: the state of the last run.
    """
    if last is not None and last.seconds > 0 and last.figures.requests:
        requests, rate = last.figures.requests / last.seconds, last.figures.sent / last.seconds
        times = [figures.requests / requests, *([figures.sent / rate] if rate else [])]
        sent = f"{format_size(rate)}/s and " if rate else "nothing sent, "
        basis = f"the last run's rate ({sent}{requests:.3g} requests/s)"
        return Estimate(seconds=max(times), basis=basis)
    if not own or seconds <= 0:
        return None
    requests = own / seconds
    basis = f"the plan's own {requests:.3g} requests/s: no run has measured yet how fast blobs are sent"
    return Estimate(seconds=figures.requests / requests, basis=basis)


def verdict(found: SurveyResult) -> str:
    """`3,000 images: 2,741 to copy, 257 up to date, 2 would FAIL`."""
    figures = found.summary.figures
    parts = [
        f"{count:,} {words}"
        for words, count in found.results.items()
        if count or words not in ("kept", "held", "skipped", RESULTS[found.aim]["failed"])
    ]
    parts += [f"{figures.unfinished:,} not checked to the end"] * bool(figures.unfinished)
    wrong = "would FAIL" if found.aim == "plan" else "FAILED"
    parts += [f"{format_count(figures.rules_failed, 'rule')} {wrong} as a whole"] * bool(figures.rules_failed)
    parts += [optional(figures)] * bool(figures.optional)
    parts += companions_missing(figures)
    return f"{found.aim}: {format_count(figures.known, 'image')}: {', '.join(parts)}"


def survey_lines(found: SurveyResult) -> list[str]:
    """For a person, most important first."""
    lines = [verdict(found)]
    lines += [f"  {line}" for line in (*cost_lines(found), *found.summary.notes)]
    lines += [f"  skipped: {row.source} -> {row.destination}: {row.fault}" for row in found.skipped[:_SHOWN]]
    more = found.summary.figures.skipped - len(found.skipped[:_SHOWN])
    lines += [f"  skipped: {more:,} more: see the log"] * (more > 0)
    lines += cause_lines(found.summary.causes)
    lines += [f"Report:  {found.summary.report}"] * bool(found.summary.report)
    return [printable(line) for line in lines]


def cost_lines(found: SurveyResult) -> Iterator[str]:
    """What it would cost, or has cost, and how long it would take."""
    summary, figures = found.summary, found.summary.figures
    requests = request_count(figures)
    took = f"{format_count(found.own, 'request')} in {format_duration(summary.seconds)}"
    if found.aim == "verify":
        how = "read and hashed" if found.deep else "checked"
        read = f", {format_size(figures.received)} read" if found.deep else ""
        yield f"{format_count(figures.present, 'blob')} {how}{read}; {requests}; {summary.seconds:.1f}s"
        return
    yield f"{_blobs(found)}; {requests}"
    if listed := summary.history.listed:
        yield f"rules take {summary.history.selected:,} of {format_count(listed, 'listed tag')}"
    for registry in found.registries:
        least = format_duration(round(registry.least_seconds, 1))
        limited = f"; its limits in the credentials file make it {least}" if registry.least_seconds else ""
        yield f"{registry.name}: {_kinds(registry)}{limited}"
    yield from _comparisons(found.registries)
    yield from map(_pulls_line, found.pulls)
    if found.estimate is not None:
        yield f"time: about {format_duration(round(found.seconds, 1))}, based on {found.estimate.basis}"
    yield f"the plan itself took {took}"


def _blobs(found: SurveyResult) -> str:
    """The blobs that a run would send, mount, or find."""
    figures = found.summary.figures
    mounted = sum(each.saved.get("mounted", 0) for each in found.registries)
    sent = f"{format_size(figures.sent)} to send in {format_count(figures.uploaded, 'blob')}"
    parts = [sent if figures.sent else "nothing to send"]
    parts += [f"{figures.mounted:,} to mount ({format_size(mounted)})"] * bool(figures.mounted)
    parts += [f"{figures.present:,} already there ({format_size(figures.saved - mounted)})"] * bool(
        figures.present
    )
    return ", ".join(parts) + companions_stored(figures)


def _comparisons(registries: Sequence[RegistryView]) -> Iterator[str]:
    """How the tags of each side are compared, if a listing saves requests on one."""
    if not any(each.by_listing for each in registries):
        return
    for each in registries:
        for side in sorted({*each.by_head, *each.by_listing}):
            ways = ((each.by_listing, "by a listing of its digests"), (each.by_head, "by HEAD"))
            told = ", ".join(f"{counts.get(side, 0):,} {how}" for counts, how in ways if counts.get(side))
            yield f"tags compared at the {side} {each.name}: {told}"


def _kinds(registry: RegistryView) -> str:
    kinds = sorted(registry.asked.items())
    listed = ", ".join(f"{count:,} {' '.join(kind).strip()}" for kind, count in kinds)
    return f"{format_count(registry.requests, 'request')} ({listed})"


def _pulls_line(each: Pulls) -> str:
    window = format_duration(each.window)
    told = f"{each.registry}: {format_count(each.pulls, 'pull')}; its limit is {each.limit:,} in {window}"
    told += f", {each.reserve:,} for others" if each.reserve else ""
    if not each.seconds:
        return f"{told}, {each.left:,} left now: enough"
    return f"{told}, {each.left:,} left now: a run waits {format_duration(each.seconds)} for it"


def as_object(found: SurveyResult) -> dict[str, Any]:
    """For a program, without the list of images: sizes in bytes, times in seconds."""
    summary, figures = found.summary, found.summary.figures
    return {
        "schema": SCHEMA,
        "verb": found.aim,
        **({"deep": found.deep} if found.aim == "verify" else {}),
        "version": summary.version,
        "run": summary.run,
        "began": found.began,
        "ended": found.ended,
        "seconds": round(summary.seconds, 3),
        "exit_code": summary.exit_code,
        "images": {
            "total": figures.known,
            **{words.lower().replace(" ", "_"): count for words, count in found.results.items()},
            "unfinished": figures.unfinished,
        },
        "optional_failures": figures.optional,
        "rules": {"total": figures.rules, "failed": figures.rules_failed},
        "tags": {"listed": summary.history.listed, "selected": summary.history.selected},
        **traffic_object(figures),
        "requests": {"total": figures.requests, "made": found.own},
        "registries": {each.name: _registry_object(each) for each in found.registries},
        "pulls": [{**asdict(each), "seconds": each.seconds} for each in found.pulls],
        "estimate": {"seconds": round(found.estimate.seconds, 1), "basis": found.estimate.basis}
        if found.estimate
        else None,
        "failures": [cause_object(cause) for cause in summary.causes],
        "notes": list(summary.notes),
        "report": summary.report,
    }


def _registry_object(each: RegistryView) -> dict[str, Any]:
    return {
        "requests": each.requests,
        "by_kind": {" ".join(kind).strip(): count for kind, count in sorted(each.asked.items())},
        "compared": {"by_listing": sum(each.by_listing.values()), "by_head": sum(each.by_head.values())},
        "blobs": dict(each.blobs),
        "received": each.read,
        "sent": each.written,
    }


def json_pieces(found: SurveyResult, rows: Iterable[ImageRow]) -> Iterator[str]:
    """One JSON object, the list of images last: a line before it, one per image, one after it."""
    head = json.dumps(as_object(found), ensure_ascii=True)
    yield f'{head[:-1]}, "list": ['
    before = ""
    for row in rows:
        if before:
            yield f"{before},"
        before = json.dumps(row_object(found.aim, row), ensure_ascii=True)
    yield f"{before}]}}"


def row_object(aim: Aim, row: ImageRow) -> dict[str, Any]:
    """One image for a program."""
    return {
        "source": row.source,
        "destination": row.destination,
        "result": _KEYS[aim][row.result],
        "source_digest": row.source_digest,
        "destination_digest": row.destination_digest,
        "when": row.when,
        **({"reason": row.fault} if row.fault else {}),
        **({"platforms": row.filter} if row.filter else {}),
    }


def finished(found: SurveyResult) -> Event:
    """The log's last line."""
    summary, figures = found.summary, found.summary.figures
    lost = figures.lost
    words = {
        "plan": f"Plan finished, {lost} tasks would fail",
        "verify": f"Verification finished, {lost} failed",
    }
    names = {"plan": "plan.finish", "verify": "verify.finish"}
    fields = figure_fields(figures)
    if found.aim == "verify":
        fields = {name: count for name, count in fields.items() if name not in _OF_COPIES}
    return Event(
        name=names[found.aim],
        level="error" if summary.exit_code else "info",
        message=f"{words[found.aim]}, cost {format_duration(summary.seconds)}.",
        fields={
            **fields,
            "duration": round(summary.seconds, 3),
            "exit_code": summary.exit_code,
            "eta": round(found.seconds) if found.estimate else None,
        },
    )
