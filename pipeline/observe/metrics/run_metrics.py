"""A run's metrics: an observer that keeps a snapshot and turns it into series when asked.

Nothing is counted here: the figures are the scheduler's, so they agree with log, summary and report. `tick`
only copies what may change; the thread that serves the page makes the series.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pipeline import __version__
from pipeline.dataclass import dataclass
from pipeline.model.facts import RESULTS
from pipeline.model.figures import BOUNDS, Timing
from pipeline.observe.metrics.catalogue import MAX_HOSTS, METRICS, OTHER_HOSTS, PREFIX
from pipeline.scheduler.view import HostView

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from pipeline.log import Event
    from pipeline.scheduler.view import RegistryView, RunView

_SIGNAL = re.compile(r"SIG[A-Z0-9]+")
_LE = (*map(str, BOUNDS), "+Inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run at one moment; it never changes."""

    at: float
    """On the monotonic clock."""
    view: RunView
    deaths: Mapping[str, int]


class RunMetrics(Collector):
    """Observes a run; returns its series.

    Args:
        last_success: when a run last succeeded, in seconds since 1970; None: not known.
    """

    def __init__(self, *, last_success: float | None = None) -> None:
        """See the class."""
        self.look: Snapshot | None = None
        """The last one; replaced as a whole, so that another thread may read it."""
        self._deaths: Counter[str] = Counter()
        self._hosts: dict[str, None] = {}
        """Those with series of their own."""
        self._last_success = last_success
        self._ended: float | None = None

    def tick(self, view: RunView) -> None:
        """Keep a snapshot of the run."""
        registries = tuple(
            replace(
                registry,
                blobs=dict(registry.blobs),
                saved=dict(registry.saved),
                calls={kind: timing.copy() for kind, timing in registry.calls.items()},
                retries=dict(registry.retries),
            )
            for registry in view.registries
        )
        self.look = Snapshot(
            at=time.monotonic(),
            view=replace(
                view,
                figures=view.figures.copy(),
                registries=registries,
                transfers=(),
                hosts=self._bounded(view.hosts),
            ),
            deaths=dict(self._deaths),
        )

    def _bounded(self, hosts: Sequence[HostView]) -> tuple[HostView, ...]:
        """The first hosts of the run, with or without workers now, and all others as one."""
        for host in hosts:
            if len(self._hosts) < MAX_HOSTS:
                self._hosts[host.name] = None
        workers, tasks = Counter(dict.fromkeys(self._hosts, 0)), Counter[str]()
        for host in hosts:
            label = host.name if host.name in self._hosts else OTHER_HOSTS
            workers[label] += host.workers
            tasks[label] += host.tasks
        return tuple(HostView(name=host, workers=workers[host], tasks=tasks[host]) for host in workers)

    def hear(self, event: Event) -> None:
        """Count the deaths of workers."""
        if event.name == "worker.lost":
            named = _SIGNAL.search(str(event.fields.get("reason", "")))
            self._deaths[named[0] if named else "exit"] += 1

    def end(self, *, succeeded: bool) -> None:
        """The run is over."""
        self._ended = time.time()
        if succeeded:
            self._last_success = self._ended

    def collect(self) -> Iterator[Metric]:
        """All series, as prometheus-client asks for them."""
        yield _family("build_info", [((__version__,), 1)])
        for name, value in (
            ("run_last_success_timestamp_seconds", self._last_success),
            ("run_last_completion_timestamp_seconds", self._ended),
        ):
            if value is not None:
                yield _family(name, [((), value)])
        look = self.look
        if look is not None:
            yield from _of_run(look)
            yield from _of_registries(look.view.registries)


def _of_run(look: Snapshot) -> Iterator[Metric]:
    view, figures = look.view, look.view.figures
    yield _family("run_duration_seconds", [((), view.seconds)])
    yield _family("run_failed_images", [((), figures.failures)])
    yield _family("run_optional_failures", [((), figures.optional)])
    states = {"planned": view.planned, "in_flight": figures.unfinished, "waiting": figures.to_retry}
    yield _family("images", [((state,), count) for state, count in states.items()])
    yield _family("images_finished_total", [((each,), getattr(figures, each)) for each in RESULTS])
    companions = {"stored": figures.companions, "missing": figures.companions_missing}
    yield _family("companions_total", [((outcome,), count) for outcome, count in companions.items()])
    yield _family("workers", [((), view.workers)])
    yield _family("host_workers", [((host.name,), host.workers) for host in view.hosts])
    yield _family("host_tasks", [((host.name,), host.tasks) for host in view.hosts])
    yield _family("worker_deaths_total", [((reason,), count) for reason, count in look.deaths.items()])


def _of_registries(registries: Iterable[RegistryView]) -> Iterator[Metric]:
    each = tuple(registries)
    yield _family("blobs_total", [((r.name, how), n) for r in each for how, n in r.blobs.items()])
    yield _family("spared_bytes_total", [((r.name, how), n) for r in each for how, n in r.saved.items()])
    moved = [((r.name, way), n) for r in each for way, n in (("read", r.read), ("written", r.written))]
    yield _family("transferred_bytes_total", moved)
    yield _family(
        "requests_total",
        [
            ((r.name, method, str(status or "none")), sum(timing.counts))
            for r in each
            for (method, status), timing in r.calls.items()
        ],
    )
    yield _durations(each)
    yield _family("retries_total", [((r.name, why), n) for r in each for why, n in r.retries.items()])
    yield _family("requests_in_flight", [((r.name,), r.in_flight) for r in each])
    yield _family("requests_limit", [((r.name,), r.limit) for r in each])
    yield _family("cooldown_seconds", [((r.name,), r.pause) for r in each])
    left = [((r.name,), r.pulls_left) for r in each if r.pulls_left is not None]
    yield _family("ratelimit_remaining", left)


def _family(name: str, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    """The series of a gauge or counter."""
    entry = METRICS[name]
    kind = GaugeMetricFamily if entry.kind == "gauge" else CounterMetricFamily
    family = kind(PREFIX + name, entry.meaning, labels=entry.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _durations(registries: Iterable[RegistryView]) -> HistogramMetricFamily:
    name = "request_duration_seconds"
    family = HistogramMetricFamily(PREFIX + name, METRICS[name].meaning, labels=METRICS[name].labels)
    for registry in registries:
        by_method: dict[str, Timing] = {}
        for (method, _), timing in registry.calls.items():
            whole = by_method.setdefault(method, Timing())
            whole.counts = [a + b for a, b in zip(whole.counts, timing.counts, strict=True)]
            whole.seconds += timing.seconds
        for method, whole in by_method.items():
            buckets = list(zip(_LE, accumulate(whole.counts), strict=True))
            family.add_metric((registry.name, method), buckets, sum_value=whole.seconds)
    return family
