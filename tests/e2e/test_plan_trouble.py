"""`plan` with faults: bad records, flags, signals, unreachable registries."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import wait_for
from tests.e2e.figures import contents, summary
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Stall

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted


def test_plan_beside_a_run(command: Command, scripted: Scripted) -> None:
    """While a run holds the records a plan reads them without disturbing it, and uses their content."""
    source, mirror = scripted(), scripted()
    for number in range(3):
        source.add(f"team/app{number}", image(layer(f"{number}")), "v1")
    command.rules({f"{source.address}/team/app{n}": f"{mirror.address}/copy/app{n}" for n in range(3)})
    command.insecure(source.address, mirror.address)
    mirror.fault(Fault(action=Stall(), method="PUT", path="/copy/app2/manifests/"))
    run = command.start("--proc", "1")
    mirror.wait_for(2, method="PUT", path="/manifests/", status=201)
    wait_for((command.folder / "records" / "store" / "cache.db-wal").exists)

    result = command.run("plan", "--json")

    assert result.code == 0, result.text
    mirror.release()
    assert command.end(run).code == 0
    assert summary(result)["images"]["up_to_date"] >= 2


@pytest.mark.parametrize("damage", ["garbage", "newer", "empty", "file", "folder"])
def test_damaged_or_newer_records(command: Command, scripted: Scripted, damage: str) -> None:
    """Records that a run would rename are reported and kept; those of a newer version end it with 3."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    _spoil(command.folder / "records", damage)
    before = contents(command.folder)

    result = command.run("plan")

    assert result.code == (3 if damage == "newer" else 0)
    assert contents(command.folder) == before
    assert len(result.events("records.trouble")) == (damage in ("garbage", "folder"))
    if damage == "newer":
        assert "newer image-syncer" in result.text
        assert "image-syncer-" not in result.text


def _spoil(records: Path, damage: str) -> None:
    """Put something in the place of the records."""
    if damage == "file":
        records.write_text("the original tool's\n")
        return
    store = records / "store"
    store.mkdir(parents=True)
    if damage == "folder":
        (store / "cache.db").mkdir()
    if damage == "garbage":
        (store / "cache.db").write_bytes(b"no database at all" * 1000)
    if damage == "newer":
        with closing(sqlite3.connect(store / "cache.db")) as connection:
            connection.execute("CREATE TABLE Settings (key TEXT, value)")
            connection.execute("CREATE TABLE Cache (key, value, raw, mode, tag)")
            connection.execute("INSERT INTO Cache VALUES ('version', '99', 1, 1, '')")
            connection.commit()


def test_unreadable_records_exit_3(command: Command, scripted: Scripted) -> None:
    """Records that may not be read end the plan with 3, in one line."""
    source, mirror = scripted(), scripted()
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    (command.folder / "records").mkdir()
    (command.folder / "records" / "store").symlink_to("store")

    result = command.run("plan")

    assert result.code == 3
    assert result.text.splitlines()[-1].startswith("image-syncer: error: records in records cannot be read: ")


def test_records_of_a_killed_run(command: Command, scripted: Scripted) -> None:
    """The records of a killed run are used as the next run would, and not changed."""
    source, mirror = scripted(), scripted()
    for number in range(3):
        source.add(f"team/app{number}", image(layer(f"{number}")), "v1")
    command.rules({f"{source.address}/team/app{n}": f"{mirror.address}/copy/app{n}" for n in range(3)})
    command.insecure(source.address, mirror.address)
    mirror.fault(Fault(action=Stall(), method="PUT", path="/copy/app2/manifests/"))
    run = command.start("--proc", "1")
    mirror.wait_for(2, method="PUT", path="/manifests/", status=201)
    wait_for((command.folder / "records" / "store" / "cache.db-wal").exists)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    mirror.release()
    mirror.clear_faults()
    before = contents(command.folder)

    plan = summary(command.run("plan", "--json"))

    assert contents(command.folder) == before
    done = summary(command.run("--json"))
    assert plan["images"]["to_copy"] == done["images"]["copied"]
    assert plan["blobs"] == done["blobs"]


def test_missing_temporary_folder_names_tmpdir(command: Command, scripted: Scripted) -> None:
    """If no temporary folder can be created, one line says so and names TMPDIR."""
    source, mirror = scripted(), scripted()
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    command.prefix = (sys.executable, "-c", NOWHERE)

    result = command.run("plan")

    assert (result.code, result.output) == (3, "")
    assert result.text.splitlines()[-1].endswith("set TMPDIR to a folder with more space")


NOWHERE = """
import sys, tempfile, runpy
def nowhere(*_, **__):
    raise FileNotFoundError(2, "No usable temporary directory found")
tempfile.TemporaryDirectory = nowhere
sys.argv = sys.argv[3:]
runpy.run_module("pipeline", run_name="__main__")
"""
"""The command on a machine without a temporary folder; `python -m pipeline` comes before its arguments."""


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("plan", "--deep"), "--deep is a flag of verify"),
        (("--deep",), "--deep is a flag of verify"),
        (("verify", "--explain", "a/b"), "--explain is a flag of plan"),
        (("plan", "one"), "plan needs a source and at least one destination"),
    ],
    ids=" ".join,
)
def test_inapplicable_flags_exit_2(command: Command, flags: tuple[str, ...], words: str) -> None:
    """Flags that make no sense for the verb end it with 2, in one line."""
    command.rules({})

    result = command.run(*flags)

    assert (result.code, result.output) == (2, "")
    (line,) = result.text.splitlines()
    assert words in line


def test_unreachable_side_exits_1(command: Command, scripted: Scripted) -> None:
    """An unreachable side ends the plan with 1, and is named."""
    source = scripted()
    source.add("team/app", image(layer("one")), "v1")
    command.rules({f"{source.address}/team/app": "127.0.0.1:1/copy/app"})
    command.insecure(source.address, "127.0.0.1:1")

    result = command.run("plan", "--retries", "0")

    assert result.code == 1
    assert "destination 127.0.0.1:1: UNREACHABLE, cannot be reached" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_early_signal_removes_the_temporary_folder(
    command: Command, scripted: Scripted, number: signal.Signals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A signal right after the temporary folder is created ends the plan and removes the folder."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    source.fault(Fault(action=Stall(), times=None))
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    passing = tmp_path_factory.mktemp("p")
    process = command.start("plan", TMPDIR=str(passing))
    wait_for(lambda: list(passing.glob("image-syncer-*")))

    process.send_signal(number)
    result = command.end(process)

    source.release()
    assert result.code == 128 + number
    assert list(passing.glob("image-syncer-*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_plan(
    command: Command, scripted: Scripted, number: signal.Signals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A signal ends a plan at once, with its exit code, and the temporary folder is removed."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    source.fault(Fault(action=Stall(), method="GET", path="/manifests/"))
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    passing = tmp_path_factory.mktemp("p")
    process = command.start("plan", TMPDIR=str(passing))
    source.wait_for(method="GET", path="/manifests/")
    assert list(passing.glob("image-syncer-*")) != []

    process.send_signal(number)
    result = command.end(process)

    source.release()
    assert result.code == 128 + number
    assert list(passing.glob("image-syncer-*")) == []
    assert "stopped, so incomplete" in result.output
