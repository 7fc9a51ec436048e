"""Records as a plan and a verification use them: a copy of their own, in a folder that is removed at the end.

The records themselves are read without lock and without write, as from another terminal (records_view.py): a
run may be using them. What a run would set aside is left where it is, and told.
"""

from __future__ import annotations

import datetime as dt
import shutil
import signal
import sqlite3
import tempfile
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import MachineError
from pipeline.log import Event
from pipeline.model.facts import ImageRow
from pipeline.records.folder import DATABASE, STORE, make_store
from pipeline.records.reader import read_records
from pipeline.records.store import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.model.facts import Fact

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ROOM = "set TMPDIR to a folder with more room"
_NOTHING = (None, None)
_TRIES = 3
"""Copies before a store counts as one that changes all the time."""
_WAIT = 5.0
"""Seconds to wait for a run that is just opening or closing its store."""


class ScratchRecords(Records):
    """Records that are gone when all is over; rows of images say when they were written."""

    def flush(self) -> None:
        """As that of Records; the advice is about the passing folder."""
        try:
            super().flush()
        except MachineError as error:
            cause = str(error).partition(";")[0].partition(": ")[2]
            raise MachineError(f"what was found cannot be kept: {cause}; {_ROOM}") from error

    def write(self, fact: Fact) -> None:
        """As that of Records."""
        if isinstance(fact, ImageRow):
            fact = replace(fact, when=dt.datetime.now().astimezone().isoformat(timespec="seconds"))
        super().write(fact)


@contextmanager
def scratch_records(path: Path | None, *, run: str) -> Iterator[tuple[Records, tuple[Event, ...], str]]:
    """Records to write to for a while.

    Args:
        path: the folder of the records to begin with; None: with none.
        run: the name of what writes to them.

    Yields:
        The records; an event for each thing that is no good in those at `path`; and what their last run noted
        of itself, empty where nothing is known.

    Raises:
        MachineError: those at `path` cannot be read here, or are a newer version's; there is no room.
    """
    with _folder() as place:
        events = _copied(path, place) if path is not None else ()
        noted = ""
        with suppress(MachineError):
            noted = read_records(place, lambda view: view.run_state)
        records, found = _open(path, place, run)
        with closing(records):
            yield records, (*events, *found), noted


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of this process and user; what it holds goes when the context ends.

    Raises:
        MachineError: there is no place for one.
    """
    with ExitStack() as stack:
        # A signal between the folder's making and the promise to remove it would leave it behind.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            made = tempfile.TemporaryDirectory(prefix="image-syncer-", ignore_cleanup_errors=True)
            name = stack.enter_context(made)
        except OSError as error:
            raise MachineError(f"there is no folder for what passes: {error.strerror}; {_ROOM}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield Path(name)


def _open(path: Path | None, place: Path, run: str) -> tuple[Records, tuple[Event, ...]]:
    """Open the copy, and tell of what is no good in it."""
    try:
        records, found = ScratchRecords.open(place, run=run)
    except MachineError as error:
        raise MachineError(str(error).replace(str(place), str(path or place))) from error
    return records, tuple(_told(path or place, str(event.fields["reason"])) for event in found)


def _copied(path: Path, place: Path) -> tuple[Event, ...]:
    """Copy the store as it is, files and all: an SQLite that reads a killed run's makes its index anew there.

    Only where it changes all the time does SQLite copy it, which then shares the index with the run.
    """
    source = path / STORE / DATABASE
    try:
        target = make_store(place) / DATABASE
        for _ in range(_TRIES):
            before = _stamp(source)
            if before == _NOTHING:
                return ()
            if not source.is_file():
                return (_told(path, f"{DATABASE} is no file"),)
            _copy_files(source, target)
            if _stamp(source) == before:
                return ()
        _wal(target).unlink(missing_ok=True)
        _back_up(source, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MachineError(
            f"records in {path} cannot be read: {reason}; plan as the user who runs"
        ) from error
    except sqlite3.Error as error:
        raise MachineError(f"records in {path} cannot be copied to be read: {error}; {_ROOM}") from error
    return ()


def _copy_files(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    _wal(target).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        shutil.copyfile(_wal(source), _wal(target))


def _back_up(source: Path, target: Path) -> None:
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=_WAIT)) as there,
        closing(sqlite3.connect(target)) as here,
    ):
        there.backup(here)


def _wal(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _stamp(file: Path) -> tuple[tuple[int, int] | None, ...]:
    """When and how large the database and its log were written; None: there is none."""
    found: list[tuple[int, int] | None] = []
    for each in (file, _wal(file)):
        try:
            stat = each.stat()
            found.append((stat.st_mtime_ns, stat.st_size))
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
    return tuple(found)


def _told(path: Path, reason: str) -> Event:
    """The event of a store that is no good."""
    message = f"records: {path} cannot be used, and a run would set them aside: {reason}"
    fields = {"file.path": str(path), "reason": reason}
    return Event(name="records.trouble", message=message, level="warning", fields=fields)
