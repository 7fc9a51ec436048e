"""Dask tasks for one worker of a cluster, and the first ones that it gets."""

from __future__ import annotations

import asyncio
import uuid
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pipeline.engine.dask.guest import Greeting
from pipeline.engine.dask.visit import PROTOCOL, greet
from pipeline.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Client

    from pipeline.engine.dask.visit import Sealed

_ANSWER = 30.0
"""Seconds for an answer: a worker may have other tasks of Dask's."""
_ABSENT = "image-syncer is not installed there, or is too old to belong to a cluster"


def submit(client: Client | None, address: str, function: Callable[..., object], *args: object) -> Any:
    """Send a Dask task to one worker, and no other."""
    assert client is not None
    return client.submit(
        function,
        *args,
        key=f"{function.__name__}-{uuid.uuid4().hex}",
        workers=[address],
        allow_other_workers=False,
        pure=False,
        retries=0,
    )


async def result(future: Any) -> Any:
    """What a Dask task returns; Dask forgets it afterwards, or that it was asked for."""
    try:
        return await future
    finally:
        future.release()


async def meet(client: Client | None, address: str, *, run: str, recipe: Sealed) -> Greeting:
    """Ask a worker who it is.

    The first question needs nothing of ours there: a worker ends if it cannot unpack a task.

    Raises:
        Exception: whatever another machine's software raises.
    """

    async def ask(function: Callable[..., object], *args: object) -> Any:
        return await asyncio.wait_for(result(submit(client, address, function, *args)), _ANSWER)

    try:
        is_there = await ask(find_spec, greet.__module__) is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        return Greeting(process="", identity=Process(), threads=0, misfit=_ABSENT)
    greeting: Greeting = await ask(greet, PROTOCOL, run, recipe)
    return greeting
