"""JSON from a peer: its traps."""

from __future__ import annotations

import pytest

from pipeline.errors import ManifestError
from pipeline.model.document import dump, load


class TestLoad:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "not JSON"),
            (b"<html>Please log in</html>", "begins with .*Please log in"),
            (b"[]", "not an object"),
            (b"null", "not an object"),
            (b"[" * 100_000, "too deep"),
            (b'{"a":' * 100_000, "too deep"),
            (b'{"a": ' + b"1" * 5_000 + b"}", "5000 digits"),
            (b'{"a": NaN}', "NaN"),
            (b'{"a": -Infinity}', "Infinity"),
            (b'{"a": 1e999}', "too large"),
            (b'{"schemaVersion": 2, "schemaVersion": 1}', "'schemaVersion' is given twice"),
            (b'{"a": [{"b": 1, "b": 1}]}', "'b' is given twice"),
            (b'{"a": ["\\ud800"]}', "not UTF-8"),
            (b'{"\\udfff": 1}', "not UTF-8"),
            (b'{"a": "\xff"}', "not UTF-8"),
            ('{"schemaVersion": 2}'.encode("utf-16"), "not UTF-8"),
            (b"\xef\xbb\xbf{}", "not JSON"),
            (b"{} {}", "not JSON"),
        ],
    )
    def test_json_that_python_misreads_is_refused(self, content: bytes, words: str) -> None:
        """JSON that the standard library's reader accepts wrongly or crashes on raises ManifestError."""
        with pytest.raises(ManifestError, match=words):
            load(content)

    def test_surrogate_pair_is_one_character(self) -> None:
        """A whole surrogate pair is one character."""
        assert load(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}

    def test_duplicates_among_many_keys_are_found_in_one_pass(self) -> None:
        """Duplicate keys of an object with hundreds of thousands of keys are found in one pass."""
        pairs = ",".join(f'"{number}":0' for number in range(200_000))
        with pytest.raises(ManifestError, match="'199999' is given twice"):
            load(f'{{{pairs},"199999":0}}'.encode())

    def test_dump_keeps_order_and_characters(self) -> None:
        """A document is written compactly, with its order and its characters kept."""
        content = '{"b":[1,2.5,null,true],"a":{"é":"<&>"}}'.encode()
        assert content == dump(load(content))
