"""The commands of the pages, run unchanged between registries that have the pages' names."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.public_names import certify, serve
from tests.operators.pages import PAGES, ROOT, blocks
from tests.registry.content import image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.e2e.public_names import Names
    from tests.operators.pages import Block

HOSTS = ("docker.io", "quay.io", "registry.example.com")
TAGS = {
    "quay.io/coreos/etcd": ["v3.4.15", "v3.5.0"],
    "docker.io/library/nginx": ["1.27", "1.27-alpine", "1.28-alpine"],
    "docker.io/library/python": ["3.13.9", "3.14.0", "3.14.0-alpine", "3.15.0a2", "latest"],
}
RUNNABLE = {
    page: found
    for page in PAGES
    if (found := [block for block in blocks(page) if block.script and not block.marked("not run")])
}
CHART = """#!/bin/sh
echo '  image: "docker.io/library/nginx:1.27"'
echo '  image: quay.io/coreos/etcd:v3.5.0'
"""
"""A replacement for helm."""
pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="pages use jq: apt-get install jq")


class Shell:
    """A shell in a folder with the files of the README, on a machine with image-syncer."""

    def __init__(self, command: Command, names: Names) -> None:
        """See the class."""
        self.command, self.names = command, names
        programs = command.folder / "bin"
        programs.mkdir()
        started = " ".join(command.words())
        for name, text in {"image-syncer": f'#!/bin/sh\nexec {started} "$@"\n', "helm": CHART}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        command.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        command.environ["MIRROR_PASSWORD"] = "secret"
        self.write_files(ROOT / "README.md")

    def write_files(self, page: Path) -> None:
        """Write the files that a page shows."""
        for block in blocks(page):
            if name := block.marked("file"):
                self.command.write(name, block.text)

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """Run a block."""
        words = ["bash", "-e", "-o", "pipefail", "-c", block.script]
        return subprocess.run(
            words, cwd=self.command.folder, env=self.command.environ,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for the names."""
    return certify(tmp_path_factory.mktemp("names"), HOSTS)


@pytest.fixture
def shell(command: Command, certificates: Path) -> Iterator[Shell]:
    """The shell, and registries with the content that the pages name."""
    with serve(certificates, HOSTS) as names:
        for repository, tags in TAGS.items():
            host, _, path = repository.partition("/")
            for tag in tags:
                names[host].add(path, image(layer(f"{repository}:{tag}")), tag)
        command.environ |= names.environ
        yield Shell(command, names)


def leave_a_log(shell: Shell) -> None:
    """The JSON log of a run in which one image failed."""
    shell.command.write("missing.yaml", "quay.io/coreos/etcd:v0: registry.example.com/mirror/etcd\n")
    flags = ("--log", "run.log", "--log-format", "json", "--retries", "0")
    assert shell.command.run("--images", "missing.yaml", *flags).code == 1


def leave_a_shard(shell: Shell) -> None:
    """The list of failures of a shard, whose causes are fixed by now."""
    leave_a_log(shell)
    assert shell.command.run("--images", "missing.yaml", "--retries", "0", "--shard", "0/1").code == 1
    shell.names["quay.io"].add("coreos/etcd", image(layer("late")), "v0")


def leave_images(shell: Shell) -> None:
    """Copy the images that the README names."""
    assert shell.command.run().code == 0


BEFORE = {
    "docs/before-and-after.md": leave_images,
    "docs/reading-a-run.md": leave_a_log,
    "docs/many-machines.md": leave_a_shard,
}


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_end_as_the_page_says(page: Path, shell: Shell) -> None:
    """Every command of a page ends as the page says."""
    shell.write_files(page)
    BEFORE.get(str(page.relative_to(ROOT)), lambda _: None)(shell)

    for block in RUNNABLE[page]:
        done = shell.run(block)

        assert done.returncode == int(block.marked("exit") or 0), f"{block}: {done.stdout}{done.stderr}"
