"""The tokens that a process holds for one registry: as many as it uses, however many repositories it meets.

A run over 100,000 repositories gets a token for each, of 1 to 4 KiB, and uses it for a few minutes. Tokens
that have run out are swept out when there are twice as many as after the last sweep, so that a request pays
nothing for it; beyond a limit those go that were not used for longest, which costs a token request at most.
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
"""Slots below which nobody sweeps."""
_MOST = 2_048
"""Slots; half of them stay."""
_MOST_TOKENS = 8
"""Of one slot, the youngest: each repository that a blob is mounted from makes a scope of its own."""

_REFUSAL_LASTS = 30.0
"""Seconds: a password that is put right in the meantime is found out by the next round."""


class Slot:
    """Tokens of one credential for one repository; whoever holds it may fetch another one."""

    __slots__ = ("_refusal", "_tokens", "lock", "users")

    def __init__(self) -> None:
        """Begin with none."""
        self.lock = threading.Lock()
        self._tokens: list[Token] = []
        self._refusal: tuple[Scopes, float, Fault] | None = None
        self.users = 0
        """Threads that hold it or wait for it; kept by the cache."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Oldest first."""
        return tuple(self._tokens)

    def add(self, token: Token) -> None:
        """Keep a token that was just fetched."""
        self._tokens.append(token)
        del self._tokens[:-_MOST_TOKENS]

    def drop(self, token: Token) -> None:
        """Keep it no longer; any thread may say so, for in-place changes of a list lose nothing."""
        with suppress(ValueError):
            self._tokens.remove(token)

    def refuse(self, scopes: Scopes, fault: Fault, *, now: float) -> None:
        """Keep for a while that the login is refused: each try with a wrong password may lock the account."""
        self._refusal = scopes, now + _REFUSAL_LASTS, fault

    def refusal(self, scopes: Scopes) -> Fault | None:
        """Why there is no token for the very scopes, if that was found out just now."""
        return self._refusal[2] if self._refusal and self._refusal[0] == scopes else None

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing worth keeping."""
        return not self._tokens and self._refusal is None

    def sweep(self, now: float) -> None:
        """Drop what has run out, at `now` on the monotonic clock."""
        if self._refusal and self._refusal[1] <= now:
            self._refusal = None
        for token in self.tokens:
            if not token.lasts(now, body=False):
                self.drop(token)


class TokenCache:
    """Slots by key; thread-safe."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._slots: dict[Hashable, Slot] = {}
        """Those used last at the end."""
        self._sweep_at = _LEAST

    def __len__(self) -> int:
        """Slots."""
        return len(self._slots)

    @contextmanager
    def hold(self, key: Hashable, *, now: float) -> Iterator[Slot]:
        """The slot of `key`, for this thread alone until the block ends, swept.

        A slot that somebody holds or waits for is never dropped: all who want its token get the same one.
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
        """All tokens that are held."""
        with self._lock:
            slots = tuple(self._slots.values())
        return tuple(token.value for slot in slots for token in slot.tokens)

    def discard(self, value: str) -> None:
        """Drop the token with that value, wherever it is: the registry does not take it."""
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
