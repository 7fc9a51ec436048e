"""Rows of the records as they are on disk: for the run that writes them, and for other processes.

Another process reads without a lock, a write, or a file beside the database. A store that a run has open, or
that a killed run left, has a write-ahead log and is read through it. A store that was closed cleanly has none
and is opened as `immutable`: otherwise SQLite would create a log and its index, which fails in a read-only
folder, and in a writable one would leave files that a run of another user cannot use
(https://www.sqlite.org/wal.html#readonly). If a run opens or closes the store meanwhile, it is read again.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import MachineError
from pipeline.model.facts import RESULTS, ImageRow
from pipeline.records.folder import DATABASE, STORE, VERSION_ROW, newer, read_only, stamps
from pipeline.records.rows import RUN, SEPARATOR, VERSION, built, is_newer, parsed, tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from pipeline.model.facts import Result

IMAGES = f"image{SEPARATOR}"
"""Keys of images are greater than this,"""
IMAGES_END = "image\x20"
"""and less than this."""
PAGE = 1_000
"""Rows read at a time."""
_TRIES = 5
"""Attempts; another one is needed when a run opened or closed the store during the reading."""
_ONE = (
    "SELECT value FROM Cache WHERE key = ? AND raw = 1 AND mode = 1 AND typeof(value) = 'text'"
    " AND (expire_time IS NULL OR expire_time > ?)"
)
_ANY = "SELECT 1 FROM Cache WHERE key > ? AND key < ? LIMIT 1"
_RANGE = (
    "SELECT key, value FROM Cache WHERE key > ? AND key < ? AND raw = 1 AND mode = 1"
    " AND tag IN (?, ?, ?, ?, ?, ?) ORDER BY key LIMIT ?"
)
_COUNT = (
    "SELECT tag, COUNT(*) FROM Cache WHERE key > ? AND key < ? AND raw = 1 AND mode = 1"
    " AND tag IN (?, ?, ?, ?, ?, ?) GROUP BY tag"
)
"""As many tags as there are results."""
_Taken = TypeVar("_Taken")


class RecordsReader:
    """The rows on disk.

    Args:
        connection: closed by the caller.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """See the class."""
        self._connection = connection

    @property
    def run_state(self) -> str:
        """The state that the last run stored, as JSON; empty: none."""
        return self.text(RUN) or ""

    def text(self, key: str) -> str | None:
        """The value of one row; None: it is missing, or not text.

        Raises:
            sqlite3.Error: of the query; likewise for the methods below.
        """
        row = self._connection.execute(_ONE, (key, time.time())).fetchone()
        return row[0] if row else None

    def vouches(self) -> bool:
        """Whether a later run could use anything: content that is known to exist, or an unfinished upload."""
        return any(self._has(f"{each}{SEPARATOR}", f"{each}\x20") for each in ("held", "session"))

    def has_source(self, repository: str) -> bool:
        """Whether there is an image with this source, by tag."""
        return self._has(f"{IMAGES}{repository}:", f"{IMAGES}{repository};")

    def _has(self, after: str, before: str) -> bool:
        """Whether there is a key between the two."""
        return self._connection.execute(_ANY, (after, before)).fetchone() is not None

    def counts(self, run: str) -> dict[Result, int]:
        """The number of the run's images by result."""
        tags = {tag_of(run, result): result for result in RESULTS}
        found = self._connection.execute(_COUNT, (IMAGES, IMAGES_END, *tags)).fetchall()
        return dict.fromkeys(RESULTS, 0) | {tags[tag]: count for tag, count in found}

    def images(self, run: str, result: Result) -> Iterator[ImageRow]:
        """The run's images with that result, by source, then destination; damaged rows are skipped."""
        for _, text in self.texts([tag_of(run, result)]):
            row = built(ImageRow, parsed(text))
            if row is not None:
                yield row

    def texts(self, tags: Collection[str], after: str = "") -> Iterator[tuple[str, str]]:
        """Keys and values of images with one of these tags of results, in key order, after the given key.

        They are read page by page, so that no query stays open while others write.
        """
        wanted = (*tags, *[""] * (len(RESULTS) - len(tags)))
        page: list[tuple[str, str]] = [(after or IMAGES, "")]
        while page:
            page = self._connection.execute(_RANGE, (page[-1][0], IMAGES_END, *wanted, PAGE)).fetchall()
            yield from page

    def check(self, path: Path) -> None:
        """Check that the store is ours and has a known version.

        Raises:
            MachineError: it is not.
            sqlite3.Error: it is not a database, or cannot be read.
        """
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
        if not tables:
            raise MachineError(f"records in {path} are empty: no run has written to them yet")
        if not {"Cache", "Settings"} <= tables:
            raise _foreign(path, f"{STORE}/{DATABASE} belongs to another program")
        version = self.text(VERSION_ROW) or ""
        if is_newer(version):
            raise newer(path, version)
        if version != str(VERSION):
            raise _foreign(path, f"{STORE}/{DATABASE} is not marked as image-syncer's")
        ((verdict,),) = self._connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise _damaged(path, str(verdict))


def read_records(path: Path, take: Callable[[RecordsReader], _Taken]) -> _Taken:
    """Read the records in the folder `path`, whether a run has them open or not.

    Args:
        path: the folder that --records names.
        take: the reading function; called again if a run opened or closed the store meanwhile.

    Raises:
        MachineError: there are none, or they are damaged, foreign, or unreadable.
    """
    file = path / STORE / DATABASE
    try:
        _require(path, file)
        for _ in range(_TRIES):
            before = stamps(file)
            is_open = before[1] is not None
            try:
                with closing(read_only(path, immutable=not is_open)) as connection:
                    connection.execute("BEGIN")
                    view = RecordsReader(connection)
                    view.check(path)
                    taken = take(view)
            except sqlite3.Error as error:
                if (stamps(file)[1] is not None) == is_open:
                    raise _judged(path, error) from error
            else:
                if is_open or stamps(file) == before:
                    return taken
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    raise MachineError(f"records in {path} are being opened and closed repeatedly; run it again")


def _require(path: Path, file: Path) -> None:
    """Check that the folder looks like one of ours.

    Raises:
        MachineError: it does not; the message says why.
        OSError: it cannot be read.
    """
    if not path.exists():
        raise MachineError(
            f"there are no records: {path} does not exist; name a run's records with --records"
        )
    if not path.is_dir():
        raise _foreign(path, "it is not a folder")
    if not file.exists():
        raise _foreign(path, f"there is no {STORE}/{DATABASE} in it")
    if not file.is_file():
        raise _foreign(path, f"{STORE}/{DATABASE} is not a file")


def _foreign(path: Path, reason: str) -> MachineError:
    return MachineError(f"{path} is not a folder of records: {reason}; name a run's records with --records")


def _damaged(path: Path, reason: str) -> MachineError:
    words = " ".join(reason.split())
    return MachineError(
        f"records in {path} are damaged: {words}; the next run renames them and asks the registries again"
    )


def _unreadable(path: Path, reason: str) -> MachineError:
    return MachineError(f"records in {path} cannot be read: {reason}; use the account that runs image-syncer")


def _judged(path: Path, error: sqlite3.Error) -> MachineError:
    """Classify an error of SQLite: foreign, damaged, or unreadable here."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return _foreign(path, f"{STORE}/{DATABASE} is not a database")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return _damaged(path, str(error))
    return _unreadable(path, str(error))
