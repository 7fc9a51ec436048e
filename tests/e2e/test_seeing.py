"""The output of a run: live view on a terminal, summary for people and programs, report."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import wait_for
from tests.registry.content import image, layer
from tests.registry.faults import Drip, Fault, Reply, Stall
from tests.unit.observe.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

DENIED = Reply(
    status=403, body='{"errors": [{"code": "DENIED", "message": "<script>no\\u001b[2J</script>"}]}'
)


def prepare(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """Four tags, two of which may not be pushed, and a rule for a missing repository."""
    source, mirror = scripted(), scripted()
    for number in range(4):
        source.add("team/app", image(layer(f"layer{number}")), f"v{number}")
    mirror.fault(Fault(method="PUT", path="/manifests/v[23]$", action=DENIED, times=None))
    command.rules(
        {
            f"{source.address}/team/app": f"{mirror.address}/copy/app",
            f"{source.address}/team/none": f"{mirror.address}/copy/none",
        }
    )
    command.insecure(source.address, mirror.address)
    return source, mirror


def on_terminal(
    command: Command,
    *arguments: str,
    until: Callable[[bytes], bool] | None = None,
    then: Callable[[], None] | None = None,
    shared: bool = False,
    environ: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Run the command with standard error on a terminal; returns its exit code and terminal output.

    When the output fulfils `until`, `then` is called. `shared`: standard output is that terminal too.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command.words(*arguments),
        cwd=command.folder,
        env=command.environ | {"TERM": "xterm"} | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=theirs if shared else subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    data = b""
    try:
        while piece := os.read(ours, 1 << 16):
            data += piece
            if until is not None and then is not None and until(data):
                then()
                until = None
    except OSError:
        pass  # Linux reports the closed other end as EIO
    os.close(ours)
    return process.wait(timeout=60), data


def test_json_prints_only_the_summary(command: Command, scripted: Scripted) -> None:
    """--json prints only the summary on standard output; its command repeats exactly the failures."""
    source, mirror = prepare(command, scripted)
    first = command.run("--json", "--retries=0", "--images", "images.json")
    summary = json.loads(first.output)
    mirror.clear_faults()
    source.reset()
    words = summary["try_again"]
    second = command.run(*words[1:])

    assert (first.code, len(first.output.splitlines())) == (1, 1)
    assert (summary["exit_code"], summary["images"]["copied"], summary["images"]["failed"]) == (1, 2, 2)
    assert [(each["code"], each["images"], each["rules"]) for each in summary["failures"]] == [
        ("DENIED", 2, 0),
        ("NAME_UNKNOWN", 0, 1),
    ]
    assert words == ["image-syncer", "--json", "--retries=0", "--images", "records/failed.yaml"]
    assert (
        json.loads(second.output)["images"] | {"copied": 2, "failed": 0}
        == json.loads(second.output)["images"]
    )
    assert mirror.tags("copy/app") == source.tags("team/app")
    assert {path for _, path in _manifest_requests(source)} <= {"v2", "v3"}


def _manifest_requests(registry: Registry) -> list[tuple[str, str]]:
    """Methods and tags of the requests for manifests by tag."""
    found = [(each.method, each.target.rpartition("/manifests/")[2]) for each in registry.requests()]
    return [(method, tag) for method, tag in found if tag.startswith("v") and len(tag) == 2]


def test_causes_in_the_log(command: Command, scripted: Scripted) -> None:
    """Without a terminal the log has each cause, its number of failures, and what to do."""
    prepare(command, scripted)
    result = command.run("--retries=0")

    assert [(each["code"], each["images"], each["rules"]) for each in result.events("run.cause")] == [
        ("DENIED", "2", "0"),
        ("NAME_UNKNOWN", "0", "1"),
    ]
    assert result.text.splitlines()[-1].count("Synchronization finished, 3 tasks failed, cost ") == 1


def test_report_has_failures_and_no_scripts(command: Command, scripted: Scripted) -> None:
    """--report leaves a page with the failures and without scripts from a registry."""
    prepare(command, scripted)
    result = command.run("--retries=0", "--report", "report.html")
    text = (command.folder / "report.html").read_text()

    assert result.code == 1
    assert "403 DENIED, not allowed" in text
    assert "&lt;script&gt;no" in text
    assert "<script" not in text
    assert sorted(path.name for path in command.folder.iterdir()) == [
        "auth.json",
        "images.json",
        "records",
        "report.html",
    ]


def test_unwritable_report_exits_3(command: Command, scripted: Scripted) -> None:
    """A report that cannot be written is reported, and turns exit code 0 into 3."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    source.fault(Fault(method="GET", path="/blobs/", action=Stall(seconds=60)))
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    (command.folder / "out").mkdir()
    process = command.start("--report", "out/report.html")
    wait_for(lambda: source.requests(path="/manifests/"))
    shutil.rmtree(command.folder / "out")

    def has_ended() -> bool:
        source.release()
        return process.poll() is not None

    wait_for(has_ended)
    result = command.end(process)

    assert (result.code, result.finish["copied"], result.finish["exit_code"]) == (3, 1, 3)
    assert "out/report.html cannot be written" in result.text
    assert "Synchronization finished, 0 tasks failed" in result.text


