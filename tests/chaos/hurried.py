"""The command with short limits: `python -m tests.chaos.hurried` takes the same flags.

Waiting out real limits would make a round last minutes. Nothing else is changed.
"""

from __future__ import annotations

from typing import Any

from pipeline import cli, settings, sync
from pipeline.model.flow import pauses


def hurry(**given: Any) -> settings.Settings:
    """Settings as the flags say, with limits of seconds, and chunks small enough for small blobs."""
    return settings.Settings(
        **given,
        silence=10.0,
        timeouts=settings.Timeouts(connect=4.0, read=4.0, send=5.0, commit=6.0, stall=4.0),
        retry=settings.Retry(base=0.05, waiting=1.0),
        uploads=settings.Uploads(above=30_000, chunk=10_000),
    )


if __name__ == "__main__":
    vars(sync)["Settings"] = hurry
    vars(pauses)["_ASKED_AGAIN"] = 1.0
    cli.run()
