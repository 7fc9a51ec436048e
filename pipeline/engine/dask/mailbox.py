"""A mailbox between the thread of Dask's client and the supervisor's, with a descriptor to wait for."""

from __future__ import annotations

import os
import threading


class Mailbox:
    """Holds messages until they are taken; any thread may put one in, and nothing blocks."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._mail: list[object] = []
        self._reader, self._writer = os.pipe()

    def fileno(self) -> int:
        """For a selector: readable while there are messages."""
        return self._reader

    def put(self, message: object) -> None:
        """Put a message in; after `close` it is lost."""
        with self._lock:
            if not self._mail and self._writer >= 0:
                os.write(self._writer, b".")
            self._mail.append(message)

    def take(self) -> list[object]:
        """All messages, in order."""
        with self._lock:
            if self._mail:
                os.read(self._reader, 1)
            mail, self._mail = self._mail, []
            return mail

    def close(self) -> None:
        """Close the descriptors. May be called twice."""
        with self._lock:
            if self._writer >= 0:
                os.close(self._reader)
                os.close(self._writer)
                self._reader = self._writer = -1
