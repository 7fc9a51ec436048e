"""Output files: formats, allowed places, and errors if they cannot be written."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.e2e.command import wait_for
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Stall

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def pair(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source with one image, and an empty mirror."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    return source, mirror


@pytest.mark.parametrize(
    ("name", "more", "is_json"),
    [
        ("good.json", [], True),
        ("good.JSON", [], True),
        ("good.yaml", [], False),
        ("good", [], False),
        ("good.json", ["--output-images-format", "yaml"], False),
        ("good.yml", ["--output-images-format=json"], True),
    ],
)
def test_success_list_has_the_wanted_format(
    command: Command,
    pair: tuple[Registry, Registry],
    name: str,
    more: list[str],
    is_json: bool,  # noqa: FBT001 - pytest's parameters
) -> None:
    """The list of successes has the format of the flag, or else of its file name."""
    source, mirror = pair
    result = command.run("--output-success-images", name, *more)
    text = (command.folder / name).read_text()

    assert result.code == 0, result.text
    assert text.startswith("{") == is_json
    assert yaml.safe_load(text) == {f"{source.address}/team/app:v1": [f"{mirror.address}/copy/app:v1"]}


def test_upper_case_file_ending(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A rules file with an upper-case ending is read like any other."""
    (command.folder / "images.json").rename(command.folder / "RULES.JSON")

    assert command.run("--images", "RULES.JSON").code == 0
    assert pair[1].tags("copy/app")


def test_outputs_to_stdout_and_dev_null(command: Command, pair: tuple[Registry, Registry]) -> None:
    """Lists can go to standard output, and a report to /dev/null."""
    source, mirror = pair
    result = command.run(
        *("--output-success-images", "/dev/stdout", "--output-failed-images", "/dev/stdout"),
        *("--report", "/dev/null"),
    )

    assert result.code == 0, result.text
    assert list(yaml.safe_load_all(result.output.replace("{}", "---\n{}"))) == [
        {f"{source.address}/team/app:v1": [f"{mirror.address}/copy/app:v1"]},
        {},
    ]


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ("--images records/failed.yaml", 0),
        ("--images records/failed.yaml --output-failed-images ./records/failed.yaml", 0),
        ("--images records/failed.yaml --output-success-images records/failed.yaml", 2),
        ("--output-success-images records/failed.yaml", 2),
        ("--report link.html --images images.json", 2),
        ("--output-failed-images hard.json", 2),
        ("--output-failed-images /dev/null --output-success-images /dev/null", 0),
    ],
)
def test_output_may_not_be_another_file(command: Command, flags: str, code: int) -> None:
    """No output file may be an input or another output, however it is named, except a retry's own list."""
    command.rules({})
    (command.folder / "records").mkdir()
    (command.folder / "records/failed.yaml").write_text("{}")
    (command.folder / "link.html").symlink_to("images.json")
    (command.folder / "hard.json").hardlink_to(command.folder / "images.json")
    result = command.run(*flags.split())

    assert (result.code, "are the same file" in result.text) == (code, code == 2), result.text
    assert (command.folder / "images.json").read_text() == "{}"


@pytest.mark.parametrize(
    "flags",
    [
        ["--output-success-images", "out/good.yaml"],
        ["--output-failed-images", "out/bad.yaml"],
        ["--report", "out/report.html"],
        ["--metrics-file", "out/run.prom"],
    ],
)
def test_unwritable_output_exits_3(
    command: Command, pair: tuple[Registry, Registry], flags: list[str]
) -> None:
    """A file that cannot be written at the end makes a successful run exit with 3, and is named."""
    source, mirror = pair
    source.fault(Fault(method="GET", path="/blobs/", action=Stall(seconds=60)))
    (command.folder / "out").mkdir()
    process = command.start(*flags)
    wait_for(lambda: source.requests(path="/blobs/"))
    shutil.rmtree(command.folder / "out")
    source.release()
    result = command.end(process)

    assert (result.code, result.finish["exit_code"], result.finish["copied"]) == (3, 3, 1), result.text
    assert f"{flags[1]} cannot be written: No such file or directory" in result.text
    assert mirror.tags("copy/app")


def test_copy_uses_credentials_of_a_single_file(command: Command, pair: tuple[Registry, Registry]) -> None:
    """With `copy` the credentials of a single file are used, and a warning says that its rules are not."""
    source, mirror = pair
    auth = {address: {"insecure": True} for address in (source.address, mirror.address)}
    command.write("config.json", {"auth": auth, "images": {"r.invalid/a": "r.invalid/b"}})
    for name in ("auth.json", "images.json"):
        (command.folder / name).unlink()
    result = command.run("copy", f"{source.address}/team/app:v1", f"{mirror.address}/other")

    (warning,) = result.events("config.file_ignored")
    assert result.code == 0, result.text
    assert warning["msg"].startswith("the rules in config.json are ignored, only its credentials")
    assert mirror.tags("other") == source.tags("team/app")


def test_proc_does_not_raise_registry_limits(command: Command, pair: tuple[Registry, Registry]) -> None:
    """--proc does not raise the registries' limits."""
    result = command.run("-p", "1000000", "--json")

    assert (result.code, json.loads(result.output)["images"]["copied"]) == (0, 1), result.text
    assert pair[1].tags("copy/app")
