"""How a run ends after a bug: see pipeline/commands/lifecycle.py."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.arguments import parse
from pipeline.commands import lifecycle
from pipeline.commands.finish import Printer
from pipeline.commands.sync import SYNC
from pipeline.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.commands.job import Job
    from pipeline.commands.lifecycle import OpenedRecords


@contextmanager
def broken(_job: Job, _run: str) -> Iterator[OpenedRecords]:
    """Records that cannot be opened because of a bug."""
    raise RuntimeError("no way to https://me:hunter2@registry.test/v2/?state=hunter2")
    yield


def test_unexpected_exception_is_logged_without_secrets(tmp_path: Path) -> None:
    """An unexpected exception ends the run with its traceback in the log, and no secret of it anywhere."""
    log = tmp_path / "run.log"
    options = parse(["copy", "a.test/a:1", "b.test/a:1", f"--log={log}"], {"HOME": str(tmp_path)})
    said: list[str] = []
    verb = lifecycle.Verb(
        records=broken,
        keeps_state=SYNC.keeps_state,
        stops_at_once=SYNC.stops_at_once,
        finish=SYNC.finish,
    )

    with pytest.raises(
        MachineError, match="a bug in image-syncer ended the run: RuntimeError: no way"
    ) as caught:
        lifecycle.run(verb, options, {"HOME": str(tmp_path)}, say=Printer(tell=said.append, show=said.append))

    lines = log.read_text()
    assert "Traceback" in lines
    assert "hunter2" not in f"{lines}{caught.value}{said}"
