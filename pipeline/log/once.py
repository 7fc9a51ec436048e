"""What is said once, and not each time that it is true: warnings, credentials, a file that is lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

_MOST = 10_000


class Once:
    """Remembers what was said; threads may share it.

    Args:
        most: how many things are said at most: registries choose some of them.
    """

    def __init__(self, *, most: int = _MOST) -> None:
        """Nothing was said."""
        self._said: set[Hashable] = set()
        self._most = most
        self._lock = threading.Lock()

    def first(self, what: Hashable = None) -> bool:
        """Whether it is to be said now: it was not before."""
        if what in self._said:
            return False
        with self._lock:
            if what in self._said or len(self._said) >= self._most:
                return False
            self._said.add(what)
            return True
