from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from pipeline.config.files import STANDARD_INPUT
from pipeline.config.rule_files import GivenRules, read_rule_files
from pipeline.config.rules import Defaults, read_rules
from pipeline.config.text import MAX_INPUT
from pipeline.errors import FileError, UsageError
from pipeline.model.selection import Named
from tests.unit.config.words import write

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config.rules import RulesFile

NONE = Defaults(registry="", namespace="")
OURS = Defaults(registry="mirror.io", namespace="ours")


def read(*paths: Path, to: str | None = None, defaults: Defaults = NONE) -> RulesFile:
    """The rules of files, without the text from standard input."""
    return read_rule_files(paths, to=to, defaults=defaults, environ={"TEAM": "blue"})[0]


def type_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Replace standard input with `content`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def pairs(file: RulesFile) -> list[tuple[str, str]]:
    """Source and destination of every rule, with its selected names."""
    return [
        (f"{rule.source} {','.join(rule.selection.names)}", str(rule.targets[0].repository))
        for rule in file.rules
        if isinstance(rule.selection, Named)
    ]


def test_places_in_a_single_file_are_lines(tmp_path: Path) -> None:
    """A single file reads as before several were allowed: places are lines without a file name."""
    path = write(tmp_path, "images.yaml", "a/b:1: r.io/b\nUPPER: r.io/b\n")

    assert read_rules(path, defaults=NONE, environ={}) == read(path)
    assert ["line 1"] == [rule.place for rule in read(path).rules]


def test_rules_are_numbered_across_files(tmp_path: Path) -> None:
    """Files keep the order in which they are named; rules, including invalid ones, give file and line."""
    one = write(tmp_path, "one.yaml", "a/b:1: r.io/b\nUPPER: r.io/b\n")
    two = write(tmp_path, "two.json", '{"a/b:1": "r.io/c",\n "a/c": "r.io/c"}')
    found = read(two, one)

    assert [(0, f"line 1 of {two}"), (1, f"line 2 of {two}"), (2, f"line 1 of {one}")] == [
        (rule.number, rule.place) for rule in found.rules
    ]
    assert [(3, f"{one}:2:1")] == [(bad.number, bad.place) for bad in found.bad]
    assert f"{two}, {one}" == found.path


def test_same_key_in_two_files_gives_two_rules(tmp_path: Path) -> None:
    """A duplicate key replaces the earlier one, with a warning, only within one file."""
    one = write(tmp_path, "one.yaml", "a/b:1: r.io/b\na/b:1: r.io/c\n")
    two = write(tmp_path, "two.yaml", "a/b:1: r.io/d\n")
    found = read(one, two)

    assert ["r.io/c", "r.io/d"] == [target for _, target in pairs(found)]
    assert ["config.duplicate_key"] == [warning.name for warning in found.warnings]


def test_image_list_is_read_as_by_docker(tmp_path: Path) -> None:
    """A bare name means `latest` of Docker Hub; comments, empty lines and repeated lines are ignored."""
    digest = f"sha256:{'a' * 64}"
    path = write(
        tmp_path,
        "list.txt",
        "# from the chart\r\n\r\nnginx\r\n  quay.io/a/b:v1   # pinned\nnginx\n"
        f"r.io/x@{digest}\nr.io/y:1@{digest}\n",
    )
    found = read(path, to="mirror.io/$TEAM/x")

    assert [
        ("docker.io/library/nginx latest", "mirror.io/blue/x"),
        ("quay.io/a/b v1", "mirror.io/blue/x"),
        (f"r.io/x {digest}", "mirror.io/blue/x"),
        (f"r.io/y 1@{digest}", "mirror.io/blue/x"),
    ] == pairs(found)
    assert [3, 4, 6, 7] == [rule.line for rule in found.rules]
    assert "nginx:latest" == found.rules[0].text


