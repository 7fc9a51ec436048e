"""The report's charts as numbers, which a template draws as SVG without scripts or libraries.

Shapes are drawn in a box of 1000 x 200 that the page stretches to its width; labels are HTML beside it, so
that they keep their size on a narrow screen.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.units import format_duration, format_size
from pipeline.observe.history import PHASES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.model.figures import Figures
    from pipeline.observe.history import PauseRecord, RunHistory, Sample

WIDTH, HEIGHT = 1000, 200
_POINTS = 150
"""Points of a line of rates: more would only show noise."""
_LEAST = 3
"""Minimum samples of a chart."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An area or a line."""

    kind: str
    """A class of the page's style sheet; its colour."""
    label: str
    points: str
    """As written in SVG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A stretch of time, or a part of a bar."""

    x: float
    width: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart over the time of the run."""

    title: str
    shapes: tuple[Shape, ...]
    bands: tuple[Band, ...]
    high: str
    """The label at the top."""
    middle: str
    times: tuple[str, ...]
    """Labels below, at even distances from left to right."""
    is_area: bool


def images_over_time(history: RunHistory) -> Chart | None:
    """Finished images, stacked by result; None: the run was too short for a chart."""
    samples = history.curve.samples
    if len(samples) < _LEAST:
        return None
    layers: tuple[tuple[str, str, Callable[[Figures], int]], ...] = (
        ("copied", "copied", lambda f: f.copied),
        ("unchanged", "up to date", lambda f: f.copied + f.unchanged),
        ("skipped", "kept, held, skipped", lambda f: f.copied + f.unchanged + f.kept + f.held + f.skipped),
        ("failed", "failed", lambda f: f.processed),
    )
    top = nice(max(1, samples[-1].figures.processed))
    shapes = []
    lower = [0.0] * len(samples)
    for kind, label, count in layers:
        upper = [float(count(each.figures)) for each in samples]
        if upper != lower:
            outline = [*_scaled(samples, upper, top), *reversed(_scaled(samples, lower, top))]
            shapes.append(Shape(kind=kind, label=label, points=" ".join(outline)))
        lower = upper
    return Chart(
        title="Finished images over time",
        shapes=tuple(shapes),
        bands=_bands(history.held, samples[-1].seconds),
        high=f"{top:,.0f}",
        middle=f"{top / 2:,g}",
        times=_times(samples[-1].seconds),
        is_area=True,
    )


def bytes_over_time(history: RunHistory) -> Chart | None:
    """Bytes read and written per second; None: the run was too short for a chart, or sent nothing."""
    every = max(1, len(history.curve.samples) // _POINTS)
    samples = [*history.curve.samples[:-1:every], history.curve.samples[-1]]
    if len(samples) < _LEAST or not (samples[-1].read or samples[-1].written):
        return None
    read, written = _rates(samples, lambda s: s.read), _rates(samples, lambda s: s.written)
    top = nice(max(1.0, *read, *written))
    return Chart(
        title="Bytes of blobs read and written per second",
        shapes=(
            Shape(kind="written", label="written", points=" ".join(_scaled(samples, written, top))),
            Shape(kind="read", label="read", points=" ".join(_scaled(samples, read, top))),
        ),
        bands=_bands(history.held, samples[-1].seconds),
        high=f"{format_size(top)}/s",
        middle=f"{format_size(top / 2)}/s",
        times=_times(samples[-1].seconds),
        is_area=False,
    )


def time_spent(history: RunHistory) -> tuple[Band, ...]:
    """One bar: what the run spent its time on."""
    total = sum(history.phases.values())
    found = []
    x = 0.0
    for phase, meaning in PHASES.items():
        seconds = history.phases[phase]
        if total and seconds:
            width = WIDTH * seconds / total
            label = f"{meaning}: {format_duration(seconds)}, {seconds / total:.0%}"
            found.append(Band(x=round(x, 1), width=round(width, 1), kind=phase, label=label))
            x += width
    return tuple(found)


def nice(value: float) -> float:
    """The next higher round number: 1, 2, 2.5 or 5 times a power of ten."""
    power = 1.0
    while power * 10 < value:
        power *= 10
    return next(step * power for step in _STEPS if step * power >= value)


def _rates(samples: Sequence[Sample], count: Callable[[Sample], int]) -> list[float]:
    """Bytes per second up to each sample; a failed attempt, which takes its bytes back, counts as 0."""
    rates = [0.0]
    for before, after in pairwise(samples):
        took = after.seconds - before.seconds
        rates.append(max(0.0, (count(after) - count(before)) / took) if took > 0 else rates[-1])
    return rates


def _scaled(samples: Sequence[Sample], values: Sequence[float], top: float) -> list[str]:
    total = samples[-1].seconds or 1.0
    return [
        f"{WIDTH * each.seconds / total:.1f},{HEIGHT - HEIGHT * value / top:.1f}"
        for each, value in zip(samples, values, strict=True)
    ]


def _bands(held: Mapping[str, PauseRecord], total: float) -> tuple[Band, ...]:
    """The pauses of all registries; a short one stays visible."""
    return tuple(
        Band(
            x=round(WIDTH * begin / total, 1),
            width=round(max(2.0, WIDTH * (end - begin) / total), 1),
            kind="pause",
            label=f"{name} paused from {format_duration(begin)} to {format_duration(end)}",
        )
        for name, each in held.items()
        for begin, end in each.bands
        if total
    )


def _times(total: float) -> tuple[str, ...]:
    return tuple(format_duration(total * part / 4) for part in range(5))
