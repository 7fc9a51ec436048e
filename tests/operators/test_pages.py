"""Every block of every page is a command, a file or a sample that the program accepts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pipeline import __version__
from pipeline.cli.arguments import parse
from pipeline.config.credentials import read_credentials
from pipeline.config.rules import Defaults, read_rules
from pipeline.errors import UsageError
from tests.operators.pages import COMMANDS, PAGES, ROOT, Block, blocks, command_lines, inline_commands

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = [block for page in PAGES for block in blocks(page)]
SHOWN = {"console", "text"}
"""Samples of output, and drawings."""
OF_PAGES = {"rules.md": "images.yaml", "credentials.md": "auth.yaml"}
"""The file of a page's YAML, if neither its first line nor a mark names one."""
FILES = [block for block in BLOCKS if block.language == "yaml" and not block.marked("not run")]
named = pytest.mark.parametrize("block", FILES, ids=str)


def name_of(block: Block) -> str:
    """The name of the file in a block."""
    first = re.match(r"# (\S+\.yaml)\n", block.text)
    return block.marked("file") or (first[1] if first else OF_PAGES.get(block.page.name, ""))


def test_block_is_command_file_or_sample() -> None:
    """A block is a command, a file, or a sample; any other says why it is not tested."""
    known = SHOWN | {COMMANDS, "yaml"}

    assert [
        str(block) for block in BLOCKS if block.language not in known and not block.marked("not run")
    ] == []
    assert sum(block.language == COMMANDS for block in BLOCKS) > 15


def test_command_that_leaves_its_folder_is_not_run() -> None:
    """A command that leaves its folder is not run by the tests."""
    outside = re.compile(r"(?<![\w.])/(?:etc|usr|var|opt|root|home)/|~/|\bsudo\b")

    assert [
        str(block) for block in BLOCKS if outside.search(block.script) and not block.marked("not run")
    ] == []


@named
def test_files_of_pages_are_valid(block: Block, tmp_path: Path) -> None:
    """Rules and credentials of a page are read without a warning."""
    (path := tmp_path / name_of(block)).write_text(block.text)
    environ = {"HOME": str(tmp_path), **dict.fromkeys(re.findall(r"\$\{?([A-Z_]+)", block.text), "value")}
    if path.name == "images.yaml":
        read = read_rules(path, defaults=Defaults(registry="", namespace=""), environ=environ)
        assert ((), ()) == (read.bad, read.warnings)
    else:
        assert path.name == "auth.yaml", f"{block}: say which file this is: <!-- file: NAME -->"
        assert read_credentials((path,), environ=environ)[1] == ()


def refusal(words: list[str]) -> str:
    """The program's error about a command line, or empty."""
    if {"--help", "help", "--version", "-h", "--schema", "..."} & set(words):
        return ""
    try:
        parse(words, {"JOB_COMPLETION_INDEX": "0", "SLURM_ARRAY_TASK_ID": "0"})
    except UsageError as error:
        return f"{words}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_are_accepted(page: Path) -> None:
    """The program accepts every command line, including those of unrun blocks and of sentences."""
    scripts = [words for block in blocks(page) for words in command_lines(block.script)]

    assert [found for words in (*scripts, *inline_commands(page)) if (found := refusal(words))] == []


def test_image_tags_are_this_version() -> None:
    """Tags of the container image are this version's."""
    named = {tag for page in PAGES for tag in re.findall(r"image-syncer:(\d[\w.]*)", page.read_text())}

    assert named == {__version__}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.marked("not run")], ids=str)
def test_named_files_exist(block: Block) -> None:
    """A command that is not run names existing files of the project."""
    for name in re.findall(r"(?<![\w/])(?:example|scripts|docs)/[\w./-]+", block.text):
        assert (ROOT / name).exists(), name
