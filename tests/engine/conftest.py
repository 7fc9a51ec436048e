from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.engine.local.fork_server import ForkServer
from tests.engine.harness import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.engine.local.process import WorkerProcess


@pytest.fixture
def server() -> Iterator[ForkServer]:
    """A starter that forks."""
    made = ForkServer("fork")
    yield made
    made.stop()


@pytest.fixture
def begin(server: ForkServer) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, and leaves none behind."""
    workers = []

    def begin_one(other: ForkServer | None = None, **keywords: str | int) -> WorkerProcess:
        worker = start(other or server, **keywords)  # type: ignore[arg-type] # the keywords of start
        workers.append(worker)
        return worker

    yield begin_one
    for worker in workers:
        worker.kill()
        worker.reap(10.0)


@pytest.fixture(params=["fork", "spawn"])
def any_server(request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    """Each way to start workers."""
    made = ForkServer(request.param)
    yield made
    made.stop()
