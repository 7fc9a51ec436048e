from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.observe.choice import choose

if TYPE_CHECKING:
    from pipeline.observe.choice import ProgressMode

TERM = {"TERM": "xterm"}


@pytest.mark.parametrize(
    ("asked", "is_terminal", "is_quiet", "environ", "expected"),
    [
        ("auto", True, False, TERM, "live"),
        ("auto", False, False, TERM | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}, "plain"),
        ("auto", True, True, TERM, "plain"),
        ("auto", True, False, TERM | {"CI": "true"}, "plain"),
        ("auto", True, False, TERM | {"NO_COLOR": "1"}, "live"),
        ("auto", True, False, {"TERM": "dumb"}, "plain"),
        ("auto", True, False, {}, "plain"),
        ("live", True, True, TERM | {"CI": "true"}, "live"),
        ("live", False, False, TERM, "plain"),
        ("live", True, False, {"TERM": "dumb"}, "plain"),
        ("plain", True, False, TERM, "plain"),
        ("none", True, False, TERM, "none"),
    ],
)
def test_when_the_view_is_live(
    asked: ProgressMode, *, is_terminal: bool, is_quiet: bool, environ: dict[str, str], expected: str
) -> None:
    """The view is live only on a terminal with cursor movements, if a user watches it or requests it."""
    assert expected == choose(asked, is_terminal=is_terminal, is_quiet=is_quiet, environ=environ)


def test_rich_is_not_imported_without_a_view() -> None:
    """A run that shows no live view imports neither rich nor jinja2."""
    script = "import sys, pipeline.commands.sync; print([m for m in ('rich', 'jinja2') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


def test_log_does_not_import_rich() -> None:
    """The log does not import rich with structlog, and rich can be imported afterwards."""
    script = (
        "import sys; from pipeline.log import open_log; open_log(None, level='info', run='7f3a');"
        " print('structlog' in sys.modules, 'rich' in sys.modules); import rich; print(rich.__name__)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert found.stdout == "True False\nrich\n"
