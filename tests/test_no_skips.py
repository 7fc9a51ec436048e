"""In CI no skip goes unnoticed; elsewhere a skip is a skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SKIPS = {
    "by a mark": "@pytest.mark.skipif(True, reason='no zsh here')\ndef test(): pass",
    "in the test": "def test(): pytest.skip('no zsh here')",
    "by a fixture": "@pytest.fixture\ndef zsh(): pytest.skip('no zsh here')\ndef test(zsh): pass",
    "of the module": "pytest.skip('no zsh here', allow_module_level=True)",
    "for an import": "pytest.importorskip('zsh', reason='no zsh here')",
}


def run(folder: Path, text: str, *, ci: str) -> tuple[int, str]:
    """Exit status and output of pytest over a module of that text."""
    (folder / "test_one.py").write_text(f"import pytest\n{text}\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.no_skips", "-rs"]
    done = subprocess.run(
        [*command, "--rootdir", folder, folder],
        cwd=ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("way", SKIPS)
def test_skip_fails_in_ci(tmp_path: Path, way: str) -> None:
    """With CI=true a skipped test, fixture or module fails the run, and says why it was skipped."""
    code, output = run(tmp_path, SKIPS[way], ci="true")

    assert code != 0
    assert "no zsh here\nIn CI no test may be skipped." in output
    assert "1 error in" in output or "1 failed in" in output


@pytest.mark.parametrize("way", ["in the test", "of the module"])
def test_skip_passes_outside_ci(tmp_path: Path, way: str) -> None:
    """Outside CI a skip does not fail anything."""
    code, output = run(tmp_path, f"{SKIPS[way]}\n", ci="")

    assert code in {0, 5}  # 5: no test was left
    assert "1 skipped in" in output


def test_expected_failure_is_not_a_skip(tmp_path: Path) -> None:
    """An expected failure is not a skip."""
    code, output = run(tmp_path, "@pytest.mark.xfail(reason='known')\ndef test(): assert 0", ci="true")

    assert (code, "1 xfailed in" in output) == (0, True)
