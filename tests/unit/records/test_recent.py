from __future__ import annotations

import sqlite3
from contextlib import closing

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.records import recent as recent_rows
from pipeline.records.reader import RecordsReader
from pipeline.records.recent import Recent

KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.tuples(KEYS, st.sampled_from(["ask", "write", "remove"]), st.text(max_size=2)), max_size=40
)


class Store:
    """A database like diskcache's that counts its queries."""

    def __init__(self) -> None:
        """Start empty."""
        self.database = sqlite3.connect(":memory:")
        self.database.execute("CREATE TABLE Cache (key PRIMARY KEY, value, raw, mode, expire_time)")
        self.asked: list[str] = []
        self.database.set_trace_callback(self.asked.append)

    def put(self, key: str, value: str | None) -> None:
        """Write or remove a row."""
        self.database.execute("DELETE FROM Cache WHERE key = ?", (key,))
        if value is not None:
            self.database.execute("INSERT INTO Cache VALUES (?, ?, 1, 1, NULL)", (key, value))


@example({}, [("a", "write", "1"), ("b", "write", "2")], 1)
@example({}, [("a", "write", "1"), ("a", "remove", ""), ("b", "write", "2"), ("c", "write", "3")], 1)
@given(st.dictionaries(KEYS, st.text(max_size=2), max_size=4), STEPS, st.integers(1, 4))
def test_cache_answers_like_the_store(
    before: dict[str, str], steps: list[tuple[str, str, str]], most: int
) -> None:
    """The cache answers like the store, whatever its size."""
    store, usual = Store(), recent_rows._MOST
    recent_rows._MOST = most
    try:
        with closing(store.database):
            for key, text in before.items():
                store.put(key, text)
            recent = Recent(RecordsReader(store.database), whole=not before)
            rows: dict[str, str | None] = dict(before)
            for key, step, text in steps:
                if step != "ask":
                    rows[key] = text if step == "write" else None
                    store.put(key, rows[key])
                    recent.keep(key, rows[key])
                assert recent.text(key) == rows.get(key)
            assert [recent.text(key) for key in "abcdef"] == [rows.get(key) for key in "abcdef"]
    finally:
        recent_rows._MOST = usual


def test_new_store_is_not_queried() -> None:
    """A store that was empty at the start of the run is not queried until the cache is full."""
    store = Store()
    with closing(store.database):
        recent = Recent(RecordsReader(store.database), whole=True)
        recent.keep("a", "1")
        known = [recent.text("a"), recent.text("b")]

        assert (known, [words for words in store.asked if words.startswith("SELECT")]) == (["1", None], [])


def test_old_row_is_queried_once() -> None:
    """A row of an older run is queried once, whether it exists or not."""
    store = Store()
    with closing(store.database):
        store.put("a", "1")
        recent = Recent(RecordsReader(store.database), whole=False)
        known = [recent.text(key) for key in "aabb"]

        assert known == ["1", "1", None, None]
        assert 2 == sum(words.startswith("SELECT") for words in store.asked)
