from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.config.legacy import read_legacy
from pipeline.config.rules import Defaults, RulesFile
from pipeline.errors import FileError
from pipeline.model.reference import parse_repository
from tests.unit.config.words import write

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config.keyring import Keyring
    from pipeline.log import Event


def read(folder: Path, name: str, text: str, **environ: str) -> tuple[Keyring, RulesFile, tuple[Event, ...]]:
    """A file of both kinds, without docker login files."""
    defaults = Defaults(registry="", namespace="")
    return read_legacy(write(folder, name, text), defaults=defaults, environ={"HOME": str(folder), **environ})


JSON = '{"Auth": {"Quay.io": {"Username": "u", "password": "$P"}}, "Images": {"nginx": "quay.io/x", "": "y"}}'
YAML = "auth:\n  quay.io: {username: u, password: $P}\nimages:\n  nginx: quay.io/x\n  '': y\n"


@pytest.mark.parametrize(("name", "text"), [("config.json", JSON), ("config.yaml", YAML)])
def test_credentials_and_rules_are_read(tmp_path: Path, name: str, text: str) -> None:
    """Credentials with variables, and rules, are read from one JSON or YAML file."""
    keyring, rules, warnings = read(tmp_path, name, text, P="s3cret")

    assert "s3cret" == keyring.find(parse_repository("quay.io/x")).password
    assert (["nginx"], [1]) == ([one.text for one in rules.rules], [bad.number for bad in rules.bad])
    assert () == warnings


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{}", ["config.no_credentials"]),
        ("images: {}", ["config.no_credentials"]),
        ("auth:\nimages:\n", []),
        ("auth: {}\nimages: {}\nproc: 5\n", ["config.unknown_key"]),
        ("auth: {}\nimages: {a: b, a: c}\n", ["config.duplicate_key"]),
    ],
)
def test_missing_unknown_and_duplicate_parts(tmp_path: Path, text: str, names: list[str]) -> None:
    """Missing credentials, unknown and duplicate keys are warnings; a file without rules is valid."""
    _, rules, warnings = read(tmp_path, "config.yaml", text)

    assert () == rules.bad
    assert names == [warning.name for warning in warnings]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"auth": {}}', ":1:1: the key images is missing"),
        ('{"image": {}}', ":1:1: the key images is missing"),
        ("[]", ":1:1: the file must be a map, not a list"),
        ('{"auth": [], "images": {}}', ":1:10: the credentials must be a map, not a list"),
        ('{"images": "x"}', ":1:12: the rules must be a map, not text"),
    ],
)
def test_invalid_file_gets_one_clear_error(tmp_path: Path, text: str, words: str) -> None:
    """The error names file, line, column and what to write instead."""
    with pytest.raises(FileError) as caught:
        read(tmp_path, "config.json", text)

    assert str(caught.value).startswith(f"{tmp_path}/config.json{words}")


def test_rules_may_have_options(tmp_path: Path) -> None:
    """The rules of a single file may have options and .defaults, as in a separate file."""
    text = "images:\n  .defaults: {platforms: linux/amd64}\n  nginx: {to: r.io/x, tags: {newest: 3}}\n"

    _, rules, _ = read(tmp_path, "config.yaml", text)

    assert () == rules.bad
    (rule,) = rules.rules
    assert ("linux/amd64", 3) == (str(rule.options.platforms), rule.options.tags and rule.options.tags.newest)


def test_rules_may_be_merged(tmp_path: Path) -> None:
    """Rules of a single file may be merged from another of its maps, as in older files."""
    text = "common: &common {nginx: quay.io/x}\nimages: {<<: *common, redis: quay.io/y}\n"

    _, rules, _ = read(tmp_path, "config.yaml", text)

    assert ({"nginx", "redis"}, ()) == ({rule.text for rule in rules.rules}, rules.bad)
