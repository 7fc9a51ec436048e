"""The progress line: at intervals, and on request, for logs that are watched for days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.log import Event
from pipeline.model.units import format_count, format_duration, format_size
from pipeline.observe.latency import latencies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.log import Value
    from pipeline.observe.history import RunHistory
    from pipeline.scheduler.view import RunView
    from pipeline.settings import Aim


class Heartbeat:
    """An observer that logs `run.progress`.

    Args:
        history: what is known of the run.
        say: takes the event.
        every: seconds between two lines; 0: only when asked.
        aim: what the run is for: a plan sends nothing.
    """

    def __init__(
        self, history: RunHistory, say: Callable[[Event], None], *, every: float, aim: Aim = "copy"
    ) -> None:
        """See the class."""
        self._history = history
        self._say = say
        self._every = every
        self._aim = aim
        self._due = every

    def tick(self, view: RunView) -> None:
        """Log the progress if it is time."""
        if self._every and view.seconds >= self._due:
            self._due = view.seconds + self._every
            self.tell()

    def tell(self) -> None:
        """Log the progress as last seen, if anything was seen yet."""
        view, figures = self._history.view, self._history.figures
        if view is None:
            return
        sent, rate, left = figures.sent, self._history.rate, self._history.left
        fields: dict[str, Value] = {
            "done": figures.processed,
            "total": figures.known,
            "final": view.expanded,
            "copied": figures.copied,
            "unchanged": figures.unchanged,
            "kept": figures.kept,
            "held": figures.held,
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
            self._say(Event(name="registry.latency", message=str(each), fields=each.fields))


def _moved(sent: int, rate: float) -> str:
    return f"{format_size(sent)} sent, {format_size(rate)}/s"


def _words(view: RunView, bodies: str, left: float | None) -> Iterator[str]:
    figures = view.figures
    yield f"{figures.processed}/{figures.known}{'' if view.expanded else ' or more'} images"
    yield f"{figures.failed} failed"
    if figures.to_retry:
        yield f"{figures.to_retry} to retry"
    yield bodies
    yield f"about {format_duration(round(left))} left" if left is not None else "time left unknown"
    for registry in view.registries:
        if registry.pause:
            waiting = f" ({format_count(registry.waiting, 'task')} waiting)" if registry.waiting else ""
            yield f"{registry.name} paused for {max(1.0, registry.pause):.0f}s{waiting}"
