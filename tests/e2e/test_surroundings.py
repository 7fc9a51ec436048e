"""The surroundings of a run: signals blocked by its parent, little memory, unusual streams and files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

PARENT = """
import os, signal, sys

signal.pthread_sigmask(signal.SIG_BLOCK, [int(number) for number in sys.argv[1].split(",")])
signal.signal(signal.SIGCHLD, int(sys.argv[2]))
os.execv(sys.argv[3], sys.argv[3:])
"""
EARLY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def parent(blocked: Sequence[int], ignored: signal.Handlers = signal.SIG_DFL) -> tuple[str, ...]:
    """A parent that blocks signals, and may ignore SIGCHLD."""
    return sys.executable, "-c", PARENT, ",".join(str(int(each)) for each in blocked), str(int(ignored))


def fill(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """One image to copy."""
    source, mirror = scripted(), scripted()
    source.add("a", image(layer("one", size=10_000)), "v1")
    command.insecure(source.address, mirror.address)
    command.rules({f"{source.address}/a:v1": f"{mirror.address}/a"})
    return source, mirror


@pytest.mark.parametrize("prefix", [parent(EARLY), parent([signal.SIGUSR1], signal.SIG_IGN)])
def test_run_ends_despite_blocked_signals(
    command: Command, scripted: Scripted, prefix: tuple[str, ...]
) -> None:
    """A run ends whatever signals its parent blocks or ignores."""
    _, mirror = fill(command, scripted)
    command.prefix = prefix

    result = command.run()

    assert result.code == 0, result.text
    assert list(mirror.tags("a")) == ["v1"]


@pytest.mark.parametrize("megabytes", [25, 45, 60, 80])
def test_little_memory_causes_no_traceback(command: Command, scripted: Scripted, megabytes: int) -> None:
    """With too little memory a run works or reports it, without a traceback; a later run completes it."""
    _, mirror = fill(command, scripted)
    command.prefix = ("prlimit", f"--as={megabytes}000000")

    result = command.run("--retries=0")
    command.prefix = ()
    again = command.run()

    assert "Traceback" not in result.text
    assert result.code in (0, 1, 3), result.text
    assert result.text.strip()
    assert again.code == 0, again.text
    assert list(mirror.tags("a")) == ["v1"]


LOST = [
    (words, closed)
    for words in (("--json",), ("plan",), ("check",), ("plan", "--json"), ("--help",))
    for closed in (False, True)
    if not (closed and "--help" in words)  # argparse then prints it on standard error
]


@pytest.mark.parametrize(("words", "closed"), LOST)
def test_lost_standard_output_exits_3(
    command: Command, scripted: Scripted, words: tuple[str, ...], *, closed: bool
) -> None:
    """Requested output that is lost, on a full disk or a closed output, causes one line and exit code 3."""
    fill(command, scripted)
    to = ">&-" if closed else ">/dev/full"
    command.prefix = ("sh", "-c", f'exec "$@" {to}', "sh")

    result = command.run(*words)

    assert result.code == 3, result.text
    lines = [line for line in result.text.splitlines() if "standard output cannot be written" in line]
    assert len(lines) == 1
    assert "Traceback" not in result.text


def test_closed_json_pipe_keeps_the_exit_code(command: Command, scripted: Scripted) -> None:
    """A reader that closes the pipe of --json does not change the exit code."""
    fill(command, scripted)
    command.prefix = ("sh", "-c", '{ "$@"; echo "code $?" >&2; } | true', "sh")

    assert "code 0" in command.run("--json").text


def test_log_pipe_without_reader_is_an_error(command: Command) -> None:
    """A pipe without a reader as --log is an error before anything starts, not a wait."""
    command.rules({})
    os.mkfifo(command.folder / "log")

    result = command.run("--log", "log")

    assert (result.code, len(result.text.splitlines())) == (2, 1)
    assert "no process reads from this pipe" in result.text


@pytest.mark.parametrize("name", ["lock", "store", "store/cache.db", "store/cache.db-wal"])
@pytest.mark.parametrize("is_there", [False, True])
def test_symbolic_link_in_records_is_renamed(
    command: Command, scripted: Scripted, name: str, *, is_there: bool
) -> None:
    """A symbolic link under a name of the records is renamed; its target is neither changed nor created."""
    _, mirror = fill(command, scripted)
    target = command.folder / "precious"
    if is_there and name == "store":
        target.mkdir(mode=0o755)
    elif is_there:
        target.write_text("precious")
    link = command.folder / "records" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(target)

    result = command.run()

    assert result.code == 0, result.text
    assert list(mirror.tags("a")) == ["v1"]
    assert len(result.events("records.trouble")) == 1
    assert target.exists() is is_there
    if target.is_dir():
        assert (list(target.iterdir()), target.stat().st_mode & 0o777) == ([], 0o755)
    elif is_there:
        assert target.read_text() == "precious"


def test_hard_linked_lock_is_not_written(command: Command) -> None:
    """A lock that is a hard link to another file is not written to."""
    command.rules({})
    target = command.write("precious", "precious")
    (command.folder / "records").mkdir()
    (command.folder / "records" / "lock").hardlink_to(target)

    result = command.run()

    assert result.code == 3, result.text
    assert "its lock is a link or not a regular file" in result.text
    assert target.read_text() == "precious"


def test_little_is_imported_before_signals_are_set_up() -> None:
    """Nothing large is imported before the signals are set up."""
    code = (
        "import sys; had = set(sys.modules); import pipeline.__main__; print(sorted(set(sys.modules) - had))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(["__future__", "pipeline", "pipeline.__main__"])
