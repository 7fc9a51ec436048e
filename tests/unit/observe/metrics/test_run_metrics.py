from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest

from pipeline.log import Event
from pipeline.model.figures import Timing
from pipeline.observe.metrics.catalogue import METRICS, PREFIX
from pipeline.observe.metrics.run_metrics import RunMetrics
from pipeline.scheduler.view import HostView
from tests.unit.views import QUAY, view

if TYPE_CHECKING:
    from pipeline.scheduler.view import RegistryView


def timing(*seconds: float) -> Timing:
    """Times of some requests."""
    made = Timing()
    for each in seconds:
        made.add(each)
    return made


def full() -> RegistryView:
    """A registry with all kinds of figures."""
    return replace(
        QUAY,
        blobs={"uploaded": 3, "mounted": 2},
        saved={"mounted": 900},
        calls={("HEAD", 200): timing(0.004, 0.3), ("HEAD", 0): timing(70.0), ("GET", 429): timing(0.02)},
        retries={"TIMEOUT": 1},
        pulls_left=76,
    )


def page(gauge: RunMetrics) -> list[str]:
    """The lines of the page, without comments."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(gauge)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_metrics_match_the_catalogue() -> None:
    """The metrics of a run have the catalogue's names and labels, and there are no others."""
    gauge = RunMetrics(last_success=5.0)
    gauge.hear(Event(name="worker.lost", message="", fields={"reason": "killed by SIGKILL; perhaps"}))
    gauge.hear(Event(name="worker.lost", message="", fields={"reason": "exit status 3"}))
    gauge.tick(
        view(
            registries=(full(),), planned=7, to_retry=2, hosts=(HostView(name="node-1", workers=3, tasks=9),)
        )
    )
    gauge.end(succeeded=False)
    lines = page(gauge)

    names = {line.split("{")[0].split(" ")[0].removeprefix(PREFIX) for line in lines}
    histogram = {f"request_duration_seconds_{part}" for part in ("bucket", "count", "sum")}
    assert names == {name for name in METRICS if name != "request_duration_seconds"} | histogram
    assert {
        'imagesyncer_images{state="planned"} 7.0',
        'imagesyncer_images{state="in_flight"} 57.0',
        'imagesyncer_images{state="waiting"} 2.0',
        'imagesyncer_images_finished_total{outcome="copied"} 40.0',
        "imagesyncer_run_failed_images 3.0",
        "imagesyncer_run_last_success_timestamp_seconds 5.0",
        'imagesyncer_blobs_total{how="mounted",registry="quay.io"} 2.0',
        'imagesyncer_spared_bytes_total{how="mounted",registry="quay.io"} 900.0',
        'imagesyncer_transferred_bytes_total{direction="read",registry="quay.io"} 4e+07',
        'imagesyncer_requests_total{code="200",method="HEAD",registry="quay.io"} 2.0',
        'imagesyncer_requests_total{code="none",method="HEAD",registry="quay.io"} 1.0',
        'imagesyncer_retries_total{reason="TIMEOUT",registry="quay.io"} 1.0',
        'imagesyncer_ratelimit_remaining{registry="quay.io"} 76.0',
        'imagesyncer_host_workers{host="node-1"} 3.0',
        'imagesyncer_host_tasks{host="node-1"} 9.0',
        'imagesyncer_worker_deaths_total{reason="SIGKILL"} 1.0',
        'imagesyncer_worker_deaths_total{reason="exit"} 1.0',
    } <= set(lines)


def test_durations_of_a_method_are_one_histogram() -> None:
    """Durations of all statuses of a method are one histogram, whose buckets add up."""
    gauge = RunMetrics()
    gauge.tick(view(registries=(full(),)))
    found = {
        line.split('le="')[1].split('"')[0]: line.split(" ")[1]
        for line in page(gauge)
        if "_bucket" in line and 'method="HEAD"' in line
    }

    assert (found["0.005"], found["0.25"], found["0.5"], found["60.0"], found["+Inf"]) == (
        "1.0", "1.0", "2.0", "2.0", "3.0",
    )  # fmt: skip


def test_number_of_host_series_is_bounded() -> None:
    """Hosts without workers count as 0, and those after the first 50 count as one: the series are bounded."""
    gauge = RunMetrics()
    for start in (0, 30, 60, 90):
        hosts = (HostView(name=f"pod-{number:03}", workers=2, tasks=5) for number in range(start, start + 40))
        gauge.tick(view(hosts=tuple(hosts)))
        gauge.tick(view(hosts=()))
    empty = [line for line in page(gauge) if "host_workers" in line]
    gauge.tick(view(hosts=tuple(HostView(name=f"pod-{n:03}", workers=2, tasks=5) for n in (49, 50, 129))))
    lines = [line.removeprefix("imagesyncer_host_") for line in page(gauge) if "_host_" in line]

    assert len(empty) == 50
    assert {line.split(" ")[1] for line in empty} == {"0.0"}
    assert [line for line in lines if not line.endswith(" 0.0")] == [
        'workers{host="pod-049"} 2.0',
        'workers{host="other"} 4.0',
        'tasks{host="pod-049"} 5.0',
        'tasks{host="other"} 10.0',
    ]


def test_metrics_before_a_run_begins() -> None:
    """Before a run begins there are only metrics that do not depend on one."""
    assert [line.split("{")[0] for line in page(RunMetrics())] == ["imagesyncer_build_info"]


def test_success_sets_both_timestamps() -> None:
    """A successful run sets both timestamps to its end."""
    gauge = RunMetrics(last_success=5.0)
    gauge.end(succeeded=True)
    stamps = [line.split(" ")[1] for line in page(gauge) if "_timestamp_" in line]

    assert len(stamps) == 2
    assert stamps[0] == stamps[1] != "5.0"


def test_snapshot_does_not_change() -> None:
    """A snapshot does not change while the run continues."""
    gauge = RunMetrics()
    moving, seen = timing(0.1), view(registries=())
    seen = replace(seen, registries=(replace(QUAY, calls={("GET", 200): moving}),))
    gauge.tick(seen)
    moving.add(0.1)
    seen.figures.copied += 1

    assert gauge.look is not None
    assert gauge.look.view.registries[0].calls["GET", 200].seconds == 0.1
    assert gauge.look.view.figures.copied == 40
