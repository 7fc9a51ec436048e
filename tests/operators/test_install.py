"""The page on installation matches the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/install.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    """The package names of requirements."""
    return {match[0] for each in requirements if (match := re.match(r"[A-Za-z0-9-]+", each))}


def test_install_without_re2() -> None:
    """The command for machines without google-re2 installs every other required package."""
    (line,) = re.findall(r"^    pip install --no-deps \. && pip install (.*)$", PAGE, re.MULTILINE)

    assert set(line.split()) == names(PROJECT["dependencies"]) - {"google-re2"}


def test_documented_extras_exist() -> None:
    """The page explains exactly the extras that exist."""
    assert set(re.findall(r"pip install '\.\[(\w+)\]'", PAGE)) == set(PROJECT["optional-dependencies"])
