"""The two READMEs: short, and equal except for their prose."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))


def test_translation_has_the_same_commands() -> None:
    """Both show the same files, samples, commands, flags and exit codes."""
    blocks = [re.findall(r"```\w+\n(.*?)```", text, re.DOTALL) for text in (ENGLISH, CHINESE)]
    commands = [set(re.findall(r"`(image-syncer[^`]*)`", text)) for text in (ENGLISH, CHINESE)]
    codes = [re.findall(r"^\| (\d[\d, 、]*) \|", text, re.MULTILINE) for text in (ENGLISH, CHINESE)]

    assert blocks[0] == blocks[1]
    assert commands[0] == commands[1]
    assert [code.replace(",", "、").replace(" ", "") for code in codes[0]] == codes[1]
    assert len(re.findall("^## ", ENGLISH, re.MULTILINE)) == len(re.findall("^## ", CHINESE, re.MULTILINE))


def test_translation_has_the_same_links() -> None:
    """Both show the same picture and link to the same pages."""
    links = [re.findall(r"\]\(([^)]+)\)", text) for text in (ENGLISH, CHINESE)]
    other = {"README.md", "README.zh-CN.md"}

    assert {*links[0]} - other == {*links[1]} - other
    assert [links[0].count("docs/display.svg"), links[1].count("docs/display.svg")] == [1, 1]
