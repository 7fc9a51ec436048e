"""`image-syncer check` against scripted registries: requests, output, and nothing left behind."""

from __future__ import annotations

import json
import signal
import socket
from contextlib import closing
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply, Stall, throttle

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

SECRET = "s3cret-of-tests"


def fill(source: Registry, *names: str) -> None:
    """One image in each repository."""
    for name in names or ("team/a", "team/b"):
        source.add(name, image(layer("one")), "v1", "v2")


def prepare(command: Command, source: Registry, mirror: Registry, *, tag: str = "", **account: Any) -> None:
    """Rules for two repositories, and one account for both registries."""
    rules = {f"{source.address}/team/{name}{tag}": f"{mirror.address}/team/{name}" for name in "ab"}
    command.rules(rules)
    command.insecure(source.address, mirror.address, **account)


def findings(result: Result, what: str = "") -> list[dict[str, Any]]:
    """The findings of one kind in the JSON output."""
    (line,) = result.output.splitlines()
    return [each for each in json.loads(line)["checks"] if what in ("", each["what"])]


def states(result: Result, what: str = "") -> list[str]:
    """The states of these findings."""
    return [each["state"] for each in findings(result, what)]


def test_working_setup_passes(command: Command, scripted: Scripted) -> None:
    """If everything works, each registry and repository has a line with its login, and the exit code is 0."""
    source, mirror = scripted(auth="basic", password=SECRET), scripted(auth="token", password=SECRET)
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run("check")

    lines = [line.split(maxsplit=3) for line in result.output.splitlines()]
    assert result.code == 0, result.output
    assert [(state, what, place) for state, what, place, _ in lines[:-1]] == [
        ("ok", "registry", source.address),
        ("ok", "source", f"{source.address}/team/a"),
        ("ok", "source", f"{source.address}/team/b"),
        ("ok", "registry", mirror.address),
        ("ok", "destination", f"{mirror.address}/team/a"),
        ("ok", "destination", f"{mirror.address}/team/b"),
    ]
    assert lines[1][3] == f'list and pull as "user" (auth.json key {source.address})'
    assert result.output.splitlines()[-1].startswith("ready: a run could start (6 ok;")
    assert result.text == "image-syncer: trying 4 repositories of 2 registries\n"


def test_json_is_one_object(command: Command, scripted: Scripted) -> None:
    """--json is one object on standard output, with the same findings and the exit code."""
    source, mirror = scripted(auth="basic", password=SECRET), scripted()
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run("check", "--json")

    whole = json.loads(result.output)
    assert (whole["schema"], whole["exit_code"], whole["ready"], whole["ok"]) == (1, 0, True, 6)
    first = findings(result, "source")[0]
    assert (first["user"], first["credentials"]) == ("user", f"auth.json key {source.address}")
    assert first["what_to_do"] is None


def test_writes_nothing(command: Command, scripted: Scripted) -> None:
    """Each upload that was opened is cancelled, no manifest or blob is sent, and no local file is left."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)

    assert command.run("check").code == 0

    opened = mirror.requests(method="POST", path="/blobs/uploads/", status=202)
    cancelled = mirror.requests(method="DELETE", path="/blobs/uploads/", status=204)
    assert (len(opened), len(cancelled)) == (2, 2)
    assert {entry.method for entry in mirror.requests()} == {"GET", "HEAD", "POST", "DELETE"}
    assert {entry.method for entry in source.requests()} == {"GET", "HEAD"}
    assert mirror.repositories() == []
    assert sorted(path.name for path in command.folder.iterdir()) == ["auth.json", "images.json"]


def test_uncancelled_upload_is_no_failure(command: Command, scripted: Scripted) -> None:
    """An upload that cannot be cancelled is not a failure, and the line says that it stays for a while."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    mirror.fault(Fault(action=Reply(status=405), method="DELETE", times=None))

    result = command.run("check", "--json")

    assert result.code == 0
    assert all(
        "the registry will remove it later" in each["message"] for each in findings(result, "destination")
    )


def test_named_tags_need_no_list(command: Command, scripted: Scripted) -> None:
    """Rules that name tags look up the first one and no list; a missing tag is a warning."""
    source, mirror = scripted(), scripted()
    fill(source, "team/a")
    source.add("team/b", image(layer("two")), "other")
    prepare(command, source, mirror, tag=":v1,v2")

    result = command.run("check", "--json")

    assert result.code == 0
    assert states(result, "source") == ["ok", "warning"]
    assert "tag v1 does not exist" in findings(result, "source")[1]["message"]
    assert source.requests(path="team/a/tags/list") == []


