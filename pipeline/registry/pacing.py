"""Pacing: each request and each piece of a blob waits for this worker's share of its registry's rate.

The scheduler owns the rates and grants shares (scheduler/rate_budget.py). Nothing is limited in a process
that gets no grants, and an account without a limit costs one lookup in an empty table.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pipeline.model.budget import RUN, Account, Grant, Resource, Share, Spent, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.http.connection import Piece
    from pipeline.model.registry_settings import RegistrySettings

_LASTS = 2.0
"""Seconds for which a share may be used: if this process is stopped, it may be given to another one."""
_LATE = 0.05
"""Seconds by which a thread may wake up late without losing a part of its share."""
SMALL_PIECE = 64 << 10
"""Bytes of a piece if bandwidth is limited: at low rates a larger one would look like a stall."""


class _Lease:
    """This worker's share of one account; thread-safe."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        """Held by the thread whose turn it is to wait."""
        self._changed = threading.Condition()
        self._rate = self._level = self._used = self._unused = 0.0
        self._updated = self._until = time.monotonic()
        self._waiting = 0
        self._waited = False
        """Whether any thread had to wait since the last report."""

    def grant(self, share: Share, most: float) -> None:
        """Set the rate of bytes, or add requests, but no more than are waited for."""
        with self._changed:
            now = time.monotonic()
            self._fill(now, most)
            self._rate, self._until = share.rate, now + _LASTS
            if share.requests:
                self._level = min(self._level + share.requests, max(1, self._waiting))
            self._changed.notify_all()

    def take(self, amount: float, most: float, on_need: Callable[[], None]) -> None:
        """Wait until `amount` may be used; `most`: the amount that may be used at once at any rate."""
        with self._changed:
            self._waiting += 1
        try:
            with self._turn:
                self._take(amount, most, on_need)
        finally:
            with self._changed:
                self._waiting -= 1

    def _take(self, amount: float, most: float, on_need: Callable[[], None]) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                self._fill(now, most)
                needed = min(amount, most)
                live = self._rate > 0 and now < self._until
                if self._level >= needed:
                    self._level -= amount
                    self._used += amount
                    return
                self._waited = True
                if live:
                    self._changed.wait(min((needed - self._level) / self._rate, self._until - now) + 0.0005)
                    continue
            on_need()
            with self._changed:
                if self._level < needed and (self._rate <= 0 or time.monotonic() >= self._until):
                    self._changed.wait(1.0)

    def _fill(self, now: float, most: float) -> None:
        """Add what the share has yielded since then; beyond a short burst it is lost."""
        self._level += self._rate * max(0.0, min(now, self._until) - self._updated)
        self._updated = now
        over = self._level - most - self._rate * _LATE
        if over > 0:
            self._level -= over
            self._unused += over

    def report(self, account: Account, most: float) -> Use | None:
        """The use since the last report; None if nothing was used."""
        with self._changed:
            self._fill(time.monotonic(), most)
            if not (self._used or self._unused or self._waiting):
                return None
            waiting = max(self._waiting, 1 if self._waited and self._rate else 0)
            use = Use(account, self._used, self._unused, waiting)
            self._used, self._unused, self._waited = 0.0, 0.0, False
            return use


class Pacer:
    """The shares of one process."""

    def __init__(self) -> None:
        """Start without limits."""
        self._leases: dict[Account, _Lease] = {}
        self._on_need: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def serve(self, on_need: Callable[[], None]) -> None:
        """Apply limits from now on; a thread without a share calls `on_need`, which sends `report`."""
        self._on_need = on_need

    def restrict(self, registry: str, settings: RegistrySettings) -> None:
        """Let nothing pass before the first grant if the user has set a rate or bandwidth."""
        if settings.rate is not None:
            self._leases.setdefault((registry, "requests"), _Lease())
        if settings.bandwidth is not None:
            self._leases.setdefault((registry, "read"), _Lease())
            self._leases.setdefault((registry, "written"), _Lease())

    def forget_all(self) -> None:
        """Remove all limits, since another run begins in this process."""
        self._leases = {}

    @property
    def is_active(self) -> bool:
        """Whether anything is limited."""
        return bool(self._leases) and self._on_need is not None

    def grant(self, grant: Grant) -> None:
        """Apply new shares."""
        for share in grant.shares:
            with self._lock:
                lease = self._leases.setdefault(share.account, _Lease())
            lease.grant(share, _most(share.account))

    def request(self, registry: str) -> None:
        """Wait until one more request may be sent to the registry."""
        self._take((registry, "requests"), 1.0)

    def moved(self, registry: str, resource: Resource, count: int) -> None:
        """Wait until `count` bytes of blobs may move."""
        if self.is_active:
            self._take((registry, resource), count)
            self._take((RUN, resource), count)

    def parts(self, registry: str, resource: Resource, piece: Piece) -> Iterator[Piece]:
        """The piece, or its parts if bytes are limited, each when it may be sent."""
        if not self.limits(registry, resource):
            yield piece
            return
        for begin in range(0, len(piece), SMALL_PIECE):
            part = piece[begin : begin + SMALL_PIECE]
            self.moved(registry, resource, len(part))
            yield part

    def limits(self, registry: str, resource: Resource) -> bool:
        """Whether bytes of the registry are limited."""
        if not self.is_active:
            return False
        return (registry, resource) in self._leases or (RUN, resource) in self._leases

    def _take(self, account: Account, amount: float) -> None:
        lease = self._leases.get(account)
        if lease is not None and self._on_need is not None:
            lease.take(amount, _most(account), self._on_need)

    def report(self) -> Spent | None:
        """The use of the shares since the last report; None if nothing was used."""
        if not self._leases:
            return None
        found = [lease.report(account, _most(account)) for account, lease in list(self._leases.items())]
        uses = tuple(use for use in found if use is not None)
        return Spent(uses=uses) if uses else None


def _most(account: Account) -> float:
    """The amount that may be used at once at any rate."""
    return 1.0 if account[1] == "requests" else SMALL_PIECE


PACER = Pacer()
"""The pacer of this process."""
