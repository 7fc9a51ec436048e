"""The present and past state of a run, for summary, report, view and log lines.

Memory does not grow with the run. Samples hold totals, not differences: when samples are thinned out, only
resolution is lost.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import deque
from dataclasses import field, replace
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.log import sentence
from pipeline.model.figures import Figures

if TYPE_CHECKING:
    from pipeline.log import Event
    from pipeline.scheduler.view import RegistryView, RunView, TransferView

Phase = Literal["moving", "asking", "waiting", "idle"]
PHASES: dict[Phase, str] = {
    "moving": "transferring blobs",
    "asking": "asking registries, pushing manifests",
    "waiting": "waiting for paused registries",
    "idle": "starting and finishing",
}
"""Each moment counts as the first of these that applies."""

SMALL = 64 << 10
"""Bytes below which a transfer gets no line: it is over before anybody reads it."""
SAMPLES = 600
TOP = 20
"""Largest blobs, slowest images."""
_MOVED_LATELY = 2.0
"""Seconds within which blobs with received bytes count as moving; a waiting upload does not."""
_WARNINGS = 100
_BANDS = 100
"""Pauses of one registry that are kept apart."""
_LOOKS = 24
"""Samples over which a registry's rates are taken: about six seconds."""
_RATE_WINDOW = 30.0
"""Seconds over which the run's rate is taken, at least."""
_ESTIMATE_WINDOW = 60.0
"""Minimum seconds that an estimate looks back; it looks back over a quarter of the run."""
_LEAST_DONE = 5
"""Images after which an estimate is more than a guess."""
_OWN_PLACE = frozenset({"image.retry", "registry.cooldown", "image.rewritten", "run.drain"})
"""Warnings that the report has elsewhere, or as a figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The figures at one moment."""

    seconds: float
    """Since the run began."""
    figures: Figures = field(default_factory=Figures)
    """A copy; `sent` includes running transfers."""
    read: int = 0
    """Bytes of blobs received, including running transfers."""
    written: int = 0


def sample(view: RunView) -> Sample:
    """The figures as they are now."""
    return Sample(
        seconds=view.seconds,
        figures=replace(view.figures.copy(), sent=view.sent),
        read=sum(registry.read for registry in view.registries),
        written=sum(registry.written for registry in view.registries),
    )


class Curve:
    """At most 600 samples of a run of any length: if there are more, every second one is removed."""

    def __init__(self) -> None:
        """Start with zeros."""
        self.samples: list[Sample] = [Sample(seconds=0.0)]
        self._step = 0.0

    def add(self, taken: Sample) -> None:
        """Add a sample; the newest one is always kept."""
        if len(self.samples) > 1 and self.samples[-1].seconds - self.samples[-2].seconds < self._step:
            self.samples.pop()
        self.samples.append(taken)
        if len(self.samples) > SAMPLES:
            del self.samples[1:-1:2]
            self._step = taken.seconds / len(self.samples)

    def since(self, seconds: float) -> Sample:
        """The newest sample that is not newer than `seconds`, else the first."""
        return self.samples[max(0, bisect_right(self.samples, seconds, key=attrgetter("seconds")) - 1)]


@dataclass(slots=True)
class PauseRecord:
    """The pauses of one registry."""

    bands: list[tuple[float, float]] = field(default_factory=list)
    """From and to, in seconds since the start; if there are many, near ones are merged."""
    times: int = 0
    seconds: float = 0.0
    most: int = 0
    """Requests in flight, at most."""
    least: int = 0
    """The lowest limit on them."""
    open: bool = False
    is_rate: bool = True
    """Whether the registry limited the rate, and never failed otherwise."""

    def look(self, registry: RegistryView, *, now: float, took: float) -> None:
        """Take in the state of the registry."""
        self.most = max(self.most, registry.in_flight)
        self.least = min(self.least, registry.limit) if self.least else registry.limit
        pauses = registry.pause > 0
        if pauses and not self.open:
            self.times += 1
            self.bands.append((now, now))
        if pauses or self.open:
            self.seconds += took if self.open else 0.0
            self.bands[-1] = (self.bands[-1][0], now)
        self.open = pauses
        if len(self.bands) > _BANDS:
            gaps = [after[0] - before[1] for before, after in pairwise(self.bands)]
            at = gaps.index(min(gaps))
            self.bands[at : at + 2] = [(self.bands[at][0], self.bands[at + 1][1])]


@dataclass(frozen=True, slots=True, order=True)
class SlowImage:
    """An image that was copied."""

    seconds: float
    bytes: int
    source: str
    destination: str


