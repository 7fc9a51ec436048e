"""The units, checked with systemd's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.arguments import parse
from tests.operators.pages import ROOT, blocks
from tests.operators.queries import EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

UNITS = EXAMPLE / "systemd"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze judges the units: apt-get install systemd",
)
SERVICE = (UNITS / "image-syncer.service").read_text()


def setting(name: str) -> str:
    """The only value of a setting of the service."""
    [value] = re.findall(rf"^{name}=(.*)$", SERVICE, re.MULTILINE)
    return str(value)


@needs_systemd
def test_systemd_accepts_service_and_timer(tmp_path: Path) -> None:
    """Systemd accepts service and timer without a warning, once the command exists."""
    command = tmp_path / "image-syncer"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (tmp_path / "image-syncer.service").write_text(
        SERVICE.replace("ExecStart=image-syncer", f"ExecStart={command}")
    )
    shutil.copy(UNITS / "image-syncer.timer", tmp_path)
    units = [str(tmp_path / f"image-syncer.{kind}") for kind in ("service", "timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_exposure_is_low(tmp_path: Path) -> None:
    """Systemd rates the exposure of the service as low."""
    done = subprocess.run(
        [
            "systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager",
            str(UNITS / "image-syncer.service"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


@needs_systemd
def test_service_user_is_created() -> None:
    """The service's user is the one that systemd creates."""
    asked = ["systemd-sysusers", "--dry-run", str(UNITS / "image-syncer.conf")]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert f"user '{setting('User')}'" in done.stderr


def test_command_line_is_accepted() -> None:
    """The service's command line is accepted, and everything it writes is in its own folder."""
    path, *words = setting("ExecStart").split()
    options = parse([word.replace("${CREDENTIALS_DIRECTORY}", "/run/credentials") for word in words], {})
    state = f"/var/lib/{setting('StateDirectory')}"

    assert path == "image-syncer", "found where pipx and packages put it"
    assert {str(options.records.parent), str(options.metrics_file and options.metrics_file.parent)} == {state}
    assert setting("LoadCredential").split(":")[0] == options.auth[0].name


def test_systemd_waits_for_a_stopping_run() -> None:
    """Systemd waits longer than a stopping run may need."""
    assert parse([], {}).drain + 5 < float(setting("TimeoutStopSec").removesuffix("s"))
    assert setting("RestartPreventExitStatus") == "2"


@needs_systemd
def test_commands_of_the_page_install_all_files(tmp_path: Path) -> None:
    """The page's commands put all files in place, and the timer can be enabled then."""
    [install] = [block for block in blocks(ROOT / "docs/systemd.md") if block.text.startswith("install -d")]
    for name in ("images.yaml", "auth.yaml"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "example").symlink_to(EXAMPLE)
    root = tmp_path / "root"
    script = install.text.replace(" /etc/", f" {root}/etc/")
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True)
    subprocess.run(["systemctl", f"--root={root}", "enable", "image-syncer.timer"], check=True)

    assert (root / "etc/image-syncer/auth.yaml").stat().st_mode & 0o777 == 0o600
    assert (root / "etc/sysusers.d/image-syncer.conf").is_file()
    assert (root / "etc/systemd/system/timers.target.wants/image-syncer.timer").is_symlink()
