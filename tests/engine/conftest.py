from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

import pytest

from pipeline.engine.local.forking import context
from tests.engine.harness import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.engine.local.forking import Context
    from pipeline.engine.local.process import WorkerProcess


@pytest.fixture
def begin() -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, and leaves none behind."""
    workers = []

    def begin_one(ctx: Context | None = None, **keywords: str | int) -> WorkerProcess:
        worker = start(ctx or context(), **keywords)  # type: ignore[arg-type] # the keywords of start
        workers.append(worker)
        return worker

    yield begin_one
    for worker in workers:
        worker.kill()
        worker.reap(10.0)


@pytest.fixture(params=["forkserver", "spawn"])
def any_context(request: pytest.FixtureRequest) -> Context:
    """Each way in which workers are started."""
    if request.param == "spawn":
        return multiprocessing.get_context("spawn")
    return context()
