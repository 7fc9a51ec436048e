"""The line on how far the run is, now and then and when asked: for logs that somebody watches for days."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pipeline.log import Event
from pipeline.model.units import format_count, format_duration, format_size
from pipeline.observe.latency import latencies
from pipeline.observe.rates import RateEstimator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.log import Value
    from pipeline.observe.latency import Latency
    from pipeline.scheduler.view import RunView
    from pipeline.settings import Aim

_TICKS = 120
"""Looks that the rate is taken over: about half a minute."""


class Heartbeat:
    """An observer that says `run.progress`.

    Args:
        say: takes the event.
        every: seconds between two lines; 0: only when asked.
        aim: what the run is for: a plan sends nothing.
    """

    def __init__(self, say: Callable[[Event], None], *, every: float, aim: Aim = "copy") -> None:
        """See the class."""
        self._say = say
        self._every = every
        self._aim = aim
        self._due = every
        self._pace = RateEstimator()
        self._sent: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=_TICKS)
        self._view: RunView | None = None

    def tick(self, view: RunView) -> None:
        """Look at the run, and tell of it where it is time."""
        self._view = view
        self._pace.look(view)
        self._sent.append((view.seconds, view.sent))
        if self._every and view.seconds >= self._due:
            self._due = view.seconds + self._every
            self.tell()

    def tell(self) -> None:
        """Say how far the run is, as it was last seen; nothing where nothing was seen yet."""
        view = self._view
        if view is None:
            return
        (before, old), (now, sent) = self._sent[0], self._sent[-1]
        rate = max(0, sent - old) / (now - before) if now > before else 0.0
        left = self._pace.left(view)
        figures = view.figures
        fields: dict[str, Value] = {
            "done": figures.processed,
            "total": figures.known,
            "final": view.expanded,
            "copied": figures.copied,
            "unchanged": figures.unchanged,
            "skipped": figures.skipped,
            "failed": figures.failed,
            "to_retry": figures.to_retry,
            "open": figures.unfinished,
            "bytes": sent,
            "rate": round(rate),
            "eta": None if left is None else round(left),
            "in_flight": sum(view.running.values()),
            "workers": view.workers,
        }
        words = {"copy": _moved(sent, rate), "plan": f"{format_size(sent)} to send", "verify": ""}[self._aim]
        message = ", ".join(part for part in _words(view, words, left) if part)
        self._say(Event(name="run.progress", message=message, fields=fields))
        for each in latencies(view.registries):
            self._say(_answering(each))


def _answering(latency: Latency) -> Event:
    return Event(
        name="registry.latency",
        message=str(latency),
        fields={
            "registry": latency.registry,
            "requests": latency.requests,
            "p50": round(latency.p50, 4),
            "p95": round(latency.p95, 4),
        },
    )


def _moved(sent: int, rate: float) -> str:
    return f"{format_size(sent)} sent, {format_size(rate)}/s"


def _words(view: RunView, bodies: str, left: float | None) -> Iterator[str]:
    figures = view.figures
    yield f"{figures.processed}/{figures.known}{'' if view.expanded else ' or more'} images"
    yield f"{figures.failed} failed"
    if figures.to_retry:
        yield f"{figures.to_retry} to be tried again"
    yield bodies
    yield f"about {format_duration(round(left))} left" if left is not None else "no telling yet how long"
    for registry in view.registries:
        if registry.cooldown:
            waiting = f" ({format_count(registry.waiting, 'task')} waiting)" if registry.waiting else ""
            yield f"{registry.name} pauses for {max(1.0, registry.cooldown):.0f}s{waiting}"
