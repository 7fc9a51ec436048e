from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.config.credentials import read_credentials
from pipeline.config.legacy import read_legacy
from pipeline.config.rules import Defaults, read_rules
from pipeline.model.reference import Repository

if TYPE_CHECKING:
    from pipeline.config.keyring import Keyring
    from pipeline.model.credential import Credential
    from pipeline.model.selection import Rule

EXAMPLE = Path(__file__).parents[3] / "example"
NO_DEFAULTS = Defaults(registry="", namespace="")
HOSTS = {"registry.example.com", "mirror.example.org"}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment without logins or any variable that the files use."""
    return {"HOME": str(tmp_path)}


def without_lines(rules: tuple[Rule, ...]) -> list[Rule]:
    """Rules without their line numbers."""
    return [replace(rule, line=0) for rule in rules]


def answers(keyring: Keyring) -> list[Credential]:
    """The credentials for each place where the examples differ."""
    places = [
        Repository(host, f"{folder}/x") for host in sorted(HOSTS) for folder in ("library", "team", "teams")
    ]
    return [replace(keyring.find(place), origin="") for place in places]


def test_rules_are_the_same_in_every_format(environ: dict[str, str]) -> None:
    """images.json, images.yaml and both config files hold the same valid rules."""
    files = [
        read_rules(EXAMPLE / f"images.{ending}", defaults=NO_DEFAULTS, environ=environ)
        for ending in ("yaml", "json")
    ]
    files += [
        read_legacy(EXAMPLE / f"config.{ending}", defaults=NO_DEFAULTS, environ=environ)[1]
        for ending in ("yaml", "json")
    ]

    expected = without_lines(files[0].rules)
    assert 9 == len(expected)
    assert [expected] * 4 == [without_lines(file.rules) for file in files]
    assert [((), ())] * 4 == [(file.bad, file.warnings) for file in files]


def test_credentials_are_the_same_in_every_format(environ: dict[str, str]) -> None:
    """auth.json, auth.yaml and both config files hold the same credentials, without variables."""
    read = [read_credentials((EXAMPLE / f"auth.{ending}",), environ=environ) for ending in ("yaml", "json")]
    for ending in ("yaml", "json"):
        keyring, _, warnings = read_legacy(
            EXAMPLE / f"config.{ending}", defaults=NO_DEFAULTS, environ=environ
        )
        read.append((keyring, warnings))

    expected = answers(read[0][0])
    users = ["writer", "robot$team+ci", "writer", "reader", "reader", "reader"]
    assert users == [credential.username for credential in expected]
    assert [(expected, ())] * 4 == [(answers(keyring), warnings) for keyring, warnings in read]


def test_examples_name_only_two_hosts(environ: dict[str, str]) -> None:
    """The examples name only two hosts, so that replacing these runs them against other registries."""
    rules = read_rules(EXAMPLE / "images.json", defaults=NO_DEFAULTS, environ=environ).rules

    found = {rule.source.registry for rule in rules}
    found |= {target.repository.registry for rule in rules for target in rule.targets}
    assert HOSTS == found


def test_pinned_manifest_matches_its_digest() -> None:
    """The bytes in the comment have the digest in the rules."""
    text = (EXAMPLE / "images.yaml").read_text()
    match = re.search(r'^# +(\{"schemaVersion".*\})$', text, re.MULTILINE)

    assert match is not None
    digest = hashlib.sha256(match[1].encode()).hexdigest()
    assert 2 == text.count(f"sha256:{digest}")


def test_commented_lines_are_valid(environ: dict[str, str], tmp_path: Path) -> None:
    """The commented lines are valid once uncommented."""
    variables = {"MIRROR": "mirror.example.org", "TAG": "x"}
    variables |= dict.fromkeys(("REGISTRY_USER", "REGISTRY_PASSWORD", "GOOGLE_KEY"), "x")
    for name, indented in (("images", "#   "), ("auth", "# ")):
        lines = (EXAMPLE / f"{name}.yaml").read_text().splitlines()
        entry = re.compile(rf"{indented}( *\S+: ?.*)")
        found = [match[1] for line in lines[-20:] if (match := entry.fullmatch(line))]
        (tmp_path / f"{name}.yaml").write_text(
            "\n".join(line for line in found if re.match(r" *[^ ]+:( [^ ]+)?$", line))
        )

    rules = read_rules(
        tmp_path / "images.yaml",
        defaults=Defaults(registry="mirror.example.org", namespace="team"),
        environ=environ | variables,
    )
    keyring, _ = read_credentials((tmp_path / "auth.yaml",), environ=environ | variables)

    assert (4, ()) == (len(rules.rules), rules.bad)
    assert "x" == keyring.find(Repository("registry.example.com", "private/x")).password
    assert "none" != keyring.find(Repository("registry.example.com", "public/x")).origin
    assert "_json_key_base64" == keyring.find(Repository("europe-docker.pkg.dev", "p/x")).username
