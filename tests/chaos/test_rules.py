"""The checker parses rules by itself: tags, options, destinations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.choosing import choose
from tests.chaos.expect import WHOLE, Form, Wanted
from tests.chaos.rules import expand, read_list, read_rules

TAGS = ("v1", "v2", "v10", "v3-rc.1", "latest", "1.25.1-alpine", "1.25.3-alpine", "1.26.0-alpine", "7")
ALPINE = ["1.25.1-alpine", "1.25.3-alpine", "1.26.0-alpine"]


def never(*_: str) -> bool:
    """No tag is late."""
    return False


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"include": ["*alpine", "7"]}, [*ALPINE, "7"]),
        ({"include": ["/alp/"], "exclude": ["*.1-*"]}, ALPINE[1:]),
        ({"versions": ["~1.25"]}, ALPINE[:2]),
        ({"versions": [">=2", "^1"]}, [*ALPINE, "7", "v1", "v10", "v2"]),
        ({"versions": [">=2"], "prereleases": True}, ["7", "v10", "v2", "v3-rc.1"]),
        ({"newest": 1}, ["1.26.0-alpine", "7", "v10"]),
        ({"newest": 1, "per": "minor"}, [*ALPINE[1:], "7", "v1", "v10", "v2"]),
        ({"newest": 1, "per": "repository"}, ["v10"]),
        ({"newest": 1, "by": "seen"}, ["1.26.0-alpine", "7", "latest", "v1"]),
        ({"include": ["none*"], "always": ["latest", "gone"]}, ["gone", "latest"]),
        ({"include": ["none*"]}, None),
        ({"exclude": ["*"]}, []),
        ({"exclude": ["v*"], "at_least": 6}, None),
    ],
)
def test_each_stage_selects_as_documented(said: dict[str, Any], expected: list[str] | None) -> None:
    """Each stage selects what docs/rules.md says; with too few tags the rule fails."""
    assert expected == choose(TAGS, said, None, lambda tag: tag == "v1")


def test_companion_lists_are_selected() -> None:
    """Lists of companions are selected only if the rule has no tag options."""
    tags = [f"sha256-{'0' * 64}", "v1"]

    assert tags == choose(tags, None, None, never)
    assert ["v1"] == choose(tags, {}, None, never)
    assert ["v1"] == choose(tags, {}, "1", never)


def test_rule_values_win_over_defaults() -> None:
    """A value is one or more destinations or sets of options; the rule wins over .defaults."""
    rules = read_rules(
        {
            ".defaults": {"tags": {"exclude": "v1"}, "attestations": "drop", "platforms": "linux/arm/v7"},
            ".anchors": {},
            "a:1/x": "b/x",
            "a:1/y": ["b/x", "b/y"],
            "a:1/z": [{"to": "b/z", "tags": "v*", "platforms": "all"}, {"to": "c/z", "min_age": "3d"}],
        },
        WHOLE,
    )

    arm = Form(Wanted(any_of=((("linux",), ("arm:v7",)),)), attestations="drop")
    assert [arm, arm, Form(attestations="drop"), arm] == [rule.form for rule in rules]
    assert [("b/x",), ("b/x", "b/y"), ("b/z",), ("c/z",)] == [rule.to for rule in rules]
    assert {"exclude": ("v1",), "include": ("v*",)} == rules[2].tags
    assert [0, 259_200] == [rule.min_age for rule in rules[2:]]


def test_line_of_a_plain_list_is_one_image() -> None:
    """A line of a plain list is one image, without duplicates, and means `latest` if it names no tag."""
    rules = read_list(["# images", "a:1/t/x", "", "a:1/t/y:v1  # why", "a:1/t/y:v1"], "b/all/{flat}", WHOLE)

    found = [str(pair) for pair, _ in expand(rules, lambda *_: (), never)]

    assert ["a:1/t/x:latest -> b/all/t-x:latest", "a:1/t/y:v1 -> b/all/t-y:v1"] == found


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("b/{namespace}/{name}", "b/t/x:v1"),
        ("b/{registry}/{path}", "b/a-1/t/x:v1"),
        ("b/{flat}:{tag}-x", "b/t-x:v1-x"),
        ("b/deep/", "b/deep/x:v1"),
    ],
)
def test_placeholders_are_replaced(to: str, expected: str) -> None:
    """Placeholders are replaced by parts of the source."""
    ((pair, _),) = expand(read_rules({"a:1/t/x": {"to": to}}, WHOLE), lambda *_: ["v1"], never)

    assert expected == str(pair.destination)
