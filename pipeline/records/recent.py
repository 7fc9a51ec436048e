"""A cache of single rows of the store: a query to SQLite takes 12 us."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.records.reader import RecordsReader

_MOST = 1024
"""Cached rows, of about a hundred bytes each."""


class Recent:
    """Rows of a store that only this process writes.

    Args:
        reader: reads the store.
        whole: whether the store is empty: until the cache is full, it holds all rows.
    """

    def __init__(self, reader: RecordsReader, *, whole: bool) -> None:
        """See the class."""
        self._reader = reader
        self._rows: dict[str, str | None] = {}
        self._whole = whole

    def text(self, key: str) -> str | None:
        """The row's value; None if it is missing or unreadable."""
        if not self._whole and key not in self._rows:
            try:
                self.keep(key, self._reader.text(key))
            except sqlite3.Error:
                return None
        return self._rows.get(key)

    def keep(self, key: str, text: str | None) -> None:
        """Cache a row as it is in the store now; None: it is missing."""
        self._rows.pop(key, None)
        if text is None and self._whole:
            return
        self._rows[key] = text
        if len(self._rows) > _MOST:
            del self._rows[next(iter(self._rows))]
            self._whole = False
