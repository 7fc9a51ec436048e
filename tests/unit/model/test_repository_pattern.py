"""Patterns of repositories: which ones they match, what `{rest}` stands for, and which are refused."""

from __future__ import annotations

import pickle
import time

import pytest

from pipeline.errors import RuleError
from pipeline.model.repository_pattern import (
    below,
    is_repository_pattern,
    parse_repository_pattern,
    path_matcher,
)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("team/*", ["team/a", "team/a-b"], ["team", "team/a/b", "teams/a", "other/a"]),
        ("team/**", ["team/a", "team/a/b", "team/a/b/c"], ["team", "teams/a", "x/team/a"]),
        ("**", ["a", "a/b", "a/b/c"], []),
        ("*", ["a"], ["a/b"]),
        ("team/api-*", ["team/api-1", "team/api-"], ["team/api", "team/api-1/x"]),
        ("team/*/api", ["team/x/api"], ["team/api", "team/x/y/api"]),
        ("team/**/api", ["team/api", "team/x/api", "team/x/y/api"], ["team/x", "team/api/x"]),
        ("**/api", ["api", "x/api", "x/y/api"], ["x/apis"]),
        ("team/a*/**", ["team/ab/c", "team/a/b/c"], ["team/ab", "team/b/c"]),
        ("team/[ab]*", ["team/a1", "team/b"], ["team/c"]),
    ],
)
def test_single_and_double_stars(pattern: str, matching: list[str], other: list[str]) -> None:
    """`*` stays within a part of the path, `**` crosses parts, and both are anchored at the start."""
    found = parse_repository_pattern(f"r.io/{pattern}")

    assert [path for path in (*matching, *other) if found.matches(path)] == matching


@pytest.mark.parametrize(
    ("pattern", "fixed", "path", "rest"),
    [
        ("team/**", "team", "team/a/b", "a/b"),
        ("team/api-*", "team", "team/api-1", "api-1"),
        ("team/*/api", "team", "team/x/api", "x/api"),
        ("**", "", "team/a", "team/a"),
        ("a/b/*", "a/b", "a/b/c", "c"),
    ],
)
def test_rest_begins_at_the_first_star(pattern: str, fixed: str, path: str, rest: str) -> None:
    """The fixed part ends before the first part with a `*`; {rest} begins there."""
    found = parse_repository_pattern(f"r.io/{pattern}")

    assert (found.fixed, found.rest(path)) == (fixed, rest)


def test_include_and_exclude_match_below_the_fixed_part() -> None:
    """`include` and `exclude` match the path below the fixed part, and exclude wins."""
    found = parse_repository_pattern(
        "r.io/team/**", include=("api/**", "web", "/^x[0-9]/"), exclude=("api/internal/**", "*-test")
    )
    paths = ["team/api/a", "team/api/internal/b", "team/web", "team/x1", "team/web-test", "team/other"]

    assert [path for path in paths if found.matches(path)] == ["team/api/a", "team/web", "team/x1"]


@pytest.mark.parametrize(
    "text",
    [
        "team/*",
        "*/team",
        "r.io/Team/*",
        "r.io/team//*",
        "r.io/team/*:v1",
        "r.io/../*",
        "r.io/*/",
        "r.io/" + "*/" * 40 + "*",
    ],
)
def test_invalid_pattern_is_refused(text: str) -> None:
    """A pattern names its registry, and its parts are valid in a repository."""
    with pytest.raises(RuleError):
        parse_repository_pattern(text)


@pytest.mark.parametrize("pattern", ["", "/", "/a", "a/", "/(/"])
def test_unmatchable_filter_is_refused(pattern: str) -> None:
    """A filter that cannot match anything, or is not a valid expression, is refused."""
    with pytest.raises(RuleError):
        path_matcher(pattern)


def test_docker_hub_aliases_are_resolved() -> None:
    """Docker Hub's aliases are resolved as in other sources."""
    assert str(parse_repository_pattern("index.docker.io/acme/*")) == "docker.io/acme/*"


def test_namespace_without_star_means_everything_below() -> None:
    """A namespace without a `*` means everything below it; an empty one means the whole registry."""
    assert str(below("r.io", "team")) == "r.io/team/**"
    assert below("r.io", "").matches("a")
    assert not is_repository_pattern("r.io/team")


def test_pattern_survives_pickling() -> None:
    """A pattern can be pickled for a worker."""
    found = pickle.loads(pickle.dumps(parse_repository_pattern("r.io/team/**", exclude=("x",))))

    assert (found.matches("team/a"), found.matches("team/x")) == (True, False)


def test_many_stars_are_matched_quickly() -> None:
    """A long name and a pattern with many stars are matched quickly."""
    matches = path_matcher("/".join(["**", "*a*a*a*a*"] * 8))
    began = time.process_time()

    assert not matches("/".join(["a" * 20] * 12) + "/b")
    assert time.process_time() - began < 1.0
