"""Blocks of the pages: commands, files and samples, each with the mark above it.

A mark is an HTML comment: `not run: WHY` (the commands are only parsed), `file: NAME` (the block is that
file for the commands of its page), `exit: CODE` (the exit code of the commands).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/*.md", "example/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    # tests/e2e/test_log_queries.py answers the questions of one; the other is printed by the parser itself.
    if path.name not in {"log-queries.md", "commands.md"}
]
COMMANDS = "sh"
"""The language of commands, including indented blocks."""
_FENCE = re.compile(r"```(\w*)")
_MARK = re.compile(r"<!-- (not run|file|exit): (.+) -->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced or indented block of a page."""

    page: Path
    line: int
    language: str
    text: str
    mark: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        """The place of its start."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def marked(self, kind: str) -> str:
        """The text of a mark of that kind; empty without one."""
        return self.mark[1] if self.mark[0] == kind else ""

    @property
    def script(self) -> str:
        """The commands; in a sample of output those after a prompt."""
        if self.language == "console":
            return "\n".join(re.findall(r"^\$ (.*)$", self.text, re.MULTILINE))
        return self.text if self.language == COMMANDS else ""


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    lines, number, mark = page.read_text().splitlines(), 0, ("", "")
    while number < len(lines):
        start, line = number, lines[number]
        fence = _FENCE.fullmatch(line)
        if fence:
            end = lines.index("```", start + 1)
            body, language, number = lines[start + 1 : end], fence[1], end + 1
        elif line.startswith("    ") and _begins(lines, start):
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            body, language = lines[start:number], COMMANDS
        else:
            number += 1
            if line:
                found = _MARK.fullmatch(line)
                mark = (found[1], found[2]) if found else ("", "")
            continue
        text = "\n".join(each.removeprefix("    ") if not fence else each for each in body)
        yield Block(page=page, line=start + 1, language=language, text=text + "\n", mark=mark)
        mark = ("", "")


def _begins(lines: list[str], number: int) -> bool:
    """Whether an indented line is code: it follows an empty line or a mark, and is not part of a list."""
    before = [line for line in lines[:number] if line and not _MARK.fullmatch(line)]
    gap = number == 0 or not lines[number - 1] or _MARK.fullmatch(lines[number - 1])
    return bool(gap) and not (before and before[-1].startswith(("- ", "  ")))


def command_lines(script: str) -> Iterator[list[str]]:
    """The arguments of every command that calls `image-syncer`, even inside a container."""
    text = ""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(text + line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # quotes that end in a later line
            text += line + " "
            continue
        text, command = "", list[str]()
        for word in (*words, "|"):
            if set(word) - set("|&;"):
                command.append(word)
                continue
            place = command.index("image-syncer") if "image-syncer" in command else -1
            before = command[: max(place, 0)]
            if place == 0 or before[-1:] == ["--"] or before[:2] == ["docker", "run"]:
                yield command[place + 1 :]
            command = []


def inline_commands(page: Path) -> list[list[str]]:
    """The arguments of command lines inside sentences."""
    prose = re.sub(r"^```.*?^```|^    .*?$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(found) for found in re.findall(r"`image-syncer ([^`]*)`", prose)]
