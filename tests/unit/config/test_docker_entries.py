from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.model.reference import parse_repository
from tests.unit.config.test_docker import auth, place, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("part", "entry"),
    [
        ("auths", "hunter2"),
        ("auths", {"auth": "hunter2!"}),
        ("auths", {"auth": "aHVudGVyMg=="}),
        ("auths", {"password": ["hunter2"]}),
        ("credHelpers", 5),
    ],
)
def test_only_the_broken_entry_is_left_out(tmp_path: Path, part: str, entry: object) -> None:
    """A broken entry is reported by file and registry, without its secret, and the others are used."""
    config = {"auths": {"a.io": auth("first", "x"), "z.io": auth("last", "x")}}
    config.setdefault(part, {})["quay.io"] = entry  # type: ignore[assignment] # of another shape, on purpose
    place(tmp_path / ".docker" / "config.json", json.dumps(config))
    place(tmp_path / ".dockercfg", {"quay.io": auth("old", "x")})

    keyring, (warning,) = read(tmp_path)

    assert ("config.login_unreadable", "warning") == (warning.name, warning.level)
    assert warning.message.startswith("~/.docker/config.json: the ")
    assert " of quay.io is not used: " in warning.message
    assert "hunter2" not in warning.message
    found = [keyring.find(parse_repository(f"{host}/x")).username for host in ("a.io", "quay.io", "z.io")]
    assert ["first", "old", "last"] == found
