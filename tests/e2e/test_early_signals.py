"""Signals in the first moments of a run, each at a known moment: an import, or the opening of a file."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.command import Command

AT = """
import os, runpy, sys

event, name, number = sys.argv[1:4]
del sys.argv[1:4]

def look(happens, args):
    global event
    if happens == event and str(args[0]).endswith(name):
        event = ""
        os.kill(os.getpid(), int(number))

sys.addaudithook(look)
runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
"""
"""Runs the command, and sends it a signal at an audit event of Python (PEP 578)."""

COMMANDS = ("commands.sync", "commands.finish", "commands.leftovers")
MOMENTS = [
    *(("import", f"pipeline.{name}") for name in ("cli.main", "errors", "settings", *COMMANDS)),
    *(
        ("import", f"pipeline.{name}")
        for name in ("config.rules", "engine.supervisor", "records.store", "log.sink")
    ),
    *(("import", name) for name in ("argparse", "datetime", "structlog", "diskcache", "struct")),
    ("open", "images.json"),
    ("open", "auth.json"),
    ("sqlite3.connect", "cache.db"),
]
NAMES = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def run_with_signal(command: Command, event: str, name: str, number: int) -> None:
    """Run the command, which gets a signal at that moment."""
    words = [sys.executable, "-c", AT, event, name, str(number)]
    command.words = lambda *arguments: [*words, *arguments]  # type: ignore[method-assign] # another program


@pytest.mark.parametrize("number", NAMES)
@pytest.mark.parametrize(("event", "name"), MOMENTS)
def test_early_stop_signal_ends_with_one_line(
    command: Command, event: str, name: str, number: signal.Signals
) -> None:
    """An early stop signal ends the command with one line and the signal's exit code."""
    command.rules({"localhost:1/a:v1": "localhost:1/b"})
    command.insecure("localhost:1")
    run_with_signal(command, event, name, number)
    result = command.run()

    assert (result.code, result.text) == (
        128 + number,
        f"image-syncer: stopped by {number.name}; repeat the command to resume\n",
    )


@pytest.mark.parametrize("moment", [("import", "pipeline.cli.main"), ("open", "images.json")])
def test_ignored_hangup_stays_ignored(command: Command, moment: tuple[str, str]) -> None:
    """A hangup that was ignored at the start stays ignored from the first moment on."""
    command.rules({})
    command.prefix = ("nohup",)
    run_with_signal(command, *moment, signal.SIGHUP)
    result = command.run()

    assert (result.code, "stopped" in result.text) == (0, False), result.text
