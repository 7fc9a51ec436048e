"""The tokens of one registry, bounded for any number of repositories.

A run over 100,000 repositories gets a token of 1 to 4 KiB for each and uses it for a few minutes. Expired
tokens are removed when there are twice as many slots as after the last sweep, so that requests do not pay for
it. Beyond a limit the least recently used slots are removed, which costs one token request at most.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pipeline.errors import Fault
    from pipeline.registry.tokens import Scopes, Token

_LEAST = 64
"""Slots below which no sweep is needed."""
_MOST = 2_048
"""Slots at which half of them are removed."""
_MOST_TOKENS = 8
"""Of one slot: each repository that blobs are mounted from needs a scope of its own."""
_REFUSAL_LASTS = 30.0
"""Seconds, so that a corrected password takes effect soon."""


class Slot:
    """Tokens of one credential for one repository; the thread with its lock may fetch another one."""

    __slots__ = ("_refusal", "_tokens", "lock", "users")

    def __init__(self) -> None:
        """Start without tokens."""
        self.lock = threading.Lock()
        self._tokens: list[Token] = []
        self._refusal: tuple[Scopes, float, Fault] | None = None
        self.users = 0
        """Threads that hold it or wait for it; counted by the cache."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Oldest first."""
        return tuple(self._tokens)

    def add(self, token: Token) -> None:
        """Keep a new token."""
        self._tokens.append(token)
        del self._tokens[:-_MOST_TOKENS]

    def drop(self, token: Token) -> None:
        """Remove a token; any thread may, since list operations are atomic."""
        with suppress(ValueError):
            self._tokens.remove(token)

    def refuse(self, scopes: Scopes, fault: Fault, *, now: float) -> None:
        """Remember a rejected login for a while: repeated attempts may lock the account."""
        self._refusal = scopes, now + _REFUSAL_LASTS, fault

    def refusal(self, scopes: Scopes) -> Fault | None:
        """The recent fault of a token request for the same scopes, if any."""
        return self._refusal[2] if self._refusal and self._refusal[0] == scopes else None

    @property
    def is_empty(self) -> bool:
        """Whether it may be removed."""
        return not self._tokens and self._refusal is None

    def sweep(self, now: float) -> None:
        """Remove what has expired; `now`: on the monotonic clock."""
        if self._refusal and self._refusal[1] <= now:
            self._refusal = None
        for token in self.tokens:
            if not token.lasts(now, body=False):
                self.drop(token)


class TokenCache:
    """Slots by key; thread-safe."""

    def __init__(self) -> None:
        """Start without slots."""
        self._lock = threading.Lock()
        self._slots: dict[Hashable, Slot] = {}
        """The most recently used last."""
        self._sweep_at = _LEAST

    def __len__(self) -> int:
        """Slots."""
        return len(self._slots)

    @contextmanager
    def hold(self, key: Hashable, *, now: float) -> Iterator[Slot]:
        """The slot of `key`, locked for this thread and swept.

        A slot in use is never removed, so that all threads share its tokens.
        """
        with self._lock:
            slot = self._slots.pop(key, None) or Slot()
            self._slots[key] = slot
            slot.users += 1
            if len(self._slots) >= self._sweep_at:
                self._sweep(now)
        try:
            with slot.lock:
                slot.sweep(now)
                yield slot
        finally:
            with self._lock:
                slot.users -= 1

    def values(self) -> tuple[str, ...]:
        """All current tokens."""
        with self._lock:
            slots = tuple(self._slots.values())
        return tuple(token.value for slot in slots for token in slot.tokens)

    def discard(self, value: str) -> None:
        """Remove the token with that value: the registry rejected it."""
        with self._lock:
            slots = tuple(self._slots.values())
        for slot in slots:
            for token in slot.tokens:
                if token.value == value:
                    slot.drop(token)

    def _sweep(self, now: float) -> None:
        for slot in self._slots.values():
            slot.sweep(now)
        used = {key: slot for key, slot in self._slots.items() if slot.users or not slot.is_empty}
        if len(used) >= _MOST:
            idle = [key for key, slot in used.items() if not slot.users]
            for key in idle[: len(used) - _MOST // 2]:
                del used[key]
        self._slots = used
        self._sweep_at = max(_LEAST, min(2 * len(used), _MOST))
