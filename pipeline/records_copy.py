"""Records as a plan and a verification use them: a copy of their own, in a folder that is removed at the end.

The records themselves are read without lock and without write, as from another terminal (records_view.py): a
run may be using them. What a run would set aside is left where it is, and told.
"""

from __future__ import annotations

import datetime as dt
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
from pipeline.records import Records
from pipeline.records_folder import DATABASE, STORE, DamagedError, judged, make_store
from pipeline.records_view import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.model.facts import Fact

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ROOM = "set TMPDIR to a folder with more room"
_TRIES = 5
"""Copies; each is one more run that began or ended meanwhile."""
_WAIT = 5.0
"""Seconds to wait for a run that is just opening or closing its store."""


class PassingRecords(Records):
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
def passing_records(path: Path | None, *, run: str) -> Iterator[tuple[Records, tuple[Event, ...], str]]:
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
            noted = read_records(place, lambda view: view.standing)
        with closing(_open(path, place, run)) as records:
            yield records, events, noted


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


def _open(path: Path | None, place: Path, run: str) -> Records:
    try:
        records, _ = PassingRecords.open(place, run=run)
    except MachineError as error:
        raise MachineError(str(error).replace(str(place), str(path or place))) from error
    return records


def _copied(path: Path, place: Path) -> tuple[Event, ...]:
    """Copy the store; one that a run would set aside is not copied, and told."""
    source = path / STORE / DATABASE
    try:
        target = make_store(place) / DATABASE
        return _copied_to(target, path, source)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MachineError(
            f"records in {path} cannot be read: {reason}; plan as the user who runs"
        ) from error


def _copied_to(target: Path, path: Path, source: Path) -> tuple[Event, ...]:
    for _ in range(_TRIES):
        before = _stamp(source)
        if before is None:
            return ()
        try:
            _copy(source, target, closed=not before[0])
        except sqlite3.Error as error:
            if _stamp(source) == before:
                target.unlink(missing_ok=True)
                return _told(path, error)
        else:
            if before[0] or _stamp(source) == before:
                return ()
    raise MachineError(f"records in {path} are opened and closed all the time; try again")


def _copy(source: Path, target: Path, *, closed: bool) -> None:
    how = "immutable=1" if closed else "mode=ro"
    address = f"{source.absolute().as_uri()}?{how}"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=_WAIT)) as there,
        closing(sqlite3.connect(target)) as here,
    ):
        there.backup(here)


def _stamp(file: Path) -> tuple[bool, int, int] | None:
    """Whether a run has the store open, or left it so; when and how large it was written. None: no store."""
    try:
        found = file.stat()
        return file.with_name(f"{DATABASE}-wal").exists(), found.st_mtime_ns, found.st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _told(path: Path, error: sqlite3.Error) -> tuple[Event, ...]:
    """The event of a store that is no good.

    Raises:
        MachineError: this machine stands in the way.
    """
    verdict = judged(path, error)
    if not isinstance(verdict, DamagedError):
        raise MachineError(f"records in {path} cannot be copied to be read: {error}; {_ROOM}") from error
    message = f"records: {path} cannot be read, and a run would set them aside: {verdict}"
    fields = {"file.path": str(path), "reason": str(verdict)}
    return (Event(name="records.trouble", message=message, level="warning", fields=fields),)
