"""The thread that speaks to Dask, without a cluster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from pipeline.engine.dask import link
from pipeline.engine.dask.link import Link

if TYPE_CHECKING:
    import pytest
    from distributed import Client


class QuickClient:
    """A client whose connection is lost, and which has a new one before anybody looks."""

    status = "running"

    def __init__(self) -> None:
        self.scheduler_comm = object()

    def subscribe_topic(self, _topic: str, _handler: object) -> None:
        """The connection is lost, and there is another one, once this run follows who comes and goes."""
        asyncio.get_running_loop().call_later(0.02, setattr, self, "scheduler_comm", object())


def test_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that Dask's client has replaced by itself counts as lost: what it waited for is."""
    monkeypatch.setattr(link, "_CHECK_EVERY", 0.01)
    monkeypatch.setattr(link.Link, "_known", nobody)

    async def follow() -> None:
        made = object.__new__(Link)
        made._closing = asyncio.Event()
        await asyncio.wait_for(made._follow(cast("Client", QuickClient())), 10.0)

    asyncio.run(follow())


async def nobody(_link: Link) -> dict[str, Any]:
    """The cluster has no worker."""
    return {}
