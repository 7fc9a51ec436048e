"""A proxy that makes a registry far, slow or busy. It reads nothing of the traffic, nor limits bandwidth.

Far: every byte arrives half a round trip later, in both directions, and the first bytes of a client on a
new connection one round trip later still, as if the connection had been opened over that distance. Slow:
only the answers are late. Busy: a fixed number of requests are served at a time, and others wait.

    python -m scripts.bench.delay 127.0.0.1:5000 '{"round_trip": 0.05}'
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from tests.real.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.real.wire import Endpoint

_IN_FLIGHT = 1 << 8
"""Pieces in flight per direction; a registry that does not read makes the client wait."""
_CONNECTIONS, _EACH = 64, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The path between clients and a registry."""

    round_trip: float = 0.0
    """Round trip in seconds."""
    answer: float = 0.0
    """Seconds by which each answer is late."""
    slots: int = 0
    """Requests that are served at a time; 0: no limit."""
    service: float = 0.0
    """Seconds that each takes."""

    @property
    def ceiling(self) -> float:
        """Requests a second that it allows over `_CONNECTIONS` connections."""
        if self.slots:
            return self.slots / self.service
        return _CONNECTIONS / (self.round_trip + self.answer)


class _Gate:
    """The slots of a registry."""

    def __init__(self, way: Way) -> None:
        self._free, self._service = way.slots, way.service
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, serve: Callable[[], None]) -> None:
        """Call `serve` once a slot is free and the service time has passed."""
        self._waiting.append(serve)
        self._admit()

    def leave(self) -> None:
        """Free a slot."""
        self._free += 1
        self._admit()

    def _admit(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            asyncio.get_running_loop().call_later(self._service, self._waiting.popleft())


class _End(asyncio.Protocol):
    """One end of a connection: its input leaves at the other end, later."""

    other: _End

    def __init__(self, delay: float, *, opening: float = 0.0, gate: _Gate | None = None) -> None:
        """`opening`: the extra delay of the first piece; `gate`: the gate for requests."""
        self._delay, self._opening, self._gate = delay, opening, gate
        self._pieces: deque[tuple[float, bytes]] = deque()
        """Pieces in flight with their arrival times; an empty piece is the end."""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._asking = self._held = self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._gate is not None and not self._asking:
            self._asking = self._held = True
            self._gate.enter(self._serve)
        self.other.answered()
        self._put(data)

    def _serve(self) -> None:
        self._held = False
        self.deliver()

    def answered(self) -> None:
        """The other end received data: possibly the answer to a request of this end."""
        if self._gate is not None and self._asking and not self._held:
            self._asking = False
            self._gate.leave()

    def _put(self, data: bytes) -> None:
        due = asyncio.get_running_loop().time() + self._delay + self._opening
        self._opening = 0.0
        self._pieces.append((due, data))
        if len(self._pieces) == _IN_FLIGHT and self._transport is not None:
            self._transport.pause_reading()
        self.deliver()

    def deliver(self) -> None:
        """Deliver the pieces that have arrived, and wait for the rest."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        there = self.other._transport  # noqa: SLF001 - the same class
        if there is None or self._held:
            return
        loop = asyncio.get_running_loop()
        while self._pieces and not self.other._full and self._pieces[0][0] <= loop.time():  # noqa: SLF001 - likewise
            _, piece = self._pieces.popleft()
            if piece:
                there.write(piece)
            else:
                there.close()
            if len(self._pieces) == _IN_FLIGHT - 1 and self._transport is not None:
                self._transport.resume_reading()
        if self._pieces and not self.other._full:  # noqa: SLF001 - likewise
            self._timer = loop.call_at(self._pieces[0][0], self.deliver)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.other.deliver()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._gate is not None and self._asking:
            self._asking = self._held = False
            self._gate.leave()
        self._put(b"")


async def serve(upstream: str, way: Way) -> None:
    """Serve a port chosen by the system, which is printed, until cancelled."""
    host, _, port = upstream.rpartition(":")
    loop = asyncio.get_running_loop()
    gate = _Gate(way) if way.slots else None
    connecting = set()

    def connect() -> _End:
        client = _End(way.round_trip / 2, opening=way.round_trip, gate=gate)
        server = _End(way.round_trip / 2 + way.answer)
        client.other, server.other = server, client
        task = asyncio.ensure_future(loop.create_connection(lambda: server, host, int(port)))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        task.add_done_callback(lambda _: client.deliver())
        return client

    listener = await loop.create_server(connect, "127.0.0.1", 0, backlog=1024)
    print(listener.sockets[0].getsockname()[1], flush=True)
    async with listener:
        await listener.serve_forever()


@contextmanager
def behind(endpoint: Endpoint, way: Way) -> Iterator[Endpoint]:
    """The endpoint behind a proxy in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench.delay", endpoint.address, json.dumps(asdict(way))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield replace(endpoint, address=f"127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.kill()


def reached(endpoint: Endpoint) -> float:
    """Requests a second that 64 connections can send to a registry."""

    def ask(_: int) -> None:
        with Wire(endpoint) as wire:
            for _ in range(_EACH):
                wire.need(200, "GET", "/v2/")

    began = time.monotonic()
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(ask, range(_CONNECTIONS)))
    return _CONNECTIONS * _EACH / (time.monotonic() - began)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(sys.argv[1], Way(**json.loads(sys.argv[2]))))
