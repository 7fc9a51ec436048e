"""The thread that talks to Dask: which workers are in the cluster, and visits to them.

The supervisor's thread calls methods that return at once; results go into a mailbox. A visit is a Dask task
for one worker, which Dask never gives to another. Each worker that ever had a task always has a visit, so
that it knows that the run is alive. When there are tasks, a second visit brings them, and ends the first.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
from contextlib import AsyncExitStack, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from distributed import Client

from pipeline.engine.dask.cluster import enter_cluster, quiet, security_of
from pipeline.engine.dask.member import Member
from pipeline.engine.dask.news import Came, CameHome, Left, Unfit, Unreachable
from pipeline.engine.dask.questions import meet, result, submit
from pipeline.engine.dask.visit import Sealed, leave, visit
from pipeline.engine.worker import describe
from pipeline.log import mask
from pipeline.process import is_gone
from pipeline.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pipeline.settings import ClusterOptions

_FULL = 4 * MIB
"""Maximum bytes of tasks that one visit brings, but at least one task."""
_GATHER_EACH, _GATHER_LEAST, _GATHER_MOST = 0.005, 0.02, 0.25
"""Seconds for which answers and tasks are gathered: per worker, minimum, maximum. A visit costs CPU time."""
RECONNECT = 60.0
"""Seconds to wait for Dask's scheduler."""
_CHECK_EVERY = 0.5
_DIES = 2.0
"""Seconds in which a process on this machine ends after its connection has ended."""
_BUSY_EVERY = 5.0
"""Seconds between two requests to a worker that works for another run."""
_RESTART = 10.0
"""Seconds for the restart of a hung worker."""
_THREADS = 2
"""Threads that Dask needs in a worker: one for the visit that waits, one for the visit that brings tasks."""
_BLOCKED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals for the supervisor, which a terminal sends to all processes: our workers inherit this mask."""


class Link:
    """See the module.

    Args:
        options: which cluster.
        run: the run's name, for the guests.
        recipe: how workers make their keyring.
        tell: is called with Came, Unfit, CameHome, Left and Unreachable, by the thread.
    """

    def __init__(
        self, options: ClusterOptions, *, run: str, recipe: object, tell: Callable[[object], None]
    ) -> None:
        """See the class."""
        self._options, self._run, self._tell = options, run, tell
        self._recipe = Sealed((pickle.dumps(recipe),))
        self._members: dict[str, Member] = {}
        """Members by address."""
        self.heard: dict[str, int] = {}
        """By process, how many visits have returned: the process is alive as long as the number grows."""
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._burials: set[asyncio.Task[None]] = set()
        """Tasks that report the ends of lost workers; nothing cancels these."""
        self._closing = asyncio.Event()
        self._patient = 0.0
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._main, name="dask", daemon=True)
        self._thread.start()

    def post(self, process: str, messages: list[tuple[str, bytes]]) -> None:
        """Send messages to a worker, each with the key of its task."""
        self._call(self._post, process, messages)

    def restart(self, process: str) -> None:
        """Have a hung worker killed; Left follows, and if it has a nanny, another Came."""
        self._call(self._begin_restart, process)

    def close(self, *, timeout: float) -> None:
        """End the visits, and the workers if they are ours; blocks for about `timeout` seconds."""
        self._call(self._begin_close, timeout)
        self._thread.join()

    def _call(self, function: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # The loop is closed: Unreachable was reported.
            self._loop.call_soon_threadsafe(function, *args)

    def _begin_close(self, timeout: float) -> None:
        self._patient = timeout
        self._closing.set()

    def _main(self) -> None:
        # Python's tracker, which the first child needs, unblocks SIGINT when it starts.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        quiet(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # noqa: BLE001 - the pool reports it, whatever it is
            self._tell(Unreachable(reason=describe(error)))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        """Be a client of the cluster until the end, even if its scheduler is lost in between."""
        async with AsyncExitStack() as stack:
            address, security = await enter_cluster(stack, self._options, security_of(self._options))
            until = self._loop.time() + RECONNECT
            while not self._closing.is_set():
                try:
                    client = await Client(
                        address, asynchronous=True, security=security, timeout=5, set_as_default=False
                    )
                except (OSError, TimeoutError) as error:
                    if self._loop.time() >= until:
                        self._tell(Unreachable(reason=f"no answer from {address}: {describe(error)}"))
                        return
                    await self._pause(1.0)
                    continue
                try:
                    self._client = client
                    await self._follow(client)
                finally:
                    await self._disconnect(client)
                until = self._loop.time() + RECONNECT

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not past the end."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def _follow(self, client: Client) -> None:
        """Follow joining and leaving workers, until the connection or this run ends.

        A client reconnects by itself, perhaps between two checks; pending answers are lost nevertheless.
        """
        connection = client.scheduler_comm
        client.subscribe_topic("all", self._on_event)
        for address in await self._known():
            self._spawn(self._meet(address))
        while self._is_connected(client, connection) and not self._closing.is_set():
            await self._pause(_CHECK_EVERY)

    @staticmethod
    def _is_connected(client: Client, connection: object) -> bool:
        return client.status == "running" and client.scheduler_comm is connection

    async def _disconnect(self, client: Client) -> None:
        """Leave the workers, or assume that they are lost with the scheduler."""
        if self._closing.is_set():
            bye = [
                submit(client, member.address, leave, member.greeting.process, self._run)
                for member in self._members.values()
                if member.began
            ]
            if bye:
                ends = asyncio.gather(*map(result, bye), return_exceptions=True)
                with suppress(TimeoutError):
                    await asyncio.wait_for(ends, 1.0)
            client.unsubscribe_topic("all")
        for address in list(self._members):
            self._lose(address, "Dask's scheduler was lost", to_blame=False)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._burials, return_exceptions=True)
        self._client = None
        with suppress(Exception):
            await asyncio.wait_for(client.close(), 5.0)

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        match message.get("action"):
            case "add-worker":
                self._spawn(self._meet(message["worker"]))
            case "remove-worker":
                expected = bool(message["expected"])
                words = "it left the cluster" if expected else "its process ended or cannot be reached"
                self._lose(message["worker"], words, to_blame=not expected)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Python warns of a coroutine that was neither begun nor closed.
        task.add_done_callback(lambda _: work.close())
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """End the run if work fails, since nobody waits for it; _follow sees a lost connection."""
        try:
            await work
        except OSError:
            pass
        except Exception as error:  # noqa: BLE001 - the pool reports it, whatever it is
            self._tell(Unreachable(reason=describe(error)))

    async def _known(self) -> dict[str, Any]:
        """The workers known to Dask's scheduler, by address.

        Raises:
            OSError: the connection to it is lost.
        """
        while True:
            client = self._client
            try:
                identity = await client.scheduler.identity(n_workers=-1)  # type: ignore[union-attr] # connected
            except OSError:
                if self._client is not client or client.status != "running":  # type: ignore[union-attr] # as above
                    raise
                await self._pause(_CHECK_EVERY)
            else:
                workers: dict[str, Any] = identity["workers"]
                return workers

    async def _meet(self, address: str) -> None:
        """Greet a worker until it is free; report it if it fits."""
        while True:
            facts = (await self._known()).get(address)
            if facts is None or address in self._members:
                return
            try:
                greeting = await meet(self._client, address, run=self._run, recipe=self._recipe)
            except Exception as error:  # noqa: BLE001 - whatever another machine's software raises
                if address in await self._known():
                    self._tell(Unfit(address=address, reason=describe(error)))
                return
            if not greeting.busy:
                break
            await self._pause(_BUSY_EVERY)
        if address not in await self._known() or address in self._members:
            return
        misfit = greeting.misfit
        if facts["nthreads"] < _THREADS:
            misfit = f"it has {facts['nthreads']} thread: start it with --nthreads {_THREADS} or more"
        if misfit:
            self._tell(Unfit(address=address, reason=mask(misfit)))
            return
        member = self._members[address] = Member(address=address, greeting=greeting)
        self._tell(Came(greeting=greeting, name=str(facts["name"])))
        self._spawn(self._attend(member))

    def _lose(self, address: str, reason: str, *, to_blame: bool) -> asyncio.Task[None] | None:
        """Send nothing more to a worker; returns what reports its end, or None if it was lost before."""
        member = self._members.pop(address, None)
        if member is None:
            return None
        member.changed.set()
        for journey in member.journeys:
            if journey is not asyncio.current_task():
                journey.cancel()
        burial = asyncio.ensure_future(self._bury(member, reason, to_blame=to_blame))
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
        return burial

    async def _bury(self, member: Member, reason: str, *, to_blame: bool) -> None:
        """Report that a worker is gone; if it ran on this machine, wait until its process has ended."""
        greeting = member.greeting
        until = self._loop.time() + _DIES
        while not self._closing.is_set() and is_gone(greeting.identity) is False:
            if self._loop.time() >= until:
                break
            await asyncio.sleep(0.02)
        certain = bool(is_gone(greeting.identity))
        unsent = frozenset(key for key, _ in member.outbox if key)
        self.heard.pop(greeting.process, None)
        self._tell(
            Left(process=greeting.process, reason=reason, to_blame=to_blame, certain=certain, unsent=unsent)
        )

    def _find(self, process: str) -> Member | None:
        found = (each for each in self._members.values() if each.greeting.process == process)
        return next(found, None)

    def _post(self, process: str, messages: list[tuple[str, bytes]]) -> None:
        member = self._find(process)
        if member is not None:
            member.outbox.extend(messages)
            member.began = True
            member.changed.set()

    @property
    def _gather(self) -> float:
        return min(max(_GATHER_LEAST, _GATHER_EACH * len(self._members)), _GATHER_MOST)

    async def _attend(self, member: Member) -> None:
        """Send visits to a worker: the only place that does."""
        while self._members.get(member.address) is member:
            wanted = 2 if member.outbox and member.ready else 1
            if not member.began or member.visits >= wanted:
                member.changed.clear()
                await member.changed.wait()
                continue
            early = member.sent_at + self._gather - self._loop.time()
            if member.visits and early > 0:
                await asyncio.sleep(early)
            parts: list[bytes] = []
            size = 0
            while member.outbox and (not parts or size + len(member.outbox[0][1]) <= _FULL):
                parts.append(member.outbox.popleft()[1])
                size += len(parts[-1])
            member.visits += 1
            member.sent_at = self._loop.time()
            arguments = (member.greeting.process, self._run, Sealed(tuple(parts)), self._gather)
            future = submit(self._client, member.address, visit, *arguments)
            member.journeys.add(self._spawn(self._bring_home(member, future)))

    async def _bring_home(self, member: Member, future: Any) -> None:
        """Wait until a visit returns; if it fails, report the worker's end."""
        try:
            home = await result(future)
        except Exception as error:  # noqa: BLE001 - of any software between here and there
            await self._lose_guest(member, f"a visit failed: {describe(error)}")
            return
        finally:
            member.journeys = {each for each in member.journeys if each is not asyncio.current_task()}
        member.ready = True
        member.visits -= 1
        member.changed.set()
        if home.number:
            self.heard[member.greeting.process] = self.heard.get(member.greeting.process, 0) + 1
            if answers := member.take_home(home):
                self._tell(CameHome(process=member.greeting.process, answers=answers))
        else:
            await self._lose_guest(member, "it gave up, since no visit came for too long")

    async def _lose_guest(self, member: Member, reason: str) -> None:
        """Start again with a worker that still exists, unless the connection to the cluster is lost."""
        if self._members.get(member.address) is member and self._client.status == "running":  # type: ignore[union-attr] # connected
            burial = self._lose(member.address, reason, to_blame=False)
            assert burial is not None
            await asyncio.shield(burial)
            self._spawn(self._meet(member.address))

    def _begin_restart(self, process: str) -> None:
        member = self._find(process)
        if member is not None:
            self._spawn(self._restart(member))

    async def _restart(self, member: Member) -> None:
        """Have Dask kill a worker; if it cannot, count it as lost."""
        with suppress(Exception):
            await asyncio.wait_for(
                self._client.scheduler.restart_workers(  # type: ignore[union-attr] # connected
                    workers=[member.address],
                    timeout=1,
                    wait_for_workers=False,
                    on_error="return",
                    stimulus_id=f"image-syncer-{os.getpid()}",
                ),
                _RESTART,
            )
        await asyncio.sleep(1.0)
        if self._members.get(member.address) is member:
            self._lose(member.address, "it hung, and Dask could not restart it", to_blame=True)
