from __future__ import annotations

import json
import os
import pickle
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.errors import MachineError
from pipeline.model.facts import Claim, Holding, ImageRow, RepositoryEntered
from pipeline.records import rows, store
from pipeline.records.store import Records
from tests.unit.records.stores import APP, DIGEST, alter, database, image, opened, python


class TestOpening:
    def test_settings_never_evict(self, tmp_path: Path) -> None:
        """Nothing is evicted, whatever settings an earlier opening left in the database."""
        with opened(tmp_path):
            pass
        alter(tmp_path, "UPDATE Settings SET value = 'least-recently-used' WHERE key = 'eviction_policy'")
        alter(tmp_path, "UPDATE Settings SET value = 10 WHERE key = 'cull_limit'")
        with opened(tmp_path) as store:
            assert (store._cache.eviction_policy, store._cache.cull_limit) == ("none", 0)

    def test_only_the_owner_can_read_the_files(self, tmp_path: Path) -> None:
        """Only the owner can read the database and the files beside it, also if another user created one."""
        for _ in range(2):
            with opened(tmp_path) as store:
                store.write(RepositoryEntered(repository=APP))
                store.flush()
                files = list((tmp_path / "store").iterdir())
                assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
                assert len(files) > 1
            database(tmp_path).chmod(0o644)

    def test_only_the_owner_can_enter_the_store(self, tmp_path: Path) -> None:
        """Only the owner can enter the store, whoever created its folder."""
        (tmp_path / "new").mkdir(mode=0o777)
        (tmp_path / "new" / "store").mkdir(mode=0o777)
        with opened(tmp_path / "new"), opened(tmp_path / "made"):
            modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("new/store", "made", "made/store")]

        assert modes == [0o700, 0o700, 0o700]

    def test_second_run_is_refused(self, tmp_path: Path) -> None:
        """A second run gets an error with the process that uses the records, until these are closed."""
        with (
            opened(tmp_path),
            pytest.raises(MachineError, match=f"are in use by process {os.getpid()} on .*--records"),
        ):
            Records.open(tmp_path, run="two")
        with opened(tmp_path):
            pass

    def test_newer_records_are_rejected(self, tmp_path: Path) -> None:
        """Records of a newer version are rejected and not changed."""
        with opened(tmp_path) as store:
            store.write(image())
        alter(tmp_path, "UPDATE Cache SET value = '2' WHERE key = 'version'")
        content = database(tmp_path).read_bytes()
        with pytest.raises(MachineError, match=r"newer image-syncer \(version 2\)"):
            Records.open(tmp_path, run="one")

        assert database(tmp_path).read_bytes() == content
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "store"]

    def test_file_instead_of_records_is_renamed(self, tmp_path: Path) -> None:
        """A file with the name of the records is renamed and reported."""
        path = tmp_path / "records"
        (tmp_path / "records.aside-1").write_text("older")
        path.write_text("old")
        store, events = Records.open(path, run="one")
        store.close()

        assert (tmp_path / "records.aside-2").read_text() == "old"
        assert [(event.name, event.fields["aside"]) for event in events] == [
            ("records.trouble", str(tmp_path / "records.aside-2"))
        ]

    @pytest.mark.parametrize("done", ["PRAGMA user_version", "CREATE TABLE Settings (key UNIQUE, value)"])
    def test_interrupted_store_is_created_anew(self, tmp_path: Path, done: str) -> None:
        """A store that was interrupted before its first row is created anew without a report."""
        (tmp_path / "store").mkdir()
        database(tmp_path).touch()
        alter(tmp_path, done)
        with opened(tmp_path) as store:
            store.write(image())
            assert list(store.images(run="one", results=["copied"])) == [image()]

    def test_sqlite_that_misreads_quotes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An SQLite that reads double-quoted text as a column is an error before anything is created."""

        class Strict(sqlite3.Connection):
            def executescript(self, script: str, /) -> sqlite3.Cursor:
                return super().executescript(script.replace('"size"', "size"))

        def connect(name: str) -> sqlite3.Connection:
            return Strict(name)

        monkeypatch.setattr(sqlite3, "connect", connect)
        with pytest.raises(MachineError, match=r"without double-quoted strings.*no such column: size"):
            Records.open(tmp_path / "new", run="one")

        assert not (tmp_path / "new").exists()

    def test_variable_in_name_is_rejected(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder whose name diskcache would expand is rejected."""
        monkeypatch.setenv("PLACE", "elsewhere")
        with pytest.raises(MachineError, match="replaces"):
            Records.open(tmp_path / "$PLACE", run="one")


