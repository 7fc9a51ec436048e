"""The thread that talks to Dask, without a cluster."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING, Any, cast

import distributed.client
import pytest
from distributed.batched import BatchedSend

from pipeline.engine.dask import link
from pipeline.engine.dask.cluster import quiet
from pipeline.engine.dask.guest import Greeting
from pipeline.engine.dask.link import Link
from pipeline.engine.dask.member import Member
from pipeline.engine.dask.news import Left, Unreachable
from pipeline.process import this_process
from pipeline.settings import ClusterOptions

if TYPE_CHECKING:
    from distributed import Client


class QuickClient:
    """A client that loses its connection and has a new one before anybody notices."""

    status = "running"

    def __init__(self) -> None:
        self.scheduler_comm = object()

    def subscribe_topic(self, _topic: str, _handler: object) -> None:
        """The connection is replaced soon after this run has subscribed."""
        asyncio.get_running_loop().call_later(0.02, setattr, self, "scheduler_comm", object())


def test_replaced_connection_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that Dask's client has replaced by itself counts as lost, as are pending answers."""
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


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> tuple[Link, list[object]]:
    """A link whose cluster is unreachable, with its messages."""
    monkeypatch.setattr(link, "RECONNECT", 0.0)
    told: list[object] = []
    options = ClusterOptions(scheduler="tcp://127.0.0.1:1")
    return Link(options, run="1", recipe=None, tell=told.append), told


def test_unretrieved_errors_are_not_printed(
    unreachable: tuple[Link, list[object]], caplog: pytest.LogCaptureFixture
) -> None:
    """Unretrieved errors that Dask's client leaves behind are not printed."""
    made, _ = unreachable
    made._loop.call_soon_threadsafe(made._loop.create_task, fail(LookupError("nobody waits")))
    made.close(timeout=0.0)
    gc.collect()

    assert caplog.text == ""


def test_cancelled_work_prints_no_warning() -> None:
    """Work that the end of a run cancels before it began prints no warning of Python's."""

    async def end_at_once() -> object:
        made = object.__new__(Link)
        made._tasks = set()
        task = made._spawn(fail(LookupError("it has begun")))
        task.cancel()
        return (await asyncio.gather(task, return_exceptions=True))[0]

    assert isinstance(asyncio.run(end_at_once()), asyncio.CancelledError)
    gc.collect()


def test_bug_in_background_task_ends_the_run() -> None:
    """A bug in a background task ends the run, but a lost connection does not, since it may return."""
    told: list[object] = []
    made = object.__new__(Link)
    made._tell = told.append

    asyncio.run(made._guard(fail(LookupError("a bug"))))
    asyncio.run(made._guard(fail(ConnectionResetError())))

    assert [Unreachable(reason="LookupError: a bug")] == told


class Deaf:
    """A client that is told to end."""

    async def close(self) -> None:
        """See distributed."""


def test_worker_lost_with_scheduler(
    unreachable: tuple[Link, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a worker is reported even if Dask's scheduler is lost at the same time."""
    made, told = unreachable
    monkeypatch.setattr(link, "_DIES", 0.2)
    greeting = Greeting(process="1", identity=this_process(), threads=1)

    async def lose() -> None:
        made._members["tls://one"] = Member(address="tls://one", greeting=greeting)
        visit = made._spawn(made._lose_guest(made._members["tls://one"], "it ended"))
        made._client = cast("Client", QuickClient())
        await asyncio.sleep(0)
        await made._disconnect(cast("Client", Deaf()))
        assert visit.cancelled()

    asyncio.run(lose())

    assert ["1"] == [each.process for each in told if isinstance(each, Left)]


def test_dask_loggers_are_silent() -> None:
    """No logger of Dask's writes among our lines, even one with its own level."""
    logging.getLogger("distributed.client").setLevel(logging.DEBUG)

    loop = asyncio.new_event_loop()
    quiet(loop)
    loop.close()

    assert not logging.getLogger("distributed.client").isEnabledFor(logging.CRITICAL)


def test_scheduler_keeps_no_task_messages() -> None:
    """Dask's scheduler keeps nothing of what Dask's client sends about a task."""
    loop = asyncio.new_event_loop()
    quiet(loop)
    loop.close()

    words = vars(distributed.client)["SpanMetadata"](collections=[{"type": "Future"}])

    assert words == {"collections": []}


def test_connections_keep_few_sent_messages() -> None:
    """Connections keep few of their last messages: these hold tasks, as many as a visit carries."""

    async def connect() -> int | None:
        quiet(asyncio.get_running_loop())
        sent = BatchedSend(interval=1)  # type: ignore[no-untyped-call] # Dask has no types there
        kept: int | None = sent.recent_message_log.maxlen
        return kept

    assert asyncio.run(connect()) == 10


async def fail(error: Exception) -> None:
    """Raise the error."""
    raise error


def test_lost_request_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost request to Dask's scheduler is repeated while the connection lasts."""
    monkeypatch.setattr(link, "_CHECK_EVERY", 0.01)
    made = object.__new__(Link)
    made._closing = asyncio.Event()
    made._client = cast("Client", ForgetfulClient())

    assert {"tls://one": {}} == asyncio.run(made._known())


class ForgetfulClient:
    """A client whose first request is lost."""

    status = "running"

    def __init__(self) -> None:
        self.scheduler = self
        self._asked = 0

    async def identity(self, **_: object) -> dict[str, Any]:
        """See distributed."""
        self._asked += 1
        if self._asked == 1:
            raise ConnectionResetError
        return {"workers": {"tls://one": {}}}
