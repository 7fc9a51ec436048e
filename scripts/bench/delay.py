"""A proxy that makes a registry far: every byte arrives half a round trip later, in both directions.

What a client sends first on a new connection comes one round trip later still, as if the connection had had
to be opened over that distance. Bandwidth is not limited, and nothing is read of what passes.

    python -m scripts.bench.delay 127.0.0.1:5000 0.05
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.real.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.real.wire import Endpoint

_PIECE = 1 << 18
_IN_FLIGHT = 1 << 10
"""Pieces under way per direction; a registry that does not read makes the client wait."""
_CONNECTIONS, _EACH = 64, 8


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, extra: float
) -> None:
    """Pass on all that comes, `delay` seconds later; the first piece `extra` later still."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)

    async def deliver() -> None:
        while True:
            due, piece = await pieces.get()
            if (early := due - clock()) > 0:
                await asyncio.sleep(early)
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        piece = b"first"
        while piece:
            piece = await reader.read(_PIECE)
            await pieces.put((clock() + delay + extra, piece))
            extra = 0.0
        await delivery
    except OSError:
        delivery.cancel()
    finally:
        writer.close()


async def serve(upstream: str, round_trip: float) -> None:
    """Serve a port of the system's choice, which is printed, until cancelled."""
    host, _, port = upstream.rpartition(":")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(
            _carry(reader, back, round_trip / 2, round_trip), _carry(there, writer, round_trip / 2, 0.0)
        )

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def far(endpoint: Endpoint, round_trip: float) -> Iterator[Endpoint]:
    """The endpoint behind a proxy of that round trip (seconds), in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench.delay", endpoint.address, str(round_trip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield replace(endpoint, address=f"127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.kill()


def ceiling(endpoint: Endpoint) -> float:
    """Requests a second that 64 connections get through to a registry."""

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
        asyncio.run(serve(sys.argv[1], float(sys.argv[2])))
