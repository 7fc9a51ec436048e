"""`python -m pipeline` is `image-syncer`, and so is the command that is installed.

What to do with signals is settled before anything of weight is imported: that takes a tenth of a second,
in which Ctrl-C would end in a traceback, and another signal without a word. Nothing has to be put in order
then, nor when all is written down: so the process leaves at once, from wherever it is.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # signal itself imports enum: Ctrl-C would come before that
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

_NAMES = {_signal.SIGINT: "SIGINT", _signal.SIGTERM: "SIGTERM", _signal.SIGHUP: "SIGHUP"}
_MACHINE = 3
"""The exit code where this machine stands in the way."""


def start() -> NoReturn:
    """Run the command line; a signal that stops it before or after its work ends it with one line."""
    for number in _NAMES:
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, _leave)
    # A parent may have left its own ways: a signal that it blocks never comes, and a worker whose end is
    # ignored or blocked never ends for who waits for it.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    try:
        from pipeline.cli.main import run  # noqa: PLC0415 - see above

        run()
    except MemoryError:
        _end(_MACHINE, "error: there is too little memory; see ulimit -v, and the limits of the container")
    except ImportError as error:
        _end(_MACHINE, f"error: it cannot be loaded: {error}; is it all installed, is there memory?")


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    _end(128 + number, f"stopped by {_NAMES[number]}; repeat the command to go on")


def _end(code: int, words: str) -> NoReturn:
    try:
        os.write(2, f"image-syncer: {words}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(code)


if __name__ == "__main__":
    start()
