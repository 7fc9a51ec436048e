"""The folder of the records: create, lock, check, and rename it if it is damaged.

This module does not use diskcache: the database is checked before diskcache opens it, because diskcache
executes settings from the database and changes it on opening. The database has its own folder inside the
user's, because the user's may be a mount point, which cannot be renamed, or hold other files, so its mode
must not change.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sqlite3
import stat
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from pipeline.errors import MachineError
from pipeline.log import Event

if TYPE_CHECKING:
    from pathlib import Path

STORE = "store"
"""Name of diskcache's folder inside."""
DATABASE = "cache.db"
"""diskcache's name for its database."""
_BESIDE = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside it; the first is the write-ahead log."""
VERSION_ROW = "version"
"""Key of the row with the version of keys and values; the same in all versions."""
_FOREIGN = "SELECT 1 FROM Cache WHERE raw != 1 OR mode != 1 OR typeof(value) != 'text' LIMIT 1"
_OF_THE_MACHINE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""SQLite's primary result codes for problems of this machine; all others mean that the store is damaged."""


class DamagedError(Exception):
    """The store is damaged or foreign; whoever opens the records catches this and renames it."""


def unusable(path: Path, cause: str) -> MachineError:
    """The error for a folder that cannot hold records."""
    return MachineError(f"records cannot be kept in {path}: {cause}; name a writable folder with --records")


def judged(path: Path, error: sqlite3.Error) -> MachineError | DamagedError:
    """Classify an error of SQLite: a problem of this machine, or a damaged store."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return unusable(path, str(error)) if code in _OF_THE_MACHINE else DamagedError(str(error))


def require_double_quotes() -> None:
    """Check that SQLite supports strings in double quotes.

    diskcache writes text in double quotes, which builds with SQLITE_DQS=0 read as a column name
    (grantjenks/python-diskcache PR 311, open since 2024).

    Raises:
        MachineError: SQLite was built without.
    """
    script = """CREATE TABLE t (k);
        CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET k = 1 WHERE k = "size"; END;
        INSERT INTO t VALUES (0);"""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.executescript(script)
        except sqlite3.OperationalError as error:
            message = "this Python's SQLite was built without double-quoted strings, which diskcache needs"
            raise MachineError(f"{message}: {error}; use a Python with another SQLite") from error


def newer(path: Path, version: str) -> MachineError:
    """The error for a store of a later version."""
    words = f"records in {path} were written by a newer image-syncer (version {version})"
    return MachineError(f"{words}; run that version, or name another folder with --records")


def make_folder(path: Path) -> tuple[Event, ...]:
    """Create the folder that the user named; a file with that name, from the original tool, is renamed.

    Raises:
        OSError: it cannot be created.
    """
    events = (set_aside(path, "it is not a folder"),) if path.is_file() else ()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return events


def make_store(path: Path) -> Path:
    """Create the store's folder, accessible by its owner only (CVE-2025-69872: others could write facts).

    The database too, because it may hold the URLs of unfinished uploads; SQLite gives the files beside it the
    same mode.

    Raises:
        DamagedError: a file in it is a symbolic link, or has a second name.
        OSError: it cannot be made.
    """
    store = path / STORE
    store.mkdir(mode=0o700, exist_ok=True)
    if store.stat().st_mode & 0o077:
        # Some mounted file systems have one mode for all files and refuse to change it.
        with suppress(PermissionError):
            store.chmod(0o700)
    file = store / DATABASE
    for each in (file, *(store / f"{DATABASE}{suffix}" for suffix in _BESIDE)):
        if each.is_symlink() or (each.is_file() and each.stat().st_nlink > 1):
            raise DamagedError(f"{each.name} is a link")
    if not file.exists():
        file.touch(mode=0o600)
    elif file.is_file() and file.stat().st_mode & 0o077:
        with suppress(PermissionError):
            file.chmod(0o600)
    return store


def lock(path: Path) -> int:
    """Lock the folder until the descriptor is closed; the kernel does that for a killed run.

    Raises:
        MachineError: another run uses it.
        OSError: it cannot be locked.
    """
    descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(errno.EINVAL, "its lock is a link or not a regular file: remove it")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace")
        os.close(descriptor)
        by = f" by {holder}" if holder.isprintable() and holder else ""
        hint = "wait for that run, or name another folder with --records"
        raise MachineError(f"records in {path} are in use{by}; {hint}") from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def set_links_aside(path: Path) -> tuple[Event, ...]:
    """Rename symbolic links with our names: their targets must not be changed.

    Raises:
        OSError: it cannot be renamed.
    """
    links = (each for each in (path / "lock", path / STORE) if each.is_symlink())
    return tuple(set_aside(each, "it is a symbolic link") for each in links)


def set_aside(path: Path, reason: str) -> Event:
    """Rename a file or folder to the first free of `NAME.aside-1`, `NAME.aside-2`, ...

    Raises:
        OSError: it cannot be renamed.
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.aside-{number}")):
        number += 1
    path.rename(aside)
    message = f"records: {path} was renamed to {aside}: {reason}; its facts are requested again"
    fields = {"file.path": str(path), "aside": str(aside), "reason": reason}
    return Event(name="records.trouble", message=message, level="warning", fields=fields)


def log_of(file: Path) -> Path:
    """The write-ahead log of a database."""
    return file.with_name(file.name + _BESIDE[0])


def stamps(file: Path) -> tuple[tuple[int, int] | None, ...]:
    """Modification time and size of the database and of its log; None: missing."""
    found: list[tuple[int, int] | None] = []
    for each in (file, log_of(file)):
        try:
            stat = each.stat()
            found.append((stat.st_mtime_ns, stat.st_size))
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
    return tuple(found)


def read_only(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A read-only connection to the store's database; waits up to 5 s for a run that opens or closes it.

    Raises:
        sqlite3.Error: it does not exist or cannot be opened.
    """
    file = (path / STORE / DATABASE).absolute()
    how = "immutable=1" if immutable else "mode=ro"
    connection = sqlite3.connect(f"{file.as_uri()}?{how}", uri=True, isolation_level=None)
    connection.execute("PRAGMA cache_size = -512")
    # Otherwise one row with invalid UTF-8 would raise an error for the whole page of rows.
    connection.text_factory = lambda content: content.decode(errors="replace")
    return connection


def found_version(path: Path) -> str:
    """Check the database and read its version row; empty if nothing was ever written.

    Raises:
        DamagedError: it is not a database, is corrupt, holds something other than text (such as a pickle), or
            is not ours.
        MachineError: it cannot be read.
    """
    file = path / STORE / DATABASE
    if not file.exists():
        return ""
    if not file.is_file():
        raise DamagedError(f"{DATABASE} is not a file")
    try:
        with closing(read_only(path)) as connection:
            ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise DamagedError(verdict)
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            if set(tables) <= {("Settings",)}:
                return ""
            if connection.execute(_FOREIGN).fetchone():
                raise DamagedError("it holds something other than text")
            version = connection.execute("SELECT value FROM Cache WHERE key = ?", (VERSION_ROW,)).fetchone()
            if version is None and connection.execute("SELECT 1 FROM Cache LIMIT 1").fetchone():
                raise DamagedError("it does not state its version")
    except sqlite3.Error as error:
        raise judged(path, error) from error
    return version[0] if version else ""
