from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import yaml_text
from pipeline.config.nodes import Mapping, Scalar
from pipeline.config.yaml_text import read_yaml
from pipeline.errors import FileError
from tests.unit.config.words import attempt, plain

BOMB = 'a: &a ["x","x","x","x","x","x","x","x","x"]\n' + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with and without libyaml."""
    monkeypatch.setattr(yaml_text, "_LOADER", getattr(yaml, request.param))


def read(text: str) -> object:
    """The document as Python values."""
    node, _ = read_yaml("a.yaml", text)
    assert node is not None
    return plain(node)


def test_unquoted_values_stay_text() -> None:
    """Unquoted text does not become a number, a boolean or a date."""
    text = "1.10: yes\n5: 0x10\n2026-01-01: off\n'6': 1_000\nnull: on"

    expected = {"1.10": "yes", "5": "0x10", "2026-01-01": "off", "6": "1_000", "null": "on"}
    assert expected == read(text)


def test_scalars_keep_their_places() -> None:
    """Every scalar has its line and column."""
    node, _ = read_yaml("a.yaml", "# first\né:\n  - 'b'\n")

    assert isinstance(node, Mapping)
    assert (2, 1) == (node.line, node.column)
    ((key, value),) = node.entries
    assert Scalar(2, 1, "é", "plain") == key
    assert (Scalar(3, 5, "b", "text"),) == value.items  # type: ignore[union-attr]  # a list was read


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: b: c", (1, 5), "one key on a line"),
        ("a:\n\t- b", (2, 1), "indent with spaces, not with tabs"),
        ("a: [b", (0, 0), "invalid YAML"),
        ("a: 'b", (0, 0), "invalid YAML"),
        ("{a: b}}", (1, 7), "invalid YAML"),
        ("@a: b", (1, 1), "put text with special characters in quotes"),
        ("a: !!python/object:os.system b", (1, 4), "YAML tags are not supported"),
        ("a: !!str b", (1, 4), "YAML tags are not supported"),
        ("a: ! b", (1, 4), "YAML tags are not supported"),
        ("a: &x\nb: c", (1, 4), "the anchor has no value"),
        ("a: *x", (1, 4), "the alias has no anchor before it"),
        ("a: &x [*x]", (1, 8), "the alias has no anchor before it"),
        ("a:\n  <<: text", (2, 3), "the merge key << takes a map or a list of maps"),
        ("? [a]\n: b", (1, 3), "a key must be text, not a list or a map"),
        ("a: \x81", (1, 0), "a character that is not allowed in YAML"),
        ("a: b\n" + "k" * 1100 + ": v\nc: d", (2, 1101), 'begin the line with "? "'),
        ("[" * 3000, (1, 66), "more than 64 levels"),
    ],
)
def test_error_names_line_column_and_remedy(text: str, place: tuple[int, int], words: str) -> None:
    """An error names line, column and what to write instead."""
    with pytest.raises(FileError) as caught:
        read_yaml("a.yaml", text)

    assert words in str(caught.value)
    if place[0]:  # libyaml and the pure parser report the end of a file at different places
        assert place == (caught.value.line, caught.value.column)


@pytest.mark.parametrize("secret", ["!Hunter2", "*Hunter2", "&Hunter2"])
def test_unquoted_secret_is_not_shown(secret: str) -> None:
    """A password that YAML reads as a tag, an alias or an anchor is refused without being shown."""
    with pytest.raises(FileError, match="needs quotes") as caught:
        read_yaml("a.yaml", f"a:\n  password: {secret}\n")

    assert "Hunter2" not in str(caught.value)


def test_alias_bomb_is_refused() -> None:
    """Aliases count with all the values that they stand for, so that nine lines cannot expand to billions."""
    with pytest.raises(FileError, match="more than 2,000,000 values in one file") as caught:
        read_yaml("a.yaml", BOMB)

    assert caught.value.line == 7


def test_alias_is_replaced_by_its_value() -> None:
    """An alias is replaced by its value, as a value or as a key."""
    assert {"a": ["x"], "b": ["x"], "c": "k", "k": "v"} == read("a: &l [x]\nb: *l\nc: &k k\n*k : v")


def test_second_document_causes_a_warning() -> None:
    """Only the first document is read, and the warning says where the second one starts."""
    node, warnings = read_yaml("a.yaml", "a: b\n---\nc: d\n")

    assert node is not None
    assert {"a": "b"} == plain(node)
    assert [("config.second_document", 2)] == [(one.name, one.fields["line"]) for one in warnings]


@pytest.mark.parametrize("text", ["# only a comment\n", "%YAML 1.1\n---\n...\n"])
def test_missing_document_differs_from_an_empty_map(text: str) -> None:
    """A file without a document is distinguished from an empty map."""
    node, _ = read_yaml("a.yaml", text)

    assert node is None or (isinstance(node, Scalar) and node.kind == "null")


def test_last_duplicate_key_wins_with_a_warning() -> None:
    """The last of duplicate keys wins, and the warning names the key and both lines."""
    node, warnings = read_yaml("a.yaml", "a: 1\nb: 2\n'a': 3\n")

    assert node is not None
    assert {"a": "3", "b": "2"} == plain(node)
    assert [("config.duplicate_key", "a", 3, 1)] == [
        (one.name, one.fields["key"], one.fields["line"], one.fields["first_line"]) for one in warnings
    ]


@given(st.text(alphabet="abc:-?[]{},#&*!|>'\"%@` \n\t<~0\x00\x81é", max_size=40))
def test_any_text_parses_or_raises_file_error(text: str) -> None:
    """Any text either parses or raises FileError."""
    found = attempt(lambda: read_yaml("a.yaml", text))

    assert isinstance(found, tuple | FileError)


@given(st.dictionaries(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=3), max_size=5))
def test_reads_back_pyyaml_output(value: dict[str, list[str]]) -> None:
    """Text that PyYAML writes is read back unchanged."""
    text = yaml.safe_dump(value, default_style='"', allow_unicode=True)

    assert value == read(text.replace("!!str", ""))
