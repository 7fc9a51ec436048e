"""`plan --explain`: why a rule selects a tag, or does not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.registry.content import image, index, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def source(command: Command, scripted: Scripted) -> Registry:
    """A repository of versions, two rules for it, and rules of other repositories."""
    registry = scripted()
    for tag in ("1.0.0", "1.1.0", "1.2.0", "1.2.0-rc1", "1.2.0-debug", "latest"):
        registry.add("app", image(layer(tag)), tag)
    linux = image(layer("linux"))
    registry.add("multi", index(linux, image(layer("arm"), architecture="arm64")), "v1")
    command.insecure(registry.address)
    tags = {"include": "1.*", "exclude": "*-debug", "newest": 2}
    command.write(
        "images.yaml",
        f"{registry.address}/app: {json.dumps({'to': 'mirror.io/all', 'tags': tags})}\n"
        f"{registry.address}/app:latest,1.0.0: mirror.io/named:newest,oldest\n"
        f"{registry.address}/multi: {{to: 'mirror.io/', platforms: linux/amd64}}\n"
        f"{registry.address}/gone: mirror.io/gone\n",
    )
    return registry


def ask(command: Command, image: str) -> Result:
    """The text output about an image."""
    return command.run("plan", "--explain", image)


def found(command: Command, image: str) -> Any:
    """The JSON output about each rule."""
    return json.loads(command.run("plan", "--json", "--explain", image).output)["rules"]


@pytest.mark.parametrize(
    ("tag", "stages"),
    [
        ("1.2.0", "list+ tags+ include+ exclude+ prereleases+ newest+"),
        ("1.0.0", "list+ tags+ include+ exclude+ prereleases+ newest-"),
        ("1.2.0-rc1", "list+ tags+ include+ exclude+ prereleases-"),
        ("1.2.0-debug", "list+ tags+ include+ exclude-"),
        ("latest", "list+ tags+ include-"),
        ("2.0", "list-"),
    ],
)
def test_stages_are_named_in_order(command: Command, source: Registry, tag: str, stages: str) -> None:
    """Each stage is named in order, up to the one that decides."""
    rule, _ = found(command, f"{source.address}/app:{tag}")

    assert stages.split() == [f"{each['stage']}{'+' if each['passed'] else '-'}" for each in rule["stages"]]
    assert rule["copied"] is stages.endswith("newest+")


def test_text_explains_a_tag(command: Command, source: Registry) -> None:
    """The text says which rules select a tag, its destination, and the stage that drops it."""
    result = ask(command, f"{source.address}/app:1.0.0")

    assert result.code == 0, result.text
    assert "(line 1): not copied" in result.output
    assert "newest       STOPS   newer ones of #.#.#: 1.2.0, 1.1.0" in result.output
    assert "(line 2): copied to mirror.io/named:oldest" in result.output
    assert "named        passes  the source names it" in result.output
    assert not (command.folder / "records").exists()


def test_list_shows_what_a_rule_selects(command: Command, source: Registry) -> None:
    """Without a tag it says what a rule selects of the list, and how many tags each stage drops."""
    rule, named = found(command, f"{source.address}/app")

    assert (6, {"1.1.0", "1.2.0"}) == (rule["listed"], set(rule["selected"]))
    assert {"newest": 1, "prereleases": 1, "exclude": 1, "include": 1} == rule["stopped"]
    assert ["latest", "1.0.0"] == named["selected"]


def test_kept_index_entries_are_explained(command: Command, source: Registry) -> None:
    """It says which entries of an index a rule keeps, and by which filter."""
    (rule,) = found(command, f"{source.address}/multi:v1")
    text = ask(command, f"{source.address}/multi:v1").output

    assert [("linux/amd64", True), ("linux/arm64", False)] == [
        (entry["platform"], entry["kept"]) for entry in rule["platforms"]
    ]
    assert "linux/arm64  LEFT OUT  linux/amd64" in text


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        ("{}/apq:1", 1, "no rule has this source; did you mean {}/app?"),
        ("{}/gone:v1", 1, "404"),
        ("{}/app:1.0.0,1.1.0", 2, "name one tag"),
        ("{}/app:/1/", 2, "name one tag"),
        ("UPPER", 2, "--explain UPPER"),
        ("{}/app:latest", 0, "copied to mirror.io/named:newest"),
        ("{}/app:2.0", 1, "the source does not have it"),
    ],
)
def test_unexplainable_image_is_an_error(
    command: Command, source: Registry, image: str, code: int, words: str
) -> None:
    """An image that no rule names, a silent source, and a wrong flag end with a clear line."""
    result = ask(command, image.format(source.address))

    assert (result.code, words.format(source.address) in result.output + result.text) == (code, True)
    assert "Traceback" not in result.text


def test_only_plan_explains(command: Command, source: Registry) -> None:
    """Other verbs refuse the flag."""
    for verb in ("sync", "verify", "check", "status"):
        assert command.run(verb, "--explain", "a/b").code == 2
    assert command.run("sync", "--dry-run", "--explain", f"{source.address}/app").code == 0


def test_plan_counts_selected_tags(command: Command, source: Registry) -> None:
    """A plan counts the tags that rules select from the lists."""
    command.write("one.yaml", f"{source.address}/app: {{to: {source.address}/new, tags: 1.*}}")
    text = command.run("plan", "--images", "one.yaml")
    value = json.loads(command.run("plan", "--images", "one.yaml", "--json").output)

    assert "rules take 5 of 6 listed tags" in text.output
    assert {"listed": 6, "selected": 5} == value["tags"]


def test_invalid_end_of_list_is_an_error(command: Command, scripted: Scripted) -> None:
    """A list of tags with an invalid end is an error, as in a run."""
    registry = scripted(link="loop", page=1)
    for tag in ("1.0", "1.1", "1.2"):
        registry.add("app", image(layer(tag)), tag)
    command.insecure(registry.address)
    command.rules({f"{registry.address}/app": "mirror.io/app"})

    result = ask(command, f"{registry.address}/app")

    assert result.code == 1, result.text
    assert "the tag list" in result.text


class TestDestinations:
    """What happens to a selected tag."""

    @pytest.fixture
    def mirror(self, command: Command, source: Registry, scripted: Scripted) -> Registry:
        """A mirror that already has a tag."""
        mirror = scripted()
        mirror.add("app", image(layer("old")), "1.0.0")
        command.insecure(source.address, mirror.address)
        return mirror

    def test_conflict_names_the_earlier_rule(
        self, command: Command, source: Registry, mirror: Registry
    ) -> None:
        """A tag is lost if an earlier rule, which is named, writes it too, unless the content is equal."""
        source.add("other", image(layer("other")), "1.0.0")
        source.add("other", image(layer("1.1.0")), "1.1.0")
        command.write(
            "images.yaml",
            f"{source.address}/other: {mirror.address}/new\n"
            f"{source.address}/app:\n"
            f"- {{to: {mirror.address}/new, tags: '1.?.0'}}\n"
            f"- {{to: {mirror.address}/new, tags: '1.2.0', platforms: linux/s390x}}\n",
        )
        (lost, _), (equal, _) = (found(command, f"{source.address}/app:1.{minor}.0") for minor in (0, 1))
        _, left_out = found(command, f"{source.address}/app:1.2.0")
        text = ask(command, f"{source.address}/app:1.0.0")
        whole, _ = found(command, f"{source.address}/app")

        assert (False, True) == (lost["copied"], equal["copied"])
        (there,) = lost["results"]
        assert "conflict" == there["result"]
        assert (
            f"line 1 writes other content there first, from {source.address}/other:1.0.0" == there["reason"]
        )
        assert f"lost at {mirror.address}/new:1.0.0" in text.output
        assert "platforms" == left_out["stages"][-1]["stage"]
        assert [2] == list(whole["waiting"].values())
        assert 1 == text.code

    def test_kept_tag_names_the_pattern(self, command: Command, source: Registry, mirror: Registry) -> None:
        """An existing tag that the rule keeps is not moved, and the pattern is named."""
        rule = {"to": f"{mirror.address}/app", "tags": "1.?.0", "keep": ["v*", "1.*"]}
        command.write("images.json", {f"{source.address}/app": rule})

        (kept,), (new,) = (found(command, f"{source.address}/app:1.{minor}.0") for minor in (0, 1))
        (whole,) = found(command, f"{source.address}/app")

        assert [("kept", "it is there, and keep has 1.*")] == [
            (each["result"], each["reason"]) for each in kept["results"]
        ]
        assert (False, True) == (kept["copied"], new["copied"])
        assert {"kept, because the destination has them": 1} == whole["waiting"]

    def test_young_digest_is_held(self, command: Command, source: Registry, mirror: Registry) -> None:
        """A digest that is too young is held, with the dates from the records, which are not changed."""
        rule = {"to": f"{mirror.address}/new", "tags": "1.?.0", "min_age": "72h"}
        command.write("images.json", {f"{source.address}/app": rule})

        before = ask(command, f"{source.address}/app:1.0.0")
        assert not (command.folder / "records").exists()
        command.run()
        after = ask(command, f"{source.address}/app:1.0.0")
        (whole,) = found(command, f"{source.address}/app")

        assert "held: it was not seen before, as far as the records know" in before.output
        assert re.search(r"held: first seen \S+ ago, copied after 72h", after.output), after.output
        assert (0, 0) == (before.code, after.code)
        assert {"held back by min_age, unless the destination has them already": 3} == whole["waiting"]

    def test_by_seen_uses_recorded_times(self, command: Command, source: Registry, mirror: Registry) -> None:
        """`by: seen` uses the times at which runs saw the tags, as a run does."""
        source.add("young", image(layer("2")), "2.0")
        rule = {"to": f"{mirror.address}/new", "tags": {"newest": 1, "by": "seen"}}
        command.write("images.json", {f"{source.address}/young": rule})
        command.run()
        source.add("young", image(layer("1")), "1.0")

        (later,), (earlier,) = (found(command, f"{source.address}/young:{tag}") for tag in ("1.0", "2.0"))

        assert (True, False) == (later["copied"], earlier["copied"])
        assert "ones seen later of #.#: 1.0" == earlier["stages"][-1]["reason"]


def test_nested_index_is_explained(command: Command, source: Registry) -> None:
    """Entries of a nested index are explained below its entry."""
    inner = index(image(layer("arm"), architecture="arm64"), image(layer("ppc"), architecture="ppc64le"))
    source.add("nested", index(image(layer("amd")), inner), "v1")
    rule = {"to": "mirror.io/nested", "platforms": ["linux/amd64", "linux/arm64"]}
    command.write("images.json", {f"{source.address}/nested": rule})

    (told,) = found(command, f"{source.address}/nested:v1")

    assert [("linux/amd64", True), ("linux/arm64", True), ("linux/ppc64le", False)] == [
        (entry["platform"], entry["kept"]) for entry in told["platforms"]
    ]


@pytest.mark.parametrize(
    ("options", "stage", "reason"),
    [
        ({"platforms": "linux/s390x"}, "platforms", "no platform matches linux/s390x"),
        ({"index": "single"}, "index", "index: single needs exactly one image"),
    ],
)
def test_wholly_filtered_image_is_explained(
    command: Command, source: Registry, options: dict[str, str], stage: str, reason: str
) -> None:
    """It explains why nothing of an image is copied."""
    command.write("images.json", {f"{source.address}/multi:v1": {"to": "mirror.io/multi", **options}})

    (told,) = found(command, f"{source.address}/multi:v1")

    assert (stage, False) == (told["stages"][-1]["stage"], told["copied"])
    assert reason in told["stages"][-1]["reason"]


def test_invalid_rule_and_missing_tag_fail(command: Command, source: Registry) -> None:
    """An invalid rule, and a named tag that the source lacks, are reported as such."""
    command.write(
        "images.yaml",
        f"{source.address}/app: {{to: mirror.io/x, tgas: 1.*}}\n"
        f"{source.address}/app:9.9: mirror.io/x\n"
        f"{source.address}/multi: {{to: mirror.io/x, tags: {{include: v1, always: v9}}}}\n",
    )

    named, invalid = (each["stages"][-1] for each in found(command, f"{source.address}/app:9.9"))
    (always,) = found(command, f"{source.address}/multi:v9")

    assert ("source", False) == (named["stage"], named["passed"])
    assert "404" in named["reason"]
    assert "unknown option 'tgas'; did you mean tags?" in invalid["reason"]
    assert ("always", False) == (always["stages"][-1]["stage"], always["copied"])
