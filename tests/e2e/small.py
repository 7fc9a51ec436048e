"""The command with small chunks, for fast tests: `python -m tests.e2e.small`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.cli.main import run
from pipeline.commands import job
from pipeline.settings import Settings, Uploads

if TYPE_CHECKING:
    from types import ModuleType

ABOVE, CHUNK = 400_000, 100_000


def replace_in(module: ModuleType, **values: Any) -> None:
    """Replace names in a module of the command; AssertionError if one of them does not exist."""
    assert values.keys() <= vars(module).keys(), f"{module.__name__} lacks one of {[*values]}"
    vars(module).update(values)


if __name__ == "__main__":
    replace_in(job, Settings=partial(Settings, uploads=Uploads(above=ABOVE, chunk=CHUNK)))
    run()
