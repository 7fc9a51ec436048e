"""A read-only view of another process's records: no lock, no write, no file beside the database.

A store that a run has open, or that a killed run left, has a write-ahead log and is read through it. A store
that was closed cleanly has none and is opened as `immutable`: otherwise SQLite would create a log and its
index, which fails in a read-only folder, and in a writable one would leave files that a run of another user
cannot use (https://www.sqlite.org/wal.html#readonly). If a run opens or closes the store meanwhile, it is
read again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar, get_args

from pipeline.errors import MachineError
from pipeline.model.facts import ImageRow, Result
from pipeline.records.folder import DATABASE, STORE, VERSION_ROW
from pipeline.records.rows import (
    IMAGES,
    IMAGES_END,
    RUN,
    VERSION,
    built,
    is_newer,
    parsed,
    stored_images,
    tag_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_TRIES = 5
"""Attempts; another one is needed when a run opened or closed the store during the reading."""
_WAIT = 5.0
"""Seconds to wait for a run that is opening or closing its store."""
_ONE = "SELECT value FROM Cache WHERE key = ? AND raw = 1 AND mode = 1 AND typeof(value) = 'text'"
_COUNT = (
    "SELECT tag, COUNT(*) FROM Cache WHERE key > ? AND key < ? AND raw = 1 AND mode = 1"
    " AND tag IN (?, ?, ?, ?) GROUP BY tag"
)
_Taken = TypeVar("_Taken")


class RecordsReader:
    """A snapshot of the records; valid only within `read_records`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `read_records`."""
        self._connection = connection

    @property
    def run_state(self) -> str:
        """The state that the last run stored, as JSON; empty: none."""
        return self._value(RUN)

    def counts(self, run: str) -> dict[Result, int]:
        """The number of the run's images by result."""
        results: tuple[Result, ...] = get_args(Result)
        tags = {tag_of(run, result): result for result in results}
        found = self._connection.execute(_COUNT, (IMAGES, IMAGES_END, *tags)).fetchall()
        return dict.fromkeys(results, 0) | {tags[tag]: count for tag, count in found}

    def images(self, run: str, result: Result) -> Iterator[ImageRow]:
        """The run's images with that result, by source, then destination; damaged rows are skipped."""
        for _, text in stored_images(self._connection, [tag_of(run, result)]):
            row = built(ImageRow, parsed(text))
            if row is not None:
                yield row

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
        version = self._value(VERSION_ROW)
        if is_newer(version):
            raise MachineError(
                f"records in {path} were written by a newer image-syncer (version {version}); use that"
            )
        if version != str(VERSION):
            raise _foreign(path, f"{STORE}/{DATABASE} is not marked as image-syncer's")
        ((verdict,),) = self._connection.execute("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise _damaged(path, str(verdict))

    def _value(self, key: str) -> str:
        row = self._connection.execute(_ONE, (key,)).fetchone()
        return str(row[0]) if row else ""


def read_records(path: Path, take: Callable[[RecordsReader], _Taken]) -> _Taken:
    """Read the records in the folder `path`, whether a run has them open or not.

    Args:
        path: the folder that --records names.
        take: the reading function; called again if a run opened or closed the store meanwhile.

    Raises:
        MachineError: there are none, or they are damaged, foreign, or unreadable.
    """
    file = path / STORE / DATABASE
    _require(path, file)
    for _ in range(_TRIES):
        before = _stamp(file)
        try:
            taken = _taken(path, file, take, closed=not before[0])
        except sqlite3.Error as error:
            if _stamp(file)[0] == before[0]:
                raise _judged(path, error) from error
        else:
            if before[0] or _stamp(file) == before:
                return taken
    raise MachineError(f"records in {path} are opened and closed all the time; try again")


def _taken(path: Path, file: Path, take: Callable[[RecordsReader], _Taken], *, closed: bool) -> _Taken:
    """Call `take` in one read transaction."""
    how = "immutable=1" if closed else "mode=ro"
    address = f"{file.absolute().as_uri()}?{how}"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None)) as connection:
        # Otherwise one row with invalid UTF-8 would raise an error for the whole page of rows.
        connection.text_factory = lambda content: content.decode(errors="replace")
        connection.execute("BEGIN")
        view = RecordsReader(connection)
        view.check(path)
        return take(view)


def _stamp(file: Path) -> tuple[bool, int, int]:
    """Whether a write-ahead log exists, and the database's modification time and size."""
    try:
        found = file.stat()
    except OSError:
        return False, 0, 0
    return file.with_name(f"{DATABASE}-wal").exists(), found.st_mtime_ns, found.st_size


def _require(path: Path, file: Path) -> None:
    """Check that the folder looks like one of ours.

    Raises:
        MachineError: it does not; the message says why.
    """
    try:
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
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


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