OPEN = """if True:
    import sys
    from pathlib import Path
    from pipeline.errors import MachineError
    from pipeline.records.store import Records
    try:
        Records.open(Path(sys.argv[1]), run="one")
    except MachineError as error:
        print(error)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv takes from root what modes forbid")
class TestNotWritable:
    def test_unwritable_parent_folder_is_an_error(self, tmp_path: Path) -> None:
        """A parent folder that is not writable causes one clear error."""
        tmp_path.chmod(0o500)
        output, _ = python(OPEN, tmp_path / "records", without_override=True).communicate()
        tmp_path.chmod(0o700)

        hint = "Permission denied; name a writable folder with --records"
        assert output == f"records cannot be kept in {tmp_path / 'records'}: {hint}\n"

    @pytest.mark.parametrize("part", [".", "store", "store/cache.db", "lock"])
    def test_read_only_part_is_an_error(self, tmp_path: Path, part: str) -> None:
        """Records with a part that cannot be written cause one clear error, and are not renamed."""
        path = tmp_path / "records"
        with opened(path) as store:
            store.write(image())
        if part == ".":
            (path / "lock").unlink()
        (path / part).chmod(0o500 if (path / part).is_dir() else 0o400)
        output, _ = python(OPEN, path, without_override=True).communicate()
        path.chmod(0o700)

        assert output.startswith(f"records cannot be kept in {path}: ")
        assert output.count("\n") == 1
        assert (path / "store" / "cache.db").exists()


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        """Start with a path that does not exist."""
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Create the file when unpickled."""
        return (Path.touch, (self.path,))


def garbage(path: Path) -> None:
    """Bytes that are not a database."""
    database(path).write_bytes(os.urandom(8192))


def truncated(path: Path) -> None:
    """A truncated database."""
    os.truncate(database(path), 20_000)


def holed(path: Path) -> None:
    """A database with pages of zeros."""
    with database(path).open("r+b") as file:
        file.seek(8_192)
        file.write(bytes(40_000))


def holed_index(path: Path) -> None:
    """A database with zeros in place of a rarely used index."""
    with closing(sqlite3.connect(database(path))) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'Cache_expire_time'"
        [(page,)] = connection.execute(query)
        [(size,)] = connection.execute("PRAGMA page_size")
    with database(path).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))


def folder(path: Path) -> None:
    """A folder instead of the file."""
    database(path).unlink()
    database(path).mkdir()


def another_database(path: Path) -> None:
    """A database of another program."""
    database(path).unlink()
    alter(path, "CREATE TABLE bookmarks (url TEXT)")


def no_version(path: Path) -> None:
    """Rows without a version."""
    alter(path, "DELETE FROM Cache WHERE key = 'version'")


def odd_version(path: Path) -> None:
    """A version that is not a number."""
    alter(path, "UPDATE Cache SET value = 'new' WHERE key = 'version'")


def odd_setting(path: Path) -> None:
    """A setting that diskcache passes to its Disk."""
    alter(path, "INSERT INTO Settings VALUES ('disk_colour', 1)")


def odd_pragma(path: Path) -> None:
    """A setting that diskcache turns into a PRAGMA."""
    alter(path, "INSERT INTO Settings VALUES ('sqlite_ = ', 1)")


def planted_pickle(path: Path) -> None:
    """A value that runs code when it is unpickled."""
    content = pickle.dumps(Bomb(path / "boom"))
    alter(path, "UPDATE Cache SET mode = 4, value = ? WHERE tag != ''", content)


def planted_pickle_key(path: Path) -> None:
    """A key that runs code when it is unpickled."""
    content = pickle.dumps(Bomb(path / "boom"))
    alter(path, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, 'x')", content)


