"""Queues with one reader and one writer that give end-of-file when the other side dies.

multiprocessing's queues do not: a killed reader keeps their lock, and the parent holds their write end, so
there is no end-of-file. These are one-way pipes with framed messages: four bytes of length, big-endian, then
the pickle. The supervisor's ends never block, because a worker may be stopped in the middle of a message of
megabytes; a worker's ends always block.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.engine.packing import MAX_MESSAGE, pack
from pipeline.settings import MIB

if TYPE_CHECKING:
    from pipeline.engine.worker import Setup
    from pipeline.model.budget import Grant
    from pipeline.model.messages import Task, WorkerMessage

_HEADER = 4
_READ = MIB
_AT_ONCE = 64
"""Messages written in one call; the system allows about 1,000."""


def frame(message: object) -> bytes:
    """The framed message.

    Raises:
        ValueError: it is larger than MAX_MESSAGE.
        Exception: of pickle, for an object that it does not support.
    """
    body = pack(message)
    return len(body).to_bytes(_HEADER, "big") + body


class Unframer:
    """Splits a stream, which arrives in arbitrary pieces, into messages."""

    def __init__(self) -> None:
        """Start at the beginning of a frame."""
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[Any]:
        """The messages that `piece` completes, in order; an incomplete message waits for the next piece.

        Raises:
            ValueError: the stream announces a message larger than MAX_MESSAGE.
            Exception: of pickle, for an invalid message.
        """
        self._buffer += piece
        messages = []
        begin = 0
        with memoryview(self._buffer) as view:
            while len(view) - begin >= _HEADER:
                body = begin + _HEADER
                size = int.from_bytes(view[begin:body], "big")
                if size > MAX_MESSAGE:
                    raise ValueError(f"a message of {size} bytes, the limit is {MAX_MESSAGE}")
                if len(view) - body < size:
                    break
                begin = body + size
                messages.append(pickle.loads(view[body:begin]))  # noqa: S301 - from our own worker's pipe
        del self._buffer[:begin]
        return messages


class Inbox:
    """The supervisor's end of a worker's inbox: writes without blocking."""

    def __init__(self, descriptor: int) -> None:
        """Own `descriptor`, the write end of a one-way pipe."""
        self._descriptor = descriptor
        self._unsent: deque[memoryview] = deque()
        self.broken = False
        """Whether the reader is gone; the end of the outbox decides about death, after the last answers."""
        os.set_blocking(descriptor, False)

    @property
    def pending(self) -> bool:
        """Whether tasks wait for room in the pipe: call `flush` when `fileno` is writable."""
        return bool(self._unsent)

    def put(self, message: Task | Grant | Setup) -> None:
        """Append `message`; `flush` writes it.

        Raises:
            ValueError: it is larger than MAX_MESSAGE.
        """
        self._unsent.append(memoryview(frame(message)))

    def send(self, message: Task | Setup) -> None:
        """Append `message` and write what fits.

        Raises:
            ValueError: it is larger than MAX_MESSAGE.
        """
        self.put(message)
        self.flush()

    def flush(self) -> None:
        """Write what fits into the pipe; for a dead reader drop everything."""
        try:
            while self._unsent:
                written = os.writev(self._descriptor, list(islice(self._unsent, _AT_ONCE)))
                while self._unsent and written >= len(self._unsent[0]):
                    written -= len(self._unsent.popleft())
                if written:
                    self._unsent[0] = self._unsent[0][written:]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.broken = True
            self._unsent.clear()

    def fileno(self) -> int:
        """For a selector."""
        return self._descriptor

    def close(self) -> None:
        """Send end-of-file: the worker exits at once. May be called twice."""
        self._unsent.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Outbox:
    """The supervisor's end of a worker's outbox: reads without blocking."""

    def __init__(self, descriptor: int) -> None:
        """Own `descriptor`, the read end of a one-way pipe."""
        self._descriptor = descriptor
        self._unframer = Unframer()
        self.at_end = False
        """Whether the worker is gone and all its messages have been read."""
        self.error = ""
        """Why the stream is invalid; `at_end` is set then, and the worker is useless."""
        os.set_blocking(descriptor, False)

    def read(self) -> list[WorkerMessage]:
        """The messages that one read of at most 1 MiB completes; none if the pipe is empty."""
        if self.at_end:
            return []
        try:
            piece = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return []
        self.at_end = not piece
        try:
            return self._unframer.feed(piece)
        except Exception as error:  # noqa: BLE001 - unpickling an invalid message may raise anything
            self.error = f"{type(error).__name__}: {error}"
            self.at_end = True
            return []

    def fileno(self) -> int:
        """For a selector."""
        return self._descriptor

    def close(self) -> None:
        """Close the pipe; unread messages are lost. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class TaskReader:
    """The worker's end of its inbox; for one thread."""

    def __init__(self, descriptor: int) -> None:
        """Own `descriptor`, the read end of a one-way pipe."""
        self._descriptor = descriptor
        self._unframer = Unframer()
        self._messages: deque[Any] = deque()

    def receive(self) -> Any:
        """Wait for the next message: the Setup, then tasks.

        Raises:
            EOFError: the supervisor closed the inbox, or is gone.
        """
        while not self._messages:
            piece = os.read(self._descriptor, _READ)
            if not piece:
                raise EOFError
            self._messages.extend(self._unframer.feed(piece))
        return self._messages.popleft()


class AnswerWriter:
    """The worker's end of its outbox; any thread may send."""

    def __init__(self, descriptor: int) -> None:
        """Own `descriptor`, the write end of a one-way pipe."""
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, answer: WorkerMessage) -> None:
        """Write the whole `answer`; blocks while the pipe is full.

        Raises:
            ValueError: it is larger than MAX_MESSAGE.
            BrokenPipeError: the supervisor is gone.
            Exception: of pickle, for an object that it does not support; nothing has been sent.
        """
        rest = memoryview(frame(answer))
        with self._lock:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
