"""Authentication end to end: tokens, scopes, helper programs, login files, and where credentials go."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from pipeline.config.credentials import read_credentials
from pipeline.model.reference import parse_repository
from tests.registry.content import image, index, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

SECRET = "s3cret-of-tests"


def fill(source: Registry, *, names: str = "abc") -> None:
    """An index in each repository, all with the same layers."""
    base = layer("base", size=10_000)
    both = index(image(base, architecture="amd64"), image(base, architecture="arm64"))
    for name in names:
        source.add(f"team/{name}", both, "v1", "v2")


def copied(source: Registry, mirror: Registry, *, names: str = "abc") -> bool:
    """Whether everything was copied."""
    return all(source.tags(f"team/{name}") == mirror.tags(f"team/{name}") != {} for name in names)


def prepare(command: Command, source: Registry, mirror: Registry, **account: Any) -> None:
    """Rules, and one account for both registries."""
    command.rules({f"{source.address}/team/{n}": f"{mirror.address}/team/{n}" for n in "abc"})
    command.insecure(source.address, mirror.address, **account)


def tokens(registry: Registry) -> list[str]:
    """The requests to the token endpoint."""
    return [entry.query for entry in registry.requests(path="token")]


@pytest.mark.parametrize("form", ["token", "access_token"])
def test_tokens_are_fetched_once_per_repository(command: Command, scripted: Scripted, form: str) -> None:
    """Tokens are fetched once per process and repository, not per thread; mounts have both scopes."""
    source = scripted(auth="token", password=SECRET, token_field=form)
    mirror = scripted(auth="token", password=SECRET, token_field=form)
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run()

    assert result.code == 0, result.text
    assert copied(source, mirror)
    assert len(tokens(source)) <= 3 * 3 * 2
    assert result.finish["mounted"] > 0
    assert SECRET not in result.text


def test_expired_token_is_renewed(command: Command, scripted: Scripted) -> None:
    """A token that expires after a few requests is renewed, and nothing fails."""
    source = scripted(auth="token", password=SECRET, token_uses=30)
    mirror = scripted(auth="token", password=SECRET, token_uses=30)
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run()

    assert result.code == 0, result.text
    assert copied(source, mirror)


def test_token_with_only_its_first_scope(command: Command, scripted: Scripted) -> None:
    """If a token holds only its first scope, the mount is refused and the blob is sent."""
    source = scripted()
    mirror = scripted(auth="token", password=SECRET, token_grants="first")
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run()

    assert result.code == 0, result.text
    assert copied(source, mirror)


def test_harbor_is_served_with_tokens(command: Command, scripted: Scripted) -> None:
    """A registry that offers only Basic after a request with any Authorization is served with tokens."""
    source = scripted()
    mirror = scripted(auth="token", harbor=True, password=SECRET, token_uses=30)
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run()

    assert result.code == 0, result.text
    assert copied(source, mirror)


def test_anonymous_token(command: Command, scripted: Scripted) -> None:
    """Without credentials an anonymous token is requested and pulls."""
    source, mirror = scripted(auth="token", anonymous=True), scripted()
    fill(source)
    prepare(command, source, mirror)

    result = command.run()

    assert result.code == 0, result.text
    assert copied(source, mirror)


def test_docker_login_is_used(command: Command, scripted: Scripted) -> None:
    """The login of `docker login` is used if the credentials file has none, and the log says so."""
    source, mirror = scripted(auth="basic", password=SECRET), scripted()
    fill(source)
    prepare(command, source, mirror)
    command.write("auth.json", {mirror.address: {"insecure": True}})
    (command.folder / ".docker").mkdir()
    pair = base64.b64encode(f"user:{SECRET}".encode()).decode()
    command.write(".docker/config.json", {"auths": {source.address: {"auth": pair}}})
    # A docker login does not allow plain HTTP, so the source has an entry that does.
    command.write(
        "auth.json", {mirror.address: {"insecure": True}, f"{source.address}/none": {"insecure": True}}
    )

    result = command.run("--retries", "0")

    assert any(".docker/config.json" in e["msg"] for e in result.events("credentials.chosen")), result.text
    assert SECRET not in result.text


def test_missing_helper_program_fails_its_images(command: Command, scripted: Scripted) -> None:
    """A missing helper program fails its images once, and the error says what to install or write."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.write("auth.json", {mirror.address: {"insecure": True}})
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    (command.folder / ".docker").mkdir()
    helpers = {"credHelpers": {source.address: "none-of-that"}}
    (command.folder / ".docker" / "config.json").write_text(json.dumps(helpers))

    result = command.run("--retries", "2", "--json")

    (failure,) = json.loads(result.output)["failures"]
    assert (result.code, failure["retryable"], result.events("image.retry")) == (1, False, []), result.text
    assert (
        "~/.docker/config.json names the credential helper docker-credential-none-of-that"
        in failure["examples"][0]["message"]
    )
    assert failure["what_to_do"] == f"install it, or write {source.address} into the credentials file"


def test_helper_program_runs_once(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real helper program runs once and gets the registry's name on standard input."""
    program = tmp_path / "docker-credential-made"
    program.write_text(
        '#!/bin/sh\nread server\necho "$1 $server" >> "$0.log"\n'
        f'printf \'{{"ServerURL":"%s","Username":"user","Secret":"{SECRET}"}}\' "$server"\n'
    )
    program.chmod(0o755)
    (command.folder / ".docker").mkdir()
    command.write(".docker/config.json", {"credHelpers": {"registry.test": "made"}})
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    keyring, _ = read_credentials((), environ={"HOME": str(command.folder)})
    found = [keyring.find(parse_repository(f"registry.test/{name}")) for name in ("a", "b")]

    assert {(each.username, each.password) for each in found} == {("user", SECRET)}
    assert (tmp_path / "docker-credential-made.log").read_text() == "get registry.test\n"
    assert SECRET not in repr(found)


def test_redirects_carry_no_credentials(command: Command, scripted: Scripted) -> None:
    """Blobs on another host, which rejects Authorization, are copied."""
    source, mirror = scripted(auth="basic", password=SECRET, redirect="get"), scripted()
    fill(source)
    prepare(command, source, mirror, username="user", password=SECRET)

    result = command.run()

    assert result.code == 0, result.text
    assert copied(source, mirror)
    elsewhere = source.requests(elsewhere=True)
    assert elsewhere
    assert not [entry for entry in elsewhere if "authorization" in entry.headers]


def test_denied_push_is_not_retried(command: Command, scripted: Scripted) -> None:
    """403 at the destination is not retried, fails only its repository, and names the login."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    body = json.dumps({"errors": [{"code": "DENIED", "message": "push to team/b is denied"}]})
    mirror.fault(Fault(action=Reply(status=403, body=body), method="POST", path="/team/b/", times=None))

    result = command.run()

    assert (result.code, result.finish["copied"], result.finish["failed"]) == (1, 4, 2), result.text
    failures = result.events("image.failed")
    assert {(f["side"], f["status"], f["code"]) for f in failures} == {("destination", "403", "DENIED")}
    assert copied(source, mirror, names="ac")


def test_missing_destination_repository_is_named(command: Command, scripted: Scripted) -> None:
    """A destination that has to be created first gives an error that says so."""
    source, mirror = scripted(), scripted(create_first=True)
    fill(source)
    prepare(command, source, mirror)

    result = command.run("--retries", "0")

    assert result.code == 1
    assert all("create" in event["msg"] for event in result.events("image.failed")), result.text
