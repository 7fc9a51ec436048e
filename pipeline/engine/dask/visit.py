"""What runs on a Dask worker as a Dask task: a greeting, and visits that bring tasks and return answers.

Dask's scheduler loads this module too, to unpack a visit: it imports nothing before a worker calls it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline import __version__

if TYPE_CHECKING:
    from pipeline.engine.dask.guest import Greeting, Home

PROTOCOL = f"image-syncer {__version__}, Python {sys.version_info.major}.{sys.version_info.minor}"
"""The software of this process: messages are pickled, so both sides need the same."""


class Sealed:
    """Pickled messages: Dask logs the arguments of its tasks, and these may hold the URL of an upload."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[bytes, ...]) -> None:
        """Hold messages, each pickled."""
        self.parts = parts

    def __reduce__(self) -> tuple[type[Sealed], tuple[tuple[bytes, ...]]]:
        """Pickle what is inside."""
        return Sealed, (self.parts,)

    def __repr__(self) -> str:
        """The size of its content, and nothing of it."""
        return f"<{len(self.parts)} sealed>"

    def __sizeof__(self) -> int:
        """The size, for Dask's accounting of memory."""
        return sum(map(len, self.parts))


def greet(asked: str, run: str, sealed: Sealed) -> Greeting:
    """Introduce this worker to a run.

    Args:
        asked: the software of the run.
        run: its name.
        sealed: the recipe for the credentials.
    """
    from pipeline.engine.dask import guest  # noqa: PLC0415 - not on Dask's scheduler

    return guest.greet(asked, run, sealed)


def visit(process: str, run: str, sealed: Sealed, gather: float) -> Home:
    """Bring messages to a run's guest in this process, wait there for answers, and return with them.

    Args:
        process: the process that it was sent to; after a restart another one may have its address.
        run: the name of the run.
        sealed: the messages.
        gather: seconds for which answers are gathered.
    """
    from pipeline.engine.dask import guest  # noqa: PLC0415 - as above

    return guest.receive(process, run, sealed, gather)


def leave(process: str, run: str) -> None:
    """End a run's guest in this process: the run is over."""
    from pipeline.engine.dask import guest  # noqa: PLC0415 - as above

    guest.leave(process, run)