class RunHistory:
    """The first observer: it remembers the run, and the others show or write it."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.curve = Curve()
        self.view: RunView | None = None
        """The run as it was last seen."""
        self.stopping = False
        """Whether it was told to stop, and finishes running transfers."""
        self._looks: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=_LOOKS)
        """Seconds, and bytes read and written by registry."""
        self.phases: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self.held: dict[str, PauseRecord] = {}
        self.slow: list[SlowImage] = []
        """A heap; at most 20."""
        self.warnings: list[str] = []
        """The first hundred."""
        self.warned = 0
        self.rewritten: list[str] = []
        """The first hundred."""
        self.changed = 0
        """Digests that the platform filter changed."""
        self.retried = 0
        """Failed attempts of images that were retried."""
        self.listed = self.selected = 0
        """Tags in all lists that were read, and those that rules select."""
        self.to_create: dict[str, None] = {}
        """Of a plan: what a run would create before it writes, in words."""
        self._blobs: dict[tuple[str, str], TransferView] = {}
        self._last = self._moved_at = 0.0

    def tick(self, view: RunView) -> None:
        """Take in the state of the run."""
        took, self._last = view.seconds - self._last, view.seconds
        self.view = view
        self._looks.append((view.seconds, {each.name: (each.read, each.written) for each in view.registries}))
        newest, taken = self.curve.samples[-1], sample(view)
        if (taken.read, taken.written) != (newest.read, newest.written):
            self._moved_at = view.seconds
        self.curve.add(taken)
        for registry in view.registries:
            held = self.held.setdefault(registry.name, PauseRecord())
            held.look(registry, now=view.seconds, took=took)
        moves = bool(view.transfers) and view.seconds - self._moved_at < _MOVED_LATELY
        self.phases["moving" if moves else _phase(view)] += took
        for transfer in view.transfers[:TOP]:
            if 0 <= transfer.size < SMALL:
                continue
            self._blobs[transfer.digest, transfer.destination] = transfer
        if len(self._blobs) > 4 * TOP:
            self._blobs = {(each.digest, each.destination): each for each in self.blobs}

    @property
    def registries(self) -> tuple[RegistryView, ...]:
        """As they were last seen."""
        return self.view.registries if self.view else ()

    @property
    def figures(self) -> Figures:
        """As they were last seen; `sent` includes running transfers."""
        return self.curve.samples[-1].figures

    @property
    def rate(self) -> float:
        """Recently sent bytes per second."""
        newest = self.curve.samples[-1]
        before = self.curve.since(newest.seconds - _RATE_WINDOW)
        took = newest.seconds - before.seconds
        return max(0, newest.figures.sent - before.figures.sent) / took if took > 0 else 0.0

    def registry_rates(self, name: str) -> tuple[float, float]:
        """Bytes per second read from the registry, and written to it, in the last seconds."""
        (before, old), (now, new) = self._looks[0], self._looks[-1]
        took = now - before
        if took <= 0:
            return 0.0, 0.0
        read, written = new.get(name, (0, 0))
        read_before, written_before = old.get(name, (0, 0))
        return max(0.0, (read - read_before) / took), max(0.0, (written - written_before) / took)

    @property
    def left(self) -> float | None:
        """Estimated seconds until the end of the run; None: unknown.

        By bytes once every image has been read, before that by recently finished images, but no less than
        known bytes take. If all remaining work waits for pausing registries, nobody knows what follows the
        pause.
        """
        view = self.view
        if view is None or not view.expanded:
            return None
        pauses = [each.pause for each in view.registries if each.pause > 0 and each.waiting]
        if pauses and not any(view.running.values()):
            return None
        rate = self.rate
        by_bytes = view.unsent / rate if rate else 0.0
        if view.sized and by_bytes:
            return max(by_bytes, *pauses, 0.0)
        before = self.curve.since(view.seconds - max(_ESTIMATE_WINDOW, view.seconds / 4))
        took = view.seconds - before.seconds
        done = self.figures.processed - before.figures.processed
        if done < _LEAST_DONE or took <= 0:
            return None
        return max((self.figures.known - self.figures.processed) * took / done, by_bytes, *pauses)

    @property
    def blobs(self) -> list[TransferView]:
        """The largest blobs that were seen moving, largest first."""
        return heapq.nlargest(TOP, self._blobs.values(), key=attrgetter("size"))

    def hear(self, event: Event) -> None:
        """Take in what is logged."""
        fields, facts = event.fields, event.facts or {}
        if event.name == "image.done":
            seconds, size = fields.get("duration"), fields.get("bytes")
            slow = SlowImage(
                float(seconds or 0), int(size or 0), str(fields.get("source")), str(fields.get("destination"))
            )
            (heapq.heappush if len(self.slow) < TOP else heapq.heappushpop)(self.slow, slow)
        elif event.name == "image.rewritten":
            self.changed += 1
            _keep(self.rewritten, event)
        elif event.name == "image.retry":
            self.retried += 1
        elif event.name == "rule.expanded":
            self.listed += int(fields.get("tags") or 0)
            self.selected += int(fields.get("selected") or 0)
        elif event.name == "repository.to_create":
            self.to_create[event.message] = None
        elif event.name == "registry.cooldown" and (not fields.get("status") or facts.get("troubled")):
            self.held.setdefault(str(fields.get("registry")), PauseRecord()).is_rate = False
        elif event.name == "run.drain":
            self.stopping = True
        elif event.level == "warning" and event.name not in _OWN_PLACE:
            self.warned += 1
            _keep(self.warnings, event)


def _keep(lines: list[str], event: Event) -> None:
    if len(lines) < _WARNINGS:
        lines.append(sentence(event))


def _phase(view: RunView) -> Phase:
    """What a moment without moving bytes was spent on."""
    if view.running:
        return "asking"
    if any(registry.pause > 0 for registry in view.registries):
        return "waiting"
    return "idle"
