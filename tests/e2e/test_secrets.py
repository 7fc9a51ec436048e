"""Whatever registries send, a run's files and output contain no secret and no terminal controls."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import Command, children
from tests.registry.content import image, index, layer
from tests.registry.faults import Drop, Fault, Reply, Stall

if TYPE_CHECKING:
    from tests.e2e.command import Result
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

PASSWORD = "corr3ct-h0rse"
PAIR = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
ECHO = f"your request said Authorization: Basic {PAIR}, that is user:{PASSWORD}"
EVERYTHING = (
    "--log=run.log",
    "--log-level=debug",
    "--report=report.html",
    "--output-success-images=done.yaml",
    "--output-failed-images=failed.yaml",
    "--json",
    "--retries=1",
)


def fill(source: Registry) -> None:
    """Four repositories of two tags."""
    for name in "abcd":
        both = index(image(layer(name, size=20_000)), image(layer(name), architecture="arm64"))
        source.add(f"team/{name}", both, "v1", "v2")


def secrets_of(*registries: Registry) -> set[str]:
    """The password, and everything sent as Authorization or as the state of an upload."""
    found = {PASSWORD, PAIR, "_state="}
    for registry in registries:
        for entry in registry.requests():
            found.add(entry.headers.get("authorization", "").partition(" ")[2])
            found.update(re.findall(r"/blobs/uploads/([^/?]{8,})", entry.target))
            found.update(re.findall(r"signature=(\w+)", entry.query))
    return found - {""}


def unfinished(*registries: Registry) -> set[str]:
    """The URLs of unfinished uploads, which only the records may hold."""
    states = {"finished": {"_state="}, "unfinished": {"_state="}}
    for registry in registries:
        for entry in registry.requests():
            finished = entry.method == "PUT" and entry.status == HTTPStatus.CREATED
            found = re.findall(r"/blobs/uploads/([^/?]{8,})", entry.target)
            states["finished" if finished else "unfinished"].update(found)
    return states["unfinished"] - states["finished"] | {"_state="}


def everything_left(command: Command, result: Result) -> dict[str, bytes]:
    """Everything that was printed or written, by name, except the user's own credentials file."""
    files = {
        str(path.relative_to(command.folder)): path.read_bytes()
        for path in command.folder.rglob("*")
        if path.is_file() and path.name != "auth.json"
    }
    return {**files, "standard error": result.text.encode(), "standard output": result.output.encode()}


def titles(pid: int) -> bytes:
    """Command lines and titles of a run's processes."""
    found = b""
    for each in (pid, *children(pid)):
        for name in ("cmdline", "comm", "status"):
            found += Path(f"/proc/{each}/{name}").read_bytes()
    return found


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_no_output_has_a_secret(command: Command, scripted: Scripted, auth: str) -> None:
    """After failures of all kinds no output has a secret, except unfinished uploads in the records."""
    source = scripted(auth=auth, password=PASSWORD, redirect="get", token_uses=30)
    mirror = scripted(auth=auth, password=PASSWORD, token_uses=30)
    fill(source)
    command.rules({f"{source.address}/team/{n}": f"{mirror.address}/copy/{n}" for n in "abcd"})
    command.insecure(source.address, mirror.address, username="user", password=PASSWORD)
    body = json.dumps({"errors": [{"code": "DENIED", "message": ECHO, "detail": {"headers": [ECHO]}}]})
    source.fault(Fault(action=Stall(seconds=60), path="storage", times=1))
    source.fault(Fault(action=Drop(after=100), path="storage", times=2))
    mirror.fault(Fault(action=Drop(read=0), method="PUT", path="/copy/a/blobs", times=2))
    mirror.fault(Fault(action=Reply(status=500, body=ECHO), method="PUT", path="/copy/a/", times=3))
    mirror.fault(Fault(action=Reply(status=403, body=body), method="PUT", path="/copy/b/man", times=None))
    mirror.fault(
        Fault(
            action=Reply(status=400, headers={"Warning": f'299 - "{ECHO}"'}, body=ECHO),
            method="PUT",
            path="/copy/c/bl",
            times=None,
        )
    )
    mirror.fault(Fault(action=Reply(status=401, body=ECHO), path="/copy/d/", times=None))
    process = command.start(*EVERYTHING)
    source.wait_for(1, path="storage")
    shown = titles(process.pid)
    source.release()
    result = command.end(process)

    secrets = secrets_of(source, mirror)
    assert result.code == 1, result.text
    assert len(secrets) > 6
    assert b"image.failed" in everything_left(command, result)["run.log"]
    resumable = unfinished(source, mirror)
    found = {
        (name, secret)
        for name, content in {**everything_left(command, result), "titles": shown}.items()
        for secret in secrets - (resumable if name.startswith("records/store/") else set())
        if secret.encode() in content
    }
    assert found == set()


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("flag", ["--json", "--retries=2"])
def test_check_output_has_no_secret(command: Command, scripted: Scripted, auth: str, flag: str) -> None:
    """A check's output has no secret, whatever the registries repeat from its requests."""
    source = scripted(auth=auth, password=PASSWORD)
    mirror = scripted(auth=auth, password=PASSWORD)
    fill(source)
    command.rules({f"{source.address}/team/{n}": f"{mirror.address}/copy/{n}" for n in "abcd"})
    command.insecure(source.address, mirror.address, username="user", password=PASSWORD)
    for status, name in ((401, "b"), (403, "c"), (429, "d")):
        for registry in (source, mirror):
            registry.fault(Fault(action=Reply(status=status, body=ECHO), path=f"/{name}/", times=None))

    result = command.run("check", flag)

    found = {secret for secret in secrets_of(source, mirror) if secret in result.output + result.text}
    assert (result.code, found) == (1, set())
    assert "[hidden]" in result.output


