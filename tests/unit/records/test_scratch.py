"""Temporary records: copied from those of a run, and removed at the end."""

from __future__ import annotations

from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import MachineError
from pipeline.model.facts import Holding, ImageRow, RunRow
from pipeline.model.reference import parse_repository
from pipeline.records import scratch
from pipeline.records.scratch import scratch_records
from pipeline.records.store import Records

if TYPE_CHECKING:
    from pathlib import Path

PLACE = parse_repository("reg.example.com/team/app")
DIGEST = "sha256:" + "a" * 64


def row(number: int, *, run: str = "old") -> ImageRow:
    """An image that was copied."""
    source, destination = f"quay.io/app:v{number}", f"reg.example.com/app:v{number}"
    return ImageRow(
        source=source,
        destination=destination,
        filter="",
        run=run,
        rule=1,
        result="copied",
        source_digest=DIGEST,
    )


def fill(records: Records) -> None:
    """Write the records of an earlier run."""
    records.write(Holding(repository=PLACE, digest=DIGEST, is_blob=True))
    records.write(row(1))
    records.write(RunRow(text='{"run": "old"}'))
    records.flush()


@pytest.mark.parametrize("busy", [False, True])
def test_copy_has_only_flushed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A copy has what a run has flushed, and not what it writes later."""
    if busy:
        ticks = count()
        monkeypatch.setattr(scratch, "stamps", lambda _: ((next(ticks), 1), None))
    records, _ = Records.open(tmp_path / "records", run="old")
    with closing(records):
        fill(records)
        with scratch_records(tmp_path / "records", run="plan") as (passing, events):
            records.write(row(2))
            records.flush()
            assert (passing.held(PLACE, DIGEST), passing.image(*_pair(1)), events) == ("old", row(1), ())
            assert (passing.image(*_pair(2)), passing.run_state) == (None, '{"run": "old"}')
            passing.write(row(3, run="plan"))
            passing.flush()
        assert records.image(*_pair(3)) is None


def _pair(number: int) -> tuple[str, str, str]:
    return row(number).source, row(number).destination, ""


def test_copied_row_keeps_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row keeps the time of its writing, and the temporary folder is removed at the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_records(None, run="proof") as (passing, events):
        passing.write(row(1, run="proof"))
        passing.flush()
        (found,) = passing.images(run="proof", results={"copied"})
        assert (found.when[:2], found.when[10], events, passing.run_state) == ("20", "T", (), "")
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_full_disk_error_names_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is no space for the copy, the error names TMPDIR instead of the user's records."""

    def full(_: Records) -> None:
        raise MachineError("records cannot be written: database or disk is full; check /x or name another")

    with scratch_records(tmp_path / "none", run="plan") as (passing, _):
        monkeypatch.setattr(Records, "flush", full)
        with pytest.raises(MachineError) as caught:
            passing.flush()
        monkeypatch.undo()
    words = "the temporary copy of the records cannot be written: database or disk is full"
    assert str(caught.value) == f"{words}; set TMPDIR to a folder with more space"
