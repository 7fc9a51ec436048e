"""Standard output and standard error of the command."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def tell(line: str) -> None:
    """Print one line on standard error; terminal controls are escaped."""
    from pipeline.log import printable  # noqa: PLC0415 - --help needs none of it

    try:
        print(printable(line), file=sys.stderr, flush=True)  # noqa: T201 - this is where it prints
    except OSError:
        # A closed reader does not change how the run ended.
        return


class Output:
    """Standard output: requested results, line by line.

    A reader that closed its end has what it wanted. Other lost lines, as on a full disk, are reported once.
    """

    def __init__(self) -> None:
        """Start without output."""
        self._trouble = ""

    def show(self, line: str) -> None:
        """Print one line."""
        if sys.stdout is None:
            self._trouble = "it is closed"
            return
        with self._watched():
            print(line, flush=True)  # noqa: T201 - this is where it prints

    def end(self) -> str:
        """Flush what argparse has printed; returns why something was lost, or an empty string."""
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
        """Prevent Python from flushing again, and complaining, at its end."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
