"""What the options of rules change in the lists and counts of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def pair(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source of some repositories, and an empty mirror."""
    source, mirror = scripted(), scripted()
    for tag in ("1.0", "1.1", "2.0-debug"):
        source.add("team/app", image(layer(tag)), tag)
    command.insecure(source.address, mirror.address)
    return source, mirror


def test_invalid_rules_keep_the_defaults(command: Command, pair: tuple[Registry, Registry]) -> None:
    """An invalid rule in the list of failures includes .defaults, so that correcting it is enough."""
    source, mirror = pair
    command.write(
        "images.yaml",
        ".defaults:\n"
        f"  {{to: {mirror.address}/x/, platforms: linux/amd64, tags: {{include: '*', exclude: '*-debug'}}}}\n"
        f"{source.address}/team/app: {{tags: ['1.*', 007], retrys: 3}}\n"
        f"{source.address}/team/app:/^1/: {mirror.address}/UPPER\n"
        f"{source.address}/team/app:/^(/: {mirror.address}/x\n"
        f"{source.address}/team/app:1.0: {mirror.address}/UPPER\n"
        f"{source.address}/team/none: {{tags: , force: true}}\n",
    )
    assert 1 == command.run("--output-failed-images=failed.yaml").code

    everything, matching, wrong, named, empty = yaml.safe_load(
        (command.folder / "failed.yaml").read_text()
    ).values()

    assert {
        "to": [f"{mirror.address}/x/"],
        "platforms": ["linux/amd64"],
        "tags": {"exclude": ["*-debug"], "include": ["1.*", "007"]},
        "retrys": 3,
    } == everything
    assert {"to": [f"{mirror.address}/UPPER"], "platforms": ["linux/amd64"]} == named
    assert {**named, "tags": {"exclude": ["*-debug"]}} == matching
    assert {**matching, "to": [f"{mirror.address}/x"]} == wrong
    assert empty["tags"] is None


def test_optional_failures_are_counted_everywhere(command: Command, pair: tuple[Registry, Registry]) -> None:
    """Last line, report, metrics and objects of all verbs count missing optional images and repositories."""
    source, mirror = pair
    rule = {"to": f"{mirror.address}/x", "optional": True}
    rules = {f"{source.address}/team/app:gone": rule, f"{source.address}/team/none": rule}
    command.write("images.json", rules)

    counted = [
        (result.code, json.loads(result.output)["optional_failures"])
        for result in (command.run(*words, "--json") for words in ((), ("plan",), ("verify",), ("status",)))
    ]
    run = command.run("--metrics-file", "run.prom", "--report", "report.html")

    assert [(0, 2)] * 4 == counted
    assert "0 tasks failed, 2 failures are optional" in run.text
    assert 2 == run.finish["optional"]
    assert "imagesyncer_run_optional_failures 2.0" in (command.folder / "run.prom").read_text()
    assert "2 causes, 2 failures are optional" in (command.folder / "report.html").read_text()


def test_kept_and_held_images_are_reported(command: Command, pair: tuple[Registry, Registry]) -> None:
    """The report counts kept and held images, in total and by rule."""
    source, mirror = pair
    mirror.add("x", image(layer("old")), "1.0")
    rule = {"to": f"{mirror.address}/x", "tags": "1.?", "keep": "*", "min_age": "9h"}
    command.write("images.json", {f"{source.address}/team/app": rule})

    command.run("--report", "report.html")

    page = (command.folder / "report.html").read_text()
    assert "of 2 images, 1 kept as they are, 1 held until old enough" in page
    assert '<th class="n">kept</th><th class="n">held</th><th class="n">skipped</th>' in page


def test_events_of_rules_name_their_file(command: Command, pair: tuple[Registry, Registry]) -> None:
    """With several files, the event of a failed rule has its file."""
    source, mirror = pair
    command.write("a.yaml", f"{source.address}/team/app: {mirror.address}/app")
    command.write("b.yaml", f"{source.address}/team/none: {mirror.address}/none")
    source.fault(Fault(action=Reply(status=403), path="/team/none/", times=None))

    (failed,) = command.run("--images=a.yaml", "--images=b.yaml").events("rule.failed")

    assert "b.yaml" == failed["file.path"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("S/team/app: {to: D/x, tags: [true]}", "1:46: rule 'S/team/app': tags must be text, not true"),
        (".default: {platforms: all}", "'.default' is not a source; did you mean .defaults?"),
        ("S/team/app: {to: D/x, tags: 'a b*'}", "tags hold no ' '"),
    ],
)
def test_misleading_options_fail_their_rule(command: Command, rule: str, words: str) -> None:
    """Options that would mean something else than they seem to fail their rule, with its place."""
    command.write("images.yaml", rule.replace("S", "s.example").replace("D", "d.example"))
    command.insecure("s.example", "d.example")

    result = command.run()

    (event,) = result.events("config.rule_invalid")
    assert (result.code, True) == (1, words.replace("S/", "s.example/") in result.text), event


def test_second_defaults_is_no_second_rule(command: Command, pair: tuple[Registry, Registry]) -> None:
    """Two .defaults are not two rules: the warning does not give the advice for those."""
    source, mirror = pair
    rule = f"{source.address}/team/app:1.0: {mirror.address}/x"
    command.write("images.yaml", f".defaults: {{}}\n.defaults: {{}}\n{rule}\n{rule}\n")

    result = command.run()

    of_defaults, of_source = (event["msg"] for event in result.events("config.duplicate_key"))
    assert "list of maps" not in of_defaults
    assert "write one list of maps" in of_source
