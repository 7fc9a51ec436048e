"""Records: facts of this and earlier runs on disk, as text in a diskcache store.

Facts save requests and are never the truth. So an unreadable store is renamed and an unreadable row is
unknown: both cost requests, never a wrong image. If the store cannot be *written*, the run stops. diskcache
is restricted, for reasons in its own code (core.py of 5.6.3): its defaults drop rows beyond 1 GiB, so
eviction and culling are off, which is checked after opening; its Disk unpickles whatever it finds in the
folder (CVE-2025-69872), so TextDisk refuses every value but text; `retry=True` loops forever on a full disk,
so attempts are counted here. Rows are read from its SQLite file directly: diskcache iterates only from the
first key, and takes three times as long for a single one.
"""

from __future__ import annotations

import heapq
import json
import os
import sqlite3
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import diskcache

from pipeline.errors import MachineError
from pipeline.model.facts import (
    Claim,
    FirstSeen,
    Holding,
    HoldingForgotten,
    ImageRow,
    RepositoryEntered,
    RunRow,
    UnfinishedUpload,
)
from pipeline.records import folder, rows
from pipeline.records.folder import DamagedError
from pipeline.records.reader import IMAGES, IMAGES_END, PAGE, RecordsReader
from pipeline.records.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path
    from typing import NoReturn, Self

    from pipeline.log import Event
    from pipeline.model.facts import Fact, Result
    from pipeline.model.reference import Repository

_MOUNT_SOURCES = 3
_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between the attempts of one transaction."""
_SESSION_LIVES = 7 * 86_400.0
"""Seconds after which registries have removed an unfinished upload: distribution's purge, the longest."""
_MODE_RAW = 1
"""diskcache's mode of a value stored directly in its row."""
_SETTINGS = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**60,
    "statistics": 0,
    # With diskcache's defaults memory grows with the records: 32 MiB of pages, 64 MiB of mapped file.
    "sqlite_cache_size": 2**8,
    "sqlite_mmap_size": 0,
    # URLs of uploads are secrets: overwrite deleted rows.
    "sqlite_secure_delete": 1,
}
_Row = tuple[str, str]
"""JSON text and diskcache's tag: run and result of an image, _SESSION, or empty."""
_SESSION = "session"
"""Tag of rows that expire after _SESSION_LIVES."""


class TextDisk(diskcache.Disk):
    """Keys and values are text in the row: no pickles, no files beside the database."""

    def put(self, key: Any) -> tuple[str, bool]:
        """The key itself."""
        return _text(key), True

    def get(self, key: Any, raw: bool) -> str:  # noqa: FBT001 - diskcache's signature
        """The key itself; MachineError if it is a pickle."""
        return _text(key if raw else None)

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, str | None, str]:  # noqa: ARG002, FBT001 - diskcache's signature
        """Store any value in its row: diskcache's files would not be part of the transaction."""
        return 0, _MODE_RAW, None, _text(value)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:  # noqa: ARG002, FBT001 - diskcache's signature
        """The value; MachineError if it is not text in the row."""
        return _text(value if mode == _MODE_RAW else None)


