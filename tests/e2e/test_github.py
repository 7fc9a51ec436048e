"""The GitHub Action: its inputs, its script as a runner runs it, and the workflows in example/."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from scripts.action import page
from tests.e2e.command import wait_for
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply, Stall

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = sorted((ROOT / "example/github").glob("*.yml"))
ORIGINAL = {
    "auth_file", "images_file", "version", "proc", "retries", "arch", "os",
    "default_namespace", "default_registry",
}  # fmt: skip
"""Inputs of image-sync-action, the original's action."""
HOSTILE = "</pre><img src=x onerror=alert(1)> ::set-output name=a::b\n## heading ${{ secrets.X }}"


def scripts(steps: list[dict[str, Any]]) -> list[str]:
    """The scripts that a shell runs."""
    return [step["run"] for step in steps if "run" in step]


def test_every_input_reaches_the_command() -> None:
    """Every input reaches the command through the environment, and the original's inputs are among them."""
    steps = ACTION["runs"]["steps"]
    given = {value for step in steps for value in step.get("env", {}).values()}
    unused = {"version"}

    assert set(ACTION["inputs"]) >= ORIGINAL
    assert {f"${{{{ inputs.{name} }}}}" for name in set(ACTION["inputs"]) - unused} <= given
    assert not [text for text in scripts(steps) if "${{" in text]


def test_page_explains_inputs_and_outputs() -> None:
    """The page on workflows explains every input and output."""
    page = (ROOT / "docs/github.md").read_text()
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    outputs = page.partition("\nOutputs: ")[2].partition(".")[0]

    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == {*ACTION["inputs"]}
    assert {*re.findall(r"`([\w-]+)`", outputs)} == {*ACTION["outputs"]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_example_workflows_are_valid(path: Path) -> None:
    """An example uses known inputs, and no script contains inputs or secrets."""
    workflow = yaml.safe_load(path.read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ours = [step for step in steps if step.get("uses", "").startswith("image-syncer/")]

    assert len(ours) == 1
    assert set(ours[0]["with"]) <= set(ACTION["inputs"])
    assert not [text for text in scripts(steps) if "${{" in text]
    assert not [value for value in ours[0]["with"].values() if "secrets." in str(value)]


class Step:
    """The script that the action runs, and what a runner sees of it."""

    def __init__(self, command: Command, **inputs: str) -> None:
        """Start it, with all other inputs at their defaults."""
        program = command.folder / "bin/image-syncer"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {" ".join(command.words())} "$@"\n')
        program.chmod(0o755)
        self._page, self._outputs = command.folder / "page.md", command.folder / "outputs"
        environ = command.environ | {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_STEP_SUMMARY": str(self._page),
            "GITHUB_OUTPUT": str(self._outputs),
        }
        given = {name: each.get("default", "") for name, each in ACTION["inputs"].items()} | inputs
        environ |= {f"SYNCER_{name.upper()}": value for name, value in given.items()}
        words = (sys.executable, str(ROOT / "scripts/action.py"))
        self.process = subprocess.Popen(
            words, cwd=command.folder, env=environ, stderr=subprocess.PIPE, text=True
        )
        self.log = ""

    def end(self) -> int:
        """Wait for it; its exit code."""
        _, self.log = self.process.communicate(timeout=60)
        return self.process.returncode

    @property
    def page(self) -> str:
        """The job's page."""
        return self._page.read_text()

    @property
    def outputs(self) -> dict[str, str]:
        """The step's outputs."""
        return dict(line.split("=") for line in self._outputs.read_text().splitlines())


def commands(log: str) -> list[str]:
    """What a runner would obey in a log: ActionCommandManager.TryProcessCommand of actions/runner."""
    found, token = [], ""
    for line in log.splitlines():
        start, _, data = line.partition("::")[2].partition("::") if line.startswith("::") else ("", "", "")
        if token:
            token = "" if start == token else token
        elif start == "stop-commands":
            token = data
        elif start or "##[" in line:
            found.append(start or line)
    return found


@pytest.fixture
def image_to_copy(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source with one image, and an empty mirror, with rules and credentials."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    return source, mirror


def test_action_copies_and_counts_images(command: Command, image_to_copy: tuple[Registry, Registry]) -> None:
    """With the values of the original's action, the images are copied and counted."""
    given = {"images_file": "./images.json", "auth_file": "./auth.json", "version": "latest", "proc": "6"}
    step = Step(command, **given, retries="2")

    assert step.end() == 0, step.log
    assert step.outputs == {"exit-code": "0", "copied": "1", "failed": "0"}
    assert image_to_copy[1].repositories() == ["copy/app"]
    assert "1 copied" in step.page


def test_default_destination(command: Command, image_to_copy: tuple[Registry, Registry]) -> None:
    """The original's default registry and namespace are where rules without a destination go."""
    source, mirror = image_to_copy
    command.rules({f"{source.address}/team/app:v1": ""})
    step = Step(command, default_registry=mirror.address, default_namespace="def")

    assert step.end() == 0, step.log
    assert mirror.repositories() == ["def/app"]


def test_hostile_text_is_escaped(command: Command, image_to_copy: tuple[Registry, Registry]) -> None:
    """Text of registries and rules is neither markup on the job's page nor a command in its log."""
    source, mirror = image_to_copy
    said = "</pre><img src=x>\\n## no ##[set-output name=copied]99\\n::error::no"
    body = f'{{"errors": [{{"code": "DENIED", "message": "{said}"}}]}}'
    mirror.fault(Fault(method="PUT", path="/manifests/", action=Reply(status=403, body=body), times=None))
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app", "<b>//": "x"})
    step = Step(command, images="images.json", auth="auth.json")

    assert step.end() == 1
    assert step.outputs["failed"] == "2", "an image and a rule"
    assert "1 failed, 1 rules failed as a whole" in step.page
    assert re.findall(r"<[^>]*>", step.page) == ["<pre>", "</pre>"]
    assert "&lt;img src=x&gt;" in step.page
    assert not re.search(r"^## no", step.page, re.MULTILINE)
    assert "##[set-output name=copied]99" in step.log
    assert commands(step.log) == ["add-mask"]


def test_page_stays_below_github_limit() -> None:
    """A page of thousands of causes stays below GitHub's limit of 1 MiB."""
    cause = {"cause": "x" * 5_000, "images": 1, "what_to_do": "&" * 5_000}
    made = "".join(page({"failures": [cause] * 3_000}, "sync", 1))

    assert len(made.encode()) < 1 << 20
    assert "2950 more causes" in made


def test_cancelled_job_lists_what_is_left(command: Command, image_to_copy: tuple[Registry, Registry]) -> None:
    """A job that is cancelled stops the command, which lists what is left."""
    source, _ = image_to_copy
    source.fault(Fault(action=Stall(seconds=60.0), method="GET", path="/blobs/", times=None))
    step = Step(command, arguments="--drain=0s")
    wait_for(lambda: source.requests(path="/blobs/"))
    step.process.send_signal(signal.SIGINT)

    assert step.end() == 143, step.log
    assert "exit code 143" in step.page
    assert (command.folder / "records/failed.yaml").exists()


def test_unknown_verb_is_refused(command: Command) -> None:
    """A verb that the action does not have is refused, whatever text it is."""
    assert Step(command, verb=HOSTILE).end() == 2
