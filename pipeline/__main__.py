"""The entry point of `python -m pipeline` and of the installed command.

It sets signal handlers before it imports larger modules: that takes a tenth of a second, in which Ctrl-C
would print a traceback, and another signal would end the process silently. Neither then nor after the last
write is there anything to clean up, so the handlers end the process at once.
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
"""The exit code for a problem of this machine."""


def start() -> NoReturn:
    """Run the command line; a stop signal before or after its work ends it with one line."""
    for number in _NAMES:
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, _leave)
    # Undo what the parent may have set: a blocked signal never arrives, and with SIGCHLD ignored or blocked
    # the end of a worker goes unnoticed.
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    try:
        from pipeline.cli.main import run  # noqa: PLC0415 - see above

        run()
    except MemoryError:
        _end(_MACHINE, "error: out of memory; see ulimit -v and the limits of the container")
    except OSError as error:
        # The import system lists folders, and may lack the memory for that too.
        _end(_MACHINE, f"error: {error}; check the installation and free memory")
    except ImportError as error:
        _end(_MACHINE, f"error: a module cannot be loaded: {error}; check the installation and free memory")


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    _end(128 + number, f"stopped by {_NAMES[number]}; repeat the command to resume")


def _end(code: int, words: str) -> NoReturn:
    try:
        os.write(2, f"image-syncer: {words}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(code)


if __name__ == "__main__":
    start()
