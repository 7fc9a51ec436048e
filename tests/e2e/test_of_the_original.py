"""Flags and files of the original's pipelines, and logins for one copy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command, Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

PASSWORD = "s3cret-of-tests"
ACTION = [
    "--auth={auth}",
    "--images={images}",
    "--config=",
    "--namespace={namespace}",
    "--registry={registry}",
]
ACTION += ["--arch=", "--os=", "--log=", "--records=", "--proc=5", "--retries=2", "--output-success-images="]
ACTION += ["--output-images-format="]


def two(scripted: Scripted, **options: object) -> tuple[Registry, Registry]:
    """A source with one image under two tags, and an empty mirror."""
    source, mirror = scripted(**options), scripted(**options)
    source.add("team/app", image(layer("one", size=10_000)), "latest", "v1")
    return source, mirror


@pytest.mark.parametrize("apart", [False, True])
def test_empty_flag_counts_as_not_given(command: Command, scripted: Scripted, *, apart: bool) -> None:
    """An empty value of an old flag counts as not given, so the environment applies."""
    source, mirror = two(scripted)
    command.insecure(source.address, mirror.address)
    command.rules({f"{source.address}/team/app:v1": ""})
    words = [word.format(auth="", images="", namespace="", registry="") for word in ACTION]
    flags = [part for word in words for part in word.split("=")] if apart else words

    result = command.run(*flags, DEFAULT_REGISTRY=mirror.address, DEFAULT_NAMESPACE="def")

    assert result.code == 0, result.text
    assert list(mirror.tags("def/app")) == ["v1"]
    assert (command.folder / "records").is_dir()


def test_flags_of_the_original_action_work(command: Command, scripted: Scripted) -> None:
    """The flags that the original's action passes work, also for a rule with nothing after its colon."""
    source, mirror = two(scripted)
    command.write("a.json", {host: {"Insecure": True} for host in (source.address, mirror.address)})
    command.write("i.yaml", f"{source.address}/team/app:v1:\n")
    given = {"auth": "a.json", "images": "i.yaml", "namespace": "def", "registry": mirror.address}

    result = command.run(*(word.format(**given) for word in ACTION))

    assert result.code == 0, result.text
    assert list(mirror.tags("def/app")) == ["v1"]


def test_incomplete_default_fails_its_rules(command: Command, scripted: Scripted) -> None:
    """An incomplete default fails the rules that need it; the other rules run."""
    source, mirror = two(scripted)
    command.insecure(source.address, mirror.address)
    command.rules(
        {f"{source.address}/team/app:v1": "", f"{source.address}/team/app:latest": f"{mirror.address}/x"}
    )

    result = command.run("--namespace", "def")

    assert result.code == 1, result.text
    assert list(mirror.tags("x")) == ["latest"]
    (invalid,) = result.events("config.rule_invalid")
    assert "no default registry" in invalid["msg"]


def test_yaml_files_are_found(command: Command, scripted: Scripted) -> None:
    """`images.yaml` and `auth.yml` in the working directory are found; merge keys are supported."""
    source, mirror = two(scripted)
    command.write("images.yaml", f"{source.address}/team/app: {mirror.address}/x\n")
    text = (
        f"{source.address}: &same {{insecure: true, email: a@example.com}}\n{mirror.address}: {{<<: *same}}\n"
    )
    command.write("auth.yml", text)

    result = command.run()

    assert result.code == 0, result.text
    assert mirror.tags("x").keys() == {"latest", "v1"}
    assert [line["key"] for line in result.events("config.unknown_key")] == ["email"] * 2


def test_unset_variable_of_unused_login_is_accepted(command: Command, scripted: Scripted) -> None:
    """An entry with an unset variable is accepted if this job does not need it; otherwise it exits 2."""
    source, mirror = two(scripted)
    plain = {host: {"insecure": True} for host in (source.address, mirror.address)}
    other = {"username": "bot", "password": "$OF_ANOTHER_JOB"}
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/x"})

    command.write("auth.json", {**plain, "quay.io": other, f"{mirror.address}/y": {"username": "half"}})
    unneeded = command.run()
    asked = len(mirror.requests())
    command.write("auth.json", {**plain, f"{mirror.address}/x": other})
    needed = command.run("--force")

    assert unneeded.code == 0, unneeded.text
    assert (needed.code, len(mirror.requests())) == (2, asked)
    assert "OF_ANOTHER_JOB, which is not set" in needed.text