class Records:
    """The supervisor's store: one for each run and folder.

    Neither `write` nor the scheduler's queries ever raise: unreadable rows are unknown, and facts that
    cannot be written stay in memory, so that a run can drain after a failed `flush`.
    """

    def __init__(
        self,
        cache: diskcache.Cache,
        reader: RecordsReader,
        recent: Recent,
        *,
        place: Path,
        run: str,
        resources: ExitStack,
    ) -> None:
        """Use `open`."""
        self._cache = cache
        self._reader = reader
        self._recent = recent
        self._place = place
        self._run = run
        self._resources = resources
        self._buffer: dict[str, _Row | None] = {}
        self._broken = False

    @classmethod
    def open(cls, path: Path, *, run: str) -> tuple[Self, tuple[Event, ...]]:
        """Open or create the records in the folder `path` for this run alone.

        Returns:
            The records, and an event for each file or folder that was renamed.

        Raises:
            MachineError: in use by another run, not writable, from a newer version, disk full, or an SQLite
                that diskcache cannot use.
        """
        folder.require_double_quotes()
        with ExitStack() as resources:
            try:
                moved = (*folder.make_folder(path), *folder.set_links_aside(path))
                resources.callback(os.close, folder.lock(path))
                try:
                    cache, connection, is_new = _open_store(path)
                except DamagedError as damage:
                    moved = (*moved, folder.set_aside(path / folder.STORE, str(damage)))
                    cache, connection, is_new = _open_store(path)
            except OSError as error:
                raise folder.unusable(path, error.strerror or str(error)) from error
            except DamagedError as error:
                raise folder.unusable(path, str(error)) from error
            resources.callback(cache.close)
            # The reader closes first: the last connection moves the write-ahead log into the database.
            resources.callback(connection.close)
            reader, kept = RecordsReader(connection), resources.pop_all()
            recent = Recent(reader, whole=is_new)
            return cls(cache, reader, recent, place=path, run=run, resources=kept), moved

    def write(self, fact: Fact) -> None:
        """Keep a fact: visible to the methods below at once, on disk after the next `flush`."""
        match fact:
            case Holding(repository=repository, digest=digest):
                self._buffer[rows.key_of_held(repository, digest)] = (json.dumps(self._run), "")
                if fact.is_blob:
                    self._set_mount_source(repository, digest, is_one=True)
            case HoldingForgotten(repository=repository, digest=digest):
                self._buffer[rows.key_of_held(repository, digest)] = None
                self._set_mount_source(repository, digest, is_one=False)
            case RepositoryEntered():
                self._buffer[rows.key_of_entered(fact.repository)] = (json.dumps(self._run), "")
            case UnfinishedUpload(repository=repository, digest=digest):
                text = rows.text_of_session(fact)
                self._buffer[rows.key_of_session(repository, digest)] = (text, _SESSION) if text else None
            case Claim():
                self._buffer[rows.key_of("claim", fact.destination)] = (rows.text_of(fact), "")
            case ImageRow():
                self._buffer[rows.key_of_image(fact)] = (
                    rows.text_of(fact),
                    rows.tag_of(fact.run, fact.result),
                )
            case FirstSeen():
                self._buffer[rows.key_of_seen(fact.repository, fact.tag, fact.digest)] = (str(fact.when), "")
            case RunRow():
                self._buffer[rows.RUN] = (fact.text, "")

    @property
    def pending(self) -> int:
        """Number of rows to flush."""
        return len(self._buffer)

    def flush(self) -> None:
        """Write the buffer in one transaction: a row costs 61 us alone, 23 us among a hundred.

        Raises:
            MachineError: all attempts failed; the buffer is kept.
        """
        if not self._buffer:
            return
        cause = ""
        for pause in (0.0, *_PAUSES):
            if pause:
                time.sleep(pause)
            try:
                self._write_buffer()
            except (diskcache.Timeout, sqlite3.Error) as error:
                cause = str(_cause(error))
                # A failed COMMIT leaves its transaction open, which would block the next one.
                self._cache.close()
            else:
                for key, row in self._buffer.items():
                    self._recent.keep(key, row[0] if row else None)
                self._buffer.clear()
                self._broken = False
                return
        self._broken = True
        hint = (
            f"check {self._place} (space, permissions, other programs) or name another folder with --records"
        )
        raise MachineError(f"records cannot be written: {cause}; {hint}")

    def held(self, repository: Repository, digest: str) -> str:
        """See `Facts.held`."""
        run = self._read(rows.key_of_held(repository, digest))
        return run if isinstance(run, str) else ""

    def mount_sources(self, registry: str, digest: str) -> tuple[str, ...]:
        """See `Facts.mount_sources`."""
        paths = self._read(rows.key_of("mount", registry, digest))
        if not isinstance(paths, list):
            return ()
        return tuple(path for path in paths if isinstance(path, str))[:_MOUNT_SOURCES]

    def entered(self, repository: Repository) -> bool:
        """See `Facts.entered`."""
        return self._read(rows.key_of_entered(repository)) is not None

    def unfinished(self, repository: Repository, digest: str) -> UnfinishedUpload | None:
        """See `Facts.unfinished`."""
        return rows.built_session(repository, digest, self._read(rows.key_of_session(repository, digest)))

    def image(self, source: str, destination: str, platforms: str) -> ImageRow | None:
        """See `Facts.image`."""
        return rows.built(ImageRow, self._read(rows.key_of("image", source, destination, platforms)))

    def knows(self, repository: Repository) -> bool:
        """See `Facts.knows`."""
        with suppress(sqlite3.Error):
            return self._reader.has_source(str(repository))
        return False

    def claim(self, destination: str) -> Claim | None:
        """See `Facts.claim`."""
        return rows.built(Claim, self._read(rows.key_of("claim", destination)))

    def first_seen(self, repository: Repository, tag: str, digest: str) -> float | None:
        """See `Facts.first_seen`."""
        when = self._read(rows.key_of_seen(repository, tag, digest))
        return when if isinstance(when, float) else None

    @property
    def run_state(self) -> str:
        """The state that the last run stored, as JSON; empty: none."""
        return self._recent.text(rows.RUN) or ""

    def again(self, run: str, after: str) -> tuple[tuple[ImageRow, ...], str]:
        """See `Facts.again`; a full page has a position even if no row follows.

        Raises:
            MachineError: the rows cannot be read.
        """
        found: list[ImageRow] = []
        for key, row in self._scan(run, {"failed"}, after):
            if row.retryable:
                found.append(row)
            if len(found) == PAGE:
                return tuple(found), key
        return tuple(found), ""

    def images(self, *, run: str, results: Collection[Result]) -> Iterator[ImageRow]:
        """The run's images with one of the results, by source, then destination; reads page by page.

        Raises:
            MachineError: the rows cannot be read.
        """
        return (row for _, row in self._scan(run, results, ""))

    def close(self) -> None:
        """Flush the buffer and unlock the folder.

        Raises:
            MachineError: the flush failed and no earlier one did.
        """
        with self._resources:
            reported = self._broken
            try:
                self.flush()
            except MachineError:
                if not reported:
                    raise

    def _set_mount_source(self, repository: Repository, digest: str, *, is_one: bool) -> None:
        """Buffer the row of the blob's mount sources with this one first or removed."""
        known = self.mount_sources(repository.registry, digest)
        paths = [repository.path] * is_one + [path for path in known if path != repository.path]
        row = (json.dumps(paths[:_MOUNT_SOURCES]), "") if paths else None
        self._buffer[rows.key_of("mount", repository.registry, digest)] = row

    def _write_buffer(self) -> None:
        """Write the buffer in one transaction."""
        with self._cache.transact(retry=False):
            for key, row in self._buffer.items():
                if row is None:
                    self._cache.delete(key, retry=False)
                else:
                    lives = _SESSION_LIVES if row[1] == _SESSION else None
                    self._cache.set(key, row[0], tag=row[1], expire=lives, retry=False)

    def _read(self, key: str) -> Any:
        """The row's parsed value; None if it is missing or unreadable."""
        if key in self._buffer:
            row = self._buffer[key]
            text = row[0] if row else None
        else:
            text = self._recent.text(key)
        return None if text is None else rows.parsed(text)

    def _scan(self, run: str, results: Collection[Result], after: str) -> Iterator[tuple[str, ImageRow]]:
        """Rows in key order, with the buffered ones; damaged rows are skipped."""
        tags = {rows.tag_of(run, result) for result in results}
        buffered = {key: row for key, row in self._buffer.items() if max(after, IMAGES) < key < IMAGES_END}
        fresh = sorted((key, row[0]) for key, row in buffered.items() if row and row[1] in tags)
        stored = (pair for pair in self._stored(tags, after) if pair[0] not in buffered)
        for key, text in heapq.merge(stored, fresh):
            row = rows.built(ImageRow, rows.parsed(text))
            if row:
                yield key, row

    def _stored(self, tags: set[str], after: str) -> Iterator[tuple[str, str]]:
        """Keys and values on disk."""
        try:
            yield from self._reader.texts(tags, after)
        except sqlite3.Error as error:
            words = f"records in {self._place} cannot be read: {error}; were they removed or damaged?"
            raise MachineError(f"{words} The same command continues without them") from error