def planted_file(path: Path) -> None:
    """A value that refers to a file."""
    alter(path, "UPDATE Cache SET mode = 3, filename = '/etc/hostname', value = NULL WHERE tag != ''")


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            garbage,
            truncated,
            holed,
            holed_index,
            folder,
            another_database,
            no_version,
            odd_version,
            odd_setting,
            odd_pragma,
            planted_pickle,
            planted_pickle_key,
            planted_file,
        ],
    )
    def test_damaged_store_is_renamed(self, tmp_path: Path, damage: object) -> None:
        """A damaged store is renamed and reported, and replaced by a new one."""
        assert callable(damage)
        with opened(tmp_path) as store:
            for number in range(500):
                store.write(image(f"q.io/a:{number}"))
        damage(tmp_path)
        store, events = Records.open(tmp_path, run="two")
        with closing(store):
            assert list(store.images(run="one", results=["copied"])) == []
            store.write(image(run="two"))
        with opened(tmp_path, run="three") as store:
            assert list(store.images(run="two", results=["copied"])) == [image(run="two")]

        assert [(event.name, event.level) for event in events] == [("records.trouble", "warning")]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "store", "store.aside-1"]

    @pytest.mark.parametrize(
        "value",
        ["", "{", "[" * 100_000, "9" * 5_000, "null", '"x"', "{}", '{"run": "one"}', b"\xff\xfe"],
        ids=lambda value: repr(value[:16]),
    )
    def test_invalid_row_counts_as_missing(self, tmp_path: Path, value: str | bytes) -> None:
        """An invalid row counts as missing, the others are read, and writing it again repairs it."""
        with opened(tmp_path) as store:
            store.write(image("q.io/a:1"))
            store.write(image("q.io/a:2"))
            store.write(Claim(destination="r.io/a", run="one", rule=0, line=0, source="q.io/a"))
            store.write(Holding(repository=APP, digest=DIGEST, is_blob=True))
        where = "key != 'version' AND key NOT LIKE '%q.io/a:2%'"
        alter(tmp_path, f"UPDATE Cache SET value = CAST(? AS TEXT) WHERE {where}", value)
        with opened(tmp_path) as store:
            assert store.image("q.io/a:1", "harbor.corp/team/app:v1", "") is None
            assert store.claim("r.io/a") is None
            assert store.mount_sources("harbor.corp", DIGEST) == ()
            assert list(store.images(run="one", results=["copied"])) == [image("q.io/a:2")]
            store.write(image("q.io/a:1"))
            assert store.image("q.io/a:1", "harbor.corp/team/app:v1", "") == image("q.io/a:1")

    @pytest.mark.parametrize(
        "change", [{"result": "eaten"}, {"rule": "1"}, {"retryable": 1}, {"fault": None}]
    )
    def test_row_of_wrong_shape_counts_as_missing(self, change: dict[str, object]) -> None:
        """A row with a field of another type or with an unknown result counts as missing."""
        value = asdict(image())

        assert rows.built(ImageRow, value) == image()
        assert rows.built(ImageRow, {**value, **change}) is None

    def test_missing_field_has_its_default(self) -> None:
        """A row without a field that has a default is read with the default."""
        value = asdict(image())
        del value["hint"]

        assert rows.built(ImageRow, value) == image()
        assert rows.built(ImageRow, json.loads(rows.text_of(image()))) == image()

    def test_planted_pickle_is_never_loaded(self, tmp_path: Path) -> None:
        """A pickle that is planted during a run is never loaded: its row counts as missing."""
        with opened(tmp_path) as store:
            store.write(image())
        with opened(tmp_path) as store:
            planted_pickle(tmp_path)

            assert store.image(image().source, image().destination, "") is None
            assert list(store.images(run="one", results=["copied"])) == []
        assert not (tmp_path / "boom").exists()

    def test_disk_accepts_only_text(self) -> None:
        """The Disk writes and reads only text in the row itself."""
        disk = store.TextDisk("unused")
        content = pickle.dumps(Bomb(Path("boom")))
        for call in (
            lambda: disk.put(1),
            lambda: disk.get(content, raw=False),
            lambda: disk.store(b"x", read=False),
            lambda: disk.fetch(4, None, content, read=False),
            lambda: disk.fetch(3, "file", None, read=False),
            lambda: disk.fetch(1, None, b"x", read=False),
        ):
            with pytest.raises(MachineError, match="other than text"):
                call()

    def test_unreadable_pages_are_an_error(self, tmp_path: Path) -> None:
        """Pages that become unreadable during a run are an error, not the end of the list."""
        with opened(tmp_path) as store:
            store.write(image())
            store.flush()
            alter(tmp_path, "DROP TABLE Cache")
            with pytest.raises(MachineError, match="cannot be read: no such table"):
                list(store.images(run="one", results=["copied"]))
