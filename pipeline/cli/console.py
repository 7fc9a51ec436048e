"""Standard output and standard error, as the command writes to them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def tell(line: str) -> None:
    """One line on standard error; what steers a terminal is shown, not done."""
    from pipeline.log import printable  # noqa: PLC0415 - --help needs none of it

    try:
        print(printable(line), file=sys.stderr, flush=True)  # noqa: T201 - this is where it prints
    except OSError:
        # A reader that went away is no reason to end otherwise than the run did.
        return


class Output:
    """Standard output: what was asked for, line by line.

    A reader that went away has what it wanted. Lines that are lost otherwise, on a full disk, are said once.
    """

    def __init__(self) -> None:
        """Nothing has been said."""
        self._trouble = ""

    def show(self, line: str) -> None:
        """One line."""
        if sys.stdout is None:
            self._trouble = "it is closed"
            return
        with self._watched():
            print(line, flush=True)  # noqa: T201 - this is where it prints

    def end(self) -> str:
        """Write out what argparse has said; returns why something was lost, or nothing."""
        if sys.stdout is not None:
            with self._watched():
                sys.stdout.flush()
        return self._trouble

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._give_up()
        except OSError as error:
            self._trouble = error.strerror or str(error)
            self._give_up()

    def _give_up(self) -> None:
        """Python is not to try again, and complain, when it ends."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
