from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.log import Event
from pipeline.model.figures import Timing
from pipeline.observe.heartbeat import Heartbeat
from pipeline.observe.history import RunHistory
from tests.unit.views import HARBOR, QUAY, moving, view

if TYPE_CHECKING:
    from pipeline.scheduler.view import RunView


class Watched:
    """A heartbeat with the history that it reads."""

    def __init__(self, *, every: float = 0.0) -> None:
        self.history, self.said = RunHistory(), list[Event]()
        self.heartbeat = Heartbeat(self.history, self.said.append, every=every)
        self.tell = self.heartbeat.tell

    def tick(self, seen: RunView) -> None:
        """Let both observe."""
        self.history.tick(seen)
        self.heartbeat.tick(seen)


def beat(*seconds: float, every: float = 30.0) -> list[Event]:
    """The lines about a run that is observed at these times; a tenth of an image is finished each second."""
    heartbeat = Watched(every=every)
    for now in seconds:
        heartbeat.tick(view(now, copied=int(now // 10), sent=int(now * 1_000_000), transfers=()))
    return heartbeat.said


def test_one_line_for_each_interval() -> None:
    """There is one line for each interval, however often the run is observed."""
    assert len(beat(*range(0, 100, 5))) == 3


def test_no_lines_without_an_interval() -> None:
    """Without an interval there are no lines."""
    assert beat(*range(0, 100, 5), every=0.0) == []


def test_line_states_count_rate_and_time_left() -> None:
    """It states the finished images and their total, the rate, and the time left."""
    event = beat(*range(301))[-1]

    assert event.name == "run.progress"
    assert event.message == "31/100 images, 1 failed, 300MB sent, 1MB/s, about 10m47s left"
    assert (event.fields["eta"], event.fields["rate"], event.fields["final"]) == (647, 1_000_000, True)


def test_state_is_repeated_on_request() -> None:
    """On request it repeats its last state: running tasks, pauses, unknown totals."""
    heartbeat = Watched()
    heartbeat.tell()
    registries = (replace(QUAY, pause=39.4),)
    heartbeat.tick(view(2.0, expanded=False, to_retry=3, transfers=(moving(8),), registries=registries))
    heartbeat.tell()

    [event] = heartbeat.said
    assert event.message == (
        "41/100 or more images, 1 failed, 3 to retry, 4MB sent, 2MB/s, time left unknown,"
        " quay.io paused for 39s"
    )
    assert event.fields["eta"] is None


def test_registry_response_times_follow() -> None:
    """If requests are timed, a line for each registry with its response times follows."""
    timing = Timing()
    for _ in range(100):
        timing.add(0.03)
    registries = (replace(QUAY, calls={("GET", 200): timing}), HARBOR)
    heartbeat = Watched()
    heartbeat.tick(view(2.0, registries=registries))
    heartbeat.tell()

    assert [event.name for event in heartbeat.said] == ["run.progress", "registry.latency"]
    assert heartbeat.said[-1].message == "quay.io response time: median 38ms, 95th percentile 49ms"
    assert heartbeat.said[-1].fields == {"registry": "quay.io", "requests": 100, "p50": 0.0375, "p95": 0.0488}


def test_no_time_left_while_all_tasks_wait() -> None:
    """If all remaining tasks wait for a paused registry, the time left is not estimated."""
    heartbeat = Watched()
    registries = (replace(QUAY, pause=39.4, waiting=2),)
    for now in range(100):
        heartbeat.tick(view(float(now), copied=min(now, 50), transfers=()))
    heartbeat.tick(view(100.0, copied=50, transfers=(), registries=registries, running=Counter()))
    heartbeat.tell()

    assert heartbeat.said[-1].fields["eta"] is None
    assert heartbeat.said[-1].message.endswith("time left unknown, quay.io paused for 39s (2 tasks waiting)")


def test_time_left_is_at_least_the_pause() -> None:
    """The time left is at least the pause of a registry that tasks wait for."""
    heartbeat = Watched()
    registries = (replace(QUAY, pause=900.0, waiting=2),)
    for now in range(100):
        heartbeat.tick(view(float(now), copied=min(now, 98), transfers=(), registries=registries))
    heartbeat.tell()

    assert heartbeat.said[-1].fields["eta"] == 900
