"""`plan`: it predicts exactly what the run then does, and writes nothing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.figures import by_kind, contents, kinds, results, summary
from tests.e2e.test_main_job import KINDS
from tests.e2e.test_peculiar import fill
from tests.e2e.test_seeing import on_terminal
from tests.registry.content import image, index, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.real.fixtures import StartRegistry
    from tests.real.images import Layout
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

READING = {"GET", "HEAD"}


def prepare(command: Command, source: Registry, mirror: Registry, *, names: str = "v1") -> None:
    """One image of every kind, three repositories that share a layer, and a tag with other content."""
    fill(source)
    rules = {f"{source.address}/team/app": f"{mirror.address}/copy/app"}
    rules |= prepare_indexes(command, source, mirror)
    for number in range(3):
        source.store.create(f"team/x{number}").tags["v2"] = source.tags(f"team/x{number}")["v1"]
    rules[f"{source.address}/team/x0:{names}"] = f"{mirror.address}/more/x0"
    mirror.add("more/x0", image(layer("old")), "v1")
    command.rules(rules)


def prepare_indexes(command: Command, source: Registry, mirror: Registry) -> dict[str, str]:
    """Three repositories that share a layer, each with its own index; returns the rules."""
    base, rules = layer("base", size=10_000), {}
    for number in range(3):
        made = [image(base, layer(f"{arch} {number}"), architecture=arch) for arch in ("amd64", "arm64")]
        source.add(f"team/x{number}", index(*made), "v1")
        rules[f"{source.address}/team/x{number}"] = f"{mirror.address}/copy/x{number}"
    command.rules(rules)
    command.insecure(source.address, mirror.address)
    return rules


def compare(command: Command, source: Registry, mirror: Registry, *flags: str) -> None:
    """Plan, check that nothing was written, run, and check that it went as planned."""
    before = contents(command.folder)
    source.reset()
    mirror.reset()
    planned = command.run("plan", "--json", *flags)
    plan = summary(planned)
    assert contents(command.folder) == before
    assert {entry.method for each in (source, mirror) for entry in each.requests()} <= READING
    made = len(source.requests()) + len(mirror.requests())
    source.reset()
    mirror.reset()

    result = command.run("--json", "--retries", "2", *flags)
    run = summary(result)

    assert planned.code == result.code, result.text
    names = {"copied": "to_copy", "unchanged": "up_to_date", "skipped": "skipped", "failed": "would_fail"}
    assert {names[name]: run["images"][name] for name in names} == {
        name: plan["images"][name] for name in names.values()
    }
    assert by_kind(plan, source.address) == kinds(source.requests())
    more = compare_except_news(
        plan, run, promised=by_kind(plan, mirror.address), done=kinds(mirror.requests())
    )
    assert plan["requests"] == {"total": run["requests"]["total"] + more, "made": made}


def compare_except_news(
    plan: dict[str, Any],
    run: dict[str, Any],
    *,
    promised: dict[str, int],
    done: dict[str, int],
    twice: int = 0,
) -> int:
    """Compare a plan with its run; returns how many repositories only the plan probed.

    `twice` manifests were pushed more or less often. A repository whose first blobs can be mounted is not
    probed: which it is depends on the order of answers.
    """
    more = promised.pop("GET tags", 0) - done.pop("GET tags", 0)
    assert promised == done
    assert plan["blobs"] == run["blobs"]
    planned, moved = dict(plan["bytes"]), dict(run["bytes"])
    answers = planned.pop("received") - moved.pop("received")
    assert abs(planned.pop("sent") - moved.pop("sent")) <= abs(twice) * 4_000
    assert planned == moved
    assert abs(answers) <= (abs(more) + abs(twice) + 1) * 1_000
    return more


def test_plan_predicts_the_run(command: Command, scripted: Scripted) -> None:
    """A plan predicts the run's images, blobs by method, bytes, and requests of each kind."""
    source, mirror = scripted(), scripted()
    prepare_indexes(command, source, mirror)

    compare(command, source, mirror, "--proc", "1")


