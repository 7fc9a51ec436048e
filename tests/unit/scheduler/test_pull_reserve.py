"""Pulls that are left to others: how many reads start, and when a read checks for new ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pipeline.scheduler.pull_reserve import LOOKED_AFTER, PullReserve

if TYPE_CHECKING:
    from random import Random


def test_no_stated_limit_means_no_delay() -> None:
    """A registry that states no limit is not slowed down."""
    reserve = PullReserve(10)
    for _ in range(100):
        assert reserve.may_pull(0.0)
        reserve.begin()


@given(st.integers(0, 20), st.integers(0, 60), st.randoms())
def test_reads_never_use_the_reserve(kept: int, allowed: int, chance: Random) -> None:
    """In any order of answers, no read takes from the reserve."""
    reserve, left, answers = PullReserve(kept), allowed, list[tuple[int, bool]]()
    reserve.said(left, 0.0, by_pull=False)
    for _ in range(300):
        if reserve.may_pull(0.0) and (chance.random() < 0.6 or not answers):
            looks = reserve.since is not None
            reserve.begin()
            if not looks or left > kept:
                left -= 1
            answers.append((left, True))
        elif chance.random() < 0.2:
            answers.append((left, False))
        elif answers:
            said, by_pull = answers.pop(chance.randrange(len(answers)))
            if by_pull:
                reserve.end()
            reserve.said(said, 0.0, by_pull=by_pull)
        assert left >= min(kept, allowed)


def test_one_read_checks_every_minute() -> None:
    """With none left, one read checks alone, at once and then every minute; it is reported once."""
    reserve = PullReserve(10)
    assert not reserve.said(10, 0.0, by_pull=False)
    looks = []
    for now in range(200):
        if reserve.may_pull(float(now)):
            reserve.begin()
            assert not reserve.may_pull(float(now))
            reserve.end()
            looks.append((now, reserve.said(10, float(now), by_pull=True)))

    assert looks == [(0, True), (60, False), (120, False), (180, False)]
    assert reserve.wake(190.0) == 180 + LOOKED_AFTER
    assert reserve.since == 0.0


def test_reads_continue_with_new_pulls() -> None:
    """Once a check finds more pulls, reads continue."""
    reserve = PullReserve(10)
    reserve.said(10, 0.0, by_pull=False)
    reserve.begin()
    reserve.end()
    reserve.said(99, 5.0, by_pull=True)

    assert (reserve.since, reserve.may_pull(5.0)) == (None, True)
