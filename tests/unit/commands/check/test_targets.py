"""What rules need from registries."""

from __future__ import annotations

from pipeline.commands.check.targets import CheckTarget, targets_by_registry
from pipeline.config.rules import make_defaults, rule_from_words
from pipeline.model.reference import parse_repository

DIGEST = f"sha256:{'0' * 64}"


def targets_of(*rules: tuple[str, ...]) -> list[tuple[str, str, str, bool]]:
    """Side, repository, name and whether the tag list is needed, in order."""
    defaults = make_defaults("", "")
    naming = (":", "@")
    read = [
        rule_from_words(
            words[0],
            words[1:],
            defaults=defaults,
            environ={},
            all_tags=not any(mark in words[0] for mark in naming),
        )
        for words in rules
    ]
    found = targets_by_registry(read)
    return [(a.side, str(a.repository), a.name, a.lists) for held in found.values() for a in held]


def test_first_name_is_checked_on_both_sides() -> None:
    """The first tag or digest of a rule is checked on both sides, renamed if the rule renames it."""
    assert targets_of(
        ("s.io/a:v1,v2", "d.io/a"), ("s.io/b:v1,v2", "d.io/b:w1,w2"), (f"s.io/c@{DIGEST}", "d.io/c")
    ) == [
        ("source", "s.io/a", "v1", False),
        ("source", "s.io/b", "v1", False),
        ("source", "s.io/c", DIGEST, False),
        ("destination", "d.io/a", "v1", False),
        ("destination", "d.io/b", "w1", False),
        ("destination", "d.io/c", DIGEST, False),
    ]


def test_which_rules_need_the_tag_list() -> None:
    """Rules for all tags or an expression need the tag list at the source, and any tag at the destination."""
    assert targets_of(("s.io/a", "d.io/a"), ("s.io/b:/^v/", "d.io/b")) == [
        ("source", "s.io/a", "", True),
        ("source", "s.io/b", "", True),
        ("destination", "d.io/a", "latest", False),
        ("destination", "d.io/b", "latest", False),
    ]


def test_one_target_for_each_repository_and_side() -> None:
    """Rules for one repository share one target for each side."""
    assert targets_of(
        ("nginx", "r.io/a"), ("docker.io/library/nginx:v1", "r.io/a", "r.io/b"), ("r.io/a:v2", "r.io/b")
    ) == [
        ("source", "docker.io/library/nginx", "v1", True),
        ("destination", "r.io/a", "latest", False),
        ("destination", "r.io/b", "v1", False),
        ("source", "r.io/a", "v2", False),
    ]


def test_targets_are_grouped_by_registry() -> None:
    """Targets are grouped by registry in the order of the rules, with aliases merged."""
    defaults = make_defaults("", "")
    rule = rule_from_words(
        "nginx:1", ["r.io:5000/a", "r.io/a", "index.docker.io/me/a"], defaults=defaults, environ={}
    )

    found = targets_by_registry([rule])

    assert list(found) == ["docker.io", "r.io:5000", "r.io"]
    assert found["docker.io"][1] == CheckTarget(
        side="destination", repository=parse_repository("me/a"), name="1"
    )
