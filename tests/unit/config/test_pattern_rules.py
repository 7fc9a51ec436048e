"""Rules with a `*` in their source: what they expand to, and which are refused."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from pipeline.config.rules import Defaults, read_rules
from pipeline.errors import RuleError
from pipeline.model.expansion import areas_of, expanded
from tests.unit.config.words import write

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config.rules import RulesFile

NO_DEFAULTS = Defaults(registry="", namespace="")


def read(folder: Path, text: str, **environ: str) -> RulesFile:
    """The rules of a file."""
    return read_rules(write(folder, "images.yaml", text), defaults=NO_DEFAULTS, environ=environ)


def destinations(file: RulesFile, path: str) -> list[str]:
    """The destinations of the only rule for a repository."""
    (rule,) = file.rules
    return [f"{each.repository}:{each.tag}".rstrip(":") for each in expanded(rule, path).targets]


@pytest.mark.parametrize(
    ("rule", "path", "found"),
    [
        ("harbor.corp/team/**: mirror.corp/team/", "team/a/b", "mirror.corp/team/a/b"),
        ("harbor.corp/team/**: mirror.corp/x/{path}", "team/a/b", "mirror.corp/x/team/a/b"),
        ("ghcr.io/team/*: docker.io/acme/mirrored-{flat}", "team/api", "docker.io/acme/mirrored-team-api"),
        ("ghcr.io/team/*: acme/mirrored-{flat}", "team/api", "docker.io/acme/mirrored-team-api"),
        ("r.io:5000/team/*: m.io/{registry}/{rest}:old-{tag}", "team/a", "m.io/r.io-5000/a:old-{tag}"),
        ("r.io/team/api-*: m.io/{namespace}/x-{name}", "team/api-1", "m.io/team/x-api-1"),
        ("r.io/**: m.io/{rest}", "a/b", "m.io/a/b"),
        ("r.io/*/api: $MIRROR/{rest}", "team/api", "m.io/team/api"),
    ],
)
def test_template_gives_each_destination(tmp_path: Path, rule: str, path: str, found: str) -> None:
    """A template or a trailing slash gives the destination of each repository."""
    file = read(tmp_path, rule, MIRROR="m.io")

    assert file.bad == ()
    assert destinations(file, path) == [found]


def test_options_apply_to_every_repository(tmp_path: Path) -> None:
    """Two destinations, a filter and the options of the file apply to every repository."""
    text = """
.defaults:
  repositories: {exclude: ["sandbox/**", "*-test"]}
  retries: 7
harbor.corp/team/**:
  to: ["mirror-a.corp/team/{rest}", "mirror-b.corp/backup/{registry}/{path}"]
  tags: {newest: 3}
"""
    file = read(tmp_path, text)
    (rule,) = file.rules
    assert rule.expansion is not None
    child = pickle.loads(pickle.dumps(expanded(rule, "team/a/b")))

    assert [rule.expansion.pattern.matches(f"team/{name}") for name in ("a", "sandbox/a", "a-test")] == [
        True, False, False,
    ]  # fmt: skip
    assert destinations(file, "team/a/b") == [
        "mirror-a.corp/team/a/b", "mirror-b.corp/backup/harbor.corp/team/a/b",
    ]  # fmt: skip
    assert (child.text, child.number, child.options.retries) == ("harbor.corp/team/a/b", rule.number, 7)
    assert [str(area) for area in areas_of(rule)] == [
        "mirror-a.corp/team", "mirror-b.corp/backup/harbor.corp/team",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("r.io/team/*: m.io/one", "would become one"),
        ("r.io/team/*:", "needs a destination"),
        ("r.io/team/*: m.io/{nam}", "not a placeholder"),
        ("r.io/team/*: '{name}/x'", "cannot name the registry"),
        ("r.io/team/*: m.io/{rest}:{tag}x{", ""),
        ("r.io/team/*:v1: m.io/x/", "not part of a repository's name"),
        ("r.io/Team/*: m.io/x/", "not part of a repository's name"),
        ("team/*: m.io/x/", "names no registry"),
        ("r.io/team/*: $MIRROR/", "is not set"),
        ("r.io/team/*: {to: m.io/x/, repositories: {include: ['/']}}", "not a pattern"),
        ("r.io/team/a: {to: m.io/x/, repositories: {include: ['a']}}", "is for a source with *"),
    ],
)
def test_senseless_pattern_rule_is_refused(tmp_path: Path, rule: str, words: str) -> None:
    """A pattern rule that makes no sense fails with the reason."""
    file = read(tmp_path, rule)

    (bad,) = file.bad
    assert words in bad.reason


def test_repository_with_own_key_is_excluded(tmp_path: Path) -> None:
    """A repository with its own key is excluded from a pattern; a key for one tag does not exclude it."""
    text = """
r.io/team/*: m.io/x/
r.io/team/a: m.io/own/a
r.io/team/b:v1: m.io/own/b
r.io/other/c: m.io/own/c
"""
    pattern, *_ = read(tmp_path, text).rules

    assert pattern.expansion is not None
    assert pattern.expansion.apart == {"team/a"}


def test_invalid_destination_fails_alone(tmp_path: Path) -> None:
    """A listed repository without a valid destination fails alone."""
    (rule,) = read(tmp_path, "r.io/team/*: m.io/a/very/long/way/to/{flat}").rules

    with pytest.raises(RuleError):
        expanded(rule, f"team/{'a' * 240}")
