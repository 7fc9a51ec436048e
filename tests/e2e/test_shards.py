"""Several runs that share one job: together they do what one run does."""

from __future__ import annotations

import hashlib
import json
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.e2e.figures import contents, summary
from tests.real.witness import flaws
from tests.registry.content import image, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.real.fixtures import StartRegistry
    from tests.real.images import Layout
    from tests.real.servers import DockerRegistry
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

KINDS = ("multi", "nested", "single", "artifact", "bare")
NAMES = tuple(f"app{number}" for number in range(6))
COUNT = 3


def run_all(command: Command, *flags: str) -> list[Result]:
    """Run every shard, one after the other."""
    return [command.run("--shard", f"{index}/{COUNT}", *flags) for index in range(COUNT)]


def run_all_of(command: Command, verb: str) -> list[Result]:
    """Plan or verify every shard."""
    return [command.run(verb, "--json", "--shard", f"{index}/{COUNT}") for index in range(COUNT)]


def shard_of(destination: str) -> int:
    """The shard that writes a destination."""
    return int(hashlib.sha256(destination.encode()).hexdigest()[:16], 16) % COUNT


def stored(registry: DockerRegistry) -> dict[str, str]:
    """Every file in a registry's storage that a client can read back, with its digest."""
    return {
        name: digest
        for name, digest in contents(registry.storage).items()
        if digest and "/_uploads/" not in name
    }


