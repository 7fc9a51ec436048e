"""`image-syncer check` against docker-registry: accounts, certificates, helper programs, and what is left."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.wire import Wire
from tests.registry.content import image, layer
from tests.registry.push import push

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.command import Command, Result
    from tests.real.fixtures import StartRegistry
    from tests.real.servers import DockerRegistry

SECRET = "s3cret-of-tests"
USERS = {"jürgen": SECRET}


def fill(registry: DockerRegistry, *tags: str) -> None:
    """One image."""
    with Wire(registry.endpoint) as wire:
        push(wire, "team/app", image(layer("one")), *(tags or ("v1",)))


def ask(command: Command, source: DockerRegistry, mirror: DockerRegistry, **environ: str) -> Result:
    """Check one rule between two registries."""
    command.rules({f"{source.address}/team/app": f"{mirror.address}/mirror/app"})
    return command.run("check", "--json", **environ)


def account(word: str) -> dict[str, Any]:
    """An entry of the credentials file, over plain HTTP."""
    return {"username": "jürgen", "password": word, "insecure": True}


def findings(result: Result) -> dict[str, dict[str, Any]]:
    """The findings by kind; for two registries the second one."""
    return {each["what"]: each for each in json.loads(result.output)["checks"]}


def files(folder: Path) -> list[str]:
    """Names of all files below a folder.

    The hash state of an upload is left out: docker-registry 2.8 writes it again after removing the upload.
    """
    found = [path for path in folder.rglob("*") if path.is_file() and "hashstates" not in path.parts]
    return sorted(str(path.relative_to(folder)) for path in found)


def test_valid_login_passes(command: Command, docker_registry: StartRegistry) -> None:
    """A login with the rights to pull and push is ok on both sides, and leaves no upload or repository."""
    source, mirror = docker_registry(users=USERS), docker_registry(users=USERS, delete=True)
    fill(source)
    command.write("auth.json", {source.address: account(SECRET), mirror.address: account(SECRET)})

    result = ask(command, source, mirror)

    found = findings(result)
    assert (result.code, found["source"]["state"], found["destination"]["state"]) == (0, "ok", "ok")
    assert found["destination"]["user"] == "jürgen"
    asked = [(each.method, each.status) for each in mirror.requests() if "/uploads/" in each.path]
    assert asked[-2:] == [("POST", 202), ("DELETE", 204)]
    with Wire(mirror.endpoint) as wire:
        listed = wire.need(200, "GET", "/v2/_catalog").body
    assert json.loads(listed) == {"repositories": []}
    assert files(mirror.storage) == []


def test_wrong_password_fails(command: Command, docker_registry: StartRegistry) -> None:
    """A wrong password fails, names file and key, says what to do, and is not shown."""
    source, mirror = docker_registry(), docker_registry(users=USERS)
    fill(source)
    wrong = "wr0ng-secret"
    command.write("auth.json", {source.address: {"insecure": True}, mirror.address: account(wrong)})

    result = ask(command, source, mirror)

    found = findings(result)["destination"]
    assert (result.code, found["state"], found["status"]) == (1, "failed", 401)
    assert found["credentials"] == f"auth.json key {mirror.address}"
    assert found["what_to_do"]
    assert wrong not in result.output + result.text


def test_missing_login_fails(command: Command, docker_registry: StartRegistry) -> None:
    """A registry that requires a login fails without one, and the line says that there is none."""
    source, mirror = docker_registry(), docker_registry(users=USERS)
    fill(source)
    command.insecure(source.address, mirror.address)

    result = ask(command, source, mirror)

    found = findings(result)["destination"]
    assert (result.code, found["state"], found["credentials"], found["user"]) == (1, "failed", None, None)
    assert "anonymously" in found["message"]


def test_trusted_private_ca_passes(command: Command, docker_registry: StartRegistry) -> None:
    """A certificate of a private CA is ok if the CA is trusted, with a warning if it expires soon."""
    source, mirror = docker_registry(), docker_registry(tls=True)
    fill(source)
    command.insecure(source.address)

    result = ask(command, source, mirror, SSL_CERT_FILE=str(mirror.endpoint.ca))

    found = findings(result)
    assert (result.code, found["destination"]["state"]) == (0, "ok")
    assert found["registry"]["message"].startswith("https, certificate valid until ")
    assert (found["registry"]["state"], "renew" in found["registry"]["what_to_do"]) == ("warning", True)


def test_untrusted_certificate_fails(command: Command, docker_registry: StartRegistry) -> None:
    """An untrusted certificate fails the registry, which gets no further requests."""
    source, mirror = docker_registry(), docker_registry(tls=True)
    fill(source)
    command.insecure(source.address)

    result = ask(command, source, mirror)

    found = findings(result)
    assert (result.code, found["registry"]["code"]) == (1, "CERTIFICATE")
    assert "SSL_CERT_FILE" in found["registry"]["what_to_do"]
    assert found["registry"]["untried"] == [f"{mirror.address}/mirror/app"]
    assert "destination" not in found


def test_unverified_certificate_is_stated(command: Command, docker_registry: StartRegistry) -> None:
    """A certificate that is not verified is ok, and the line says so."""
    source, mirror = docker_registry(), docker_registry(tls=True)
    fill(source)
    command.insecure(source.address, mirror.address)

    result = ask(command, source, mirror)

    found = findings(result)["registry"]
    assert (result.code, found["state"]) == (0, "ok")
    assert found["message"] == "https, certificate not verified (insecure: true)"


def test_local_plain_http_needs_no_entry(command: Command, docker_registry: StartRegistry) -> None:
    """A registry on this machine that speaks plain HTTP needs no entry that allows it."""
    source = docker_registry()
    fill(source)
    command.write("auth.json", {})

    result = ask(command, source, source)

    found = findings(result)["registry"]
    assert (result.code, found["state"]) == (0, "ok")
    assert found["message"] == "http, nothing is encrypted (this machine)"


def test_docker_login_is_named(command: Command, docker_registry: StartRegistry) -> None:
    """Docker's login is used over TLS if the credentials file has none, and its file is named."""
    source, mirror = docker_registry(), docker_registry(users=USERS, tls=True)
    fill(source)
    command.insecure(source.address)
    (command.folder / ".docker").mkdir()
    pair = base64.b64encode(f"jürgen:{SECRET}".encode()).decode()
    command.write(".docker/config.json", {"auths": {mirror.address: {"auth": pair}}})

    result = ask(command, source, mirror, SSL_CERT_FILE=str(mirror.endpoint.ca))

    found = findings(result)["destination"]
    assert (result.code, found["state"]) == (0, "ok")
    assert (found["user"], found["credentials"]) == ("jürgen", "~/.docker/config.json")
    assert SECRET not in result.output + result.text


GIVES = f'printf \'{{"Username":"jürgen","Secret":"{SECRET}"}}\''
FAILS = "echo no cloud today; exit 1"


@pytest.mark.parametrize(("script", "words"), [(GIVES, "docker-credential-made"), (FAILS, "no cloud today")])
def test_helper_program_is_named(
    command: Command, docker_registry: StartRegistry, tmp_path: Path, script: str, words: str
) -> None:
    """The line names a helper program that gives the login, or repeats its words if it fails."""
    source, mirror = docker_registry(), docker_registry(users=USERS, tls=True)
    fill(source)
    command.insecure(source.address)
    program = tmp_path / "docker-credential-made"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (command.folder / ".docker").mkdir()
    command.write(".docker/config.json", {"credHelpers": {mirror.address: "made"}})

    path = f"{tmp_path}:{command.environ['PATH']}"
    result = ask(command, source, mirror, SSL_CERT_FILE=str(mirror.endpoint.ca), PATH=path)

    found = findings(result)["destination"]
    expected = (0, "ok") if script == GIVES else (1, "failed")
    assert (result.code, found["state"]) == expected
    assert words in found["message"]
    assert SECRET not in result.output + result.text
