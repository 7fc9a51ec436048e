"""`python -m pipeline` is `image-syncer`, and so is the command that is installed.

What to do with signals is settled before anything of weight is imported: that takes a tenth of a second,
in which Ctrl-C would end in a traceback, and another signal without a word. Nothing has to be put in order
then, nor when all is written down: so the process leaves at once, from wherever it is.
"""

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import NoReturn


def start() -> NoReturn:
    """Run the command line; a signal that stops it before or after its work ends it with one line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from pipeline.cli.main import run  # noqa: PLC0415 - see above

    run()


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    words = f"image-syncer: stopped by {signal.Signals(number).name}; repeat the command to go on\n"
    with suppress(OSError):
        os.write(2, words.encode())
    os._exit(128 + number)


if __name__ == "__main__":
    start()