def test_plan_after_a_partial_copy(command: Command, scripted: Scripted) -> None:
    """After an earlier run copied a part, plan and run use the same records."""
    source, mirror = scripted(), scripted()
    prepare_indexes(command, source, mirror)
    assert command.run().code == 0
    source.add("team/x0", image(layer("base", size=10_000), layer("new")), "v3")
    source.add("team/x1", index(image(layer("amd64 0"), layer("new")), image(layer("else"))), "v1")
    mirror.forget_blob("copy/x1", next(iter(mirror.blobs("copy/x1"))))

    compare(command, source, mirror, "--proc", "1")


@pytest.mark.parametrize("flags", [("--arch", "arm64"), ("--force",)], ids=" ".join)
def test_plan_with_filter_and_force(command: Command, scripted: Scripted, flags: tuple[str, ...]) -> None:
    """A platform filter and --force are planned as they are run."""
    source, mirror = scripted(), scripted()
    prepare_indexes(command, source, mirror)
    assert command.run().code == 0

    compare(command, source, mirror, "--proc", "1", *flags)


def test_plan_with_much_shared_content(command: Command, scripted: Scripted) -> None:
    """If many images in flight share manifests, images, blobs and bytes sent are as planned."""
    source, mirror = scripted(schema1=True), scripted(schema1=True)
    prepare(command, source, mirror)

    plan, run = (summary(command.run(*verb, "--json")) for verb in (("plan",), ("sync",)))

    assert plan["blobs"] == run["blobs"]
    assert plan["bytes"]["sent"] == run["bytes"]["sent"]
    assert (plan["images"]["to_copy"], plan["images"]["total"]) == (run["images"]["copied"], 13)


def test_plan_of_chunks(command: Command, scripted: Scripted) -> None:
    """Blobs that are sent in chunks are planned with every chunk."""
    source, mirror = scripted(), scripted()
    source.add("team/big", image(layer("large", size=1_234_567)), "v1")
    command.rules({f"{source.address}/team/big": f"{mirror.address}/copy/big"})
    command.insecure(source.address, mirror.address)
    command.words = lambda *words: [sys.executable, "-m", "tests.e2e.small", *words]  # type: ignore[method-assign]  # another program

    compare(command, source, mirror, "--proc", "1")


