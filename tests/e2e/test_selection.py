"""Selecting what to copy: tags by stages, platforms and names of a rule, as a user sees it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.registry.content import image, index, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

TAGS = [
    "1.9.0",
    "1.10.0",
    "1.10.0-alpine",
    "1.10.1",
    "1.11.0-rc1",
    "1.11.0",
    "2.0.0-debug",
    "2.0.0",
    "latest",
]


@pytest.fixture
def pair(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source whose list comes in pages of three, and an empty mirror."""
    source, mirror = scripted(page=3), scripted()
    for tag in TAGS:
        source.add("team/app", image(layer(tag)), tag)
    command.insecure(source.address, mirror.address)
    return source, mirror


def requested_tags(registry: Registry) -> set[str]:
    """Names of all manifests that were requested by tag, except tags that list companions."""
    names = (entry.path.rpartition("/")[2] for entry in registry.requests(path="/manifests/"))
    return {name for name in names if ":" not in name and not name.startswith("sha256-")}


def copy_with_options(
    command: Command, pair: tuple[Registry, Registry], *flags: str, **options: Any
) -> Result:
    """Copy with one rule that has these options."""
    source, mirror = pair
    command.write("images.json", {f"{source.address}/team/app": {"to": f"{mirror.address}/copy", **options}})
    return command.run(*flags)


def architectures(registry: Registry, repository: str, tag: str) -> set[str]:
    """The entries of the index of a tag."""
    found = json.loads(registry.manifest(repository, tag) or b"")
    return {entry["platform"]["architecture"] for entry in found["manifests"]}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("1.*.0", {"1.9.0", "1.10.0", "1.11.0"}),
        (["/^latest$/", "2.0.0"], {"latest", "2.0.0"}),
        ({"versions": "^1.10"}, {"1.10.0", "1.10.0-alpine", "1.10.1", "1.11.0"}),
        ({"newest": 2, "exclude": "*-*"}, {"2.0.0", "1.11.0"}),
        ({"newest": 1, "per": "minor", "include": "?.*.?"}, {"1.9.0", "1.10.1", "1.11.0", "2.0.0"}),
        ({"include": "9*", "at_least": 0}, set()),
        ({"include": "1.9.0", "always": "latest"}, {"1.9.0", "latest"}),
        ({"at_least": 9}, set(TAGS)),
    ],
)
def test_only_selected_tags_are_copied(
    command: Command, pair: tuple[Registry, Registry], tags: Any, expected: set[str]
) -> None:
    """Exactly the tags that pass all stages are looked up and copied."""
    result = copy_with_options(command, pair, tags=tags)

    assert (result.code, expected) == (0, set(pair[1].tags("copy"))), result.text
    assert expected == requested_tags(pair[0])


