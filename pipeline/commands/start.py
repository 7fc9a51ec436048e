"""The first line of a log: the program, its command and its files."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.log import Event
from pipeline.model.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.commands.job import Job
    from pipeline.settings import Options


_NAMES = {"copy": "run.start", "plan": "plan.start", "verify": "verify.start"}


def start_events(job: Job, options: Options) -> Iterator[Event]:
    """The program, its command line, which holds no passwords, and the flags that have no effect."""
    aim = job.settings.aim
    fields: dict[str, str | int | None] = {
        "version": __version__,
        "command": shlex.join(("image-syncer", *options.arguments)),
        "rules": len(job.rules.rules),
        "shard": str(job.shard) if job.shard else None,
    }
    if aim != "verify":
        fields["records"] = str(job.settings.records)
    if aim == "copy":
        fields["proc"] = job.settings.limits.proc
    what = "" if aim == "copy" else f", {aim}"
    message = f"image-syncer {__version__}{what}: {', '.join(_words(job, options))}"
    yield Event(name=_NAMES[aim], message=message, fields=fields)
    if options.ignored:
        flags = ", ".join(options.ignored)
        message = f"{flags}: no effect for {options.verb}"
        yield Event(name="flags.unused", level="debug", message=message, fields={"flags": flags})


def _words(job: Job, options: Options) -> Iterator[str]:
    settings, only = job.settings, job.options.platforms
    rules = format_count(len(job.rules.rules), "rule", "rules")
    config = () if options.words or job.files.config is None else (job.files.config,)
    yield f"{rules} from {_names(config or job.files.images) or 'the command line'}"
    if job.files.auth:
        yield f"credentials from {_names(job.files.auth)}"
    if settings.aim != "verify":
        yield f"records in {settings.records}"
    if job.shard:
        yield f"shard {job.shard}"
    if only.active:
        yield f"only {only}"
    if settings.deep:
        yield "all content is read"
    if settings.aim == "plan":
        yield "nothing is written"


def _names(files: tuple[Path, ...]) -> str:
    first, *more = map(str, files) if files else ("",)
    return f"{first} and {len(more)} more" if more else first
