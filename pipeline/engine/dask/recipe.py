"""How a Dask worker makes its keyring: from its own files and environment. No secret travels through Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Recipe(Protocol):
    """Sent to each worker."""

    def open(self, environ: Mapping[str, str]) -> object:
        """Make the keyring for the runner from the files and variables of this machine.

        Raises:
            Exception: it cannot be made.
        """
        ...

    def misfit(self, environ: Mapping[str, str]) -> str:
        """How this machine's credentials differ from those of the run; empty if they do not."""
        ...
