"""The log of a run with many faults: every line of every format, and its meaning."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.command import wait_for
from tests.e2e.lines import read_logfmt, wrong_json, wrong_logfmt, wrong_text
from tests.registry.content import digest_of, foreign_image, image, index, layer
from tests.registry.faults import Corrupt, Drop, Fault, Reply, Stall, throttle

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

GONE = "127.0.0.1:9"
BROKEN = Reply(status=500, body="no \u001b[2J luck")
DENIED = Reply(status=403, body='{"errors": [{"code": "DENIED", "message": "ask \\"Ann\\""}]}')


def fill(source: Registry, mirror: Registry) -> None:
    """Images that are copied, and one for each way to fail."""
    base = layer("base", size=10_000)
    amd, arm = image(base, architecture="amd64"), image(base, layer("arm"), architecture="arm64")
    source.add("team/app", index(amd, arm), "index")
    source.add("team/app", foreign_image(base, layer("elsewhere")), "foreign")
    for name in ("denied", "passing", "failing", "corrupt"):
        source.add(f"team/{name}", image(layer(name, size=3_000), base), "v1")
    for number in range(4):
        source.add(f"team/shared{number}", image(base, layer(f"own{number}")), "v1")
    source.add("team/again", image(base), "v1")
    corrupt, torn = (f"/blobs/{digest_of(layer(name, size=3_000))}" for name in ("corrupt", "passing"))
    source.fault(Fault(action=Corrupt(), method="GET", path=corrupt, times=None))
    source.fault(Fault(action=Drop(after=1_000), method="GET", path=torn))
    source.fault(throttle(retry_after="1", method="HEAD", path="team/again/manifests", times=1))
    source.fault(Fault(action=Reply(status=404), path="team/none/tags", times=None))
    source.fault(Fault(action=BROKEN, path="team/broken/tags", times=None))
    mirror.fault(Fault(action=DENIED, method="POST", path="copy/denied/blobs", times=None))
    mirror.fault(Fault(action=BROKEN, method="PUT", path="copy/passing/manifests", times=1))
    mirror.fault(Fault(action=BROKEN, method="PUT", path="copy/failing/manifests", times=None))


def prepare(command: Command, source: Registry, mirror: Registry) -> None:
    """Rules for all of them, and some invalid ones."""
    names = ("denied", "passing", "failing", "corrupt", "again", *(f"shared{number}" for number in range(4)))
    rules: dict[str, Any] = {
        f"{source.address}/team/{name}:v1": f"{mirror.address}/copy/{name}" for name in names
    }
    rules[f"{source.address}/team/app"] = f"{mirror.address}/copy/app"
    rules[f"{source.address}/team/app:missing"] = f"{mirror.address}/copy/missing"
    rules[f"{source.address}/team/none"] = f"{mirror.address}/copy/none"
    rules[f"{source.address}/team/broken"] = f"{mirror.address}/copy/broken"
    rules[f"{source.address}/team/app:index"] = f"{GONE}/copy/app"
    rules[f"{source.address}/team/denied:v1,v1"] = f"{mirror.address}/copy/app:index,foreign"
    rules["Bad//name:x"] = f"{mirror.address}/x"
    command.rules(rules)
    command.insecure(source.address, mirror.address, GONE)


def log_of(command: Command, scripted: Scripted, form: str, *more: str) -> str:
    """Run it all and return the log."""
    source, mirror = scripted(), scripted(mount="refused")
    fill(source, mirror)
    prepare(command, source, mirror)
    result = command.run("--log", "log", "--log-format", form, "--retries", "1", "--arch", "amd64", *more)
    assert result.code == 1, result.text
    return (command.folder / "log").read_text()


def test_logfmt_matches_the_catalogue(command: Command, scripted: Scripted) -> None:
    """Every line of logfmt matches the catalogue, and grep finds the original's sentences."""
    text = log_of(command, scripted, "logfmt", "--log-level", "debug")

    assert wrong_logfmt(text) == []
    assert len(read_logfmt(text)) == len(text.splitlines())
    for sentence in (
        r"Finish synchronizing manifest from \S+ to \S+\. Now \d+/\d+ tasks have been processed\.",
        r"Failed to executed synchronizing manifest from \S+ to \S+: .* Now \d+/\d+ tasks have been",
        r"Synchronization finished, \d+ tasks failed, cost \S+\.",
    ):
        assert re.search(sentence, text), sentence