def test_plan_between_real_registries(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """Between real registries, with many images at a time, the run does what the plan predicted."""
    source, mirror = docker_registry(), docker_registry()
    rules = {}
    for name in ("one", "two", "three"):
        for kind in KINDS:
            layout.send(layout.tagged(kind), source.endpoint, f"team/{name}:{kind}")
        rules[f"{source.address}/team/{name}"] = f"{mirror.address}/copy/{name}"
    command.rules(rules)
    command.insecure(source.address, mirror.address)
    before, stored = contents(command.folder), contents(mirror.storage)
    seen = len(source.requests())

    plan = summary(command.run("plan", "--json"))

    assert contents(command.folder) == before
    assert contents(mirror.storage) == stored
    asked = mirror.requests()
    assert {request.method for request in asked} <= READING
    middle = len(source.requests())
    result = command.run("--json")
    run = summary(result)
    assert result.events("request.retry") + result.events("blob.retry") + result.events("image.retry") == []
    assert plan["images"]["to_copy"] == run["images"]["copied"] == 15
    done, promised = kinds(source.requests()[middle:]), by_kind(plan, source.address)
    # A manifest with a tag that is also in an index is read once if both images are open, else twice.
    assert abs(done.pop("GET manifest") - promised.pop("GET manifest")) <= len(rules)
    assert done == promised
    done, promised = kinds(mirror.requests()[len(asked) :]), by_kind(plan, mirror.address)
    # How many mounts are read back depends on how many were in flight when the first one was found.
    assert abs(done.pop("HEAD blob") - promised.pop("HEAD blob")) <= run["blobs"]["mounted"]
    # A manifest with a tag that is also in an index is pushed once or twice, depending on the order.
    twice = done.pop("PUT manifest") - promised.pop("PUT manifest")
    assert abs(twice) <= len(rules)
    assert abs(compare_except_news(plan, run, promised=promised, done=done, twice=twice)) <= len(rules)
    assert plan["requests"]["made"] == middle - seen + len(asked)


def test_lines_are_in_the_future_tense(command: Command, scripted: Scripted) -> None:
    """Each image has a line in the future tense, and the summary has bytes, requests and failures."""
    source, mirror = scripted(schema1=True), scripted(schema1=True)
    prepare(command, source, mirror, names="v1,none")

    result = command.run("plan", "--retries", "0")

    assert result.code == 1
    planned = [event["msg"] for event in result.events("image.to_copy")]
    assert len(planned) == 13
    assert all(words.startswith("Would synchronize manifest from ") for words in planned)
    (failed,) = result.events("image.failed")
    assert failed["msg"].startswith("Would fail to synchronize manifest from ")
    first, *rest = result.output.splitlines()
    assert first == "plan: 14 images: 13 to copy, 0 up to date, 1 would FAIL"
    assert "to send in" in rest[0]
    assert any("404 MANIFEST_UNKNOWN" in line for line in rest)
    assert not any("Synchronization finished" in line for line in (result.text, result.output))


def test_plain_progress_on_a_terminal(command: Command, scripted: Scripted) -> None:
    """With --progress plain each image has its line on a terminal, and nothing moves the cursor."""
    source, mirror = scripted(), scripted()
    prepare_indexes(command, source, mirror)

    code, shown = on_terminal(command, "plan", "--progress", "plain")

    lines = [line for line in shown.decode().splitlines() if "Would synchronize" in line]
    assert (code, len(lines)) == (0, 3)
    assert b"\x1b[" not in shown.replace(b"\x1b[0m", b"").replace(b"\x1b[2m", b"")


def test_dry_run_means_plan(command: Command, scripted: Scripted) -> None:
    """--dry-run means the verb plan, for copy too."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.insecure(source.address, mirror.address)
    pair = (f"{source.address}/team/app:v1", f"{mirror.address}/copy/app")

    for words in (("copy", *pair, "--dry-run"), ("plan", *pair)):
        result = command.run(*words)
        assert (result.code, result.output.splitlines()[0]) == (0, "plan: 1 image: 1 to copy, 0 up to date")
    assert mirror.repositories() == []


def test_plan_states_limited_pulls(command: Command, scripted: Scripted) -> None:
    """If a registry limits pulls, the plan states their number and how long they take."""
    source, mirror = scripted(pulls=4), scripted()
    for number in range(7):
        source.add("team/app", image(layer(f"{number}")), f"v{number}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    source.store.pulled = -7

    result = command.run("plan", "--json", "--proc", "1")

    (pulls,) = summary(result)["pulls"]
    expected = {"pulls": 7, "limit": 4, "window": 21_600, "left": 4, "reserve": 0, "seconds": 21_600}
    assert pulls == {"registry": source.address, **expected}
    assert "7 pulls; its limit is 4 in 6h" in command.run("plan").output


def test_time_is_estimated(command: Command, scripted: Scripted) -> None:
    """The time is estimated from the plan's own requests, and from the last run's rate if there was one."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)

    assert "the plan's own" in summary(command.run("plan", "--json"))["estimate"]["basis"]
    assert command.run().code == 0
    source.add("team/app", image(layer("two")), "v2")
    assert "the last run's rate" in summary(command.run("plan", "--json"))["estimate"]["basis"]


def test_report_is_the_only_file(command: Command, scripted: Scripted) -> None:
    """--report leaves one page with every image, and nothing else."""
    source, mirror = scripted(schema1=True), scripted(schema1=True)
    prepare(command, source, mirror, names="v1,none")
    before = contents(command.folder)

    command.run("plan", "--report", "plan.html", "--retries", "0")

    page = (command.folder / "plan.html").read_text()
    assert {*contents(command.folder)} - {*before} == {"plan.html"}
    assert page.count('<td class="name"') >= 3 * 14
    assert "would FAIL: source: cannot read the manifest none" in page
    assert "<script" not in page


def test_invalid_rule_fails_alone(command: Command, scripted: Scripted) -> None:
    """An invalid rule fails as a whole and is reported, and the others are planned."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    good, bad = f"{source.address}/team/app:v1", f"{source.address}/TEAM//x"
    command.rules({good: f"{mirror.address}/copy/app", bad: f"{mirror.address}/copy/x"})
    command.insecure(source.address, mirror.address)

    result = command.run("plan")

    first = "plan: 1 image: 1 to copy, 0 up to date, 1 rule would FAIL as a whole"
    assert (result.code, result.output.splitlines()[0]) == (1, first)
    assert "RULE_INVALID" in result.output


def test_with_logins_only_token_servers_get_a_post(command: Command, scripted: Scripted) -> None:
    """With logins only token servers get a POST, and the run is as planned except for its tokens."""
    source, mirror = scripted(auth="token"), scripted(auth="token")
    prepare_indexes(command, source, mirror)
    command.insecure(source.address, mirror.address, username="user", password="pass")

    plan = summary(command.run("plan", "--json"))

    sent = [e for each in (source, mirror) for e in each.requests() if e.method not in READING]
    assert all(entry.path.startswith("/token") for entry in sent)
    run = summary(command.run("--json"))
    assert (plan["blobs"], plan["bytes"]["sent"]) == (run["blobs"], run["bytes"]["sent"])


def test_json_is_one_object(command: Command, scripted: Scripted) -> None:
    """--json prints one object with a list of all images on standard output, and nothing else."""
    source, mirror = scripted(schema1=True), scripted(schema1=True)
    prepare(command, source, mirror, names="v1,none")
    source.fault(Fault(action=Reply(status=403), path="/team/x2/manifests/v1", times=None))

    found = json.loads(command.run("plan", "--json", "--retries", "0").output)

    assert (found["verb"], found["exit_code"]) == ("plan", 1)
    assert len(results(found)) == found["images"]["total"] == 14
    assert sorted(results(found).values()).count("would_fail") == found["images"]["would_fail"] == 2


def test_time_includes_user_limits(command: Command, scripted: Scripted) -> None:
    """The effect of rate, bandwidth and reserve on a run is part of the time that a plan states."""
    source, mirror = scripted(), scripted()
    for number in range(4):
        source.add("team/app", image(layer(f"{number}", size=100_000)), f"v{number}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    plain = {"insecure": True}
    command.write("auth.json", {source.address: plain, mirror.address: {**plain, "bandwidth": "1KB/s"}})
    by_bandwidth = summary(command.run("plan", "--json"))
    assert 400 <= plan_seconds(command) < 3600
    command.write("auth.json", {source.address: plain, mirror.address: {**plain, "rate": "5/s"}})
    requests = by_bandwidth["registries"][mirror.address]["requests"]
    assert plan_seconds(command) >= requests // 5
    command.write("auth.json", {source.address: {**plain, "reserve": 7}, mirror.address: plain})
    source.set(pulls=10)

    pulls = summary(command.run("plan", "--json", "--patience", "1s"))["pulls"]

    assert [(each["reserve"], each["seconds"]) for each in pulls] == [(7, 21_600)]


def plan_seconds(command: Command) -> int:
    """The time in a plan's last event."""
    (event,) = command.run("plan").events("plan.finish")
    return int(event["eta"])
