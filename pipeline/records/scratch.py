"""Temporary records for a plan or verification: a copy in a folder that is removed at the end.

The originals are read without locking or writing, because a run may be using them. Damaged ones are reported,
not renamed.
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
from pipeline.records.folder import DATABASE, STORE, log_of, make_store, read_only, stamps
from pipeline.records.store import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.model.facts import Fact

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ROOM = "set TMPDIR to a folder with more space"
_NOTHING = (None, None)
_TRIES = 3
"""Copies of the files before SQLite is asked to copy."""


class ScratchRecords(Records):
    """Temporary records; rows of images have the time they were written."""

    def flush(self) -> None:
        """As in Records, with advice for a temporary folder."""
        try:
            super().flush()
        except MachineError as error:
            cause = str(error).partition(";")[0].partition(": ")[2]
            raise MachineError(
                f"the temporary copy of the records cannot be written: {cause}; {_ROOM}"
            ) from error

    def write(self, fact: Fact) -> None:
        """As in Records."""
        if isinstance(fact, ImageRow):
            fact = replace(fact, when=dt.datetime.now().astimezone().isoformat(timespec="seconds"))
        super().write(fact)


@contextmanager
def scratch_records(path: Path | None, *, run: str) -> Iterator[tuple[Records, tuple[Event, ...]]]:
    """Open a temporary copy of the records.

    Args:
        path: the folder of the records to copy; None: start without.
        run: the name of the plan or verification.

    Yields:
        The records, and an event for each problem in those at `path`.

    Raises:
        MachineError: those at `path` are unreadable or from a newer version, or there is no space.
    """
    with _folder() as place:
        events = _copied(path, place) if path is not None else ()
        records, found = _open(path, place, run)
        with closing(records):
            yield records, (*events, *found)


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder, removed when the context ends.

    Raises:
        MachineError: it cannot be created.
    """
    with ExitStack() as stack:
        # Otherwise a signal between creating the folder and entering its context would leave it behind.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            made = tempfile.TemporaryDirectory(prefix="image-syncer-", ignore_cleanup_errors=True)
            name = stack.enter_context(made)
        except OSError as error:
            raise MachineError(f"no temporary folder can be created: {error.strerror}; {_ROOM}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield Path(name)


def _open(path: Path | None, place: Path, run: str) -> tuple[Records, tuple[Event, ...]]:
    """Open the copy; its problems are reported for the original."""
    try:
        records, found = ScratchRecords.open(place, run=run)
    except MachineError as error:
        raise MachineError(str(error).replace(str(place), str(path or place))) from error
    return records, tuple(_unusable_event(path or place, str(event.fields["reason"])) for event in found)


def _copied(path: Path, place: Path) -> tuple[Event, ...]:
    """Copy the store's files: SQLite would recreate the index of a killed run's store beside the original.

    If the store keeps changing, SQLite makes the copy; then it shares the index with the run.
    """
    source = path / STORE / DATABASE
    try:
        target = make_store(place) / DATABASE
        for _ in range(_TRIES):
            before = stamps(source)
            if before == _NOTHING:
                return ()
            if not source.is_file():
                return (_unusable_event(path, f"{DATABASE} is not a file"),)
            _copy_files(source, target)
            if stamps(source) == before:
                return ()
        log_of(target).unlink(missing_ok=True)
        _back_up(path, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MachineError(
            f"records in {path} cannot be read: {reason}; use the account that runs image-syncer"
        ) from error
    except sqlite3.Error as error:
        raise MachineError(f"records in {path} cannot be copied: {error}; {_ROOM}") from error
    return ()


def _copy_files(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    log_of(target).unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        shutil.copyfile(log_of(source), log_of(target))


def _back_up(path: Path, target: Path) -> None:
    with closing(read_only(path)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)


def _unusable_event(path: Path, reason: str) -> Event:
    """The event for a damaged or foreign store."""
    message = f"records: {path} cannot be used, and a run would rename them: {reason}"
    fields = {"file.path": str(path), "reason": reason}
    return Event(name="records.trouble", message=message, level="warning", fields=fields)
