"""The help of each verb, and command lines that any verb accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pipeline.cli.verbs import VERBS
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted

ROOT = Path(__file__).parents[2]


def flags_in(text: str) -> set[str]:
    """The flags that a help page lists."""
    return set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z-]+)", text, re.MULTILINE))


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(command: Command, verb: str) -> None:
    """The help of a verb fits 80 columns and describes the verb, its arguments and its exit codes."""
    result = command.run(verb, "--help")

    assert (result.code, result.text) == (0, "")
    assert result.output == command.run("help", verb).output
    assert result.output.startswith(f"usage: image-syncer {verb}")
    assert VERBS[verb].meaning in result.output
    assert "Exit codes: 0 " in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_help_shows_what_applies(command: Command) -> None:
    """The help of a verb shows its own flags, and no flag of a run that has no effect there."""
    shown = {verb: flags_in(command.run(verb, "--help").output) for verb in VERBS}

    assert {verb for verb, flags in shown.items() if "--explain" in flags} == {"plan"}
    assert {verb for verb, flags in shown.items() if "--deep" in flags} == {"verify"}
    assert {verb for verb, flags in shown.items() if "--metrics-file" in flags} == {"sync", "copy"}
    assert shown["status"] >= {"--records", "--json", "--help"}
    assert "--images" not in shown["status"]


def test_general_help_lists_verbs_and_flags(command: Command) -> None:
    """Help without a verb lists every verb with its meaning, and every flag; -v is the version."""
    result = command.run("--help")

    assert result.output == command.run("help").output
    for name, verb in VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.meaning)}$", result.output, re.MULTILINE)
    assert {"--explain", "--deep", "--force", "--version"} <= flags_in(result.output)
    assert command.run("-v").output == command.run("--version").output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("paln",), "unknown command 'paln'; did you mean plan?"),
        (("everything",), "unknown command 'everything'; image-syncer --help lists the commands"),
        (("--froce",), "unknown flag --froce; did you mean --force?"),
        (("--zzz",), "unknown flag --zzz; image-syncer --help lists the flags"),
        (("help", "everything"), "unknown command 'everything'; image-syncer --help lists the commands"),
        (
            ("status", "everything"),
            "unexpected word 'everything'; image-syncer status --help shows its flags",
        ),
    ],
)
def test_unknown_word_gets_a_suggestion(command: Command, words: tuple[str, ...], told: str) -> None:
    """An unknown word is one line that suggests the right one, or points to help."""
    result = command.run(*words)

    assert (result.code, result.text) == (2, f"image-syncer: error: {told}\n")


def lines_of_examples() -> Iterator[tuple[str, list[str]]]:
    """The command lines of the shipped unit and manifests."""
    unit = (ROOT / "example/systemd/image-syncer.service").read_text()
    (line,) = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    yield "systemd", line.split()
    for path in sorted((ROOT / "example/kubernetes").glob("*job.yaml")):
        found = re.findall(r"^ +args:\n((?: +(?:- |#).*\n)+)", path.read_text(), re.MULTILINE)
        for args in found:
            yield path.name, yaml.safe_load(args)


@pytest.mark.parametrize("verb", ["sync", "plan", "verify", "check", "status"])
@pytest.mark.parametrize(("name", "line"), [*lines_of_examples()], ids=lambda each: str(each)[:20])
def test_example_command_lines_work(
    command: Command, scripted: Scripted, name: str, line: list[str], verb: str
) -> None:
    """Each verb takes the command lines of the unit and the Kubernetes manifests, and does its own work."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    places = {
        r"/etc/image-syncer/images.yaml": "images.json",
        r".*auth.yaml": "auth.json",
        r"/records|/var/lib/image-syncer/records": "records",
        r"/var/lib/image-syncer/image-syncer.prom": "run.prom",
        r"0.0.0.0:9090": "127.0.0.1:0",
        r"(\d+|\$\w+)/200": "0/1",
    }
    ours = [command_line_word(word, places) for word in line]
    if verb == "status":
        assert command.run(*ours).code == 0

    result = command.run(verb, *ours)

    assert result.code == int(verb == "verify"), (name, result.text)
    assert bool(mirror.repositories()) == (verb in ("sync", "status"))
    assert (command.folder / "run.prom").exists() == (verb in ("sync", "status") and "run.prom" in ours)


def command_line_word(word: str, places: dict[str, str]) -> str:
    """An argument of an example with the files and addresses of this test."""
    flag, equals, value = word.rpartition("=")
    for pattern, place in places.items():
        if re.fullmatch(pattern, value):
            return f"{flag}{equals}{place}"
    return word


def test_plan_logs_flags_without_effect(command: Command, scripted: Scripted) -> None:
    """One debug line of a plan names the flags that have no effect there."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)

    unused = ("--drain=1s", "--output-failed-images", "failed.yaml")
    result = command.run("plan", *unused, "--log-level", "debug", "--log", "log", "--log-format", "json")

    assert result.code == 0, result.text
    lines = map(json.loads, (command.folder / "log").read_text().splitlines())
    (told,) = (line for line in lines if line["event_name"] == "imagesyncer.flags.unused")
    assert told["imagesyncer.flags"] == "--drain, --output-failed-images"
    assert not (command.folder / "failed.yaml").exists()


def test_failed_copy_leaves_no_records(command: Command, scripted: Scripted) -> None:
    """A copy that failed before it sent anything leaves no records behind; one that began keeps them."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.insecure(source.address, mirror.address)
    wrong, right = f"{source.address}/team/none:v1", f"{source.address}/team/app:v1"

    failed = command.run("copy", "--retries=0", wrong, f"{mirror.address}/copy/app")
    after = (command.folder / "records").exists()
    mirror.fault(Fault(method="PUT", path="/manifests/", action=Reply(status=403), times=None))
    begun = command.run("copy", "--retries=0", right, f"{mirror.address}/copy/app")

    assert (failed.code, after) == (1, False)
    assert (begun.code, (command.folder / "records").exists()) == (1, True)
