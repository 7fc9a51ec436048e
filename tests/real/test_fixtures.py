"""Missing Debian programs are reported, and in CI they are a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("ci", "status", "word"), [("", 0, "1 skipped"), ("true", 1, "1 error")])
def test_missing_programs_skip_or_fail_in_ci(tmp_path: Path, ci: str, status: int, word: str) -> None:
    """Without a real registry a test that needs one is skipped, fails in CI, and says what to install."""
    chosen = "tests/real/test_servers.py::test_deletion_must_be_enabled"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", chosen],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "CI": ci, "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert status == done.returncode
    assert f"{word} in " in done.stdout
    assert (
        "docker-registry, skopeo, umoci, busybox, htpasswd, openssl missing: run scripts/bootstrap"
        in done.stdout
    )