def _open_store(path: Path) -> tuple[diskcache.Cache, sqlite3.Connection, bool]:
    """Open diskcache and a read-only connection; the third value is whether the store is new.

    Raises:
        DamagedError: the store is damaged or foreign.
        MachineError: it is from a newer version, or cannot be opened on this machine.
        OSError: its folder cannot be created.
    """
    store = str(folder.make_store(path).absolute())
    if os.path.expandvars(store) != store:
        raise folder.unusable(path, "diskcache replaces the $NAME in it from the environment")
    version = folder.found_version(path)
    if version not in ("", str(rows.VERSION)):
        _refuse(version, path)
    try:
        # No other process writes here; one second of waiting is for a backup or a person with sqlite3.
        cache = diskcache.Cache(store, timeout=1, disk=TextDisk, sqlite_auto_vacuum=0, **_SETTINGS)
        for name, value in _SETTINGS.items():
            if getattr(cache, name) != value:
                raise folder.unusable(path, f"diskcache does not take the setting {name}={value}")
        if not version:
            cache.set(folder.VERSION_ROW, str(rows.VERSION), retry=False)
        cache.expire()
        return cache, folder.read_only(path), not version
    except diskcache.Timeout as error:
        raise folder.unusable(path, str(_cause(error))) from error
    except sqlite3.Error as error:
        raise folder.judged(path, error) from error
    except (TypeError, ValueError) as error:
        # Unknown settings in the database, which diskcache passes to its Disk and to PRAGMA.
        raise DamagedError(f"diskcache cannot open it: {error}") from error


def _refuse(version: str, path: Path) -> NoReturn:
    """Reject a store of another version.

    Raises:
        MachineError: it is newer, so the newer program can use it again.
        DamagedError: it is not a version.
    """
    if rows.is_newer(version):
        raise folder.newer(path, version)
    raise DamagedError(f"its version is {version[:40]!r}")


def _text(value: object) -> str:
    """The value, if it is text.

    Raises:
        MachineError: it is not.
    """
    if not isinstance(value, str):
        raise MachineError("the records hold something other than text")
    return value


def _cause(error: BaseException) -> BaseException:
    """SQLite's first error, which diskcache hides behind Timeout or a failed ROLLBACK."""
    while isinstance(error.__context__, sqlite3.Error):
        error = error.__context__
    return error
