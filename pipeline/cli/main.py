"""From the command line to a verb, and from its result to an exit code.

Each verb's modules are imported when it starts, so --help and wrong flags do not wait for them.
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

    from pipeline.commands.lifecycle import Verb
    from pipeline.settings import Options

_SIGNALLED = 128
"""Exit codes above are 128 + the number of a signal."""


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
        if options.ignored and options.verb in ("status", "check") and options.log_level == "debug":
            flags = ", ".join(options.ignored)
            tell(f"image-syncer: {flags}: no effect for {options.verb}")
        if options.verb == "status":
            from pipeline.commands.status import status  # noqa: PLC0415 - as below

            return status(options, show=show)
        if options.verb == "check":
            from pipeline.commands.check.command import check  # noqa: PLC0415 - as below

            return check(options, environ, tell=tell, show=show)
        if options.verb == "list":
            from pipeline.commands.list_repositories import list_repositories  # noqa: PLC0415 - as below

            return list_repositories(options, environ, tell=tell, show=show)
        if options.explain is not None:
            from pipeline.commands.explain import explain  # noqa: PLC0415 - as below

            return explain(options, environ, show=show)
        return _run(options, environ, show)
    except SyncError as error:
        tell(f"image-syncer: error: {error}")
        return error.exit_code


def _run(options: Options, environ: Mapping[str, str], show: Callable[[str], None]) -> int:
    """Run a verb with workers; the fork server imports as much as this process, so it starts first."""
    if options.cluster is None:
        import pipeline.engine.worker  # noqa: F401, PLC0415 - what both need is imported once, before the fork
        from pipeline.engine.local.fork_server import warm_up  # noqa: PLC0415 - see above

        warm_up()
    from pipeline.commands.finish import Printer  # noqa: PLC0415 - half a second that --help does not need
    from pipeline.commands.lifecycle import run as run_verb  # noqa: PLC0415 - as above

    return run_verb(_verb(options.verb), options, environ, say=Printer(tell=tell, show=show))


def _verb(name: str) -> Verb:
    if name == "plan":
        from pipeline.commands.plan import PLAN  # noqa: PLC0415 - what only this verb needs

        return PLAN
    if name == "verify":
        from pipeline.commands.verify import VERIFY  # noqa: PLC0415 - likewise

        return VERIFY
    from pipeline.commands.sync import COPY, SYNC  # noqa: PLC0415 - likewise

    return COPY if name == "copy" else SYNC


def _leave(codes: list[int]) -> None:
    """Exit without Python's cleanup, which takes 30 ms and has nothing left to do.

    Args:
        codes: the exit code; empty after an exception that Python has printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(codes[0] if codes else 1)


def run() -> NoReturn:
    """The command's entry point."""
    codes: list[int] = []
    atexit.register(_leave, codes)  # registered first, so called last
    try:
        code = main(sys.argv[1:], os.environ)
    except KeyboardInterrupt:
        code = 130
    codes.append(code)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The result is printed; no signal may change the exit code while Python ends.
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)
