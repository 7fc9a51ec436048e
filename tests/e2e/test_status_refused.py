"""Records without a readable status, and flags that status rejects."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.e2e.asking import ask, assert_refused, sixteen

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def registries(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """Sixteen images to copy."""
    return sixteen(command, scripted)


class TestNoRecords:
    """Folders that are not records, or are damaged."""

    def test_missing_folder_is_not_created(self, command: Command) -> None:
        """A missing folder is named, and not created."""
        assert_refused(command.run("status"), "there are no records: records does not exist")
        assert not (command.folder / "records").exists()

    def test_original_records_file_is_refused(self, command: Command) -> None:
        """The original tool's records file is not accepted as records."""
        command.write("records", "{}")
        assert_refused(command.run("status"), "records is not a folder of records: it is not a folder")

    def test_folder_with_other_files_is_refused(self, command: Command) -> None:
        """A folder with other files is not accepted as records, and is not changed."""
        (command.folder / "other").mkdir()
        command.write("other/notes.txt", "mine")
        result = command.run("status", "--records", "other")
        assert_refused(result, "other is not a folder of records: there is no store/cache.db in it")
        assert [path.name for path in (command.folder / "other").iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "records in records are empty"),
            (b"no database at all, but long enough for a header" * 90, "records is not a folder of records"),
            (b"SQLite format 3\x00" + bytes(4080), "records "),
        ],
    )
    def test_file_is_not_a_database(self, command: Command, content: bytes, words: str) -> None:
        """A file that is not a database is reported as such."""
        (command.folder / "records/store").mkdir(parents=True)
        (command.folder / "records/store/cache.db").write_bytes(content)
        assert_refused(command.run("status"), words)

    def test_database_of_another_program(self, command: Command) -> None:
        """Another program's database is reported as such."""
        (command.folder / "records/store").mkdir(parents=True)
        with closing(sqlite3.connect(command.folder / "records/store/cache.db")) as connection, connection:
            connection.execute("CREATE TABLE mine (a)")
        result = command.run("status")
        assert_refused(
            result, "records is not a folder of records: store/cache.db belongs to another program"
        )

    @pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
    def test_overwritten_database_exits_3(
        self, command: Command, registries: tuple[Registry, Registry], part: float
    ) -> None:
        """A database that was partly overwritten causes one line and exit 3, and the next run works."""
        command.run()
        file = command.folder / "records/store/cache.db"
        data = bytearray(file.read_bytes())
        at = int(len(data) * part)
        data[at : at + 8192] = b"\xa5" * len(data[at : at + 8192])
        file.write_bytes(data)
        assert_refused(command.run("status"), "records in records are damaged: ")
        assert command.run().code == 0
        assert ask(command)[1]["images"]["unchanged"] == 16

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            (
                "UPDATE Cache SET value = '99' WHERE key = 'version'",
                "records in records were written by a ne",
            ),
            (
                "UPDATE Cache SET value = 'x' WHERE key = 'version'",
                "records is not a folder of records",
            ),
            ("UPDATE Cache SET value = '{\"run\": 7}' WHERE key = 'run'", "records in records are damaged"),
            ("UPDATE Cache SET value = x'80ff' WHERE key = 'run'", "records in records have no run state"),
            ("DELETE FROM Cache WHERE key = 'run'", "records in records have no run state"),
        ],
    )
    def test_invalid_row_exits_3(
        self, command: Command, registries: tuple[Registry, Registry], statement: str, words: str
    ) -> None:
        """A row with an invalid value is one line and exit 3."""
        command.run()
        with closing(sqlite3.connect(command.folder / "records/store/cache.db")) as connection, connection:
            connection.execute(statement)
        assert_refused(command.run("status"), words)


class TestWrongUse:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("records",), "unexpected word 'records'"),
            (("--deep",), "--deep is a flag of verify: image-syncer verify --help"),
        ],
    )
    def test_usage_errors_exit_2(self, command: Command, words: tuple[str, ...], told: str) -> None:
        """Arguments that make no sense, and flags of other verbs, are one line and exit 2."""
        result = command.run("status", *words)

        assert (result.code, result.output, result.text.count("\n")) == (2, "", 1)
        assert told in result.text
