"""Helpers that run `status`, for its tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.e2e.test_death import fill, prepare

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


def sixteen(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """Sixteen images in four repositories of a source, and an empty mirror."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    return source, mirror


def ask(command: Command, *flags: str) -> tuple[int, dict[str, Any]]:
    """The JSON output of status."""
    result = command.run("status", "--json", *flags)
    assert result.text == ""
    assert result.output.count("\n") == 1
    return result.code, json.loads(result.output)


def assert_refused(result: Result, words: str) -> None:
    """Standard error has one line, standard output none, and the exit code is 3."""
    assert (result.code, result.output, result.text.count("\n")) == (3, "", 1), result.text
    assert f"image-syncer: error: {words}" in result.text
