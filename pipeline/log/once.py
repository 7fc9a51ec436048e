"""Reports that are made once, and not each time: warnings, credentials, a lost file."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

_MOST = 10_000


class Once:
    """Remembers what was reported; threads may share it.

    Args:
        most: maximum number of reports, since registries choose some of them.
    """

    def __init__(self, *, most: int = _MOST) -> None:
        """Start empty."""
        self._said: set[Hashable] = set()
        self._most = most
        self._lock = threading.Lock()

    def first(self, what: Hashable = None) -> bool:
        """Whether to report it now, for the first time."""
        if what in self._said:
            return False
        with self._lock:
            if what in self._said or len(self._said) >= self._most:
                return False
            self._said.add(what)
            return True
