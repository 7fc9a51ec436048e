"""A worker of the cluster, as the thread that speaks to Dask knows it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.engine.dask.guest import Greeting, Home


@dataclass(slots=True, eq=False, kw_only=True)
class Member:
    """A worker of the cluster that fits."""

    address: str
    greeting: Greeting
    outbox: deque[tuple[str, bytes]] = field(default_factory=deque)
    """Keys of tasks (empty: it is no task), and messages."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    visits: int = 0
    began: bool = False
    """Whether anything was ever sent."""
    ready: bool = False
    """Whether a visit has come home: from then on two may be under way."""
    sent_at: float = 0.0
    journeys: set[asyncio.Task[None]] = field(default_factory=set)
    """Its visits that have not come home."""
    homes: int = 0
    """Visits that came home, and all before them too."""
    early: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    """Answers of visits that came home before an earlier one."""

    def take_home(self, home: Home) -> tuple[bytes, ...]:
        """The answers that come next."""
        self.early[home.number] = home.sealed.parts
        answers: list[bytes] = []
        while self.homes + 1 in self.early:
            self.homes += 1
            answers += self.early.pop(self.homes)
        return tuple(answers)
