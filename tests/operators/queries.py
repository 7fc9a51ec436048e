"""Checks PromQL queries against the catalogue of metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.observe.metrics.catalogue import METRICS, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "example"
OF_PROMETHEUS = {"job", "instance"}
"""Labels that Prometheus adds to a scrape."""

_SERIES = re.compile(r"\b(imagesyncer_\w+)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def labels_of(name: str) -> set[str] | None:
    """The labels of a series by its full name; None if there is no such metric."""
    base = name.removeprefix(PREFIX)
    if base in METRICS and METRICS[base].kind != "histogram":
        return set(METRICS[base].labels)
    for suffix, more in (("_bucket", {"le"}), ("_sum", set()), ("_count", set())):
        stem = base.removesuffix(suffix)
        if stem != base and stem in METRICS and METRICS[stem].kind == "histogram":
            return {*METRICS[stem].labels, *more}
    return None


def complaints(query: str) -> Iterator[str]:
    """The metrics and labels of a query that are not in the catalogue."""
    known: set[str] = set(OF_PROMETHEUS)
    found = _SERIES.findall(query)
    if not found:
        yield f"asks for no metric of ours: {query}"
    for name, matchers in found:
        labels = labels_of(name)
        if labels is None:
            yield f"no metric {name}"
            continue
        known |= labels
        for label in _MATCHER.findall(_TEXT.sub("", matchers)):
            if label not in labels | OF_PROMETHEUS:
                yield f"{name} has no label {label}"
    for names in _GROUPING.findall(query):
        for label in re.findall(r"\w+", names):
            if label not in known:
                yield f"no metric here has the label {label}: {query}"
    counters = [name for name, _ in found if _kind(name) == "counter"]
    for name in counters:
        before = query[: query.index(name)]
        if not re.search(r"(rate|increase|sum|sum by \([^)]*\))\s*\($", before.rstrip()):
            yield f"{name} is a counter, and is neither summed nor a rate: {query}"


def _kind(name: str) -> str:
    metric = METRICS.get(name.removeprefix(PREFIX))
    return metric.kind if metric else ""