@pytest.fixture
def both(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source with six repositories that share nothing, and an empty destination."""
    source, mirror = scripted(), scripted()
    for name in NAMES:
        source.add(f"team/{name}", image(layer(name, size=5_000)), "v1", "v2")
    command.insecure(source.address, mirror.address)
    command.rules({f"{source.address}/team/{name}": f"{mirror.address}/ours/{name}" for name in NAMES})
    return source, mirror


def test_shards_copy_the_same_as_one_run(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """Three shards leave the same at a real registry as one run, byte for byte, including chains."""
    source, whole, parts = docker_registry(), docker_registry(), docker_registry()
    for kind in KINDS:
        layout.send(layout.tagged(kind), source.endpoint, f"team/{kind}:{kind}")
    command.insecure(source.address, whole.address, parts.address)
    copied = []
    for mirror in (whole, parts):
        ours = f"{mirror.address}/ours"
        command.rules(
            {f"{source.address}/team/{kind}": [f"{ours}/{kind}", f"{ours}/all"] for kind in KINDS}
            | {f"{ours}/multi": f"{ours}/tested", f"{ours}/tested:multi": f"{ours}/released:stable"}
        )
        results = [command.run()] if mirror is whole else run_all(command)
        assert {each.code for each in results} == {0}
        copied.append(sum(each.finish["copied"] for each in results))

    assert copied == [2 * len(KINDS) + 2] * 2
    assert stored(whole) == stored(parts)
    assert flaws(parts.endpoint, "ours/released:stable") == []


def test_shards_upload_as_much_as_one_run(
    command: Command, both: tuple[Registry, Registry], scripted: Scripted
) -> None:
    """If repositories share no layers, shards together upload as many bytes as one run."""
    (source, mirror), other = both, scripted()
    parts = run_all(command)
    command.insecure(source.address, other.address)
    command.rules({f"{source.address}/team/{name}": f"{other.address}/ours/{name}" for name in NAMES})
    whole = command.run()

    for figure in ("copied", "bytes", "uploaded", "mounted"):
        assert sum(part.finish[figure] for part in parts) == whole.finish[figure], figure
    assert [mirror.tags(f"ours/{name}") for name in NAMES] == [other.tags(f"ours/{name}") for name in NAMES]


def test_second_shard_run_repeats_nothing(command: Command, both: tuple[Registry, Registry]) -> None:
    """A shard has its own records, and repeats nothing."""
    first, second = run_all(command), run_all(command)

    assert [each.finish["copied"] for each in first] == [each.finish["unchanged"] for each in second]
    assert sum(each.finish["unchanged"] for each in second) == 2 * len(NAMES)
    assert sorted(path.name for path in (command.folder / "records").iterdir()) == [
        f"{index}-of-{COUNT}" for index in range(COUNT)
    ]


def test_plan_and_verify(command: Command, both: tuple[Registry, Registry]) -> None:
    """A plan of a shard uses its records; a verification covers one shard, or everything."""
    planned = [summary(each)["images"]["to_copy"] for each in run_all_of(command, "plan")]
    copied = [each.finish["copied"] for each in run_all(command)]
    again = [summary(each)["images"]["up_to_date"] for each in run_all_of(command, "plan")]
    verified = [summary(each)["images"]["complete"] for each in run_all_of(command, "verify")]

    assert planned == copied == again == verified
    assert summary(command.run("verify", "--json"))["images"]["complete"] == sum(copied)


def test_index_from_a_variable(command: Command, both: tuple[Registry, Registry]) -> None:
    """The index may come from a variable; the command that resumes has the number."""
    source, _ = both
    command.rules({f"{source.address}/team/gone:v1": f"{both[1].address}/ours/gone"})
    index = shard_of(f"{both[1].address}/ours/gone")
    result = command.run("--shard", f"$JOB_COMPLETION_INDEX/{COUNT}", "-r0", JOB_COMPLETION_INDEX=str(index))
    (started,) = result.events("run.start")

    assert (result.code, started["shard"]) == (1, f"{index}/{COUNT}"), result.text
    assert "JOB_COMPLETION_INDEX" not in result.text


def test_failed_chain_is_retried_by_its_shard(command: Command, both: tuple[Registry, Registry]) -> None:
    """A failure in a chain is retried by the command of its shard, and by one command for all shards."""
    source, mirror = both
    ours = f"{mirror.address}/ours"
    command.rules(
        {
            f"{source.address}/team/app0:v1": f"{ours}/app0",
            f"{ours}/app0:v1,v3": [f"{ours}/chain{number}" for number in range(9)],
        }
    )
    index = shard_of(f"{ours}/app0")
    results = run_all(command, "--json", "-r0")
    again = json.loads(results[index].output)["try_again"]
    source.add("team/app0", image(layer("late")), "v3")
    mirror.add("ours/app0", image(layer("late")), "v3")
    retried = command.run(*again[1:])

    assert [each.code for each in results] == [int(each == index) for each in range(COUNT)]
    assert again == shlex.split(
        f"image-syncer --json -r0 --records records/{index}-of-{COUNT}"
        f" --images records/{index}-of-{COUNT}/failed.yaml"
    )
    assert (retried.code, retried.finish["copied"]) == (0, 9), retried.text
    run_all(command, "--json", "-r0")
    together = command.run("--images", "records/*/failed.yaml", "--records", "records/again")
    assert (together.code, together.finish["failed"]) == (0, 0), together.text


def test_invalid_rule_fails_shard_0(command: Command, both: tuple[Registry, Registry]) -> None:
    """An invalid rule fails shard 0 and is a warning in the others."""
    _, mirror = both
    command.rules({"UPPER": f"{mirror.address}/ours/app"})
    results = run_all(command)

    assert [each.code for each in results] == [1, 0, 0]
    levels = [event["level"] for each in results for event in each.events("config.rule_invalid")]
    assert levels == ["error", "warning", "warning"]


def test_failed_listing_fails_affected_shards(command: Command, both: tuple[Registry, Registry]) -> None:
    """A rule whose tags cannot be listed fails each shard with one of its destinations, and no other."""
    source, mirror = both
    to = [f"{mirror.address}/ours/to{number}" for number in range(2)]
    command.rules({f"{source.address}/team/gone": to})
    concerned = {shard_of(each) for each in to}
    results = run_all(command, "-r0")

    assert [each.code for each in results] == [int(index in concerned) for index in range(COUNT)]


def test_status_sums_up_all_shards(command: Command, both: tuple[Registry, Registry]) -> None:
    """The status of the folder sums up all shards; before the last one has run, it says that work is left."""
    for index in range(COUNT - 1):
        command.run("--shard", f"{index}/{COUNT}")
    before = command.run("status", "--json")
    command.run("--shard", f"{COUNT - 1}/{COUNT}")
    after, told = command.run("status", "--json"), command.run("status")
    one = command.run("status", "--json", "--records", f"records/1-of-{COUNT}")

    assert (before.code, summary(before)["state"], summary(before)["shards"]["not_started"]) == (
        1,
        "stopped",
        1,
    )
    found = summary(after)
    assert (after.code, found["state"], found["exit_code"]) == (0, "done", 0)
    assert (found["images"]["copied"], found["images"]["total"]) == (2 * len(NAMES), 2 * len(NAMES))
    assert found["shards"]["done"] == found["shards"]["total"] == COUNT
    assert found["requests"] == sum(part["requests"] for part in found["parts"])
    assert found["parts"][1] == {"shard": f"1/{COUNT}", **summary(one)}
    assert told.output.splitlines()[0] == f"{COUNT} shards in records: {COUNT} done"
    assert told.output.splitlines()[1].startswith(f"{2 * len(NAMES)} images in ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--shard", "3/3"), "shards are counted from 0, the last one is 2/3"),
        (("--shard", "/3"), "has no index (is a variable not set?)"),
        (("--shard=$NOWHERE/3",), "the variable NOWHERE is not set"),
        (("--shard", "1"), "'1' is not I/N"),
        (("--shard=-1/3",), "is not I/N"),
        (("--shard", "0/0"), "is not I/N"),
        (("--shard", "1/3", "--shard-parallelism", "0"), "is not a whole number of at least 1"),
        (("--shard-by", "namespace"), "--shard-by goes with --shard I/N"),
        (("--shard-parallelism", "4"), "--shard-parallelism goes with --shard I/N"),
        (("--shard", "1/3", "--shard-by", "tag"), "invalid choice"),
        (("plan", "--explain", "a/b:1", "--shard", "1/3"), "--explain looks at all rules: omit --shard"),
        (("--images", "none/*.yaml"), "no file has such a name"),
    ],
)
def test_wrong_flags_are_rejected(command: Command, flags: tuple[str, ...], words: str) -> None:
    """Wrong flags are rejected with one line, before anything is read or written."""
    result = command.run(*flags)

    assert (result.code, result.text.count("\n")) == (2, 1), result.text
    assert words in result.text
    assert [*command.folder.iterdir()] == []


def test_inseparable_rules_are_refused(command: Command, both: tuple[Registry, Registry]) -> None:
    """Rules that no shard can keep together are refused with both lines, in every shard."""
    source, mirror = both
    ours = f"{mirror.address}/ours"
    command.write(
        "images.yaml",
        f"{source.address}/team/app0: {ours}/app0\n{source.address}/team/app1: {ours}/app1\n"
        f"{ours}/app0: {ours}/all\n{ours}/app1: {ours}/all\n",
    )
    results = run_all(command, "--images", "images.yaml")

    assert [each.code for each in results] == [2] * COUNT
    assert all("line 3" in each.text and "line 4" in each.text for each in results)
    assert mirror.repositories() == []
