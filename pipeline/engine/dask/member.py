"""A worker of the cluster, as the thread that talks to Dask knows it."""

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
    """A suitable worker of the cluster."""

    address: str
    greeting: Greeting
    outbox: deque[tuple[str, bytes]] = field(default_factory=deque)
    """Messages with the keys of their tasks (empty: not a task)."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    visits: int = 0
    began: bool = False
    """Whether anything was ever sent."""
    ready: bool = False
    """Whether a visit has returned: from then on two may be in flight."""
    sent_at: float = 0.0
    journeys: set[asyncio.Task[None]] = field(default_factory=set)
    """Its visits that have not returned."""
    homes: int = 0
    """Number of visits that returned, without a gap."""
    early: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    """Answers of visits that returned before an earlier one."""

    def take_home(self, home: Home) -> tuple[bytes, ...]:
        """The next answers in order."""
        self.early[home.number] = home.sealed.parts
        answers: list[bytes] = []
        while self.homes + 1 in self.early:
            self.homes += 1
            answers += self.early.pop(self.homes)
        return tuple(answers)
