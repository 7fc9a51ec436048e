"""Rates and the time that is left, from what was seen lately."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pipeline.observe.history import Curve, sample

if TYPE_CHECKING:
    from pipeline.scheduler.view import RunView

_TICKS = 24
"""Looks that a rate is taken over: about six seconds."""
_LEAST_WINDOW = 60.0
"""Seconds that an estimate looks back at least; it looks back over a quarter of the run."""
_LEAST_DONE = 5
"""Images after which an estimate is more than a guess."""


class RateEstimator:
    """Remembers a little of a run."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._curve = Curve()
        self._ticks: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=_TICKS)

    def look(self, view: RunView) -> None:
        """Take in how the run stands."""
        self._curve.add(sample(view))
        self._ticks.append((view.seconds, {each.name: (each.read, each.written) for each in view.registries}))

    def rates(self, registry: str) -> tuple[float, float]:
        """Bytes a second read from the registry, and written to it, in the last seconds."""
        (before, old), (now, new) = self._ticks[0], self._ticks[-1]
        took = now - before
        if took <= 0:
            return 0.0, 0.0
        read, written = new.get(registry, (0, 0))
        read_before, written_before = old.get(registry, (0, 0))
        return max(0.0, (read - read_before) / took), max(0.0, (written - written_before) / took)

    def rate(self) -> float:
        """Bytes a second written to all registries."""
        return sum(self.rates(name)[1] for name in self._ticks[-1][1])

    def left(self, view: RunView) -> float | None:
        """Seconds until all images have come to their end, by how many lately did; None: nobody knows.

        Images are counted and not bytes: how large an image is, is known only when its turn has come. Where
        all that is left waits for registries that pause, nobody knows what comes after the pause.
        """
        pauses = [each.cooldown for each in view.registries if each.cooldown > 0 and each.waiting]
        if not view.expanded or (pauses and not any(view.running.values())):
            return None
        before = self._curve.since(view.seconds - max(_LEAST_WINDOW, view.seconds / 4))
        took = view.seconds - before.seconds
        done = view.figures.processed - before.figures.processed
        if done < _LEAST_DONE or took <= 0:
            return None
        return max((view.figures.known - view.figures.processed) * took / done, *pauses, 0.0)
