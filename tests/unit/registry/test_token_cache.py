"""The cache of tokens: what it keeps, what it drops, and that concurrent requests share one token."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

from pipeline.errors import Fault
from pipeline.registry.token_cache import _MOST, _MOST_TOKENS, Slot, TokenCache
from pipeline.registry.tokens import Token


def token(value: str, *, ends: float) -> Token:
    """A token that lives for five minutes in all."""
    return Token(value=value, scopes=("repository:app:pull",), life=300, ends=ends)


def fill(cache: TokenCache, numbers: range, *, life: float = 1e9) -> int:
    """Request a token for each number, a millisecond apart; returns the most slots that were held."""
    most = 0
    for number in numbers:
        now = number / 1000
        with cache.hold(number, now=now) as slot:
            if not slot.tokens:
                slot.add(token(str(number), ends=now + life))
        most = max(most, len(cache))
    return most


def test_cache_size_is_bounded() -> None:
    """The cache does not grow with the number of repositories, whatever their tokens' lifetime."""
    assert fill(TokenCache(), range(100_000)) <= _MOST


def test_expired_tokens_are_removed() -> None:
    """Expired tokens are removed: at most twice as many are held as were fetched in a token's lifetime."""
    usable = 0.2

    assert fill(TokenCache(), range(20_000), life=30 + usable) <= 2 * 1000 * usable + 1


def test_sweeps_are_rare() -> None:
    """Sweeping costs a constant number of steps for each new slot."""
    looks = 0
    sweep = Slot.sweep

    def counted(slot: Slot, now: float) -> None:
        nonlocal looks
        looks += 1
        sweep(slot, now)

    with patch.object(Slot, "sweep", counted):
        fill(TokenCache(), range(20_000))

    assert looks < 4 * 20_000


def test_recently_used_slot_stays() -> None:
    """A slot in constant use stays, however many others are added."""
    cache = TokenCache()
    for begin in range(0, 10 * _MOST, 100):
        fill(cache, range(begin + 1, begin + 100))
        with cache.hold("always", now=begin / 1000) as slot:
            found = slot.tokens
            if not found:
                slot.add(token("always", ends=1e9))

    assert [each.value for each in found] == ["always"]


def test_few_tokens_for_each_repository() -> None:
    """One repository keeps a few tokens, the newest."""
    slot = Slot()
    for number in range(100):
        slot.add(token(str(number), ends=1e9))

    assert [each.value for each in slot.tokens] == [str(number) for number in range(100 - _MOST_TOKENS, 100)]


def test_waiting_threads_get_their_token() -> None:
    """Threads that wait for a slot get its token, even if the cache is swept and flooded meanwhile."""
    cache = TokenCache()
    fetched = []
    begun, flooded = threading.Event(), threading.Event()

    def want(_: int) -> str:
        with cache.hold("wanted", now=0) as slot:
            if not slot.tokens:
                begun.set()
                flooded.wait(30)
                fetched.append(1)
                slot.add(token("wanted", ends=1e9))
            return slot.tokens[0].value

    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(want, range(8))
        begun.wait(30)
        fill(cache, range(2 * _MOST))
        flooded.set()

        assert list(answers) == ["wanted"] * 8
    assert len(fetched) == 1


def test_failed_request_is_not_cached() -> None:
    """A failed token request leaves nothing in the cache."""
    cache = TokenCache()
    for number in range(10_000):
        try:
            with cache.hold(number, now=0):
                raise ValueError
        except ValueError:
            pass

    assert len(cache) <= 128


def test_rejected_login_is_remembered() -> None:
    """A rejected login is remembered for half a minute, for the same scopes."""
    cache, fault = TokenCache(), Fault(operation="get a token", words="wrong password", status=401)
    app, other = ("repository:app:pull",), ("repository:app:pull,push",)
    with cache.hold("app", now=0) as slot:
        slot.refuse(app, fault, now=0)

    known = []
    for now in (1.0, 29.0, 31.0):
        with cache.hold("app", now=now) as slot:
            known.append((slot.refusal(app), slot.refusal(other)))
    assert known == [(fault, None), (fault, None), (None, None)]


def test_only_the_rejected_token_is_removed() -> None:
    """A token that a registry rejects is removed, and no other."""
    cache = TokenCache()
    fill(cache, range(3))
    cache.discard("1")

    found = []
    for number in range(3):
        with cache.hold(number, now=0) as slot:
            found.append([each.value for each in slot.tokens])
    assert found == [["0"], [], ["2"]]
