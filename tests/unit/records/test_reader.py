"""Records read by another process, while others open, write and close them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import MachineError
from pipeline.model.facts import ImageRow, Result, RunRow
from pipeline.records.reader import RecordsReader, read_records
from tests.unit.records.stores import alter, database, failed, image, opened

if TYPE_CHECKING:
    from pathlib import Path


def take(view: RecordsReader) -> tuple[str, dict[Result, int], list[ImageRow]]:
    """Everything that a reader knows about run `one`."""
    return view.run_state, view.counts("one"), list(view.images("one", "failed"))


def names(path: Path) -> set[str]:
    """The files of the store."""
    return {file.name for file in database(path).parent.iterdir()}


def test_closed_records_are_read_without_new_files(tmp_path: Path) -> None:
    """Closed records are read without creating a file beside them."""
    with opened(tmp_path) as store:
        for row in (image("q.io/a:1"), failed("q.io/a:2"), image("q.io/a:3", run="two")):
            store.write(row)
        store.write(RunRow(text="how it stands"))

    found = read_records(tmp_path, take)

    counts = {"copied": 1, "unchanged": 0, "kept": 0, "held": 0, "skipped": 0, "failed": 1}
    assert found == ("how it stands", counts, [failed("q.io/a:2")])
    assert names(tmp_path) == {"cache.db"}


def test_open_records_show_flushed_rows(tmp_path: Path) -> None:
    """A reader of records that a run has open sees flushed rows, but not buffered ones."""
    with opened(tmp_path) as store:
        store.write(RunRow(text="first"))
        store.flush()
        store.write(RunRow(text="second"))
        assert read_records(tmp_path, take)[0] == "first"
        store.flush()
        assert read_records(tmp_path, take)[0] == "second"


def test_many_rows_are_read_once_in_order(tmp_path: Path) -> None:
    """More rows than one page are read in order, each once."""
    rows = [failed(f"q.io/a:{number:05}") for number in range(2_500)]
    with opened(tmp_path) as store:
        for row in rows:
            store.write(row)

    assert read_records(tmp_path, lambda view: list(view.images("one", "failed"))) == rows


def test_records_opened_meanwhile_are_read_again(tmp_path: Path) -> None:
    """If a run opens the records while they are read as closed, they are read again."""
    with opened(tmp_path) as store:
        store.write(RunRow(text="old"))
    seen = []
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:

        def meet(view: RecordsReader) -> str:
            seen.append(view.run_state)
            if len(seen) == 1:
                other.execute("UPDATE Cache SET value = 'new' WHERE key = 'run'")
            return view.run_state

        assert read_records(tmp_path, meet) == "new"
    assert len(seen) == 2


def test_ever_changing_records_are_an_error(tmp_path: Path) -> None:
    """Records that are opened and closed during every attempt cause one clear error."""
    with opened(tmp_path):
        pass

    def meddle(view: RecordsReader) -> str:
        alter(tmp_path, "INSERT INTO Settings VALUES (hex(randomblob(2000)), 1)")
        return view.run_state

    with pytest.raises(MachineError, match="are being opened and closed repeatedly; run it again"):
        read_records(tmp_path, meddle)


def test_damaged_rows_are_skipped(tmp_path: Path) -> None:
    """Rows that are not images, and bytes that are not text, are skipped."""
    with opened(tmp_path) as store:
        for number in range(4):
            store.write(failed(f"q.io/a:{number}"))
    alter(tmp_path, "UPDATE Cache SET value = 'no JSON' WHERE key LIKE '%a:1%'")
    alter(tmp_path, "UPDATE Cache SET value = x'ff80' WHERE key LIKE '%a:2%'")
    alter(tmp_path, "UPDATE Cache SET value = '{}' WHERE key LIKE '%a:3%'")

    assert read_records(tmp_path, take)[2] == [failed("q.io/a:0")]
