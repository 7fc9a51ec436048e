"""What a run leaves for the next one: the list of failures, and the command that resumes."""

from __future__ import annotations

import json
import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.command import wait_for
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply, Stall

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


def failed(command: Command, name: str = "records/failed.yaml") -> Any:
    """The content of the list of failures."""
    return yaml.safe_load((command.folder / name).read_text())


def stop(command: Command, source: Registry, *arguments: str) -> Result:
    """Start a run and stop it while it reads a blob, without time to drain."""
    before = len(source.requests(path="/blobs/"))
    source.fault(Fault(action=Stall(), method="GET", path="/blobs/", times=None))
    process = command.start("--drain", "0", *arguments)
    wait_for(lambda: len(source.requests(path="/blobs/")) > before)
    process.send_signal(signal.SIGTERM)
    result = command.end(process)
    source.release()
    return result


class TestStopped:
    @pytest.fixture
    def both(self, command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
        """A source with two repositories: one rule names a tag of one, another takes all of the other."""
        source, mirror = scripted(), scripted()
        for name in ("named", "whole"):
            source.add(f"team/{name}", image(layer(name)), "v1")
        command.insecure(source.address, mirror.address)
        command.rules(
            {
                f"{source.address}/team/named:v1": f"{mirror.address}/copy/named",
                f"{source.address}/team/whole": f"{mirror.address}/copy/whole",
            }
        )
        return source, mirror

    def test_list_names_unfinished_images(self, command: Command, both: tuple[Registry, Registry]) -> None:
        """The file of failures names unfinished images, also if a retry of that file was stopped."""
        source, mirror = both
        named = {f"{source.address}/team/named:v1": [f"{mirror.address}/copy/named:v1"]}
        first = stop(command, source)
        after_first = failed(command)
        second = stop(command, source, "--images", "records/failed.yaml")
        after_second = failed(command)
        source.clear_faults()
        last = command.run("--images", "records/failed.yaml")

        assert (first.code, second.code, last.code) == (143, 143, 0), last.text
        assert named.items() <= after_first.items()
        assert named.items() <= after_second.items()
        assert failed(command) == {}
        for name in ("named", "whole"):
            assert mirror.tags(f"copy/{name}") == source.tags(f"team/{name}") != {}

    def test_log_names_what_is_left(self, command: Command, both: tuple[Registry, Registry]) -> None:
        """Without a terminal a stopped run logs unfinished images, open rules and the resuming command."""
        source, _ = both
        source.fault(Fault(action=Stall(), path="/team/whole/tags/list"))
        result = stop(command, source, "--images", "images.json")

        (event,) = result.events("run.left")
        (finish,) = result.events("run.finish")
        assert (event["signal"], event["left"], event["rules"]) == ("15", "1", "1")
        assert (
            "stopped by SIGTERM: 1 image not finished, 1 rule not fully expanded:"
            f" {source.address}/team/whole (line 1);"
            " to resume: image-syncer --drain 0 --images images.json" in event["msg"]
        )
        assert "Synchronization stopped, 0 tasks failed, 1 image not finished, 1 rule not" in finish["msg"]

    def test_json_has_command_that_resumes(self, command: Command, both: tuple[Registry, Registry]) -> None:
        """The JSON output has the command that resumes and the counts of what is left."""
        source, _ = both
        found = json.loads(stop(command, source, "--json").output)

        assert found["try_again"] == ["image-syncer", "--drain", "0", "--json"]
        assert found["images"]["unfinished"] >= 1


class TestConflicts:
    def test_uncompared_image_is_not_retried(self, command: Command, scripted: Scripted) -> None:
        """An image that could not be compared with the first rule's is not retried either."""
        source, other, mirror = scripted(), scripted(), scripted()
        source.add("team/app", image(layer("first")), "v1")
        other.fault(Fault(method="HEAD", action=Reply(status=403), times=None))
        other.fault(Fault(method="GET", action=Reply(status=403), times=None))
        command.insecure(source.address, other.address, mirror.address)
        command.rules(
            {
                f"{source.address}/team/app:v1": f"{mirror.address}/copy/app",
                f"{other.address}/team/app:v1": f"{mirror.address}/copy/app",
            }
        )
        result = command.run("--json")

        assert (result.code, failed(command), commands(result)) == (1, {}, []), result.text

    def test_conflict_loser_is_not_retried(self, command: Command, scripted: Scripted) -> None:
        """An image that lost its tag to the first rule is counted, but does not win when the file is run."""
        source, mirror = scripted(), scripted()
        for name in ("first", "second"):
            source.add(f"team/{name}", image(layer(name)), "v1")
        command.insecure(source.address, mirror.address)
        command.rules(
            {
                f"{source.address}/team/second:v1": f"{mirror.address}/copy/app",
                f"{source.address}/team/first:v1": f"{mirror.address}/copy/app",
                f"{source.address}/team/first:none": f"{mirror.address}/copy/app",
            }
        )
        result = command.run()
        text = (command.folder / "records/failed.yaml").read_text()
        again = command.run("--images", "records/failed.yaml")

        assert (result.code, result.finish["failed"], again.code) == (1, 2, 1), result.text
        assert yaml.safe_load(text) == {
            f"{source.address}/team/first:none": [f"{mirror.address}/copy/app:none"]
        }
        assert text.splitlines()[-1].startswith("# 1 image skipped: an earlier rule ")
        assert mirror.tags("copy/app") == source.tags("team/second")

    @pytest.mark.parametrize(
        ("source_tags", "target_tags", "words"),
        [("v1,v2", "x,x", "the rule in line 1 names two sources for it; the first one wins")],
    )
    def test_rule_that_conflicts_with_itself(
        self, command: Command, scripted: Scripted, source_tags: str, target_tags: str, words: str
    ) -> None:
        """One rule that gives a tag two sources is named, and no retry is offered."""
        source, mirror = scripted(), scripted()
        for tag in source_tags.split(","):
            source.add("team/app", image(layer(tag)), tag)
        command.insecure(source.address, mirror.address)
        command.rules(
            {f"{source.address}/team/app:{source_tags}": f"{mirror.address}/copy/app:{target_tags}"}
        )
        result = command.run("--json")
        copied = command.run(
            "copy", f"{source.address}/team/app:{source_tags}", f"{mirror.address}/copy/app:{target_tags}"
        )

        assert json.loads(result.output)["try_again"] == []
        assert words in result.text
        assert "the rule on the command line names two sources for it" in copied.text


def commands(result: Result) -> list[str]:
    """The command that the summary names."""
    found: list[str] = json.loads(result.output)["try_again"]
    return found


class TestRetryCommand:
    @pytest.fixture
    def source(self, command: Command, scripted: Scripted) -> str:
        """A registry without content."""
        registry = scripted()
        command.insecure(registry.address)
        return registry.address

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("--json", "--json --images records/failed.yaml"),
            ("--json --images=images.json -r 0", "--json -r 0 --images records/failed.yaml"),
            ("--records=r --json sync", "--records=r --json sync --images r/failed.yaml"),
            ("--json --output-failed-images bad.json", "--json --images bad.json"),
            ("--output-success-images good.yaml --json", "--json --images records/failed.yaml"),
            (
                "--json --auth auth.json --images images.json --",
                "--json --auth auth.json --images records/failed.yaml --",
            ),
        ],
    )
    def test_command_has_another_rules_file(
        self, command: Command, source: str, given: str, expected: str
    ) -> None:
        """The command has another rules file, and does not touch the lists of this run."""
        command.rules({f"{source}/a:v1": f"{source}/b"})
        words = commands(command.run(*given.split()))
        again = command.run(*words[1:])

        assert words == ["image-syncer", *expected.split()]
        assert (again.code, json.loads(again.output)["images"]["failed"]) == (1, 1)

    @pytest.mark.parametrize(
        "given", ["--json", "--json --config config.json --output-failed-images bad.yaml"]
    )
    def test_single_file_needs_no_images_flag(self, command: Command, source: str, given: str) -> None:
        """With rules and credentials in one file the retry is the same command, without --images."""
        rules = {f"{source}/a:v1": f"{source}/b"}
        command.write("config.json", {"auth": {source: {"insecure": True}}, "images": rules})
        for name in ("auth.json", "images.json"):
            (command.folder / name).unlink(missing_ok=True)

        assert shlex.join(commands(command.run(*given.split()))) == f"image-syncer {given}"

    def test_copy_repeats_its_command(self, command: Command, source: str) -> None:
        """For `copy` the retry command is the same."""
        given = ["copy", f"{source}/a:v1", f"{source}/b", "--json", "--retries", "0"]

        assert commands(command.run(*given)) == ["image-syncer", *given]


def test_required_digest_stays_required(command: Command, scripted: Scripted) -> None:
    """The file of failures keeps the digest that a rule requires at a destination, for the next run too."""
    source, mirror = scripted(), scripted()
    source.add("app", image(layer("one")), "v1")
    required = f"{mirror.address}/app:v1@sha256:{'0' * 64}"
    command.rules({f"{source.address}/app:v1": required})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert 1 == result.code, result.text
    assert {f"{source.address}/app:v1": [required]} == failed(command)
