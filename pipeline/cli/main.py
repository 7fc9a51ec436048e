"""From the command line to a verb's code and an exit code.

What a verb needs is imported when it begins: --help and wrong flags do not wait for it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from pipeline.cli.arguments import parse
from pipeline.cli.console import Output, tell
from pipeline.errors import MachineError, SyncError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SIGNALLED = 128
"""Exit codes above it tell of a signal."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command line; returns the exit code."""
    output = Output()
    try:
        code = _act(arguments, environ, output.show)
    except SystemExit as end:  # argparse's, after --help
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    trouble = output.end()
    if trouble and code < _SIGNALLED:
        tell(f"image-syncer: error: standard output cannot be written: {trouble}")
        return MachineError.exit_code
    return code


def _act(arguments: Sequence[str], environ: Mapping[str, str], show: Callable[[str], None]) -> int:
    try:
        options = parse(arguments, environ)
        if options.verb == "status":
            from pipeline.commands.status import status  # noqa: PLC0415 - as below

            return status(options, show=show)
        if options.verb == "check":
            from pipeline.commands.check.command import check  # noqa: PLC0415 - as below

            return check(options, environ, tell=tell, show=show)
        from pipeline.commands.finished_run import Printer  # noqa: PLC0415 - as below

        say = Printer(tell=tell, show=show)
        if options.verb == "plan":
            from pipeline.commands.plan import plan  # noqa: PLC0415 - as below

            return plan(options, environ, say=say)
        if options.verb == "verify":
            from pipeline.commands.verify import verify  # noqa: PLC0415 - as below

            return verify(options, environ, say=say)
        from pipeline.engine.local.forking import warm_up  # noqa: PLC0415 - as below

        # The fork server has as much to import as we do: it begins first.
        warm_up()
        from pipeline.commands.sync import sync  # noqa: PLC0415 - half a second that --help and wrong flags do not need

        return sync(options, environ, say=say)
    except SyncError as error:
        tell(f"image-syncer: error: {error}")
        return error.exit_code


def _leave(codes: list[int]) -> None:
    """Go, without taking the interpreter apart: nothing is left to be put in order, and it takes 30 ms.

    Args:
        codes: the exit code; none after an exception that Python has shown.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(codes[0] if codes else 1)


def run() -> NoReturn:
    """The command's entry point."""
    codes: list[int] = []
    atexit.register(_leave, codes)  # the first that is registered is the last that is called
    try:
        code = main(sys.argv[1:], os.environ)
    except KeyboardInterrupt:
        code = 130
    codes.append(code)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # How it ended is said; Python's own end takes a moment, in which nothing is to change that.
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)
