"""Places are found out against a made-up registry that serves so many at a time, and no more."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pipeline.model.flow.places import FIRST, Places

if TYPE_CHECKING:
    from pipeline.model.flow.places import Settled


def work(
    places: Places, *, serves: float, trip: float = 0.05, jitter: float = 0.0, answers: int = 2000
) -> list[Settled]:
    """Have a registry answer that serves `serves` at a time, `trip` seconds away; what was found out."""
    chance = random.Random(1)
    found = []
    for _ in range(answers):
        places.taken, places.pressed = places.room, True
        seconds = trip * max(1.0, places.room / serves) * chance.lognormvariate(0, jitter)
        settled = places.answered("head", seconds)
        if settled:
            found.append(settled)
    return found


def test_far_registry() -> None:
    """Where a registry is far away and serves many, all places that are allowed are used soon."""
    places = Places(most=64)

    found = work(places, serves=1000, answers=200)

    assert 64 == places.room
    assert [(64, 64)] == [(each.places, each.tried) for each in found]


def test_busy_registry() -> None:
    """Where a registry serves few at a time, more are tried in vain and given back."""
    places = Places(most=64)

    found = work(places, serves=4)

    assert places.room <= 6
    assert {True} == {each.tried > each.places for each in found}


@pytest.mark.parametrize("serves", [8, 16, 32])
def test_between(serves: int) -> None:
    """A registry that serves so many at a time gets as many, and not many times as many."""
    places = Places(most=64)

    work(places, serves=serves, jitter=0.1)

    assert serves / 2 <= places.room <= serves * 2


def test_jitter() -> None:
    """Answers that take now half and now twice as long hold nothing down for long."""
    places = Places(most=64)

    work(places, serves=1000, jitter=0.7, answers=5000)

    assert places.room >= 32


def test_vain_tries_become_rare() -> None:
    """What was tried in vain is tried again, and ever more rarely."""
    places = Places(most=64)

    early = work(places, serves=4, answers=1000)
    late = work(places, serves=4, answers=1000)

    assert 0 < len(late) < len(early)


def test_other_work() -> None:
    """Work that takes longer by its nature is not taken for a registry at its limit."""
    places = Places(most=64)

    for number in range(400):
        places.taken, places.pressed = places.room, True
        places.answered("head" if number < 40 else "put", 0.05 if number < 40 else 0.5)

    assert 64 == places.room


def test_nobody_waits() -> None:
    """Where no task had to wait for a place, there are no more of them."""
    places = Places(most=64)

    for _ in range(1000):
        places.answered("head", 0.05)

    assert FIRST == places.room


def test_push_back() -> None:
    """Push-back halves the places at once, at most once a second, and more are tried again much later."""
    places = Places(most=64)
    work(places, serves=1000)

    places.shrink(10.0)
    places.shrink(10.5)

    assert 32 == places.room
    work(places, serves=1000, answers=64)
    assert 32 == places.room
    work(places, serves=1000)
    assert 64 == places.room


def test_one_place_remains() -> None:
    """However often a registry pushes back, one task may run."""
    places = Places(most=8)

    for second in range(10):
        places.shrink(float(second))

    assert 1 == places.room
    assert places.free


def test_limit_below_the_first() -> None:
    """A limit below what a run begins with is kept."""
    assert 2 == Places(most=2).room