def test_missing_source_repository_fails(command: Command, scripted: Scripted) -> None:
    """A missing source repository is a failure, whether or not its rule names a tag."""
    source, mirror = scripted(), scripted()
    fill(source, "other")
    command.rules(
        {f"{source.address}/gone:v1": f"{mirror.address}/a", f"{source.address}/away": f"{mirror.address}/b"}
    )
    command.insecure(source.address, mirror.address)

    result = command.run("check", "--json")

    assert result.code == 1
    assert [(f["state"], f["status"], f["code"]) for f in findings(result, "source")] == [
        ("failed", 404, "NAME_UNKNOWN"),
        ("failed", 404, "NAME_UNKNOWN"),
    ]
    assert all("repository's name" in each["what_to_do"] for each in findings(result, "source"))


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_rejected_login_is_tried_once(command: Command, scripted: Scripted, auth: str) -> None:
    """A rejected login is tried on one repository, not on all, and its file and key are named."""
    source, mirror = scripted(auth=auth, password="another"), scripted()
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run("check", "--json")

    assert result.code == 1
    assert states(result, "source") == ["failed"]
    (left,) = [each for each in findings(result, "registry") if each["untried"]]
    assert (left["state"], left["untried"]) == ("failed", [f"{source.address}/team/b"])
    assert f"auth.json key {source.address}" in left["message"]
    refused = [entry for entry in source.requests(status=401) if "authorization" in entry.headers]
    assert len(refused) == 1
    assert SECRET not in result.output + result.text


def test_pull_only_token_fails_the_destination(command: Command, scripted: Scripted) -> None:
    """A destination whose token only allows pulls fails for each repository, with the missing push right."""
    source, mirror = scripted(), scripted(auth="token", password=SECRET, token_grants="pull")
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run("check", "--json")

    assert result.code == 1
    assert states(result, "source") == ["ok", "ok"]
    assert [(f["state"], f["status"]) for f in findings(result, "destination")] == [("failed", 401)] * 2
    assert all("write" in each["what_to_do"] for each in findings(result, "destination"))


def test_registry_that_refuses_pushes_fails(command: Command, scripted: Scripted) -> None:
    """A registry that refuses every push fails as a destination, and not as a source."""
    source, mirror = scripted(read_only=True), scripted(read_only=True)
    fill(source)
    prepare(command, source, mirror)

    result = command.run("check", "--json")

    assert (result.code, states(result, "source")) == (1, ["ok", "ok"])
    assert [(f["state"], f["status"]) for f in findings(result, "destination")] == [("failed", 405)] * 2


def test_anonymous_pull_only_token(command: Command, scripted: Scripted) -> None:
    """If anonymous tokens allow only pulls, the lines say that there is no login."""
    source = scripted(auth="token", anonymous=True)
    mirror = scripted(auth="token", anonymous=True)
    fill(source)
    prepare(command, source, mirror)

    result = command.run("check", "--json")

    assert (states(result, "source"), states(result, "destination")) == (["ok"] * 2, ["failed"] * 2)
    assert all("anonymously" in each["message"] for each in findings(result, "source"))
    assert {each["credentials"] for each in findings(result)} == {None}


def test_missing_destination_repository_gets_advice(command: Command, scripted: Scripted) -> None:
    """A destination that must be created before a push fails with that advice; an existing one is ok."""
    source, mirror = scripted(), scripted(create_first=True)
    fill(source)
    mirror.create("team/b")
    prepare(command, source, mirror)

    result = command.run("check", "--json")

    first, second = findings(result, "destination")
    assert (result.code, first["state"], second["state"]) == (1, "failed", "ok")
    assert first["what_to_do"].startswith("create the repository")


def test_unreachable_registry_is_tried_once(command: Command, scripted: Scripted) -> None:
    """An unreachable registry is tried once for all its repositories; the others are checked."""
    mirror = scripted()
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        gone = f"127.0.0.1:{closed.getsockname()[1]}"
    command.rules({f"{gone}/team/{number}": f"{mirror.address}/team/{number}" for number in range(1000)})
    command.insecure(gone, mirror.address)

    result = command.run("check", "--json")

    silent, well = findings(result, "registry")
    assert (result.code, silent["state"], silent["code"]) == (1, "failed", "UNREACHABLE")
    assert (len(silent["untried"]), well["state"]) == (1000, "ok")
    assert (states(result, "source"), states(result, "destination")) == ([], ["ok"] * 1000)


@pytest.mark.parametrize(("skew", "word"), [(3600, "behind"), (-3600, "ahead of"), (30, "")])
def test_wrong_clock_is_a_warning(command: Command, scripted: Scripted, skew: int, word: str) -> None:
    """A clock that is off by more than a minute is a warning with the direction, not a failure."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    headers = {"Date": formatdate(time() + skew, usegmt=True)}
    source.fault(Fault(action=Reply(status=200, headers=headers), path="^/v2/$", times=None))

    result = command.run("check", "--json")

    first = findings(result, "registry")[0]
    assert (result.code, first["state"]) == (0, "warning" if word else "ok")
    assert (f"{word} the registry's" in first["message"]) == bool(word)
    assert ("clock" in (first["what_to_do"] or "")) == bool(word)


def test_rate_limited_registry_gets_its_pause(command: Command, scripted: Scripted) -> None:
    """A registry that asks for a pause gets one, the line says until when, and a run could start."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    source.fault(throttle(retry_after="300", path="/team/", times=None))

    result = command.run("check", "--json", "-p", "1")

    (paused,) = findings(result, "source")
    assert (result.code, paused["state"], paused["status"]) == (0, "warning", 429)
    assert "next try at " in paused["message"]
    assert len(source.requests(path="/team/")) == 1
    assert states(result, "destination") == ["ok", "ok"]
    assert command.run("check", "--patience", "60").code == 1


