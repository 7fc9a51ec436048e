"""The short limits of chaos, which refer to constants of the command by name."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_shortened_settings_exist(tmp_path: Path) -> None:
    """Every constant and setting that chaos shortens exists under that name."""
    words = [sys.executable, "-m", "tests.chaos.hurried", "plan", "--images", "missing.yaml"]
    found = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert (found.returncode, "missing.yaml" in found.stderr) == (2, True), found.stderr
