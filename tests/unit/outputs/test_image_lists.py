from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import FileError, MachineError
from pipeline.model.facts import ImageRow
from pipeline.outputs.image_lists import ListEntry, ListFormat, format_of, write_failed, write_success

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMATS: tuple[ListFormat, ...] = ("yaml", "json")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
LOADERS: tuple[Any, ...] = (yaml.SafeLoader, yaml.CSafeLoader)


def rows(*pairs: tuple[str, str]) -> list[ImageRow]:
    """Rows of copied images from sources to destinations."""
    row = ImageRow(source="", destination="", filter="", run="one", rule=0, result="copied")
    return [replace(row, source=source, destination=destination) for source, destination in pairs]


def listed(entries: dict[str, list[str]]) -> list[ListEntry]:
    """Entries without options."""
    return [ListEntry(source, tuple(values)) for source, values in entries.items()]


def read(path: Path, fmt: ListFormat) -> object:
    """The file as parsed by a reader of its format."""
    text = path.read_text(encoding="utf-8")
    if fmt == "json":
        return json.loads(text)
    first, second = (yaml.load(text, loader) for loader in LOADERS)
    assert first == second
    return first


PAIRS = (
    ("docker.io/library/nginx:1.10", "r.io:5000/nginx:1.10"),
    ("docker.io/library/nginx:1.10", "r.io/nginx:1.10"),
    ("quay.io/a/b@sha256:" + "0" * 64, "r.io/b:yes"),
)


@pytest.mark.parametrize("fmt", FORMATS)
class TestFiles:
    def test_sources_have_their_destinations_in_order(self, tmp_path: Path, fmt: ListFormat) -> None:
        """Each source has its list of destinations without duplicates, in the order of the rows."""
        path = tmp_path / "out"
        write_success(path, rows(*PAIRS[:2], PAIRS[1], PAIRS[2]), fmt=fmt)
        expected = {PAIRS[0][0]: [PAIRS[0][1], PAIRS[1][1]], PAIRS[2][0]: [PAIRS[2][1]]}

        assert read(path, fmt) == expected
        assert list(tmp_path.iterdir()) == [path]

    def test_empty_list_is_an_empty_map(self, tmp_path: Path, fmt: ListFormat) -> None:
        """An empty list is an empty map, which is a valid rules file."""
        write_success(tmp_path / "out", [], fmt=fmt)

        assert read(tmp_path / "out", fmt) == {}

    def test_failed_images_and_rules_are_in_one_file(self, tmp_path: Path, fmt: ListFormat) -> None:
        """Failed images and failed rules are in one file, and equal sources share an entry."""
        rules: list[ListEntry] = [
            ListEntry("q.io/a:/(/", ("$HOME/a", "")),
            ListEntry(PAIRS[2][0], ("r.io/b:no", "r.io/b:yes")),
            ListEntry("q.io/none", ()),
            ListEntry("q.io/a:/(/", ("r.io/c",)),
        ]
        write_failed(tmp_path / "out", rows(*PAIRS), rules, fmt=fmt)

        assert read(tmp_path / "out", fmt) == {
            PAIRS[0][0]: [PAIRS[0][1], PAIRS[1][1]],
            PAIRS[2][0]: ["r.io/b:yes", "r.io/b:no"],
            "q.io/a:/(/": ["$HOME/a", "", "r.io/c"],
            "q.io/none": [],
        }

    def test_incomplete_file_keeps_the_old_one(self, tmp_path: Path, fmt: ListFormat) -> None:
        """If a file cannot be completed, the old one stays, and no temporary file is left."""

        def broken() -> Iterator[ImageRow]:
            yield from rows(*PAIRS)
            raise MachineError("records cannot be read")

        path = tmp_path / "out"
        path.write_text("old")
        with pytest.raises(MachineError, match="records cannot be read"):
            write_success(path, broken(), fmt=fmt)

        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_unwritable_file_is_a_machine_error(self, tmp_path: Path, fmt: ListFormat) -> None:
        """A file that cannot be written at the end of a run is a MachineError."""
        with pytest.raises(MachineError, match="out cannot be written: No such file"):
            write_success(tmp_path / "missing" / "out", [], fmt=fmt)

    @given(entries=st.dictionaries(TEXTS, st.lists(TEXTS, max_size=3, unique=True)))
    @example({"a: b #": ["x\n\n y ", "\u2028\x85\ufeff\U0001f600\x00\x7f\t", "- ", "null", "1.10"]})
    @example({"q.io/" + "a," * 600: ["r.io/a"], "b" * 5_000: ["r.io/b"], "c": []})
    @example({"1/2": ["yes/no", "a/b:", "a/b #", "a.b/c:d: e", "0x/1", "1:30/2", "a:1/b", "~/a"]})
    def test_any_text_is_read_back(
        self, tmp_path_factory: pytest.TempPathFactory, fmt: ListFormat, entries: dict[str, list[str]]
    ) -> None:
        """Any text of a rule is read back unchanged."""
        path = tmp_path_factory.mktemp("out") / "out"
        write_failed(path, [], listed(entries), fmt=fmt)

        assert read(path, fmt) == entries

    @pytest.mark.parametrize("length", range(1_015, 1_032))
    def test_long_keys_are_read_back(self, tmp_path: Path, fmt: ListFormat, length: int) -> None:
        """Keys of any length around YAML's limit of 1,024 characters are read back."""
        entries = {"q.io/" + "a" * (length - 5): ["r.io/a"], "(" * length: ["r.io/a"]}
        write_failed(
            tmp_path / "out",
            [],
            listed(entries),
            fmt=fmt,
        )

        assert read(tmp_path / "out", fmt) == entries

    def test_options_are_beside_the_destinations(self, tmp_path: Path, fmt: ListFormat) -> None:
        """Options are written beside the destinations; two sets of them for one source are a list of maps."""
        first, second, third = rows(*PAIRS)
        options = ['{"platforms": ["linux/arm64"], "retries": 5}', ""]
        more = [
            ListEntry("q.io/b", ("r.io/b",), '{"tags": {"include": ["v*"], "newest": 3}}'),
            ListEntry("q.io/wrong", (), '{"to": "r.io/c", "tgas": "1.10"}'),
        ]
        write_failed(
            tmp_path / "out",
            [first, replace(second, rule=1), third],
            more,
            fmt=fmt,
            options=lambda row: options[row.rule],
        )

        arm = {"platforms": ["linux/arm64"], "retries": 5}
        assert read(tmp_path / "out", fmt) == {
            PAIRS[0][0]: [{"to": [PAIRS[0][1]], **arm}, {"to": [PAIRS[1][1]]}],
            PAIRS[2][0]: {"to": [PAIRS[2][1]], **arm},
            "q.io/b": {"to": ["r.io/b"], "tags": {"include": ["v*"], "newest": 3}},
            "q.io/wrong": {"to": "r.io/c", "tgas": "1.10"},
        }

    def test_only_one_source_is_in_memory(self, tmp_path: Path, fmt: ListFormat) -> None:
        """Sources are written as they arrive, and only one is in memory at a time."""
        alive: list[int] = []

        class Source(str):
            __slots__ = ()

            def __del__(self) -> None:
                alive.append(-1)

        def many() -> Iterator[ImageRow]:
            for number in range(1_000):
                alive.append(1)
                assert sum(alive) <= 4
                yield rows((Source(f"q.io/a:{number:04}"), "r.io/a"))[0]

        write_success(tmp_path / "out", many(), fmt=fmt)

        assert alive.count(1) == 1_000