def test_failing_registry_is_given_up(command: Command, scripted: Scripted) -> None:
    """A registry that keeps failing is not tried any more after three repositories."""
    source, mirror = scripted(), scripted()
    command.rules({f"{source.address}/team/{n}": f"{mirror.address}/team/{n}" for n in range(20)})
    command.insecure(source.address, mirror.address)
    source.fault(Fault(action=Reply(status=502), path="/team/", times=None))

    result = command.run("check", "--json")

    assert (result.code, states(result, "source")) == (1, ["failed"] * 3)
    assert [len(each["untried"]) for each in findings(result, "registry")] == [0, 17, 0]
    assert len(source.requests(path="/team/")) == 9


def test_invalid_rule_fails_the_check(command: Command, scripted: Scripted) -> None:
    """An invalid rule has its own line with its position, and fails the check."""
    source, mirror = scripted(), scripted()
    fill(source)
    command.rules({f"{source.address}/team/a": f"{mirror.address}/a", f"{source.address}/Upper": "x/y"})
    command.insecure(source.address, mirror.address)

    result = command.run("check")

    first, *rest, last = result.output.splitlines()
    assert result.code == 1
    assert first.startswith("FAIL  rule         images.json:1:")
    assert [line.split()[0] for line in rest] == ["ok"] * 4
    assert last.startswith("not ready: fix what FAILED (4 ok, 1 FAILED;")


def test_quiet_prints_only_problems(command: Command, scripted: Scripted) -> None:
    """With -q only problems are printed, and nothing if there are none."""
    source, mirror = scripted(), scripted(create_first=True)
    fill(source)
    mirror.create("team/a")
    prepare(command, source, mirror)

    assert [line.split()[0] for line in command.run("check", "-q").output.splitlines()] == ["FAIL", "not"]

    mirror.create("team/b")
    assert command.run("check", "-q").output == ""


def test_each_repository_is_tried_once(command: Command, scripted: Scripted) -> None:
    """Many rules of one repository, and many destinations in one, are each tried once."""
    source, mirror = scripted(), scripted()
    fill(source, "team/a")
    command.rules(
        {
            f"{source.address}/team/a:v1": f"{mirror.address}/one",
            f"{source.address}/team/a:v2": [f"{mirror.address}/one", f"{mirror.address}/one:other"],
            f"{source.address}/team/a:/^v/": f"{mirror.address}/one",
        }
    )
    command.insecure(source.address, mirror.address)

    result = command.run("check", "--json")

    assert (result.code, states(result, "source"), states(result, "destination")) == (0, ["ok"], ["ok"])
    assert len(mirror.requests(method="POST")) == 1
    assert len(source.requests(path="/tags/list")) == 1


def test_one_rule_as_arguments(command: Command, scripted: Scripted) -> None:
    """One rule may be given instead of a file of rules, as for copy."""
    source, mirror = scripted(), scripted()
    fill(source, "team/a")
    command.insecure(source.address, mirror.address)

    result = command.run("check", "--json", f"{source.address}/team/a:v1", f"{mirror.address}/team/a")

    assert (result.code, states(result)) == (0, ["ok"] * 4)


def test_ctrl_c_ends_the_check(command: Command, scripted: Scripted) -> None:
    """Ctrl-C ends it with 130 and one line, even if a registry does not answer."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(), path="/team/", times=None))

    process = command.start("check")
    source.wait_for(path="/team/")
    process.send_signal(signal.SIGINT)
    result = command.end(process)

    stopped = "image-syncer: stopped by SIGINT; repeat the command to resume"
    assert (result.code, result.text.splitlines()[1:]) == (130, [stopped])


def test_file_without_rules_needs_no_request(command: Command) -> None:
    """A file without rules is ready without any request."""
    command.rules({})

    result = command.run("check")

    assert (result.code, result.output.split("(")[0]) == (0, "ready: a run could start ")


WRONG = [
    (["check", "--deep"], "--deep is a flag of verify"),
    (["check", "a/b"], "check needs a source and at least one destination"),
    (["chekc"], "did you mean check?"),
    (["check", "--images", "none.json"], "none.json"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_usage_errors_exit_2(command: Command, arguments: list[str], words: str) -> None:
    """A flag that makes no sense, a stray word or a missing file is one line, and the exit code is 2."""
    command.rules({})

    result = command.run(*arguments)

    assert (result.code, len(result.text.splitlines()), result.output) == (2, 1, ""), result.text
    assert words in result.text
