"""A machine that fails during a run: what its user reads, and what the next run does.

The fault comes at one chosen moment: the sources hold back their blobs until then.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import Command, Result, children, wait_for, workers
from tests.e2e.test_death import complete, fill, prepare, uploads
from tests.registry.faults import Fault, Reply, Stall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

_RIGHTS = "-dac_override,-dac_read_search"
WITHOUT_RIGHTS = ("setpriv", f"--bounding-set={_RIGHTS}", f"--inh-caps={_RIGHTS}")
"""Runs a program of root's with the limits of file modes."""
TRACEBACK = ("Traceback", 'File "', "run.broken", "task.broken")


@pytest.fixture
def stalled_source(command: Command, scripted: Scripted) -> tuple[Registry, Registry, int]:
    """A source that holds its blobs back until it is released, its mirror, and the number of images."""
    source, mirror = scripted(), scripted()
    total = fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(seconds=60), method="GET", path="/blobs/", times=None))
    return source, mirror, total


def run_with_fault(
    command: Command, source: Registry, trouble: Callable[[int], object], *flags: str
) -> Result:
    """Cause the fault while blobs are being read, then release them."""
    process = command.start(*flags)
    source.wait_for(3, method="GET", path="/blobs/")
    trouble(process.pid)
    source.clear_faults()
    source.release()
    return command.end(process)


def assert_clear(result: Result, *words: str, code: int) -> None:
    """One line names each fault, and none is a traceback."""
    assert code == result.code, result.text
    assert not [mark for mark in TRACEBACK if mark in result.text], result.text
    told = [line for line in result.text.splitlines() if line.startswith("image-syncer: error:")]
    assert len(words) == len(told), result.text
    assert all(each in line for each, line in zip(words, told, strict=True)), told


def assert_next_run_completes(command: Command, source: Registry, mirror: Registry, total: int) -> None:
    """The next run copies the rest without sending a blob twice, and the one after has nothing to do."""
    again = command.run()
    assert again.code == 0, again.text
    assert complete(source, mirror)
    assert again.finish["copied"] + again.finish["unchanged"] == total
    assert max(uploads(mirror).values()) == 1
    last = command.run()
    assert (last.code, last.finish["unchanged"], last.finish["uploaded"]) == (0, total, 0)