def test_list_without_to_uses_the_default_registry(tmp_path: Path) -> None:
    """Without --to, a list needs a default registry and namespace, and is refused if these are missing."""
    path = write(tmp_path, "list.txt", "quay.io/a/b:v1\n")

    assert [("quay.io/a/b v1", "mirror.io/ours/b")] == pairs(read(path, defaults=OURS))
    with pytest.raises(UsageError, match="is a list: give its destination"):
        read(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("quay.io/a/b:v1,v2", "a line of a list is one image"),
        ("quay.io/a/b:/v1/", "a line of a list is one image"),
        ("quay.io/a/b:v1: r.io/b", "a line of a list is one image"),
        ("nginx: r.io/nginx", "a line of a list is one image"),
        ("image: nginx", "a line of a list is one image"),
        ("docker://nginx", "a reference has no docker://"),
        ("Nginx", "Nginx"),
    ],
)
def test_invalid_line_fails_alone(tmp_path: Path, line: str, reason: str) -> None:
    """A line that is not one image is reported with its place, and the others are read."""
    path = write(tmp_path, "list.txt", f"nginx\n  {line}\n")
    found = read(path, to="r.io/x")

    (bad,) = found.bad
    assert (1, f"{path}:2:3", line, ("r.io/x",)) == (len(found.rules), bad.place, bad.text, bad.destinations)
    assert reason in bad.reason


@pytest.mark.parametrize("content", ["", "\n  # nothing\n"])
def test_empty_list_is_refused(tmp_path: Path, content: str) -> None:
    """A list without images is refused."""
    with pytest.raises(FileError, match="the list names no image"):
        read(write(tmp_path, "list.txt", content), to="r.io/x")


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("mirror.io/{flat}", "mirror.io/team-app"),
        ("mirror.io/x/", "mirror.io/x/app"),
        ("{registry}/copy/{path}", "quay.io/copy/team/app"),
    ],
)
def test_destination_template_is_filled_per_image(tmp_path: Path, to: str, expected: str) -> None:
    """Each image of a list fills the template with its own parts."""
    path = write(tmp_path, "list.txt", "quay.io/team/app:v1\n")

    assert [("quay.io/team/app v1", expected)] == pairs(read(path, to=to))


@pytest.mark.parametrize("to", ["mirror.io/{nmae}", "mirror.io/$UNSET/x", "UPPER/x y", "mirror.io/x:a,b"])
def test_invalid_destination_is_reported_once(tmp_path: Path, to: str) -> None:
    """A destination that is invalid for every line is reported once."""
    with pytest.raises(UsageError, match=r"^--to "):
        read(write(tmp_path, "list.txt", "nginx\nredis\n"), to=to)


def test_to_without_a_list_is_refused(tmp_path: Path) -> None:
    """--to is refused if no file is a list."""
    with pytest.raises(UsageError, match="--to is for plain lists"):
        read(write(tmp_path, "images.yaml", "a/b: r.io/b"), to="r.io/x")


@pytest.mark.parametrize(
    ("content", "to", "ending"), [(b"a/b:1: r.io/b\n", None, ".yaml"), (b"a/b:1\n", "r.io/b", ".txt")]
)
def test_standard_input_is_yaml_or_a_list(
    monkeypatch: pytest.MonkeyPatch, content: bytes, to: str | None, ending: str
) -> None:
    """Standard input is YAML, or a list if --to is given; its text is returned."""
    type_in(monkeypatch, content)
    found, given = read_rule_files([STANDARD_INPUT], to=to, defaults=NONE, environ={})

    assert [("docker.io/a/b 1", "r.io/b")] == pairs(found)
    assert GivenRules(ending=ending, text=content.decode()) == given


def test_endless_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless input is refused."""
    type_in(monkeypatch, b"#" * (MAX_INPUT + 1))

    with pytest.raises(FileError, match="standard input: the file is larger than 32 MiB"):
        read(STANDARD_INPUT)
