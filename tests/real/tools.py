"""The programs of Debian that make and check real images, and how to install them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES: Mapping[str, str] = {
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "busybox": "busybox-static",
    "htpasswd": "apache2-utils",
    "openssl": "openssl",
}
"""Program -> Debian package."""


class ToolError(Exception):
    """A program failed; the message has its command line and its output."""


def missing() -> list[str]:
    """The programs of `PACKAGES` that this machine lacks."""
    return [program for program in PACKAGES if shutil.which(program) is None]


def advice(programs: list[str]) -> str:
    """One line: what is missing, and how to get it."""
    packages = " ".join(PACKAGES[program] for program in programs)
    return f"{', '.join(programs)} missing: run scripts/bootstrap as root, or apt-get install {packages}"


def run(*command: str, stdin: str = "") -> str:
    """Run a program to its end; returns its output.

    Raises:
        ToolError: the program could not be started, or its exit status is not 0.
    """
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        words = done.stderr.strip() or done.stdout.strip()
        raise ToolError(f"{' '.join(command)}: exit status {done.returncode}: {words}")
    return done.stdout