def test_docker_login_beside_insecure(command: Command, scripted: Scripted) -> None:
    """An entry with `insecure` alone leaves the login to docker's file."""
    source, mirror = two(scripted, auth="basic", password=PASSWORD)
    command.insecure(source.address, mirror.address)
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/x"})
    login = {"username": "user", "password": PASSWORD}
    (command.folder / ".docker").mkdir()
    command.write(".docker/config.json", {"auths": dict.fromkeys((source.address, mirror.address), login)})

    result = command.run()

    assert result.code == 0, result.text
    assert list(mirror.tags("x")) == ["v1"]


@pytest.mark.parametrize("flags", [(), ("--all-tags",)])
def test_copy_without_a_tag(command: Command, scripted: Scripted, flags: tuple[str, ...]) -> None:
    """`copy REPOSITORY` is one image, `latest`; --all-tags is every tag; --insecure needs no file."""
    source, mirror = two(scripted)

    result = command.run("copy", f"{source.address}/team/app", f"{mirror.address}/x", "--insecure", *flags)

    assert result.code == 0, result.text
    assert mirror.tags("x").keys() == ({"latest", "v1"} if flags else {"latest"})


def test_chained_rules_run_in_order(command: Command, scripted: Scripted) -> None:
    """With A to B and B to C in one file, one run copies all to C; plan and check name the order."""
    source, mirror = two(scripted)
    command.insecure(source.address, mirror.address)
    command.rules(
        {
            f"{source.address}/team/app": f"{mirror.address}/b",
            f"{mirror.address}/b": f"{source.address}/c",
            f"{source.address}/c:v1": f"{mirror.address}/d:new",
        }
    )
    planned, checked = command.run("plan"), command.run("check")

    assert (0, 0) == (planned.code, checked.code), planned.text + checked.output
    assert f"after line 1: rule {mirror.address}/b (line 1)" in planned.output
    assert (
        f"skipped: {source.address}/c:v1 -> {mirror.address}/d:new: its source comes with line 1"
        in planned.output
    )
    assert re.search(rf"source +{mirror.address}/b +not there yet: it comes after line 1", checked.output)
    result = command.run("--retries=0")

    assert result.code == 0, result.text
    assert source.tags("c") == source.tags("team/app")
    assert mirror.tags("d") == {"new": source.tags("team/app")["v1"]}
    assert [line["other_line"] for line in result.events("rule.after")] == ["1", "1"]


LOGINS = [
    (("--src-creds", "user:-", "--dest-creds=user:$GIVEN"), 0),
    (("--src-creds=user:${GIVEN}", "--dest-creds", "user:-"), 0),
    (("--dest-creds", f"user:{PASSWORD}", f"--src-creds=user:{PASSWORD}"), 2),
]


@pytest.mark.parametrize(("logins", "warnings"), LOGINS)
@pytest.mark.parametrize("verb", ["copy", "plan"])
def test_command_line_logins_stay_secret(
    command: Command, scripted: Scripted, verb: str, logins: tuple[str, ...], warnings: int
) -> None:
    """Logins of the command line work for its repositories, and no file, log or page has a password."""
    source, mirror = two(scripted, auth="token", password=PASSWORD)
    pair = (f"{source.address}/team/app", f"{mirror.address}/x")
    page = ("--report", "page.html", "--log-level", "debug")
    command.prefix = ("sh", "-c", 'echo "$GIVEN" | "$@"', "sh")

    result = command.end(command.start(verb, *pair, "--insecure", *logins, *page, GIVEN=PASSWORD))

    assert result.code == 0, result.text
    assert (list(mirror.tags("x")) == ["latest"]) is (verb == "copy")
    assert len(result.events("config.password_shown")) == warnings
    assert places_of_password(command, result) == []
    assert "user:-" in (command.folder / "page.html").read_text()


def places_of_password(command: Command, result: Result) -> list[str]:
    """The places that contain the password after a run."""
    found = [str(path) for path in command.folder.rglob("*") if path.is_file()]
    where = [path for path in found if PASSWORD.encode() in Path(path).read_bytes()]
    return where + [PASSWORD for text in (result.text, result.output) if PASSWORD in text]


def test_source_login_is_not_sent_to_destination(command: Command, scripted: Scripted) -> None:
    """The source's login is not sent to the destination."""
    source, mirror = two(scripted, auth="basic", password=PASSWORD)
    pair = (f"{source.address}/team/app", f"{mirror.address}/x")

    result = command.run(
        "copy", *pair, "--insecure", "--src-creds", "user:$GIVEN", "--retries=0", GIVEN=PASSWORD
    )

    assert result.code == 1, result.text
    assert not [entry for entry in mirror.requests() if "Authorization" in entry.headers]
