"""The command with small chunks, for tests that want to be quick: `python -m tests.e2e.small`."""

from __future__ import annotations

from functools import partial

from pipeline import sync
from pipeline.cli import run
from pipeline.settings import Settings, Uploads

ABOVE, CHUNK = 400_000, 100_000

if __name__ == "__main__":
    vars(sync)["Settings"] = partial(Settings, uploads=Uploads(above=ABOVE, chunk=CHUNK))
    run()
