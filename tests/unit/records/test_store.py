from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MachineError
from pipeline.model.facts import (
    Claim,
    Fact,
    Holding,
    HoldingForgotten,
    ImageRow,
    RepositoryEntered,
    Result,
    UnfinishedUpload,
)
from pipeline.model.reference import Repository
from pipeline.records import folder
from pipeline.records import store as store_module
from pipeline.records.store import Records
from tests.unit.records.stores import APP, BASE, DIGEST, alter, database, failed, image, opened, python

if TYPE_CHECKING:
    from pathlib import Path


class TestFacts:
    def test_confirmed_content_is_known_to_the_next_run(self, tmp_path: Path) -> None:
        """The content of a repository is known with the run that confirmed it, also in the next run."""
        with opened(tmp_path, run="one") as store:
            store.write(Holding(repository=APP, digest=DIGEST, is_blob=True))
            assert store.held(APP, DIGEST) == "one"
        with opened(tmp_path, run="two") as store:
            assert (store.held(APP, DIGEST), store.held(BASE, DIGEST)) == ("one", "")

    def test_last_three_mount_sources_are_kept(self, tmp_path: Path) -> None:
        """Mount sources of a blob are the last three repositories that confirmed it, newest first."""
        with opened(tmp_path) as store:
            for path in ("a", "b", "c", "d", "b"):
                store.write(Holding(repository=Repository("r.io", path), digest=DIGEST, is_blob=True))
            store.write(Holding(repository=Repository("r.io", "m"), digest=DIGEST, is_blob=False))

            assert store.mount_sources("r.io", DIGEST) == ("b", "d", "c")
            assert store.mount_sources("q.io", DIGEST) == ()

    def test_missing_content_is_forgotten(self, tmp_path: Path) -> None:
        """Content that was found missing is no longer held, nor a mount source."""
        with opened(tmp_path) as store:
            store.write(Holding(repository=APP, digest=DIGEST, is_blob=True))
            store.write(Holding(repository=BASE, digest=DIGEST, is_blob=True))
        with opened(tmp_path) as store:
            store.write(HoldingForgotten(repository=BASE, digest=DIGEST))
            store.write(HoldingForgotten(repository=BASE, digest="sha256:unknown"))
        with opened(tmp_path) as store:
            assert store.held(BASE, DIGEST) == ""
            assert store.held(APP, DIGEST) == "one"
            assert store.mount_sources("harbor.corp", DIGEST) == ("team/app",)

    def test_unfinished_upload_is_known(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unfinished upload is known until it ends or expires, and then leaves no trace."""
        begun = UnfinishedUpload(repository=APP, digest=DIGEST, url="https://r.io/up?_state=s3cret", offset=7)
        with opened(tmp_path) as store:
            store.write(begun)
            assert store.unfinished(APP, DIGEST) == begun
        with opened(tmp_path) as store:
            assert (store.unfinished(APP, DIGEST), store.unfinished(BASE, DIGEST)) == (begun, None)
            store.write(replace(begun, url=""))
            assert store.unfinished(APP, DIGEST) is None
        assert b"s3cret" not in database(tmp_path).read_bytes()
        monkeypatch.setattr(store_module, "_SESSION_LIVES", -1.0)
        with opened(tmp_path) as store:
            store.write(begun)
        with opened(tmp_path) as store:
            assert store.unfinished(APP, DIGEST) is None
        assert b"s3cret" not in database(tmp_path).read_bytes()
        assert "s3cret" not in repr(begun)

    @pytest.mark.parametrize("value", ['["u"]', '["", 7]', '["u", "7"]', '["u", 0]', "{}", "7", "no JSON"])
    def test_damaged_upload_row_counts_as_missing(self, tmp_path: Path, value: str) -> None:
        """A row that is not an upload counts as missing."""
        with opened(tmp_path) as store:
            store.write(UnfinishedUpload(repository=APP, digest=DIGEST, url="https://r.io/up", offset=7))
        alter(tmp_path, "UPDATE Cache SET value = ? WHERE key LIKE 'session%'", value)
        with opened(tmp_path) as store:
            assert store.unfinished(APP, DIGEST) is None

    def test_claims_and_images_are_read_back(self, tmp_path: Path) -> None:
        """Claims and images are read back field by field, and the last one written counts."""
        claim = Claim(destination="r.io/a:1", run="one", rule=3, line=14, source="q.io/a:1")
        row = image(filter="linux/amd64", fault='"\n\x00\ud800é', source_digest=DIGEST)
        with opened(tmp_path) as store:
            for fact in (replace(claim, rule=9), claim, replace(row, rule=9), row):
                store.write(fact)
        with opened(tmp_path) as store:
            assert store.claim("r.io/a:1") == claim
            assert store.image(row.source, row.destination, "linux/amd64") == row
            assert (store.claim("r.io/b:1"), store.image(row.source, row.destination, "")) == (None, None)

    def test_source_is_known_after_one_image(self, tmp_path: Path) -> None:
        """A source is known once a run has had an image of it; names that begin alike are others."""
        with opened(tmp_path) as store:
            store.write(image("q.io/a/b:1"))
        with opened(tmp_path) as store:
            names = ("a/b", "a", "a/b/c", "a/bc")
            assert [name for name in names if store.knows(Repository("q.io", name))] == ["a/b"]

    def test_images_are_sorted_and_filtered(self, tmp_path: Path) -> None:
        """Images are sorted by source, then destination, without those of other runs and results."""
        rows = [
            image("q.io/a-b:1"),
            image("q.io/a.b:1"),
            image("q.io/a/b:1"),
            image("q.io/a:1", to="r.io/a:1"),
            image("q.io/a:1", to="r.io/a:1-x"),
            image("q.io/a:1-x", to="r.io/a:1", result="unchanged"),
            image("q.io/a@sha256:0"),
        ]
        others = [image("q.io/a:2", run="two"), failed("q.io/a:3"), image("q.io/a:4", result="skipped")]
        results: list[Result] = ["copied", "unchanged"]
        with opened(tmp_path) as store:
            for row in (*reversed(rows), *others):
                store.write(row)
            assert list(store.images(run="one", results=results)) == rows
            store.flush()
            assert list(store.images(run="one", results=results)) == rows
            store.write(image("q.io/a-b:1", result="skipped"))
            assert list(store.images(run="one", results=results)) == rows[1:]

    def test_images_are_complete_while_others_are_written(self, tmp_path: Path) -> None:
        """Rows are read once and complete while others are written and flushed."""
        rows = [image(f"q.io/a:{number:04}") for number in range(2_500)]
        with opened(tmp_path) as store:
            for row in rows:
                store.write(row)
            found = []
            for row in store.images(run="one", results=["copied"]):
                found.append(row)
                store.write(Holding(repository=APP, digest=row.source, is_blob=False))

            assert found == rows

    def test_retryable_images_come_in_pages(self, tmp_path: Path) -> None:
        """Retryable images come in pages of 1,000 in key order, without those that have succeeded since."""
        rows = [failed(f"q.io/a:{number:04}") for number in range(2_300)]
        with opened(tmp_path) as store:
            for row in rows:
                store.write(row)
            store.write(replace(failed("q.io/b:1"), retryable=False))
            store.write(replace(failed("q.io/b:2"), run="two"))
            pages, mark = [], "first"
            while mark:
                page, mark = store.again("one", "" if mark == "first" else mark)
                pages.append(page)
                for row in page:
                    store.write(replace(row, result="copied"))

            assert pages == [tuple(rows[:1000]), tuple(rows[1000:2000]), tuple(rows[2000:])]
            assert store.again("one", "") == ((), "")

    def test_full_page_is_followed_by_an_empty_one(self, tmp_path: Path) -> None:
        """After a page of exactly 1,000 rows an empty one ends the pass."""
        with opened(tmp_path) as store:
            for number in range(1_000):
                store.write(failed(f"q.io/a:{number:04}"))
            page, mark = store.again("one", "")

            assert (len(page), store.again("one", mark)) == (1_000, ((), ""))


NAMES = st.sampled_from(["a", "a/b", "a-b", "ab", "a.b"])
FACTS = st.one_of(
    st.builds(
        Holding,
        repository=st.builds(Repository, st.sampled_from(["r.io", "r.io:5000"]), NAMES),
        digest=st.sampled_from(["sha256:0", "sha256:1"]),
        is_blob=st.booleans(),
    ),
    st.builds(
        HoldingForgotten,
        repository=st.builds(Repository, st.just("r.io"), NAMES),
        digest=st.sampled_from(["sha256:0", "sha256:1"]),
    ),
    st.builds(
        Claim,
        destination=NAMES,
        run=st.sampled_from(["one", "two"]),
        rule=st.integers(0, 9),
        line=st.integers(0, 9),
        source=st.text(max_size=5),
    ),
    st.builds(
        ImageRow,
        source=NAMES,
        destination=NAMES,
        filter=st.sampled_from(["", "linux"]),
        run=st.sampled_from(["one", "two"]),
        rule=st.integers(0, 9),
        result=st.sampled_from(["copied", "unchanged", "skipped", "failed"]),
        fault=st.text(st.characters(exclude_categories=()), max_size=5),
        retryable=st.booleans(),
    ),
)


class Model:
    """The expected answers of the records, kept in dicts."""

    def __init__(self) -> None:
        """Start with no facts."""
        self.held: dict[tuple[Repository, str], str] = {}
        self.mounts: dict[tuple[str, str], list[str]] = {}
        self.claims: dict[str, Claim] = {}
        self.images: dict[tuple[str, str, str], ImageRow] = {}

    def write(self, fact: Fact) -> None:
        """Keep a fact."""
        match fact:
            case Holding() | HoldingForgotten():
                paths = self.mounts.setdefault((fact.repository.registry, fact.digest), [])
                if isinstance(fact, HoldingForgotten):
                    self.held.pop((fact.repository, fact.digest), None)
                else:
                    self.held[fact.repository, fact.digest] = "now"
                if fact.repository.path in paths and (isinstance(fact, HoldingForgotten) or fact.is_blob):
                    paths.remove(fact.repository.path)
                if isinstance(fact, Holding) and fact.is_blob:
                    paths.insert(0, fact.repository.path)
                del paths[3:]
            case Claim():
                self.claims[fact.destination] = fact
            case ImageRow():
                self.images[fact.source, fact.destination, fact.filter] = fact


@settings(max_examples=40, deadline=None)
@given(facts=st.lists(st.one_of(FACTS, st.sampled_from(["flush", "reopen"])), max_size=40))
def test_records_answer_like_dicts(tmp_path_factory: pytest.TempPathFactory, facts: list[Fact | str]) -> None:
    """After any facts, flushes and reopenings, the records answer like plain dicts."""
    path, model = tmp_path_factory.mktemp("records"), Model()
    store, _ = Records.open(path, run="now")
    for fact in facts:
        if not isinstance(fact, str):
            store.write(fact)
            model.write(fact)
        elif fact == "flush":
            store.flush()
        else:
            store.close()
            store, _ = Records.open(path, run="now")
    with closing(store):
        for key, paths in model.mounts.items():
            assert store.mount_sources(*key) == tuple(paths)
        for registry in ("r.io", "r.io:5000"):
            for name in ("a", "a/b", "a-b", "ab", "a.b"):
                where = (Repository(registry, name), "sha256:0")
                assert store.held(*where) == model.held.get(where, "")
        assert {name: store.claim(name) for name in model.claims} == model.claims
        for run in ("one", "two"):
            rows = [row for _, row in sorted(model.images.items()) if row.run == run]
            assert list(store.images(run=run, results=["copied", "unchanged", "skipped", "failed"])) == rows
            again = tuple(row for row in rows if row.result == "failed" and row.retryable)
            assert store.again(run, "") == (again, "")


FULL_DISK = """if True:
    import resource, sys
    from pathlib import Path
    from pipeline.errors import MachineError
    from pipeline.model.facts import ImageRow
    from pipeline.records.store import Records
    store, _ = Records.open(Path(sys.argv[1]), run="one")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, -1))
    errors = []
    for number in range(5_000):
        store.write(ImageRow(source=f"q.io/a:{number:05}", destination="r.io/a:1", filter="",
                             run="one", rule=0, result="copied"))
        try:
            if number % 100 == 99 and not errors:
                store.flush()
        except MachineError as error:
            errors.append(str(error).split("; ")[0])
    print(len(list(store.images(run="one", results=["copied"]))))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
    store.close()
    print(*errors, sep="\\n")
