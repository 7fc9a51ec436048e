"""Parallel requests: when they are used, the order of results, and their costs."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest

from pipeline.registry.meter import current_meter, metering
from pipeline.stages.parallel import ParallelRequests


def test_calls_run_at_once() -> None:
    """Calls that wait for each other all finish, and their results are in the order of the calls."""
    barrier = threading.Barrier(3, timeout=10)

    def call(number: int) -> int:
        barrier.wait()
        return number

    assert [1, 2, 3] == ParallelRequests().run([lambda: call(1), lambda: call(2), lambda: call(3)])


def test_costs_are_counted_for_the_task() -> None:
    """The cost of each call is counted for its task, also if it fails."""

    def ask(registry: str) -> None:
        current_meter().requests[registry] += 1

    def fail() -> NoReturn:
        ask("c")
        raise ValueError("no")

    with metering() as meter, pytest.raises(ValueError, match="no"):
        ParallelRequests().run([lambda: ask("a"), lambda: ask("a"), lambda: ask("b"), fail])

    assert {"a": 2, "b": 1, "c": 1} == dict(meter.requests)


def test_only_distant_registries_get_parallel_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to registries of 10 ms and more run in parallel, to near ones in sequence."""
    ticks = iter([0.0, 0.001, 1.0, 1.05])
    monkeypatch.setattr("pipeline.stages.parallel.time.monotonic", lambda: next(ticks))
    parallel = ParallelRequests()

    parallel.timed("near", lambda: None)
    parallel.timed("far", lambda: None)

    assert (False, True, False) == (
        parallel.is_slow("near"),
        parallel.is_slow("far"),
        parallel.is_slow("unknown"),
    )
