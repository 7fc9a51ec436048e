"""Rules from several files, from a folder, from a list, from standard input."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.e2e.test_left import stop
from tests.registry.content import image, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def both(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source with two repositories, and an empty destination."""
    source, mirror = scripted(), scripted()
    for name in ("one", "two"):
        source.add(f"team/{name}", image(layer(name)), "v1")
    command.insecure(source.address, mirror.address)
    return source, mirror


def piped(command: Command, name: str) -> None:
    """Let the command read a file of its folder as standard input."""
    command.prefix = ("sh", "-c", f'exec "$@" < {name}', "sh")


def test_all_files_of_a_folder_are_copied(command: Command, both: tuple[Registry, Registry]) -> None:
    """All files of a folder and those named beside it are copied; their failures can be retried as one."""
    source, mirror = both
    folder = command.folder / "rules"
    folder.mkdir()
    command.write("rules/one.yaml", f"{source.address}/team/one: {mirror.address}/one")
    command.write("rules/two.json", {f"{source.address}/team/two": f"{mirror.address}/two"})
    command.write("more.yaml", f"{source.address}/none:v1: {mirror.address}/none")
    result = command.run("--images", "rules", "--images", "more.yaml", "--json", "--report", "run.html")
    again = json.loads(result.output)["try_again"]

    assert (result.code, result.finish["copied"], result.finish["failed"]) == (1, 2, 1), result.text
    assert again == shlex.split("image-syncer --json --report run.html --images records/failed.yaml")
    page = (command.folder / "run.html").read_text()
    assert "rules/one.yaml, rules/two.json, more.yaml" in page
    assert "rules/two.json:1<" in page


def test_first_file_wins_a_tag(command: Command, both: tuple[Registry, Registry]) -> None:
    """If two files write one tag, the one named first wins; the error names files and lines."""
    source, mirror = both
    command.write("a.yaml", f"{source.address}/team/one: {mirror.address}/app")
    command.write("b.yaml", f"# mine\n{source.address}/team/two: {mirror.address}/app")
    result = command.run("--images=b.yaml", "--images=a.yaml")

    assert result.code == 1, result.text
    assert "two rules name a source for it (line 1 of a.yaml and line 2 of b.yaml)" in result.text
    assert mirror.tags("app") == source.tags("team/two")


def test_an_invalid_rule_names_its_file(command: Command, both: tuple[Registry, Registry]) -> None:
    """Run and check name the file of an invalid rule."""
    source, mirror = both
    command.write("a.yaml", f"{source.address}/team/one: {mirror.address}/app")
    command.write("b.yaml", f"UPPER: {mirror.address}/app")
    flags = ("--images=a.yaml", "--images=b.yaml")
    run, check = command.run(*flags), command.run("check", *flags)

    (event,) = run.events("config.rule_invalid")
    assert (run.code, event["file.path"], check.code) == (1, "b.yaml", 1)
    assert "b.yaml:1:1" in check.output


def test_list_and_rules_are_combined(command: Command, both: tuple[Registry, Registry]) -> None:
    """A list and rules can be combined; failures from a list are retried without --to."""
    source, mirror = both
    command.write("list.txt", f"# images\n{source.address}/team/one:v1\n")
    command.write("more.txt", f"{source.address}/team/two:v2\n")
    command.write("rules.yaml", f"{source.address}/team/one: {mirror.address}/other")
    flags = ("--images=list.txt", "--images=rules.yaml", "--images=more.txt", "--json")
    result = command.run(*flags, "--to", f"{mirror.address}/all")
    again = json.loads(result.output)["try_again"]
    last = command.run(*again[1:])

    assert (result.code, result.finish["copied"], result.finish["failed"]) == (1, 2, 1), result.text
    assert "--to" not in again
    assert (last.code, last.finish["failed"]) == (1, 1), last.text
    assert mirror.tags("all") == mirror.tags("other") == source.tags("team/one")


@pytest.mark.parametrize("flag", ["--images -", "--images=-"])
@pytest.mark.parametrize("ending", ["yaml", "txt"])
def test_rules_from_stdin_are_kept(
    command: Command, both: tuple[Registry, Registry], flag: str, ending: str
) -> None:
    """Rules from standard input are kept in the records, for the command that resumes."""
    source, mirror = both
    target = f"{mirror.address}/app"
    text = f"{source.address}/team/one:v1" + (f": {target}" if ending == "yaml" else "")
    command.write("given", text)
    to = ["--to", target] if ending == "txt" else []
    piped(command, "given")
    result = command.run(*flag.split(), *to)
    (copy,) = (command.folder / "records").glob("stdin.*")
    command.prefix = ()
    status = json.loads(command.run("status", "--json").output)
    again = command.run("--images", f"records/stdin.{ending}", *to)

    assert (result.code, again.code, status["state"]) == (0, 0, "done"), result.text
    assert (copy.name, copy.read_text()) == (f"stdin.{ending}", text)
    assert mirror.tags("app") == source.tags("team/one")


def test_stopped_run_of_stdin_resumes(command: Command, both: tuple[Registry, Registry]) -> None:
    """The command that resumes reads the copy in the records, and copies the rest."""
    source, mirror = both
    command.write("given", f"{source.address}/team/one:v1\n{source.address}/team/two:v1\n")
    piped(command, "given")
    stopped = stop(command, source, "--json", "--images", "-", "--to", f"{mirror.address}/all/")
    source.clear_faults()
    command.prefix = ()
    again = json.loads(stopped.output)["try_again"]
    resumed = command.run(*again[1:])

    assert (stopped.code, resumed.code) == (143, 0), stopped.text + resumed.text
    assert "--images records/stdin.txt" in " ".join(again)
    for name in ("one", "two"):
        assert mirror.tags(f"all/{name}") == source.tags(f"team/{name}") != {}


def test_output_is_not_written_among_rules(command: Command) -> None:
    """A list of images is not written where the next run would read it as rules."""
    (command.folder / "rules").mkdir()
    command.write("rules/one.yaml", "{}")
    flags = ("--images", "rules", "--output-failed-images")
    refused, taken = command.run(*flags, "rules/failed.yaml"), command.run(*flags, "failed.yaml")

    assert (refused.code, taken.code) == (2, 0)
    assert "rules/failed.yaml is in a folder of --images" in refused.text
    assert yaml.safe_load((command.folder / "failed.yaml").read_text()) == {}