def test_newest_counts_tags_without_number(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A line says how many tags newest left out because they have no number."""
    result = copy_with_options(command, pair, tags={"newest": 1})

    assert "1 have no number to order them by" in result.text


@pytest.mark.parametrize("tags", [{"include": "9*"}, {"newest": 3, "at_least": 5, "exclude": "*-*"}])
def test_too_few_tags_fail_the_rule(command: Command, pair: tuple[Registry, Registry], tags: Any) -> None:
    """A rule that selects fewer tags than it should fails before anything is copied."""
    result = copy_with_options(command, pair, tags=tags)

    (line,) = result.events("rule.failed")
    assert (result.code, line["code"], requested_tags(pair[0])) == (1, "TOO_FEW_TAGS", set())


@pytest.mark.parametrize(
    ("tags", "copied"),
    [
        ({"newest": 9}, set()),
        ({"at_least": 1}, set()),
        ({"include": "1.*"}, {"1.10.0", "1.10.0-alpine", "1.10.1"}),
    ],
)
def test_rule_waits_for_its_whole_list(
    command: Command, pair: tuple[Registry, Registry], tags: Any, copied: set[str]
) -> None:
    """A rule that needs its whole list opens no image before the end; others copy page by page."""
    fault = Fault(action=Reply(status=403), path=r"/tags/list.*last=1\.10\.1", times=None)
    pair[0].fault(fault)

    result = copy_with_options(command, pair, tags=tags)

    assert (result.code, copied) == (1, requested_tags(pair[0])), result.text


def test_missing_always_tag_fails_alone(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A tag in `always` that the source lacks is one failed image; the rest is copied."""
    result = copy_with_options(command, pair, "--retries", "0", tags={"include": "2.0.0", "always": ["gone"]})

    assert (result.code, result.finish["failed"]) == (1, 1)
    assert {"2.0.0"} == set(pair[1].tags("copy"))


def test_destination_from_template(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A destination is made from parts of the source, and a tag from the source's tag."""
    source, mirror = pair
    command.write(
        "images.yaml",
        f"{source.address}/team/app:latest,2.0.0:\n"
        f"- {mirror.address}/all/\n- {mirror.address}/{{flat}}:mirror-{{tag}}\n- {mirror.address}/{{path}}\n",
    )

    result = command.run()

    assert result.code == 0, result.text
    assert {"all/app", "team-app", "team/app"} == set(mirror.repositories())
    assert {"mirror-latest", "mirror-2.0.0"} == set(mirror.tags("team-app"))


def test_too_long_tag_from_template_fails(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A tag that a template makes too long fails its rule and is never requested."""
    source, mirror = pair
    text = "x" * 121
    command.write("images.json", {f"{source.address}/team/app": f"{mirror.address}/copy:{text}-{{tag}}"})

    result = command.run()

    (line,) = result.events("rule.failed")
    assert (result.code, line["code"]) == (1, "TAG_INVALID"), result.text


class TestPlatforms:
    @pytest.fixture(autouse=True)
    def platforms(self, pair: tuple[Registry, Registry]) -> None:
        """An index of two platforms."""
        children = [image(layer(arch), architecture=arch) for arch in ("amd64", "arm64")]
        pair[0].add("team/multi", index(*children), "1")

    def test_rule_platforms_win_over_file_and_flags(
        self, command: Command, pair: tuple[Registry, Registry]
    ) -> None:
        """Each rule's own platforms win over the file's, and those over the flags."""
        source, mirror = pair
        to = f"{mirror.address}/{{rest}}"
        command.write(
            "images.yaml",
            f".defaults: {{platforms: linux/arm64}}\n"
            f"{source.address}/team/multi:1:\n- {{to: '{to}:all', platforms: all}}\n- {{to: '{to}:arm'}}\n"
            f"- {{to: '{to}:amd', platforms: [linux/amd64, windows/amd64]}}\n",
        )

        result = command.run("--arch", "s390x")

        assert result.code == 0, result.text
        kept = {tag: architectures(mirror, "multi", tag) for tag in ("all", "arm", "amd")}
        assert {"all": {"amd64", "arm64"}, "arm": {"arm64"}, "amd": {"amd64"}} == kept

    def test_different_content_for_one_tag_conflicts(
        self, command: Command, pair: tuple[Registry, Registry]
    ) -> None:
        """If two rules of one source with other platforms write one destination tag, the first wins."""
        source, mirror = pair
        to = f"{mirror.address}/multi"
        value = [{"to": to, "platforms": "linux/arm64"}, {"to": to, "platforms": "linux/amd64"}]
        command.write("images.json", {f"{source.address}/team/multi:1": value})

        planned, result = command.run("plan"), command.run()

        assert (1, 1) == (planned.code, result.code), planned.text
        assert (1, 1) == (result.finish["copied"], result.finish["failed"]), result.text
        (line,) = result.events("image.failed")
        assert line["code"] == "TAG_CONFLICT"
        assert {"arm64"} == architectures(mirror, "multi", "1")

    def test_equal_content_is_no_conflict(self, command: Command, pair: tuple[Registry, Registry]) -> None:
        """Two filters that keep the same of an image write the same digest."""
        source, mirror = pair
        to = f"{mirror.address}/multi"
        value = [{"to": to}, {"to": to, "platforms": ["linux/amd64", "linux/arm64"]}]
        command.write("images.json", {f"{source.address}/team/multi:1": value})

        result = command.run()

        assert (0, 1, 1) == (result.code, result.finish["copied"], result.finish["unchanged"]), result.text

    def test_second_run_with_same_filter_reads_nothing(
        self, command: Command, pair: tuple[Registry, Registry]
    ) -> None:
        """A second run with the same platforms reads nothing again; one with others does."""
        source, mirror = pair
        rule = {"to": f"{mirror.address}/multi", "platforms": "linux/arm64"}
        command.write("images.json", {f"{source.address}/team/multi:1": rule})
        command.run()

        source.reset()
        again = command.run()
        reads = [entry.method for entry in source.requests(path="/manifests/")]
        command.write("images.json", {f"{source.address}/team/multi:1": {**rule, "platforms": "linux/amd64"}})
        other = command.run()

        assert (["HEAD"], 1, 1) == (reads, again.finish["unchanged"], other.finish["copied"])


def test_optional_failures_keep_the_exit_code(command: Command, pair: tuple[Registry, Registry]) -> None:
    """Failures of optional rules are reported and listed, but do not change the exit code."""
    source, mirror = pair
    to = {"to": f"{mirror.address}/copy", "optional": True}
    rules = {
        f"{source.address}/team/app:2.0.0": f"{mirror.address}/copy",
        f"{source.address}/team/app:gone": to,
        f"{source.address}/team/nothing": {**to, "tags": "1.*"},
    }
    command.write("images.json", rules)

    planned, result = command.run("plan"), command.run("--output-failed-images", "failed.json", "--json")

    assert (planned.code, result.code, result.finish["optional"]) == (0, 0, 2), result.text
    assert "Synchronization finished, 0 tasks failed, 2 failures are optional, cost" in result.text
    assert json.loads(result.output)["optional_failures"] == 2
    failed = json.loads((command.folder / "failed.json").read_text())
    assert {f"{source.address}/team/app:gone", f"{source.address}/team/nothing"} == failed.keys()
    assert all(rule["optional"] for rule in failed.values())
    command.write("images.json", {**rules, f"{source.address}/team/app:lost": f"{mirror.address}/copy"})
    assert command.run().code == 1


def test_failures_keep_their_options(command: Command, pair: tuple[Registry, Registry]) -> None:
    """The list of failures keeps the effect of the rules: their platforms, tags and names."""
    source, mirror = pair
    children = [image(layer(arch), architecture=arch) for arch in ("amd64", "arm64")]
    source.add("team/multi", index(*children), "1", "2")
    to = f"{mirror.address}/multi"
    command.write(
        "images.yaml",
        f".defaults: {{platforms: linux/arm64}}\n"
        f"{source.address}/team/multi:\n"
        f"- {{to: '{to}:arm-{{tag}}', tags: '1'}}\n"
        f"- {{to: '{to}:all-{{tag}}', platforms: all, tags: '[12]'}}\n"
        f"{source.address}/team/app:\n"
        f"  {{to: {mirror.address}/copy, tags: {{include: '1.*', newest: 1}}, platforms: all}}\n"
        f"{source.address}/team/slip: {{to: {mirror.address}/copy, tgas: '1.*'}}\n",
    )
    mirror.fault(Fault(action=Reply(status=403), method="PUT", path="/manifests/a", times=None))
    source.fault(Fault(action=Reply(status=403), path="/team/app/tags/list", times=None))
    failed = command.run("--output-failed-images", "failed.json")
    mirror.clear_faults()
    source.clear_faults()

    result = command.run("--images", "failed.json")

    assert (failed.code, failed.finish["failed"], failed.finish["rules_failed"]) == (1, 3, 2), failed.text
    assert (result.code, result.finish["failed"], result.finish["rules_failed"]) == (1, 0, 1), result.text
    assert "unknown option 'tgas'" in result.text
    kept = {tag: architectures(mirror, "multi", tag) for tag in mirror.tags("multi")}
    both = {"amd64", "arm64"}
    assert {"arm-1": {"arm64"}, "all-1": both, "all-2": both} == kept
    assert {"1.11.0", "1.10.0-alpine"} == set(mirror.tags("copy"))


def test_force_and_retries_of_a_rule(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A rule's force and retries are its own: another rule uses those of the flags."""
    source, mirror = pair
    command.write(
        "images.json",
        {
            f"{source.address}/team/app:2.0.0": {"to": f"{mirror.address}/forced", "force": True},
            f"{source.address}/team/app:1.9.0": f"{mirror.address}/plain",
            f"{source.address}/team/gone:1": {"to": f"{mirror.address}/gone", "retries": 0},
        },
    )
    command.run()
    mirror.reset()
    source.fault(Fault(action=Reply(status=500), path="/team/gone/", times=None))

    result = command.run()

    assert {"/v2/forced/manifests/2.0.0"} == {
        entry.path for entry in mirror.requests() if entry.method == "PUT"
    }
    assert (result.finish["failed"], result.events("image.retry")) == (1, [])


def test_default_tags_apply_to_sources_without_tags(
    command: Command, pair: tuple[Registry, Registry]
) -> None:
    """Tags of .defaults apply to sources that name none; an expression is its own include."""
    source, mirror = pair
    command.write(
        "images.yaml",
        ".defaults: {tags: {include: '2.*', exclude: '*-debug'}}\n"
        f"{source.address}/team/app: {mirror.address}/all\n"
        f"{source.address}/team/app:/^[12].0/: {mirror.address}/matching\n"
        f"{source.address}/team/app:latest,2.0.0-debug: {mirror.address}/named\n",
    )

    result = command.run()

    assert result.code == 0, result.text
    assert [{"2.0.0"}, {"2.0.0"}, {"latest", "2.0.0-debug"}] == [
        set(mirror.tags(repository)) for repository in ("all", "matching", "named")
    ]


def test_signature_tags_pass_no_stage(command: Command, pair: tuple[Registry, Registry]) -> None:
    """Signature tags pass no stage, not even `*`; a rule without tag options copies them."""
    source, mirror = pair
    signature = f"sha256-{'0' * 64}.sig"
    source.add("team/app", image(layer("signature")), signature)

    copy_with_options(command, pair, tags={"include": "*"})
    assert set(TAGS) == set(mirror.tags("copy"))
    copy_with_options(command, pair)
    assert {*TAGS, signature} == set(mirror.tags("copy"))


def test_rule_with_keep_waits_for_its_list(command: Command, pair: tuple[Registry, Registry]) -> None:
    """A rule with keep opens no image before the end of its list."""
    fault = Fault(action=Reply(status=403), path=r"/tags/list.*last=1\.10\.1", times=None)
    pair[0].fault(fault)

    result = copy_with_options(command, pair, keep="*")

    assert (result.code, set()) == (1, requested_tags(pair[0])), result.text


def test_single_fails_with_several_platforms(command: Command, pair: tuple[Registry, Registry]) -> None:
    """With index: single and several platforms left the image fails, and the error names them."""
    source, mirror = pair
    children = [image(layer(arch), architecture=arch) for arch in ("amd64", "arm64", "s390x")]
    source.add("team/multi", index(*children), "1")
    rule = {"to": f"{mirror.address}/multi", "index": "single", "platforms": ["linux/amd64", "linux/arm64"]}
    command.write("images.json", {f"{source.address}/team/multi:1": rule})

    result = command.run("--retries", "0")

    (line,) = result.events("image.failed")
    assert (1, {}) == (result.code, mirror.tags("multi"))
    assert "needs exactly one image, and these are left: linux/amd64, linux/arm64" in line["msg"]


def test_forms_of_success_and_failure_lists(command: Command, pair: tuple[Registry, Registry]) -> None:
    """The list of successes has the plain form; in that of failures a source may have two sets of options."""
    source, mirror = pair
    both = [{"to": f"{mirror.address}/{name}", "platforms": f"linux/{name}"} for name in ("amd64", "arm64")]
    source.add(
        "team/multi",
        index(image(layer("amd")), image(layer("arm"), architecture="arm64")),
        "1",
    )
    command.write("images.json", {f"{source.address}/team/multi:1": both})
    lists = ("--output-success-images=ok.json", "--output-failed-images=failed.json", "--retries=0")
    mirror.fault(Fault(action=Reply(status=403), method="PUT", path="/manifests/1", times=2))

    failed = command.run(*lists)
    listed = json.loads((command.folder / "failed.json").read_text())
    again = command.run("--images=failed.json", lists[0])

    name = f"{source.address}/team/multi:1"
    assert (1, 0) == (failed.code, again.code), again.text
    assert [["linux/amd64"], ["linux/arm64"]] == sorted(each["platforms"] for each in listed[name])
    assert {name: [f"{mirror.address}/{each}:1" for each in ("amd64", "arm64")]} == json.loads(
        (command.folder / "ok.json").read_text()
    )
    assert [["amd64"], ["arm64"]] == [sorted(architectures(mirror, each, "1")) for each in ("amd64", "arm64")]
