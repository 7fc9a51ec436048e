"""Whole runs in virtual time over registries that push back, small and exact."""

from __future__ import annotations

import pytest

from tests.unit.scheduler.simulation import UNSAID, Ran, Server, Simulation

TAGS = 300
STEPS = 2.0
"""Seconds of two recovery steps: a run of a second or two ends before its limits have recovered."""


@pytest.fixture(scope="module")
def calm() -> Ran:
    """The undisturbed run."""
    return Simulation(TAGS).run()


def test_undisturbed_run_has_no_pauses(calm: Ran) -> None:
    """Nothing pauses, and each image takes 18 requests besides those of the repository."""
    assert (TAGS, 0, 0.0) == (calm.copied, calm.refused, calm.paused)
    assert 0 < calm.requests - 18 * TAGS < 10


@pytest.mark.parametrize("retry_after", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("share", [0.0005, 0.002, 0.01])
def test_rare_refusals_at_most_double_the_time(calm: Ran, share: float, retry_after: float) -> None:
    """Occasional refusals at most double the time of the run, not counting the pauses."""
    server = Server(refused=share, retry_after=retry_after)

    ran = Simulation(TAGS, source=server, destination=server).run()

    assert TAGS == ran.copied
    assert ran.refused
    last = retry_after or UNSAID
    assert ran.seconds <= 2 * calm.seconds + ran.paused + last + STEPS


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.002, 0.01])
def test_limited_registry_is_kept_busy(share: float) -> None:
    """A registry that serves eight tasks at a time is kept busy, with or without occasional refusals."""
    server = Server(slots=8, refused=share)

    ran = Simulation(TAGS, destination=server).run()

    at_destination = 11 * TAGS
    last = server.retry_after if share else 0.0
    assert ran.seconds - ran.paused - last <= at_destination * server.seconds / server.slots / 0.92


def test_requested_long_pauses_cost_little_else() -> None:
    """A registry that sometimes asks for long pauses gets them, and little other time is lost."""
    ran = Simulation(TAGS, destination=Server(refused=0.002, retry_after=30.0)).run()

    assert 30 <= ran.paused
    assert ran.seconds - ran.paused <= 2 * Simulation(TAGS).run().seconds


@pytest.mark.parametrize(
    ("server", "most"), [(Server(rate=200.0), 1.2), (Server(rate=200.0, retry_after=10.0), 3.0)]
)
def test_requests_keep_up_with_the_rate_limit(server: Server, most: float) -> None:
    """A registry with a rate limit gets requests about as fast as it allows."""
    ran = Simulation(TAGS, destination=server).run()

    assert TAGS == ran.copied
    assert ran.seconds <= most * 11 * TAGS / server.rate


def test_same_seed_gives_the_same_run() -> None:
    """The same seed gives the same run."""
    server = Server(refused=0.01)
    first, second = (Simulation(50, destination=server, seed=7).run() for _ in range(2))

    assert (first.seconds, first.requests, first.refused) == (second.seconds, second.requests, second.refused)
