"""The GitHub Action: its inputs, its script as a runner runs it, and the workflows in example/."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = sorted((ROOT / "example/github").glob("*.yml"))
ORIGINAL = {"auth_file", "images_file", "version", "proc"}
"""Inputs of image-sync-action, the original's action."""
HOSTILE = "</pre><img src=x onerror=alert(1)> ::set-output name=a::b\n## heading ${{ secrets.X }}"


def scripts(steps: list[dict[str, Any]]) -> list[str]:
    """The scripts that a shell runs."""
    return [step["run"] for step in steps if "run" in step]


def test_inputs() -> None:
    """Every input reaches the command through the environment, and the original's inputs are among them."""
    steps = ACTION["runs"]["steps"]
    given = {value for step in steps for value in step.get("env", {}).values()}
    unused = {"version"}

    assert set(ACTION["inputs"]) >= ORIGINAL
    assert {f"${{{{ inputs.{name} }}}}" for name in set(ACTION["inputs"]) - unused} <= given
    assert not [text for text in scripts(steps) if "${{" in text]


def test_page() -> None:
    """The page on workflows explains every input and output."""
    page = (ROOT / "docs/github.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    outputs = page.partition("\nOutputs: ")[2].partition(".")[0]

    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == {*ACTION["inputs"]}
    assert {*re.findall(r"`([\w-]+)`", outputs)} == {*ACTION["outputs"]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows(path: Path) -> None:
    """An example uses known inputs, and no script contains inputs or secrets."""
    workflow = yaml.safe_load(path.read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ours = [step for step in steps if step.get("uses", "").startswith("image-syncer/")]

    assert len(ours) == 1
    assert set(ours[0]["with"]) <= set(ACTION["inputs"])
    assert not [text for text in scripts(steps) if "${{" in text]
    assert not [value for value in ours[0]["with"].values() if "secrets." in str(value)]


def run_action(command: Command, **inputs: str) -> tuple[int, str, dict[str, str]]:
    """Run the script as the action does; returns its exit code, the job summary and the outputs."""
    program = command.folder / "bin/image-syncer"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(command.words())} "$@"\n')
    program.chmod(0o755)
    page, outputs = command.folder / "page.md", command.folder / "outputs"
    environ = command.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(page),
        "GITHUB_OUTPUT": str(outputs),
    }
    known = {f"SYNCER_{name.upper()}": each.get("default", "") for name, each in ACTION["inputs"].items()}
    environ |= known | {f"SYNCER_{name.upper()}": value for name, value in inputs.items()}
    words = (sys.executable, str(ROOT / "scripts/action.py"))
    done = subprocess.run(words, cwd=command.folder, env=environ, check=False, timeout=60)
    pairs = outputs.read_text().splitlines() if outputs.exists() else []
    return done.returncode, page.read_text() if page.exists() else "", dict(each.split("=") for each in pairs)


def test_run(command: Command, scripted: Scripted) -> None:
    """With the values of the original's action, the images are copied and counted."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)

    inputs = {"images_file": "./images.json", "auth_file": "./auth.json", "version": "latest", "proc": "6"}
    code, page, outputs = run_action(command, **inputs)

    assert (code, outputs) == (0, {"exit-code": "0", "copied": "1", "failed": "0"})
    assert mirror.repositories() == ["copy/app"]
    assert "1 copied" in page


def test_hostile(command: Command, scripted: Scripted) -> None:
    """Text from registries and rules is escaped in the job summary, and the exit code is the command's."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    body = '{"errors": [{"code": "DENIED", "message": "</pre><img src=x>\\n## no"}]}'
    mirror.fault(Fault(method="PUT", path="/manifests/", action=Reply(status=403, body=body), times=None))
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app", "<b>//": "x"})
    command.insecure(source.address, mirror.address)

    code, page, outputs = run_action(command, images="images.json", auth="auth.json")

    assert (code, outputs["failed"]) == (1, "1")
    assert re.findall(r"<[^>]*>", page) == ["<pre>", "</pre>"]
    assert "&lt;img src=x&gt;" in page
    assert not re.search(r"^## no", page, re.MULTILINE)


def test_wrong_verb(command: Command) -> None:
    """A verb that the action does not have is refused, whatever it contains."""
    assert run_action(command, verb=HOSTILE)[0] == 2
