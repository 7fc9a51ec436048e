"""The command as users run it: a process, files in a folder, its output and results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.lines import read_logfmt, wrong_logfmt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
_LONGEST = 100.0
_MOST_WORDS = 20_000
"""Characters of a log that a failure shows."""


@dataclass(frozen=True)
class Result:
    """The exit code and output of a run."""

    code: int
    text: str
    """Standard error."""
    output: str = ""

    def events(self, name: str) -> list[dict[str, str]]:
        """The fields of every line of that event."""
        return [line for line in read_logfmt(self.text) if line["event"] == name]

    @property
    def finish(self) -> dict[str, int]:
        """The figures of the last line."""
        (fields,) = self.events("run.finish")
        return {key: int(value) for key, value in fields.items() if value.isdigit()}


class Command:
    """image-syncer in its own folder, with an environment without this account's settings."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: the working directory; also HOME."""
        self.folder = folder
        self.prefix: tuple[str, ...] = ()
        """A program and its arguments that runs the command."""
        self.stdout = subprocess.PIPE
        """Where its standard output goes: a descriptor, or a pipe to read from."""
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}

    def write(self, name: str, value: Any) -> Path:
        """Write a file: text as it is, anything else as JSON."""
        path = self.folder / name
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    def rules(self, rules: Mapping[str, str | Sequence[str]]) -> None:
        """Write images.json."""
        self.write("images.json", rules)

    def insecure(self, *registries: str, **more: Any) -> None:
        """Write auth.json for registries that speak plain HTTP."""
        self.write("auth.json", {address: {"insecure": True, **more} for address in registries})

    @staticmethod
    def words(*arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "pipeline", *arguments]

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start it without waiting; it leads its own process group."""
        return subprocess.Popen(
            [*self.prefix, *self.words(*arguments)],
            cwd=self.folder,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=self.stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, **environ: str) -> Result:
        """Run it to its end."""
        return self.end(self.start(*arguments, **environ))

    def end(self, process: subprocess.Popen[str]) -> Result:
        """Wait for a started run; one that does not end fails the test with the stacks of both sides.

        A log line that does not match the catalogue fails the test, too.
        """
        try:
            output, text = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            ours = stacks()
            os.kill(process.pid, signal.SIGSTOP)  # it starts no other workers
            states = {pid: state_of(pid) for pid in workers(process.pid)}
            for pid in states:
                os.kill(pid, signal.SIGCONT)  # a stopped one would print nothing
                os.kill(pid, signal.SIGABRT)
            wait_for(lambda: not workers(process.pid))
            os.killpg(process.pid, signal.SIGKILL)
            output, text = process.communicate()
            raise AssertionError(
                f"it did not end in {_LONGEST} s: {text[-_MOST_WORDS:]}\n"
                f"states of its workers: {states}\n{ours}"
            ) from None
        assert wrong_logfmt(text) == []
        return Result(process.returncode, text, output)


def stacks() -> str:
    """The stacks of this process's threads: proxies and scripted registries run here."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
    )


def state_of(pid: int) -> str:
    """The state of a process: `S` sleeps, `T` is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for(condition: Any, *, seconds: float = 30.0) -> None:
    """Wait until the condition holds, in steps of 5 ms.

    Raises:
        AssertionError: it did not hold in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.005)


def children(pid: int) -> Iterator[int]:
    """The living descendants of a process."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents[int(stat.parent.name)] = int(fields[1])
    for child in parents:
        above = child
        while above in parents and above != pid:
            above = parents[above]
        if above == pid and child != pid:
            yield child


def workers(pid: int) -> list[int]:
    """The worker processes of a run: the children of the fork server."""
    found = []
    for child in children(pid):
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) != pid:
            found.append(child)
    return found