def test_json_matches_the_schema(command: Command, scripted: Scripted) -> None:
    """Every line of JSON matches the schema, and all kinds of faults are among them."""
    text = log_of(command, scripted, "json", "--log-level", "debug")
    lines = [json.loads(line) for line in text.splitlines()]

    assert wrong_json(text) == []
    assert {line["event_name"].removeprefix("imagesyncer.") for line in lines} >= {
        "blob.done", "blob.left", "blob.retry", "config.rule_invalid", "credentials.chosen", "http.request",
        "image.done", "image.failed", "image.planned", "image.retry", "image.rewritten", "registry.cooldown",
        "registry.mount_refused", "registry.recovered", "request.retry", "rule.expanded", "rule.failed",
        "rule.retry", "run.cause", "run.finish", "run.start",
    }  # fmt: skip


def test_text_lines_have_all_fields(command: Command, scripted: Scripted) -> None:
    """Every line of text in a file has time, level, message, run, process and stage."""
    text = log_of(command, scripted, "text")

    assert wrong_text(text) == []
    assert re.search(r"Synchronization finished, \d+ tasks failed, cost \S+\. \[run=", text)


def test_failure_names_side_and_attempt(command: Command, scripted: Scripted) -> None:
    """A failure states side, registry and response, the attempt, and that it was the last one."""
    text = log_of(command, scripted, "json")
    failures = {
        (
            line.get("imagesyncer.side"),
            line["error.type"],
            line.get("http.response.status_code"),
            line["imagesyncer.attempt"],
        )
        for line in map(json.loads, text.splitlines())
        if line["event_name"] == "imagesyncer.image.failed" and not line["imagesyncer.again"]
    }

    assert failures >= {
        ("destination", "DENIED", 403, 1),
        ("destination", "500", 500, 2),
        ("source", "DIGEST_MISMATCH", None, 1),
        ("source", "MANIFEST_UNKNOWN", 404, 1),
        ("destination", "UNREACHABLE", None, 2),
    }


def test_info_log_has_no_debug_events(command: Command, scripted: Scripted) -> None:
    """A log of level info has no events of level debug."""
    assert "level=debug" not in log_of(command, scripted, "logfmt")


class TestProgress:
    @pytest.fixture
    def stalled(self, command: Command, scripted: Scripted) -> Registry:
        """A source that does not answer for one image before it is released."""
        source, mirror = scripted(), scripted()
        source.add("team/app", image(layer("one")), "v1", "v2")
        source.fault(Fault(action=Stall(seconds=60.0), method="HEAD", path="manifests/v2", times=1))
        command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
        command.insecure(source.address, mirror.address)
        return source

    def test_progress_line_at_every_interval(self, command: Command, stalled: Registry) -> None:
        """A line about the progress of the run appears at every interval."""
        process = command.start("--log", "log", "--progress-interval", "0.1s")
        log = command.folder / "log"
        wait_for(lambda: _said(log, "run.progress") > 2)
        stalled.release()

        assert command.end(process).code == 0
        [first, *_] = [line for line in read_logfmt(log.read_text()) if line["event"] == "run.progress"]
        assert (first["total"], first["failed"]) == ("2", "0") or first["final"] == "false"

    def test_usr1_prints_progress(self, command: Command, stalled: Registry) -> None:
        """Without an interval only SIGUSR1 prints the line, and the run continues."""
        process = command.start("--log", "log", "--progress-interval", "0")
        log = command.folder / "log"
        wait_for(lambda: _said(log, "image.done") > 0)
        assert _said(log, "run.progress") == 0
        os.kill(process.pid, signal.SIGUSR1)
        wait_for(lambda: _said(log, "run.progress") == 1)
        stalled.release()

        assert command.end(process).code == 0
        [line] = [line for line in read_logfmt(log.read_text()) if line["event"] == "run.progress"]
        assert (line["done"], line["total"], line["open"], line["final"]) == ("1", "2", "1", "true")


def _said(log: Path, event: str) -> int:
    """The number of lines with an event in the log so far."""
    return log.read_text().count(f"event={event} ") if log.exists() else 0
