"""`image-syncer status`: the last run in the records, or the last one of each shard."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from pipeline.commands.run_status import as_object, lines, read_status
from pipeline.commands.shards_status import read_shards, shard_lines, shards_object
from pipeline.log import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.settings import Options


def status(options: Options, *, show: Callable[[str], None]) -> int:
    """Print the status of the last run; returns the exit code.

    Args:
        options: the command line.
        show: prints a line on standard output.

    Raises:
        MachineError: there are no records, or none that can be read.
    """
    now = time.time()
    shards = read_shards(options.records, now=now)
    found = shards.total if shards else read_status(options.records, now=now)
    if options.json:
        show(json.dumps(shards_object(shards) if shards else as_object(found), ensure_ascii=True))
    else:
        for line in shard_lines(shards) if shards else lines(found):
            show(printable(line))
    return found.exit_code