def test_live_view_is_drawn_during_the_run(command: Command, scripted: Scripted) -> None:
    """On a terminal the view is drawn during the run, and only the summary stays."""
    source, _ = prepare(command, scripted)
    slow = Drip(size=8, pause=0.02)
    source.fault(Fault(method="GET", path="/blobs/", action=slow, times=4))
    code, data = on_terminal(command, "--retries=0")
    screen = Screen(80)
    screen.write(data)
    text = "\n".join(screen.text)

    assert code == 1
    assert data.count(b"Ctrl-C: ") >= 1
    assert "Ctrl-C" not in text
    assert "FAILED  destination" in text
    assert "info" not in text
    assert "To retry:  image-syncer --retries=0 --images records/failed.yaml" in text
    assert screen.text[-1].endswith("s.")
    assert "Synchronization finished, 3 tasks failed" in screen.text[-1]
    assert b"\x1b[2J" not in data


@pytest.mark.parametrize("verb", ["plan", "verify"])
def test_live_view_of_plan_and_verify(command: Command, scripted: Scripted, verb: str) -> None:
    """A plan and a verification draw the view too, and write no line for each image."""
    source, _ = prepare(command, scripted)
    source.fault(Fault(method="GET", path="/manifests/", action=Drip(size=64, pause=0.02), times=4))
    code, data = on_terminal(command, verb, "--retries=0")

    assert code == 1
    assert b"Ctrl-C: stop.  Nothing is changed." in data
    assert b" info " not in data


def test_live_view_of_check(command: Command, scripted: Scripted) -> None:
    """A check on a terminal draws its progress, and leaves the lines of its findings."""
    source, _ = prepare(command, scripted)
    held = Stall(seconds=60)
    source.fault(Fault(method="GET", path="/team/none/tags/", action=held))
    code, data = on_terminal(
        command, "check", until=lambda seen: b"3/4 75 %" in seen, then=source.release, shared=True
    )
    screen = Screen(500)
    screen.write(data.replace(b"\r\n", b"\n"))

    assert code == 1
    assert b"1 of 2 repositories" in data
    assert [line.split()[:2] for line in screen.text[-6:]] == [
        ["ok", "source"],
        ["FAIL", "source"],
        ["ok", "registry"],
        ["ok", "destination"],
        ["ok", "destination"],
        ["not", "ready:"],
    ]


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"CI": "true"}, {"IMAGE_SYNCER_PROGRESS": "plain"}])
def test_terminal_without_live_view_gets_lines(
    command: Command, scripted: Scripted, environ: dict[str, str]
) -> None:
    """If the live view is unsuitable or switched off, a terminal gets lines without control sequences."""
    prepare(command, scripted)
    _, data = on_terminal(command, "--retries=0", environ=environ)

    assert b"\x1b" not in data
    assert b"Finish synchronizing manifest" in data


def test_file_gets_no_control_sequence(command: Command, scripted: Scripted) -> None:
    """A file gets no terminal control sequence, whatever the environment says."""
    prepare(command, scripted)
    result = command.run("--progress=live", FORCE_COLOR="1", TTY_COMPATIBLE="1", TERM="xterm-256color")

    assert "\x1b" not in result.text
    assert result.text.startswith("time=")


def test_quiet_prints_only_failures(command: Command, scripted: Scripted) -> None:
    """--quiet prints nothing about a successful run, and the failures of another."""
    _, mirror = prepare(command, scripted)
    failed = command.run("--quiet", "--retries=0")
    mirror.clear_faults()
    command.rules(dict(list(json.loads((command.folder / "images.json").read_text()).items())[:1]))
    well = command.run("-q")

    assert "level=info" not in failed.text
    assert "403 DENIED" in failed.text
    assert (well.code, well.text, well.output) == (0, "", "")


def test_invalid_progress_variable_is_named(command: Command) -> None:
    """An invalid IMAGE_SYNCER_PROGRESS is a usage error that names it."""
    result = command.run(IMAGE_SYNCER_PROGRESS="bar")

    assert (result.code, len(result.text.splitlines())) == (2, 1)
    assert "IMAGE_SYNCER_PROGRESS=bar" in result.text