class TestRecords:
    def test_removed_records_lose_no_image(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """Records that are removed during a run stop it with 3 or not at all, and no image is lost."""
        source, mirror, total = stalled_source
        result = run_with_fault(command, source, lambda _: shutil.rmtree(command.folder / "records"))

        if result.code:
            assert_clear(result, "records", code=3)
        else:
            assert complete(source, mirror)
        assert_next_run_completes(command, source, mirror, total)

    def test_removed_records_with_failures_exit_3(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """If the records are gone and failures cannot be listed, the run ends with 3."""
        source, _, _ = stalled_source
        source.fault(Fault(action=Reply(status=404), method="HEAD", path="/manifests/v0", times=None))
        result = run_with_fault(
            command,
            source,
            lambda _: shutil.rmtree(command.folder / "records"),
            *("--output-failed-images", "failed.yaml", "--output-success-images", "done.yaml"),
        )

        assert result.code == 3 or all(
            (command.folder / name).exists() for name in ("failed.yaml", "done.yaml")
        )

    def test_read_only_records_fail_the_next_run(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """Records that become read-only during a run do not affect open files; the next run ends with 3."""
        source, mirror, total = stalled_source
        store = command.folder / "records" / "store"

        def make_read_only(_: int) -> None:
            for path in (*store.iterdir(), store, store.parent):
                path.chmod(0o500 if path.is_dir() else 0o400)

        command.prefix = WITHOUT_RIGHTS
        first = run_with_fault(command, source, make_read_only)
        second = command.run()
        for path in (store.parent, store):
            path.chmod(0o700)
        for path in store.iterdir():
            path.chmod(0o600)

        if first.code:
            assert_clear(first, "records cannot be written", code=3)
        else:
            assert complete(source, mirror)
        assert_clear(second, "--records", code=3)
        assert_next_run_completes(command, source, mirror, total)

    def test_damaged_records_only_cost_requests(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """Records damaged during a run only cost requests: this run or the next copies everything."""
        source, mirror, total = stalled_source

        def damage(_: int) -> None:
            database = command.folder / "records" / "store" / "cache.db"
            size = database.stat().st_size
            with database.open("r+b") as file:
                file.write(os.urandom(size))

        result = run_with_fault(command, source, damage)

        assert result.code in (0, 3), result.text
        assert not [mark for mark in TRACEBACK if mark in result.text], result.text
        assert command.run().code == 0
        assert complete(source, mirror)
        assert max(uploads(mirror).values()) == 1
        assert command.run().finish["unchanged"] == total

    def test_planted_pickle_is_never_loaded(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """A pickle that is planted in the records before or during a run is never loaded."""
        source, mirror, total = stalled_source
        mark = command.folder / "executed"
        pickled = b"cos\nsystem\n(S'touch %s'\ntR." % os.fsencode(mark)

        def plant(_: int) -> None:
            with closing(sqlite3.connect(command.folder / "records" / "store" / "cache.db")) as database:
                database.execute("UPDATE Cache SET mode = 4, value = ? WHERE key != 'version'", (pickled,))
                database.execute(
                    "INSERT OR REPLACE INTO Cache (key, raw, store_time, mode, value) VALUES (?, 0, 0, 4, ?)",
                    (pickled, pickled),
                )
                database.commit()

        result = run_with_fault(command, source, plant)
        assert result.code == 0, result.text
        assert complete(source, mirror)
        plant(0)
        again = command.run()

        assert (again.code, again.finish["unchanged"]) == (0, total), again.text
        assert any("something other than text" in event["msg"] for event in again.events("records.trouble"))
        assert not mark.exists()


@contextmanager
def small_disk(path: Path, *, size: int) -> Iterator[Path]:
    """A file system with this many KiB."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


class TestDiskFull:
    def test_full_disk_drains_the_run(
        self, command: Command, stalled_source: tuple[Registry, Registry, int], tmp_path: Path
    ) -> None:
        """A full disk drains the run, which ends with 3; with space again the next run resumes."""
        source, mirror, total = stalled_source
        with small_disk(tmp_path / "disk", size=1024) as disk:
            ballast = disk / "ballast"

            def fill_up(_: int) -> None:
                with ballast.open("wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(b"x" * 4096)
                    except OSError:
                        pass

            flags = ("--records", str(disk / "records"))
            result = run_with_fault(command, source, fill_up, *flags)
            assert_clear(result, "failed.yaml cannot be written", "records cannot be written", code=3)
            ballast.unlink(missing_ok=True)
            again = command.run(*flags)

            assert again.code == 0, again.text
            assert complete(source, mirror)
            assert again.finish["copied"] + again.finish["unchanged"] == total
            assert max(uploads(mirror).values()) == 1

    def test_unwritable_log_does_not_stop_the_run(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """A log that cannot be written is reported once, and the run continues to its end."""
        source, mirror, total = stalled_source
        result = run_with_fault(command, source, lambda _: None, "--log", "/dev/full")

        assert result.code == 0, result.text
        assert complete(source, mirror)
        assert result.text.count("the log /dev/full cannot be written") == 1
        assert not [mark for mark in TRACEBACK if mark in result.text], result.text
        assert_next_run_completes(command, source, mirror, total)

    def test_unwritable_list_exits_3(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """A list of successes that cannot be written is reported, and ends a complete run with 3."""
        source, mirror, _ = stalled_source
        folder = command.folder / "out"
        folder.mkdir()
        result = run_with_fault(
            command, source, lambda _: shutil.rmtree(folder), "--output-success-images", "out/done.yaml"
        )

        assert_clear(result, "done.yaml", code=3)
        assert complete(source, mirror)


class TestProcesses:
    @pytest.mark.parametrize("limit", [20, 32, 64])
    def test_few_descriptors(self, command: Command, scripted: Scripted, limit: int) -> None:
        """With few file descriptors a run works or ends with one clear line; afterwards it is complete."""
        source, mirror = scripted(), scripted()
        total = fill(source)
        prepare(command, source, mirror)
        command.prefix = ("prlimit", f"--nofile={limit}:{limit}")
        result = command.run()
        command.prefix = ()

        assert not [mark for mark in TRACEBACK if mark in result.text], result.text
        if limit >= 64:
            assert result.code == 0, result.text
            assert "open files" not in result.text
        if result.code == 3:
            assert_clear(result, "", code=3)
        assert_next_run_completes(command, source, mirror, total)

    def test_long_tmpdir(self, command: Command, scripted: Scripted) -> None:
        """A TMPDIR with a long name works."""
        source, mirror = scripted(), scripted()
        total = fill(source)
        prepare(command, source, mirror)
        folder = command.folder / ("x" * 100)
        folder.mkdir()

        result = command.run(TMPDIR=str(folder))

        assert (result.code, result.finish["copied"]) == (0, total), result.text

    def test_fork_server_killed_with_its_workers(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """A killed fork server is replaced together with its workers, and the run is complete."""
        source, mirror, total = stalled_source

        def kill(pid: int) -> None:
            for number in children(pid):
                os.kill(number, signal.SIGKILL)

        result = run_with_fault(command, source, kill)

        assert (result.code, result.finish["copied"]) == (0, total), result.text
        assert complete(source, mirror)
        assert not [mark for mark in TRACEBACK if mark in result.text], result.text

    def test_only_the_fork_server_is_killed(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """If only the fork server is killed, the run continues with the workers that it has."""
        source, mirror, total = stalled_source

        def kill(pid: int) -> None:
            (server,) = set(children(pid)) - set(workers(pid))
            os.kill(server, signal.SIGKILL)

        result = run_with_fault(command, source, kill)

        assert (result.code, result.finish["copied"]) == (0, total), result.text
        assert complete(source, mirror)

    def test_kernel_kill_is_reported_as_low_memory(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """A worker that the kernel kills is reported with the guess of low memory, and replaced."""
        source, mirror, total = stalled_source
        result = run_with_fault(command, source, lambda pid: os.kill(workers(pid)[-1], signal.SIGKILL))

        assert (result.code, result.finish["copied"]) == (0, total), result.text
        assert ["killed by SIGKILL; perhaps out of memory"] == [
            event["reason"] for event in result.events("worker.lost")
        ]
        assert complete(source, mirror)

    def test_suspended_run_finishes(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """A run that is suspended and continued (SIGSTOP, SIGCONT) finishes normally."""
        source, mirror, total = stalled_source

        def suspend(pid: int) -> None:
            everybody = (pid, *children(pid))
            for number in everybody:
                os.kill(number, signal.SIGSTOP)
            wait_for(lambda: all("T" in _state(number) for number in everybody))
            for number in everybody:
                os.kill(number, signal.SIGCONT)

        result = run_with_fault(command, source, suspend)

        assert (result.code, result.finish["copied"]) == (0, total), result.text
        assert complete(source, mirror)

    def test_closed_terminal_drains_the_run(
        self, command: Command, stalled_source: tuple[Registry, Registry, int]
    ) -> None:
        """Closing the terminal drains the run, although nobody reads its output."""
        source, mirror, total = stalled_source
        process = command.start()
        source.wait_for(3, method="GET", path="/blobs/")
        assert process.stderr
        assert process.stdout
        process.stderr.close()
        process.stdout.close()
        os.killpg(process.pid, signal.SIGHUP)
        source.clear_faults()
        source.release()

        assert process.wait(60) == 129
        assert_next_run_completes(command, source, mirror, total)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
