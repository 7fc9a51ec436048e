"""The files in docs/registries.md are valid as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config.credentials import read_credentials
from pipeline.config.rules import Defaults, read_rules

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "registries.md").read_text()
BLOCKS = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
"""The name in the first line of each block, and the rest."""
RECIPES = [part for part in PAGE.split("\n## ")[1:] if "```" in part]


def written(folder: Path, name: str) -> list[Path]:
    """A file for each block with that name."""
    found = [text for named, text in BLOCKS if named == name]
    paths = [folder / f"{number}-{name}" for number in range(len(found))]
    for path, text in zip(paths, found, strict=True):
        path.write_text(text)
    return paths


def test_each_recipe_has_both_files() -> None:
    """Each registry has one credentials file and one rules file, and the page has no other blocks."""
    assert ["auth.yaml", "images.yaml"] * len(RECIPES) == [name for name, _ in BLOCKS]
    assert 2 * PAGE.count("```yaml") == PAGE.count("```") == 4 * len(RECIPES)


def test_rules_are_valid(tmp_path: Path) -> None:
    """Every rule is valid and causes no warning."""
    for path in written(tmp_path, "images.yaml"):
        read = read_rules(path, defaults=Defaults(registry="", namespace=""), environ={})

        assert ((), ()) == (read.bad, read.warnings), path.read_text()
        assert read.rules


def test_credentials_are_valid_and_hold_no_secret(tmp_path: Path) -> None:
    """Every login and setting is valid and causes no warning, and the page holds no secret."""
    environ = {"HOME": str(tmp_path), **dict.fromkeys(re.findall(r"\$([A-Z_]+)", PAGE), "a secret")}
    for path in written(tmp_path, "auth.yaml"):
        _, warnings = read_credentials((path,), environ=environ)

        assert () == warnings, path.read_text()
        assert re.findall(r"password: ([^$].*)", path.read_text()) == []


@pytest.mark.parametrize("recipe", RECIPES, ids=[part.partition("\n")[0] for part in RECIPES])
def test_recipe_has_login_limits_and_oddities(recipe: str) -> None:
    """A recipe describes the login, the limits, and oddities."""
    assert re.findall(r"^- (\w+):", recipe, re.MULTILINE) == ["Login", "Limits", "Odd"]