def test_unfinished_upload_urls_are_private(command: Command, scripted: Scripted) -> None:
    """The upload URLs that a killed run leaves are readable by its user only."""
    source, mirror = scripted(), scripted()
    fill(source)
    command.rules({f"{source.address}/team/a": f"{mirror.address}/copy/a"})
    command.insecure(source.address, mirror.address)
    source.fault(Fault(action=Stall(seconds=60), method="GET", path="/blobs/", times=None))
    process = command.start("--log=run.log", "--log-level=debug")
    source.wait_for(2, method="GET", path="/blobs/")
    for pid in (*children(process.pid), process.pid):
        os.kill(pid, 9)
    process.communicate()
    source.release()

    folder = command.folder / "records" / "store"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes.pop("store") == 0o700
    assert b"_state" not in (command.folder / "run.log").read_bytes()


STEERING = "\x1b]0;owned\x07\x1b[2J\x1b[31m\u202eevil\u2066\x9b5m\r\n\u2028time=x level=info event=image.done"
"""Terminal title, screen, colour and direction; a line end, and a fake line of ours."""


def test_registry_text_cannot_control_the_terminal(command: Command, scripted: Scripted) -> None:
    """Registries' errors, warnings and names are printed on one line without terminal controls."""
    source, mirror = scripted(), scripted()
    fill(source)
    command.rules({f"{source.address}/team/{n}": f"{mirror.address}/copy/{n}" for n in "abc"})
    command.insecure(source.address, mirror.address)
    said = json.dumps({"errors": [{"code": "DENIED", "message": STEERING, "detail": {STEERING: "\ud800"}}]})
    source.fault(
        Fault(
            action=Reply(
                status=200, body=json.dumps({"tags": ["v1", STEERING, "v2\r\nX-Evil: 1", "\ud800", "v2"]})
            ),
            path="/team/a/tags",
        )
    )
    warning = {"Warning": '299 - "\x1b[31mred\x9b"', "X-Request-Id": "\x1b[5m7"}
    mirror.fault(
        Fault(
            action=Reply(status=403, headers=warning, body=said), method="PUT", path="/copy/b/man", times=None
        )
    )
    mirror.fault(Fault(action=Reply(status=400, body=STEERING), method="PUT", path="/copy/c/man", times=None))
    result = command.run(*EVERYTHING)

    assert result.code == 1, result.text
    assert mirror.tags("copy/a").keys() == {"v1", "v2"}
    assert not [entry for entry in source.requests() if "evil" in "".join(entry.headers).lower()]
    for name, content in everything_left(command, result).items():
        if name.startswith("records/store/") or name == "records/lock":
            continue
        text = content.decode()
        wild = {each for each in text if not each.isprintable() and each != "\n"}
        assert not wild, f"{name} holds {wild}"
    lines = (command.folder / "run.log").read_text().splitlines()
    assert all(line.startswith('time="20') for line in lines)
