from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.log import Event
from pipeline.model.figures import Figures
from pipeline.observe.history import SAMPLES, TOP, Curve, RunHistory, Sample
from pipeline.report.charts import bytes_over_time, images_over_time, nice, time_spent
from tests.unit.views import HARBOR, QUAY, moving, view

if TYPE_CHECKING:
    from pipeline.log import Value


def test_number_of_samples_is_bounded() -> None:
    """However long a run, few samples are kept, evenly spread, with the first and the newest."""
    curve = Curve()
    for tick in range(1, 100_001):
        curve.add(Sample(seconds=tick / 4, figures=Figures(copied=tick)))
        assert curve.samples[-1].figures.copied == tick
        assert len(curve.samples) <= SAMPLES

    gaps = [
        after.seconds - before.seconds
        for before, after in zip(curve.samples, curve.samples[1:], strict=False)
    ]
    assert len(curve.samples) > SAMPLES // 4
    assert curve.samples[0].seconds == 0
    assert max(gaps) <= 25_000 / (SAMPLES // 4)


def test_newest_sample_before_a_moment() -> None:
    """The newest sample that is not newer than a moment is found; before the first, the first."""
    curve = Curve()
    for seconds in (1.0, 2.0, 4.0):
        curve.add(Sample(seconds=seconds))

    assert [curve.since(moment).seconds for moment in (-1, 0, 1.5, 2, 3, 9)] == [0, 0, 1, 2, 2, 4]


def test_each_pause_is_counted_once() -> None:
    """A pause is counted once for each registry, from its start to its end."""
    history = RunHistory()
    cooling = replace(QUAY, pause=5.0)
    for seconds, registry in ((1, QUAY), (2, cooling), (3, cooling), (4, QUAY), (5, cooling), (6, QUAY)):
        history.tick(view(float(seconds), registries=(registry, HARBOR)))
    held = history.held["quay.io"]

    assert held.bands == [(2, 4), (5, 6)]
    assert (held.times, held.seconds) == (2, 3)
    assert history.held["harbor.corp"].times == 0


def test_adjacent_pauses_are_merged() -> None:
    """If there are very many pauses, adjacent ones are merged, and their number and total time stay right."""
    history = RunHistory()
    for second in range(1, 1_001):
        history.tick(view(float(second), registries=(replace(QUAY, pause=float(second % 2)),)))
    held = history.held["quay.io"]

    assert (held.times, held.seconds) == (500, 500)
    assert len(held.bands) == 100
    assert held.bands[0][0] == 1
    assert held.bands[-1][1] == 1_000


def test_each_moment_has_one_phase() -> None:
    """Each moment counts as moving (recent bytes), asking, waiting for a pause, or none of them."""
    history = RunHistory()
    grown = replace(HARBOR, written=HARBOR.written + 1)
    cooling = replace(grown, pause=3.0)
    history.tick(view(1.0, registries=(HARBOR,)))
    history.tick(view(2.0, registries=(grown,)))
    history.tick(view(6.0, registries=(grown,)))
    history.tick(view(8.0, registries=(cooling,), transfers=(), running={}))
    history.tick(view(9.0, registries=(grown,), transfers=(), running={}))

    assert history.phases == {"moving": 2.0, "asking": 4.0, "waiting": 2.0, "idle": 1.0}
    assert [band.label for band in time_spent(history)] == [
        "transferring blobs: 2s, 22%",
        "asking registries, pushing manifests: 4s, 44%",
        "waiting for paused registries: 2s, 22%",
        "starting and finishing: 1s, 11%",
    ]


def test_twenty_largest_and_slowest_are_kept() -> None:
    """The largest blobs and the slowest images are kept, no more than twenty of each."""
    history = RunHistory()
    for number in range(1, 1_001):
        history.tick(view(number / 4, transfers=(moving(number),)))
        fields: dict[str, Value] = {"duration": float(number), "bytes": number, "source": "a"}
        history.hear(Event(name="image.done", message="", fields=fields))

    assert [blob.size for blob in history.blobs] == [number * 1_000_000 for number in range(1_000, 980, -1)]
    assert sorted(slow.bytes for slow in history.slow) == list(range(981, 1_001))
    assert len(history._blobs) <= 4 * TOP + 1


def test_warnings_are_counted_and_bounded() -> None:
    """Warnings are counted and the first hundred kept; changed digests are counted separately."""
    history = RunHistory()
    for number in range(300):
        history.hear(Event(name="config.warning", message=f"w{number}", level="warning"))
        history.hear(Event(name="image.rewritten", message=f"r{number}", level="warning"))
        history.hear(Event(name="image.retry", message="", level="warning"))
        history.hear(Event(name="rule.expanded", message=""))

    assert (history.warned, history.changed, history.retried) == (300, 300, 300)
    assert history.warnings == [f"w{number}" for number in range(100)]
    assert history.rewritten == [f"r{number}" for number in range(100)]


def test_charts_stack_the_results() -> None:
    """Charts start at the left, end at the right, and stack the results of images."""
    history = RunHistory()
    for second in range(1, 5):
        written = replace(HARBOR, written=second * 1_000_000)
        history.tick(view(float(second), registries=(written,), copied=second, failed=second, unchanged=0))
    images, moved = images_over_time(history), bytes_over_time(history)
    assert images
    assert moved

    assert [(shape.kind, shape.points.split()[4]) for shape in images.shapes] == [
        ("copied", "1000.0,120.0"),
        ("failed", "1000.0,40.0"),
    ]
    assert (images.high, images.times) == ("10", ("0s", "1s", "2s", "3s", "4s"))
    assert moved.shapes[0].points == "0.0,200.0 250.0,0.0 500.0,0.0 750.0,0.0 1000.0,0.0"
    assert moved.high == "1MB/s"


def test_short_run_has_no_charts() -> None:
    """A run that was too short for a chart has none."""
    assert images_over_time(RunHistory()) is None
    assert bytes_over_time(RunHistory()) is None
    assert time_spent(RunHistory()) == ()


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1), (1.1, 2), (3, 5), (153, 200), (220, 250), (999, 1000)]
)
def test_end_of_axis_is_round(value: float, expected: float) -> None:
    """The end of an axis is a round number."""
    assert nice(value) == expected


@pytest.mark.parametrize(
    ("unsent", "sized", "expected"), [(2_000, True, 20.0), (1_000, False, 15.0), (2_000, False, 20.0)]
)
def test_time_left_from_bytes(unsent: int, *, sized: bool, expected: float) -> None:
    """The time left is computed from bytes once all images are read; before, it is no less than that."""
    history = RunHistory()
    for seconds in range(1, 11):
        state = {"known": 100, "copied": 4 * seconds, "failed": 0, "sent": 100 * seconds, "transfers": ()}
        history.tick(view(float(seconds), unsent=unsent, sized=sized, **state))

    assert history.left == pytest.approx(expected, rel=0.01)


def test_small_config_is_not_among_the_largest() -> None:
    """A config of some bytes is not among the largest transfers."""
    history = RunHistory()
    large, unknown = view().transfers[0], replace(view().transfers[1], size=-1)
    history.tick(view(transfers=(large, unknown, replace(view().transfers[2], size=700))))

    assert history.blobs == [large, unknown]
