"""The status of a run from another process: while it runs, after a kill, a stop, or its end."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.asking import ask, assert_refused, sixteen
from tests.e2e.command import Command, children, wait_for
from tests.e2e.test_death import complete
from tests.registry.faults import Fault, Reply, Stall

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

RIGHTS = "-dac_override,-dac_read_search"
WITHOUT_RIGHTS = ("setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}")
"""Runs a program of root's with the limits of file modes."""


@pytest.fixture
def registries(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """Sixteen images to copy."""
    return sixteen(command, scripted)


def start_stalled_run(command: Command, source: Registry, *flags: str) -> subprocess.Popen[str]:
    """A run in which one repository's manifests are held back, so that four of its images never end."""
    source.fault(Fault(action=Stall(seconds=90), method="GET", path="team/app3/manifests/", times=None))
    process = command.start(*flags)
    source.wait_for(1, method="GET", path="team/app3/manifests/")
    wait_for((command.folder / "records/store/cache.db").exists)
    return process


def wait_until_copied(command: Command, *, copied: int) -> dict[str, Any]:
    """Wait until this many images are copied and the records say so."""
    found: dict[str, Any] = {}

    def arrived() -> bool:
        nonlocal found
        _, found = ask(command)
        images = found["images"]
        return bool(images["copied"] >= copied and images["total"] == 16)

    try:
        wait_for(arrived, seconds=60.0)
    except AssertionError as error:
        raise AssertionError(f"it never had {copied} images copied, but {found}") from error
    return found


def store_files(folder: Path) -> dict[str, tuple[int, int, int]]:
    """The files of the store with the details that a write would change."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        for path in (folder / "records/store").iterdir()
        if path.suffix != ".db-shm"
    }


def test_status_of_a_running_run(command: Command, registries: tuple[Registry, Registry]) -> None:
    """During a run the status has what is done and left, twice the same, and does not disturb the run."""
    source, mirror = registries
    process = start_stalled_run(command, source)
    found = wait_until_copied(command, copied=12)
    text = command.run("status")
    source.clear_faults()
    source.release()

    assert command.end(process).code == 0
    assert (found["state"], found["exit_code"], found["process"]["pid"]) == ("running", None, process.pid)
    assert (found["images"]["copied"], found["images"]["left"], found["go_on"]) == (12, 4, [])
    assert (text.code, text.text) == (0, "")
    assert f"run {found['run']} is running: process {process.pid} on " in text.output
    assert "16 images in " in text.output
    assert "  left: 4 images" in text.output
    assert complete(source, mirror)


def test_rate_limited_registry_is_named(command: Command, registries: tuple[Registry, Registry]) -> None:
    """The status names a rate-limited registry, the reason, and the time left."""
    _, mirror = registries
    wait = {"Retry-After": "600"}
    mirror.fault(Fault(action=Reply(status=429, headers=wait), method="POST", times=None))
    process = command.start()
    mirror.wait_for(1, method="POST")
    wait_for(lambda: status_if_any(command).get("waits"))
    _, found = ask(command)
    text = command.run("status").output
    process.kill()
    process.communicate()

    [waits] = found["waits"]
    assert (waits["registry"], waits["reason"].split()[0]) == (mirror.address, "429")
    assert 300 < waits["seconds"] <= 900
    assert f"rate limited: {mirror.address} (" in text


def status_if_any(command: Command) -> dict[str, Any]:
    """The output of status; empty until there are records."""
    output = command.run("status", "--json").output
    return json.loads(output) if output else {}


def test_status_of_a_killed_run(command: Command, registries: tuple[Registry, Registry]) -> None:
    """The status of a killed run says so, with what is left and the command that resumes it."""
    source, mirror = registries
    process = start_stalled_run(command, source)
    wait_until_copied(command, copied=12)
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()
    before = store_files(command.folder)

    code, found = ask(command)
    text = command.run("status")

    assert (code, text.code, found["state"]) == (1, 1, "lost")
    assert (found["images"]["copied"], found["images"]["left"]) == (12, 4)
    assert "was killed or its machine failed" in text.output
    assert text.output.endswith("To resume:  image-syncer\n")
    assert found["go_on"] == ["image-syncer"]
    assert store_files(command.folder) == before
    source.clear_faults()
    source.release()
    assert command.run(*found["go_on"][1:]).code == 0
    assert complete(source, mirror)
    assert ask(command)[1]["images"]["left"] == 0


def test_status_of_a_stopped_run(command: Command, registries: tuple[Registry, Registry]) -> None:
    """The status of a run that a signal stopped has the exit code and the command that resumes it."""
    source, mirror = registries
    process = start_stalled_run(command, source, "--drain", "0s")
    wait_until_copied(command, copied=12)
    process.send_signal(signal.SIGTERM)
    assert command.end(process).code == 143
    code, found = ask(command)

    assert (code, found["state"], found["exit_code"]) == (1, "stopped", 143)
    assert found["images"]["left"] == 4
    source.clear_faults()
    source.release()
    assert command.run(*found["go_on"][1:]).code == 0
    assert complete(source, mirror)


def test_status_of_a_failed_run(command: Command, registries: tuple[Registry, Registry]) -> None:
    """The status has failures by cause like the summary, and the command that retries them."""
    source, mirror = registries
    mirror.fault(Fault(action=Reply(status=403), method="PUT", path="copy/app3/manifests", times=None))
    rules = json.loads((command.folder / "images.json").read_text())
    command.rules(rules | {f"{source.address}/team/none": f"{mirror.address}/copy/none"})
    ran = command.run("--retries", "0", "--json")
    code, found = ask(command)
    text = command.run("status").output

    assert (ran.code, code, found["state"]) == (1, 1, "failed")
    assert found["failures"] == json.loads(ran.output)["failures"]
    assert sorted((each["images"], each["rules"]) for each in found["failures"]) == [(0, 1), (4, 0)]
    assert found["go_on"] == json.loads(ran.output)["try_again"]
    assert "FAILED  destination " in text
    assert "To retry:  image-syncer --retries 0 --json --images records/failed.yaml\n" in text


def test_status_of_a_successful_run(command: Command, registries: tuple[Registry, Registry]) -> None:
    """The status of a successful run has the figures of its last line."""
    ran = command.run()
    code, found = ask(command)
    text = command.run("status").output

    assert (ran.code, code, found["state"], found["exit_code"]) == (0, 0, "done", 0)
    assert found["images"] == {
        "total": 16, "final": True, "copied": 16, "unchanged": 0, "kept": 0, "held": 0, "skipped": 0,
        "failed": 0,
        "to_retry": 0, "left": 0,
    }  # fmt: skip
    assert (found["requests"], found["bytes"]["sent"]) == (ran.finish["requests"], ran.finish["bytes"])
    assert "all images are at their destination" in text
    assert "To resume" not in text


def test_status_names_the_folder_of_the_command(
    command: Command, registries: tuple[Registry, Registry]
) -> None:
    """From another folder, the status names the one in which the command was run."""
    source, _ = registries
    process = start_stalled_run(command, source)
    process.kill()
    process.communicate()
    elsewhere = Command(command.folder / "else where")
    elsewhere.folder.mkdir()
    text = elsewhere.run("status", "--records", "../records").output

    assert text.endswith(f"To resume:  cd {command.folder} && image-syncer\n")


class TestUnwritable:
    """Records in a folder where the user may not write."""

    @pytest.fixture
    def unprivileged(self, command: Command) -> Command:
        """Asks without the rights of root."""
        other = Command(command.folder)
        other.prefix = WITHOUT_RIGHTS
        return other

    @staticmethod
    def make_read_only(command: Command) -> None:
        """Remove all write permissions."""
        store = command.folder / "records/store"
        for path in (*store.iterdir(), store):
            path.chmod(0o500 if path.is_dir() else 0o400)

    def test_closed_records_can_be_read(
        self, command: Command, unprivileged: Command, registries: tuple[Registry, Registry]
    ) -> None:
        """Records that were closed cleanly are read there, and nothing is left beside them."""
        assert command.run().code == 0
        self.make_read_only(command)
        before = store_files(command.folder)
        code, found = ask(unprivileged)

        assert (code, found["state"], found["images"]["copied"]) == (0, "done", 16)
        assert store_files(command.folder) == before
        assert list(before) == ["cache.db"]

    def test_records_of_running_run_can_be_read(
        self, command: Command, unprivileged: Command, registries: tuple[Registry, Registry]
    ) -> None:
        """The records of a running run can be read there as well."""
        source, _ = registries
        process = start_stalled_run(command, source)
        wait_until_copied(command, copied=12)
        self.make_read_only(command)
        code, found = ask(unprivileged)
        source.clear_faults()
        source.release()

        assert (code, found["state"], found["images"]["copied"]) == (0, "running", 12)
        assert command.end(process).code == 0

    def test_records_of_killed_run_can_be_read(
        self, command: Command, unprivileged: Command, registries: tuple[Registry, Registry]
    ) -> None:
        """The records of a killed run can be read there as well."""
        source, _ = registries
        process = start_stalled_run(command, source)
        wait_until_copied(command, copied=12)
        process.kill()
        process.communicate()
        self.make_read_only(command)
        before = store_files(command.folder)
        code, found = ask(unprivileged)

        assert (code, found["state"], found["images"]["copied"]) == (1, "lost", 12)
        assert store_files(command.folder) == before

    def test_unreadable_records_exit_3(
        self, command: Command, unprivileged: Command, registries: tuple[Registry, Registry]
    ) -> None:
        """Records that may not be read are one line and exit 3."""
        command.run()
        (command.folder / "records/store").chmod(0)
        result = unprivileged.run("status")

        assert_refused(result, "records in records cannot be read: ")


def test_run_is_not_disturbed(command: Command, registries: tuple[Registry, Registry]) -> None:
    """Reading the status repeatedly disturbs neither the run nor its records."""
    source, mirror = registries
    process = command.start()
    asked = time.monotonic()
    while process.poll() is None:
        assert command.run("status").code in (0, 3)
        assert time.monotonic() - asked < 60.0
    assert command.end(process).code == 0
    again = command.run()

    assert complete(source, mirror)
    assert (again.code, again.finish["unchanged"], again.events("records.trouble")) == (0, 16, [])
