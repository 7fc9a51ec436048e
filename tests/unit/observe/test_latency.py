"""Percentiles from buckets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.figures import BOUNDS, Timing
from pipeline.observe.latency import Latency, latencies, quantile
from tests.unit.views import HARBOR, QUAY


def timing(*seconds: float) -> Timing:
    """Requests with these times."""
    made = Timing()
    for each in seconds:
        made.add(each)
    return made


@given(st.lists(st.floats(min_value=0, max_value=60), min_size=1), st.floats(min_value=0.01, max_value=1))
def test_percentile_lies_in_its_bucket(seconds: list[float], part: float) -> None:
    """A percentile lies in the bucket of its request."""
    exact = sorted(seconds)[max(0, -int(-part * len(seconds) // 1) - 1)]
    found = quantile(timing(*seconds).counts, part)
    index = next(number for number, bound in enumerate(BOUNDS) if exact <= bound)

    assert (0.0, *BOUNDS)[index] <= found <= BOUNDS[index]


def test_slow_request_counts_as_the_last_bound() -> None:
    """A time above the last bound counts as that bound."""
    assert quantile(timing(1_000.0).counts, 0.5) == BOUNDS[-1]


def test_requests_with_bodies_do_not_count() -> None:
    """Requests with bodies, and those without an answer, do not count as response times."""
    calls = {
        ("GET", 200): timing(0.02),
        ("HEAD", 404): timing(0.02),
        ("PUT", 201): timing(50.0),
        ("PATCH", 202): timing(50.0),
        ("GET", 0): timing(50.0),
    }
    [found] = latencies((replace(QUAY, calls=calls), HARBOR))

    assert (found.registry, found.requests) == ("quay.io", 2)
    assert found.p95 < 0.025


@pytest.mark.parametrize(("seconds", "words"), [(0.0841, "84ms"), (1.26, "1.3s"), (60.0, "1m0s")])
def test_times_in_their_shortest_form(seconds: float, words: str) -> None:
    """Times are shown in their shortest form."""
    shown = str(Latency(registry="q", requests=1, p50=seconds, p95=seconds))

    assert shown == f"q response time: median {words}, 95th percentile {words}"
