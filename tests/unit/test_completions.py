"""The completions that the wheel ships, tested in the shells of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "completions"
ASK = """
source "$1"; shift
COMP_WORDS=(image-syncer "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
complete -p image-syncer >/dev/null || exit 1
_shtab_image_syncer image-syncer "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(*words: str) -> set[str]:
    """Bash's completions for the last of the words."""
    script = FOLDER / "image-syncer.bash"
    asked = ("bash", "--norc", "-c", ASK, "bash", str(script), *words)
    done = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--log-",), {"--log-format", "--log-level"}),
        (("--log-format", ""), {"text", "logfmt", "json"}),
        (("co",), {"copy"}),
    ],
)
def test_bash_offers_flags_values_and_verbs(words: tuple[str, ...], expected: set[str]) -> None:
    """Bash offers flags, their values and verbs."""
    assert offered(*words) == expected


def test_bash_offers_files() -> None:
    """Bash offers files for flags that take one."""
    assert "README.md" in offered("--images", "READ")


@pytest.mark.parametrize(("shell", "name"), [("zsh", "_image-syncer"), ("fish", "image-syncer.fish")])
def test_other_shells_can_parse_theirs(shell: str, name: str) -> None:
    """The other shells can parse theirs."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed; apt-get install {shell}")
    done = subprocess.run([shell, "-n", str(FOLDER / name)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
