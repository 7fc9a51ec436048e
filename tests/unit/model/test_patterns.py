from __future__ import annotations

import contextlib
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RuleError
from pipeline.model.patterns import tag_matcher
from tests.unit.model.tags import EVERY


@pytest.mark.parametrize(
    ("pattern", "tag", "expected"),
    [
        ("1.2", "1.2", True),
        ("1.2", "1.2.3", False),
        ("1.2*", "1.2", True),
        ("1.2*", "1.2.3", True),
        ("1.2*", "v1.2", False),
        ("1.?", "1.2", True),
        ("1.?", "1.", False),
        ("v[0-9]", "v7", True),
        ("v[!0-9]", "v7", False),
        ("v[^0-9]", "va", True),
        ("1.2", "1x2", False),
        ("V*", "v1", False),
        ("/1.2/", "v1x2-alpine", True),
        ("/^1/", "v1", False),
    ],
)
def test_what_patterns_match(pattern: str, tag: str, expected: object) -> None:
    """A literal or a glob has to match the whole tag; an expression matches anywhere."""
    assert expected == tag_matcher(pattern)(tag)


@pytest.mark.parametrize(
    "pattern",
    ["", "a/b", "a:b", "a b*", "-a*", ".*", "v[/]", "v[1", "é*", "x" * 129, "?" * 129, "/", "/a", "/(/"],
)
def test_unmatchable_pattern_is_refused(pattern: str) -> None:
    """A pattern that cannot match any tag is refused, instead of selecting nothing."""
    with pytest.raises(RuleError):
        tag_matcher(pattern)


def test_globs_are_linear() -> None:
    """A glob with many stars does not take exponential time."""
    assert not tag_matcher("*a" * 30 + "b")("a" * 128)


@given(st.text(st.sampled_from("v1.2-*?[]!a"), min_size=1, max_size=8), st.sampled_from(EVERY))
def test_globs_match_as_in_a_shell(pattern: str, tag: str) -> None:
    """An accepted glob means the same as in a shell."""
    with contextlib.suppress(RuleError):
        assert fnmatchcase(tag, pattern) == tag_matcher(pattern)(tag)
