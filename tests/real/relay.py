"""A TCP relay in front of a server: it forwards bytes, and does harm at counted bytes.

It knows nothing of HTTP or TLS, like the networks on which connections break. The server's address may
change while it runs: a killed server comes back at another port, and its clients see the same address.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable

Way = Literal["up", "down"]
"""up: bytes from clients. down: bytes from the server."""
Kind = Literal["cut", "stall", "slow", "call"]
_PIECE = 1 << 14
_SLOW_PIECE = 256
_SLOW_PAUSE = 0.002
_OVERTAKEN_AFTER = 0.1
"""Seconds for which an answer waits to be overtaken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """A fault of the connection that carries a given byte."""

    kind: Kind
    """cut: both ends break. stall: nothing moves any more. slow: 256 bytes at a time. call: call `act`."""
    way: Way
    at: int
    """Counted over all connections in that direction; it happens once."""
    act: Callable[[], None] | None = None


class Relay:
    """Relays to `upstream` (`host:port`) while the context lasts.

    Args:
        upstream: the server's address; may change at any time.
        harms: what goes wrong.
        reorder: hold back answers by a seed until others have overtaken them.
    """

    def __init__(self, upstream: str, *harms: Harm, reorder: int | None = None) -> None:
        """Bind; `__enter__` starts to serve."""
        self.upstream = upstream
        self.done: list[Harm] = []
        """Harm that actually happened."""
        self.overtaken = 0
        """Answers that others have overtaken."""
        self._waiting = list(harms)
        self._random = None if reorder is None else Random(reorder)
        self._passed = {"up": 0, "down": 0}
        self._answers = 0
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Serve."""
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for all threads."""
        self._over.set()
        with self._changed:
            self._changed.notify_all()
            doomed = [self._listener, *self._open]
        for each in doomed:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            host, _, port = self.upstream.rpartition(":")
            try:
                server = socket.create_connection((host, int(port)))
            except OSError:
                client.close()
                continue
            with self._changed:
                self._open |= {client, server}
            ended = threading.Semaphore(0)
            self._spawn(self._pass, client, server, "up", ended)
            self._spawn(self._pass, server, client, "down", ended)
            self._spawn(self._close, client, server, ended)

    def _close(self, client: socket.socket, server: socket.socket, ended: threading.Semaphore) -> None:
        """Close both ends when both directions have ended."""
        ended.acquire()
        ended.acquire()
        with self._changed:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pass(self, here: socket.socket, there: socket.socket, way: Way, ended: threading.Semaphore) -> None:
        try:
            if not self._pass_all(here, there, way):
                _reset(here)
                _reset(there)
        finally:
            ended.release()

    def _pass_all(self, here: socket.socket, there: socket.socket, way: Way) -> bool:
        """Forward until the end; returns False if it was harmed."""
        slow = False
        with suppress(OSError):
            while piece := here.recv(_PIECE):
                if way == "down":
                    self._wait_to_be_overtaken()
                harm = self._count(way, len(piece))
                if harm == "stall":
                    self._over.wait()
                if harm in ("cut", "stall"):
                    return False
                slow = slow or harm == "slow"
                self._send(there, piece, slow=slow)
            there.shutdown(socket.SHUT_WR)
            return True
        return False

    def _send(self, there: socket.socket, piece: bytes, *, slow: bool) -> None:
        step = _SLOW_PIECE if slow else len(piece)
        for start in range(0, len(piece), step):
            there.sendall(piece[start : start + step])
            if slow and self._over.wait(_SLOW_PAUSE):
                return

    def _count(self, way: Way, length: int) -> Kind | None:
        """Count received bytes; returns the faults that they trigger."""
        with self._changed:
            self._passed[way] += length
            due = [each for each in self._waiting if each.way == way and each.at <= self._passed[way]]
            if not due:
                return None
            harm = due[0]
            self._waiting.remove(harm)
            self.done.append(harm)
        if harm.act is not None:
            harm.act()
        return harm.kind

    def _wait_to_be_overtaken(self) -> None:
        """Sometimes wait until answers of other connections have passed."""
        with self._changed:
            if self._random is not None and self._random.random() < 0.5:
                before = self._answers
                wanted = self._random.randint(1, 3)
                self._changed.wait_for(
                    lambda: self._answers >= before + wanted or self._over.is_set(), _OVERTAKEN_AFTER
                )
                self.overtaken += self._answers > before
            self._answers += 1
            self._changed.notify_all()


def _reset(end: socket.socket) -> None:
    """Make both sides see an error instead of an end."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
