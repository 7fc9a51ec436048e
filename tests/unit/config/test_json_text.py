from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import json_text
from pipeline.config.json_text import read_json
from pipeline.config.nodes import Mapping, Scalar
from pipeline.errors import FileError
from tests.unit.config.words import attempt, plain

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@given(value=VALUES, indent=st.none() | st.integers(0, 3), ascii_only=st.booleans())
def test_reads_back_standard_library_output(value: object, indent: int | None, ascii_only: bool) -> None:  # noqa: FBT001 - hypothesis passes by keyword
    """Output of the standard library parses to the same value."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    node, warnings = read_json("a.json", text)

    assert (value, []) == (plain(node), warnings)


@given(st.text(alphabet="{}[]\",:\\ \n0123456789-+.eEtrufalsn/#'x\ud800", max_size=40))
def test_any_text_is_parsed_as_by_the_standard_library(text: str) -> None:
    """Any text is parsed as by the standard library, or refused with a place."""
    found = attempt(lambda: plain(read_json("a.json", text)[0]))

    if isinstance(found, FileError):
        assert (True, True) == (found.line >= 1, found.column >= 1)
        with pytest.raises(ValueError, match=r".+"):
            _strict(text)
    else:
        assert _strict(text) == found


def _strict(text: str) -> object:
    """The standard library's parser, without NaN and lone surrogates."""
    value = json.loads(text, parse_constant=lambda word: (_ for _ in ()).throw(ValueError(word)))
    json.dumps(value, ensure_ascii=False).encode()
    return value


@given(st.text(max_size=60))
def test_any_text_parses_or_raises_file_error(text: str) -> None:
    """Any text either parses or raises FileError."""
    found = attempt(lambda: read_json("a.json", text))

    assert isinstance(found, tuple | FileError)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("{'a': 1}", (1, 2), "JSON takes double quotes only"),
        ('{\n  "a": "b",\n}', (2, 11), "a comma follows the last element (leave it out)"),
        ('{"a": ["b",]}', (1, 11), "a comma follows the last element"),
        ('{"a": "b"\n "c": "d"}', (2, 2), "a comma or '}' is expected here"),
        ('{"a" "b"}', (1, 6), "a colon is expected after a key"),
        ('{"a": NaN}', (1, 7), "a value is expected here"),
        ('{"a": // no\n1}', (1, 7), "JSON has no comments"),
        ('# no\n{"a": 1}', (1, 1), "JSON has no comments"),
        ('{"a": "b', (1, 7), "unterminated string"),
        ('{"a": "b\nc"}', (1, 9), "invalid control character"),
        ('{"a": "\\d"}', (1, 8), "write a backslash twice"),
        ('{"a": 1', (1, 8), "the file ends too early"),
        ('{"a": 1} {}', (1, 10), "there is text after the end of the document"),
        ('{"a": 01}', (1, 8), "a comma or '}' is expected here"),
        ('{"a": "\\ud83d"}', (1, 7), "half of a surrogate pair"),
        ("[" * 100_000, (1, 66), "more than 64 levels of brackets"),
        ("a: b", (1, 1), "a value is expected here"),
    ],
)
def test_error_names_line_column_and_remedy(text: str, place: tuple[int, int], words: str) -> None:
    """An error names line, column and what to write instead."""
    with pytest.raises(FileError) as caught:
        read_json("a.json", text)

    assert place == (caught.value.line, caught.value.column)
    assert words in str(caught.value)


def test_scalars_keep_place_and_spelling() -> None:
    """Every scalar has its line and column, and numbers stay as written."""
    node, _ = read_json("a.json", '{\n  "é": 1.10\n}')

    assert Mapping(1, 1, ((Scalar(2, 3, "é", "text"), Scalar(2, 8, "1.10", "number")),)) == node


def test_long_keys_and_surrogate_pairs_are_read() -> None:
    """Long keys and escaped surrogate pairs are read, although YAML readers refuse them."""
    node, _ = read_json("a.json", '{"' + "k" * 5000 + '": "\\ud83d\\ude00"}')

    assert {"k" * 5000: "\U0001f600"} == plain(node)


def test_last_duplicate_key_wins_with_a_warning() -> None:
    """The last of duplicate keys wins, and the warning names the key and both lines."""
    node, warnings = read_json("a.json", '{"a": 1,\n"b": 2,\n"a": 3}')

    assert [("b", 2), ("a", 3)] == list(plain(node).items())  # type: ignore[attr-defined]  # a map was read
    assert [("config.duplicate_key", {"file.path": "a.json", "key": "a", "line": 3, "first_line": 1})] == [
        (warning.name, warning.fields) for warning in warnings
    ]


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with too many values is refused before it fills the memory."""
    monkeypatch.setattr(json_text, "MAX_NODES", 10)

    with pytest.raises(FileError, match="more than 10 values in one file"):
        read_json("a.json", json.dumps([1] * 10))
