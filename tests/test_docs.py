"""The pages for readers: their links resolve, and what they name exists."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from pipeline import __version__

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "example/**/*.md")
    for path in ROOT.glob(pattern)
)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]+)*(?:/|\.py\b)|(?<=`)[\w.*-]+(?:/[\w.*-]+)+(?=`)")
"""A path in a page: a folder with its slash, a Python file, or anything with a slash between backticks."""


@cache
def text_of(page: Path) -> str:
    """A page without its fenced examples."""
    return FENCED.sub("", (ROOT / page).read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in HEADING.findall(text_of(page)))
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_resolve(page: Path) -> None:
    """Every relative link of a page leads to a file of the project, and its anchor to a heading there."""
    broken = []
    for link in LINK.findall(text_of(page)):
        target, _, anchor = link.partition("#")
        if ":" in target:
            continue
        path = (ROOT / page.parent / target).resolve() if target else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.relative_to(ROOT))):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.parts[0] == "docs"], ids=str)
def test_every_page_is_linked(page: Path) -> None:
    """README links every page of docs/."""
    assert f"({page.as_posix()})" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_readme_is_short(name: str) -> None:
    """README has less than 9,000 bytes: details belong into docs/."""
    assert len((ROOT / name).read_bytes()) < 9000


def test_architecture_names_existing_files() -> None:
    """Every file and folder that the page on the architecture names exists, in pipeline/ or at the top."""
    named = {path for path in PATH.findall((ROOT / "docs/architecture.md").read_text()) if "VERB" not in path}

    assert len(named) > 40
    assert {
        path for path in named if not any(ROOT.glob(path)) and not any(ROOT.glob(f"pipeline/{path}"))
    } == set()


def test_architecture_names_every_package() -> None:
    """The architecture page names every package and top module of pipeline/."""
    page = (ROOT / "docs/architecture.md").read_text()
    parts = {path.name + "/" for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for path in (ROOT / "pipeline").glob("*.py")} - {"__init__.py"}

    assert {part for part in parts | modules if f" {part}" not in page} == set()


def test_named_make_targets_exist() -> None:
    """Every `make` target that a page names is one of the Makefile's."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(
            r"(?:^    |`)make ([a-z][\w-]*)", (ROOT / page).read_text(), flags=re.MULTILINE
        )
    }

    assert named - targets == set()


def test_changelog_starts_with_this_version() -> None:
    """The newest entry of the changelog is the version of the program."""
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert __version__ == versions[0]


def test_package_states_its_licence() -> None:
    """The package states its licence by its SPDX name, and ships its text."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert ("Apache-2.0", ["LICENSE"]) == (project["license"], project["license-files"])
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()
