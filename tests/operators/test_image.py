"""The Dockerfile: its files exist, its commands work, and the image is used like the original's."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNREACHABLE = re.compile(r"No matching distribution|Max retries|NewConnectionError|name resolution|timed out")


def instructions() -> list[tuple[str, str]]:
    """Keyword and arguments of each instruction, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    pairs = (line.partition(" ") for line in lines if line.strip())
    return [(keyword, " ".join(rest.split())) for keyword, _, rest in pairs]


def of(keyword: str) -> list[str]:
    """The arguments of all instructions with that keyword."""
    return [rest for name, rest in instructions() if name == keyword]


def copied() -> list[tuple[list[str], str]]:
    """The files that are copied from the project, and their target."""
    words = [shlex.split(rest) for rest in of("COPY") if not rest.startswith("--from")]
    return [(sources, target) for *sources, target in words]


def test_docker_knows_every_instruction() -> None:
    """Every instruction is known to Docker, and both stages use Debian's image."""
    known = {
        "ARG", "FROM", "RUN", "COPY", "WORKDIR", "VOLUME", "USER", "ENTRYPOINT", "CMD", "ENV", "LABEL",
    }  # fmt: skip

    assert {keyword for keyword, _ in instructions()} <= known
    assert of("FROM") == ["debian:${DEBIAN} AS build", "debian:${DEBIAN}"]


def test_entrypoint_is_that_of_the_original() -> None:
    """Entrypoint and default file are those of the original image, and the records are in a volume."""
    assert json.loads(of("ENTRYPOINT")[0]) == ["image-syncer"]
    assert json.loads(of("CMD")[0]) == ["--config", "/etc/image-syncer/image-syncer.json"]
    assert (of("WORKDIR"), of("VOLUME")) == (["/"], ["/records"])
    assert of("USER") == ["65532:65532"]


def test_copied_files_exist() -> None:
    """The copied files are part of the project and not excluded by .dockerignore."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:].rstrip("/") for line in ignored if line.startswith("!")}
    sources = {source.rstrip("/") for names, _ in copied() for source in names}
    listing = ["git", "-c", "safe.directory=*", "ls-files"]  # the clone may belong to another account
    tracked = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("this is no clone, so nobody knows what belongs to the project")
    top = {name.partition("/")[0] for name in tracked.splitlines()}

    assert sources == let_in
    assert sources - top == set()
    assert "*" in ignored


@pytest.mark.timeout(600)
def test_build_makes_a_working_command(tmp_path: Path) -> None:
    """The build's own commands make a working command, using only packages whose hashes are in the lock."""
    places = {
        place: tmp_path / place.strip("/") for place in ("/src", "/build", "/wheels", "/opt/image-syncer")
    }
    (tmp_path / "src").mkdir()
    (tmp_path / "opt").mkdir()
    for sources, target in copied():
        for source in sources:
            there = Path(str(tmp_path) + target)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, there)
    stage = instructions()
    stage = stage[: [number for number, (keyword, _) in enumerate(stage) if keyword == "FROM"][1]]
    for script in (rest for keyword, rest in stage if keyword == "RUN" and "apt-get" not in rest):
        here = re.sub(
            r"(?<![\w.])(" + "|".join(places) + r")\b", lambda found: str(places[found[1]]), script
        ).replace("python3 -m venv", f"{sys.executable} -m venv")
        done = subprocess.run(["sh", "-ec", here], cwd="/", capture_output=True, text=True, check=False)
        if done.returncode and UNREACHABLE.search(done.stderr):
            pytest.skip(f"the packages cannot be had from here: {done.stderr.splitlines()[-1]}")
        assert done.returncode == 0, done.stderr

    command = places["/opt/image-syncer"] / "bin/image-syncer"
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    default = subprocess.run(
        [command, *json.loads(of("CMD")[0])], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.fullmatch(r"image-syncer \d+\.\d+\.\d+\n", version)
    assert default.returncode == 2
    assert "/etc/image-syncer/image-syncer.json" in default.stderr
    packages = places["/opt/image-syncer"].glob("lib/python*/site-packages/*.dist-info")
    names = {path.name.partition("-")[0].lower() for path in packages}
    assert {"requests", "diskcache", "google_re2"} <= names
    assert names & {"pytest", "mypy", "hatchling", "kubernetes_validate"} == set()
