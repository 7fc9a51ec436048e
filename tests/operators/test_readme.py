"""The two READMEs: short, and the same in what is not prose."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_short(name: str) -> None:
    """A README is read in a few minutes: 9 kB at most."""
    assert len((ROOT / name).read_bytes()) <= 9_216


def test_same_commands() -> None:
    """Both show the same files, commands, flags and exit codes."""
    blocks = [re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) for text in (ENGLISH, CHINESE)]
    commands = [set(re.findall(r"`(image-syncer[^`]*)`", text)) for text in (ENGLISH, CHINESE)]
    codes = [re.findall(r"^\| (\d[\d, 、]*) \|", text, re.MULTILINE) for text in (ENGLISH, CHINESE)]

    assert blocks[0] == blocks[1]
    assert commands[0] == commands[1]
    assert [code.replace(",", "、").replace(" ", "") for code in codes[0]] == codes[1]
    assert len(re.findall("^## ", ENGLISH, re.MULTILINE)) == len(re.findall("^## ", CHINESE, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Every link to a file of the project leads to one, and every anchor to a heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            heads = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, target