def test_yaml_references_are_unquoted(tmp_path: Path) -> None:
    """References in YAML have no quotes, as people write them."""
    write_success(tmp_path / "out", rows(*PAIRS), fmt="yaml")

    assert (tmp_path / "out").read_text().splitlines()[:3] == [
        "docker.io/library/nginx:1.10:",
        "- r.io:5000/nginx:1.10",
        "- r.io/nginx:1.10",
    ]


def test_lone_surrogate_is_replaced_in_yaml(tmp_path: Path) -> None:
    """A lone surrogate, which YAML cannot express, becomes a replacement character; JSON keeps it."""
    write_failed(tmp_path / "out", [], [ListEntry("\ud800", ("\ud800",))], fmt="yaml")
    assert read(tmp_path / "out", "yaml") == {"\ufffd": ["\ufffd"]}
    write_failed(tmp_path / "out", [], [ListEntry("\ud800", ("\ud800",))], fmt="json")
    assert read(tmp_path / "out", "json") == {"\ud800": ["\ud800"]}


@pytest.mark.parametrize(
    ("name", "expected"), [("a.json", "json"), ("a.yaml", "yaml"), ("a.b.yml", "yaml"), ("A.JSON", "json")]
)
def test_format_by_file_ending(name: str, expected: ListFormat) -> None:
    """The ending of a file's name determines its format."""
    assert format_of(Path(name)) == expected


@pytest.mark.parametrize("name", ["a", "a.txt", ".json", "json"])
def test_unknown_ending_is_an_error(name: str) -> None:
    """Any other name is an error that lists the known endings."""
    with pytest.raises(FileError, match=r"\.json, \.yaml or \.yml"):
        format_of(Path(name))
