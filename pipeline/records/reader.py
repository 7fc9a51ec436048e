"""A read-only view of another process's records: no lock, no write, no file beside the database.

A store that a run has open, or that a killed one left, has a write-ahead log beside it, and is read through
it. One that was closed cleanly has none, and is read as a file that nobody changes (`immutable`): otherwise
SQLite would make a log and its index beside it, which an unwritable folder does not let it, and which in a
writable one would be left to a run of another user (https://www.sqlite.org/wal.html#readonly). Which of the
two holds may change under a reader's hands; then it reads again.
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
"""Readings; each is one more run that began or ended within a reading."""
_WAIT = 5.0
"""Seconds to wait for a run that is just opening or closing its store."""
_ONE = "SELECT value FROM Cache WHERE key = ? AND raw = 1 AND mode = 1 AND typeof(value) = 'text'"
_COUNT = (
    "SELECT tag, COUNT(*) FROM Cache WHERE key > ? AND key < ? AND raw = 1 AND mode = 1"
    " AND tag IN (?, ?, ?, ?) GROUP BY tag"
)
_Taken = TypeVar("_Taken")


class RecordsReader:
    """What the records say at one moment; only within `read_records`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `read_records`."""
        self._connection = connection

    @property
    def run_state(self) -> str:
        """How the last run stands, as it noted itself; empty: none has."""
        return self._value(RUN)

    def counts(self, run: str) -> dict[Result, int]:
        """Images of the run by what became of them."""
        results: tuple[Result, ...] = get_args(Result)
        tags = {tag_of(run, result): result for result in results}
        found = self._connection.execute(_COUNT, (IMAGES, IMAGES_END, *tags)).fetchall()
        return dict.fromkeys(results, 0) | {tags[tag]: count for tag, count in found}

    def images(self, run: str, result: Result) -> Iterator[ImageRow]:
        """Images of the run of which that became, by source, then destination; damaged rows are left out."""
        for _, text in stored_images(self._connection, [tag_of(run, result)]):
            row = built(ImageRow, parsed(text))
            if row is not None:
                yield row

    def check(self, path: Path) -> None:
        """Make sure that the store is one, is ours, and is understood.

        Raises:
            MachineError: it is not.
            sqlite3.Error: it is no database, or cannot be read.
        """
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
        if not tables:
            raise MachineError(f"records in {path} are empty: no run has come to write there")
        if not {"Cache", "Settings"} <= tables:
            raise _foreign(path, f"{STORE}/{DATABASE} is another program's")
        version = self._value(VERSION_ROW)
        if is_newer(version):
            raise MachineError(
                f"records in {path} were written by a newer image-syncer (version {version}); ask that one"
            )
        if version != str(VERSION):
            raise _foreign(path, f"{STORE}/{DATABASE} does not say that it is image-syncer's")
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
        take: takes what is wanted; called again where a run began or ended meanwhile.

    Raises:
        MachineError: there are none, or they are damaged, another program's, or not to be read here.
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
    raise MachineError(f"records in {path} are opened and closed all the time; ask again")


def _taken(path: Path, file: Path, take: Callable[[RecordsReader], _Taken], *, closed: bool) -> _Taken:
    """Take everything from one state of the store."""
    how = "immutable=1" if closed else "mode=ro"
    address = f"{file.absolute().as_uri()}?{how}"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT, isolation_level=None)) as connection:
        # Bytes that are no text would raise an error for the whole page of rows that they stand in.
        connection.text_factory = lambda content: content.decode(errors="replace")
        connection.execute("BEGIN")
        view = RecordsReader(connection)
        view.check(path)
        return take(view)


def _stamp(file: Path) -> tuple[bool, int, int]:
    """Whether a write-ahead log is there, and when and how large the database was written."""
    try:
        found = file.stat()
    except OSError:
        return False, 0, 0
    return file.with_name(f"{DATABASE}-wal").exists(), found.st_mtime_ns, found.st_size


def _require(path: Path, file: Path) -> None:
    """Make sure that the folder looks like one of ours.

    Raises:
        MachineError: it does not; the message says what it is.
    """
    try:
        if not path.exists():
            raise MachineError(f"there are no records: {path} does not exist; name a run's with --records")
        if not path.is_dir():
            raise _foreign(path, "it is no folder")
        if not file.exists():
            raise _foreign(path, f"there is no {STORE}/{DATABASE} in it")
        if not file.is_file():
            raise _foreign(path, f"{STORE}/{DATABASE} is no file")
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _foreign(path: Path, reason: str) -> MachineError:
    return MachineError(f"{path} holds no records of image-syncer: {reason}; name a run's with --records")


def _damaged(path: Path, reason: str) -> MachineError:
    words = " ".join(reason.split())
    return MachineError(
        f"records in {path} are damaged: {words}; the next run sets them aside and asks the registries again"
    )


def _unreadable(path: Path, reason: str) -> MachineError:
    return MachineError(f"records in {path} cannot be read: {reason}; ask as the user whose run they are")


def _judged(path: Path, error: sqlite3.Error) -> MachineError:
    """What an error of SQLite says: of the store, or of this machine."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return _foreign(path, f"{STORE}/{DATABASE} is no database")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return _damaged(path, str(error))
    return _unreadable(path, str(error))