"""
"""Writes with a limit of 300,000 bytes per file, and closes with the limit in the second argument."""


class TestDurability:
    def test_no_row_is_dropped(self, tmp_path: Path) -> None:
        """Rows that diskcache's defaults would drop are present after reopening."""
        count = 60_000
        with opened(tmp_path) as store:
            # A mark at which any eviction policy would cull: the settings have to hold despite it.
            store._cache.reset("size_limit", 1)
            for number in range(count):
                store.write(image(f"q.io/a:{number:05}"))
        with opened(tmp_path) as store:
            found = [row.source for row in store.images(run="one", results=["copied"])]

        assert found == [f"q.io/a:{number:05}" for number in range(count)]

    def test_flushed_rows_survive_a_kill(self, tmp_path: Path) -> None:
        """After the writer is killed, everything flushed is present, and the folder is unlocked at once."""
        script = """if True:
            import sys
            from pathlib import Path
            from pipeline.model.facts import ImageRow
            from pipeline.records.store import Records
            store, _ = Records.open(Path(sys.argv[1]), run="one")
            for number in range(10**9):
                store.write(ImageRow(source=f"q.io/a:{number:09}", destination="r.io/a:1", filter="",
                                     run="one", rule=0, result="copied"))
                if number % 100 == 99:
                    store.flush()
                    print(number + 1, flush=True)
        """
        writer = python(script, tmp_path)
        assert writer.stdout
        said = [int(writer.stdout.readline()) for _ in range(20)]
        writer.kill()
        rest, _ = writer.communicate()
        said += [int(line) for line in rest.split("\n")[:-1]]
        assert writer.returncode == -signal.SIGKILL
        with opened(tmp_path) as store:
            found = [row.source for row in store.images(run="one", results=["copied"])]

        assert len(found) >= said[-1] >= 2_000
        assert found == [f"q.io/a:{number:09}" for number in range(len(found))]

    def test_full_disk_fails_the_flush_only(self, tmp_path: Path) -> None:
        """With a full disk the flush fails, the buffered facts stay known, and closing raises nothing."""
        output, _ = python(FULL_DISK, tmp_path, 300_000).communicate()

        assert output.splitlines() == ["5000", "records cannot be written: disk I/O error"]
        with opened(tmp_path) as store:
            found = [row.source for row in store.images(run="one", results=["copied"])]
        assert 0 < len(found) < 5_000
        assert found == [f"q.io/a:{number:05}" for number in range(len(found))]

    def test_facts_are_written_when_space_returns(self, tmp_path: Path) -> None:
        """Facts held back by a full disk are written at the end if there is space again."""
        output, _ = python(FULL_DISK, tmp_path, -1).communicate()

        assert output.splitlines() == ["5000", "records cannot be written: disk I/O error"]
        with opened(tmp_path) as store:
            assert sum(1 for _ in store.images(run="one", results=["copied"])) == 5_000

    def test_locked_database_is_reported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """If another program locks the database, the error says so, and the facts are written later."""
        monkeypatch.setattr(store_module, "_PAUSES", ())
        with opened(tmp_path) as store, closing(sqlite3.connect(database(tmp_path))) as other:
            store.write(image())
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(MachineError, match=r"^records cannot be written: database is locked; "):
                store.flush()
            other.rollback()
            store.flush()
        with opened(tmp_path) as store:
            assert list(store.images(run="one", results=["copied"])) == [image()]

    def test_failed_commit_replaces_connection(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection whose COMMIT failed is replaced for the next attempt."""
        monkeypatch.setattr(store_module, "_PAUSES", (0,))
        with opened(tmp_path) as store:
            store.write(image())
            store._cache._con.execute("BEGIN IMMEDIATE")
            store.flush()
        with opened(tmp_path) as store:
            assert list(store.images(run="one", results=["copied"])) == [image()]

    def test_entered_repository_stays_known(self, tmp_path: Path) -> None:
        """A repository that any run has started to write to stays known."""
        with opened(tmp_path) as store:
            store.write(RepositoryEntered(repository=APP))
        with opened(tmp_path, run="two") as store:
            assert (store.entered(APP), store.entered(BASE)) == (True, False)

    def test_nothing_is_on_disk_before_a_flush(self, tmp_path: Path) -> None:
        """Nothing is written to disk before a flush, which then writes everything pending."""
        count = "SELECT count(*) FROM Cache WHERE tag != ''"
        with opened(tmp_path) as store, closing(folder.read_only(tmp_path)) as other:
            for number in range(300):
                store.write(image(f"q.io/a:{number}"))
            before = (store.pending, other.execute(count).fetchone()[0])
            store.flush()
            after = (store.pending, other.execute(count).fetchone()[0])

        assert before == (300, 0)
        assert after == (0, 300)
