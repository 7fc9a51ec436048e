"""The report as one HTML page: self-contained, without scripts and external links, for reading and
printing.

Registries choose many of its words. The template engine escapes all of them (a forgotten `html.escape`
would be a hole), control characters and direction marks are shown as escapes, and the page's own policy
forbids scripts and loading in case both fail.
"""

from __future__ import annotations

import sys
from dataclasses import field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.dataclass import dataclass
from pipeline.log import printable
from pipeline.model.facts import RESULTS
from pipeline.model.units import format_count, format_duration, format_size
from pipeline.outputs.image_lists import rules_text
from pipeline.report.causes import entries
from pipeline.report.charts import HEIGHT, WIDTH, bytes_over_time, images_over_time, time_spent
from pipeline.report.summary import (
    cause_counts,
    command,
    companions_stored,
    optional,
    set_aside,
    short,
    verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import jinja2

    from pipeline.model.facts import ImageRow
    from pipeline.report.summary import Summary

_TEMPLATE = "page.html.jinja"
_MOST_RULES = 300
"""Rules that the page lists: those with failures first."""
_ASIDE = ("kept", "held", "skipped")
"""Results that only some rules cause."""
_PACKAGES = ("requests", "urllib3", "diskcache", "PyYAML")


@dataclass(slots=True)
class RuleCounts:
    """A rule's images by result."""

    place: str
    """The line, with its file if there are several; empty: the command line."""
    text: str
    failed_whole: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))

    @property
    def is_bad(self) -> bool:
        """Whether any of it failed."""
        return self.failed_whole or self.counts["failed"] > 0


def count_rules(rules: Mapping[int, RuleCounts], rows: Iterable[ImageRow]) -> None:
    """Count the run's images by rule; no row is kept."""
    for row in rows:
        if row.rule in rules:
            rules[row.rule].counts[row.result] += 1


def page(
    summary: Summary,
    *,
    rules: Sequence[RuleCounts],
    settings: Sequence[tuple[str, str]],
    ended: str,
) -> Iterator[str]:
    """The page, piece by piece.

    Args:
        summary: how the run ended.
        rules: in file order, with their counts.
        settings: names and values; no secrets.
        ended: date and time.
    """
    environment, history = make_environment(), summary.history
    ranked = sorted(rules, key=lambda rule: not rule.is_bad)
    return environment.get_template(_TEMPLATE).generate(
        summary=summary,
        verdict=verdict(summary),
        numbers=_numbers(summary),
        groups=[(each, rules_text(entries(each)) if each.may_be_tried else "") for each in summary.causes],
        again=command(summary) if summary.again else "",
        charts=[chart for chart in (images_over_time(history), bytes_over_time(history)) if chart],
        spent=time_spent(history),
        width=WIDTH,
        height=HEIGHT,
        history=history,
        latency={each.registry: each for each in summary.latency},
        slow=sorted(history.slow, reverse=True),
        rules=ranked[:_MOST_RULES],
        aside=[name for name in _ASIDE if name == "skipped" or getattr(summary.figures, name)],
        rules_more=len(ranked[_MOST_RULES:]),
        settings=settings,
        versions=_versions(summary.version),
        ended=ended,
        count=format_count,
    )


def make_environment() -> jinja2.Environment:
    """The engine of all pages, which escapes every inserted text."""
    import jinja2  # noqa: PLC0415 - only who asks for a report pays for it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["counts"] = cause_counts
    environment.filters |= {
        "size": format_size,
        "duration": format_duration,
        "number": _number,
        "short": short,
    }
    return environment


def _shown(value: Any) -> Any:
    """Plain text on one line, as by `printable`; parts of the page itself stay as they are."""
    return "\n".join(map(printable, value.split("\n"))) if type(value) is str else value


def _number(value: int) -> str:
    return f"{value:,}"


def _numbers(summary: Summary) -> list[tuple[str, str, str]]:
    """Six figures: name, value, explanation."""
    figures, seconds = summary.figures, summary.seconds
    there, of_all = figures.copied + figures.unchanged, f"of {format_count(figures.known, 'image')}"
    rate = f"{format_size(figures.sent / seconds)}/s" if seconds and figures.sent else "nothing to send"
    lost = figures.failures or figures.rules_failed
    causes = [format_count(len(summary.causes), "cause")] * bool(lost)
    rules = [f"and {format_count(figures.rules_failed, 'rule')} as a whole"] * bool(figures.rules_failed)
    failed = [*rules, *causes, *[optional(figures)] * bool(figures.optional)]
    each = f"{figures.requests / figures.known:.1f} per image" if figures.known else ""
    mounted = f"{format_count(figures.mounted, 'blob')} mounted, {figures.present:,} already there"
    rate += companions_stored(figures)
    return [
        ("At their destination", f"{there:,}", ", ".join([of_all, *set_aside(figures)])),
        ("Failed", f"{figures.failures:,}", ", ".join(failed) or "none"),
        (
            "Time",
            format_duration(seconds),
            f"{figures.known / seconds:.1f} images per second" if seconds else "",
        ),
        ("Sent", format_size(figures.sent), rate),
        ("Saved", format_size(figures.saved), mounted),
        ("Requests", f"{figures.requests:,}", each),
    ]


def _versions(own: str) -> list[tuple[str, str]]:
    found = [("image-syncer", own), ("Python", sys.version.split()[0])]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
