"""What status says about a folder of shards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.commands.shards_status import ShardsStatus, read_shards, shard_lines, shards_object
from pipeline.model.facts import RunRow
from pipeline.model.figures import Figures
from pipeline.observe.run_state import RunState, Wait, text_of
from pipeline.process import Process
from tests.unit.records.stores import alter, failed, image, opened

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_790_000_100.0
ENDED = RunState(
    run="one",
    version="1.0",
    process=Process(host="pod-1", pid=7, space="another boot pid:[1]", start="5"),
    command=("image-syncer", "--shard", "0/4"),
    folder="/srv",
    began=NOW - 100.0,
    seen=NOW - 1.0,
    seconds=99.0,
    exit_code=0,
    figures=Figures(known=2, requests=10),
    final=True,
)
RUNNING = replace(ENDED, exit_code=-1, left=30.0, rate=5.0)


def shard_records(path: Path, name: str, run_state: RunState = ENDED, *, fails: bool = False) -> None:
    """Records of a shard with two copied images, one of them failed if asked."""
    second = failed("quay.io/team/app:v2") if fails else image("quay.io/team/app:v2")
    with opened(path / name) as store:
        for row in (image(), replace(second, destination="harbor.corp/team/app:v2")):
            store.write(row)
        store.write(RunRow(text=text_of(run_state)))


def folder_status(path: Path) -> ShardsStatus:
    """The status of a folder with shards."""
    status = read_shards(path, now=NOW)
    assert status is not None
    return status


def test_figures_of_shards_are_added(tmp_path: Path) -> None:
    """Images, requests, rates and causes of all shards are added, and the worst one is named."""
    for index in (0, 1):
        shard_records(tmp_path, f"{index}-of-4")
    shard_records(
        tmp_path, "2-of-4", replace(ENDED, exit_code=1, again=("image-syncer", "--again")), fails=True
    )
    shard_records(tmp_path, "3-of-4", replace(ENDED, exit_code=1, seen=NOW - 50.0), fails=True)
    status = folder_status(tmp_path)
    told, printed = shards_object(status), list(shard_lines(status))

    assert (status.total.state, status.total.exit_code) == ("failed", 1)
    assert (told["images"]["total"], told["images"]["copied"], told["images"]["failed"]) == (8, 6, 2)
    assert (told["requests"], told["exit_code"]) == (40, 1)
    assert [cause["images"] for cause in told["failures"]] == [2]
    assert told["shards"]["failed"] == told["shards"]["done"] == 2
    assert printed[0] == f"4 shards in {tmp_path}: 2 done, 2 with failures"
    assert printed[1].startswith("8 images in 1m39s: 6 copied, 0 up to date, 2 FAILED")
    assert [line[:12] for line in printed if line.startswith("shard ")] == ["shard 2/4: r", "shard 3/4: r"]
    assert "To retry:  cd /srv && image-syncer --again" in printed


def test_folder_is_running_while_a_shard_runs(tmp_path: Path) -> None:
    """While a shard runs, the folder counts as running; the time left is unknown until all have begun."""
    waits = (Wait(registry="quay.io", until=NOW + 9.0), Wait(registry="r.io", until=NOW + 5.0))
    shard_records(tmp_path, "0-of-3", replace(RUNNING, waits=waits))
    shard_records(
        tmp_path, "1-of-3", replace(RUNNING, left=90.0, waits=(Wait(registry="quay.io", until=NOW + 39.0),))
    )
    early = folder_status(tmp_path)
    shard_records(tmp_path, "2-of-3")
    late = folder_status(tmp_path)

    assert (early.total.state, early.total.exit_code, early.total.is_final) == ("running", 0, False)
    assert early.states == {"running": 2, "not_started": 1}
    assert (early.total.run_state.left, late.total.run_state.left) == (-1.0, 90.0)
    assert shards_object(late)["rate"] == 10
    assert [(each["registry"], each["seconds"]) for each in shards_object(late)["waits"]] == [
        ("quay.io", 39.0),
        ("r.io", 5.0),
    ]
    assert late.total.is_final


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (replace(RUNNING, seen=NOW - 300.0), "lost"),
        (replace(ENDED, exit_code=143), "stopped"),
        (ENDED, "done"),
    ],
)
def test_killed_or_stopped_shard_decides_the_state(tmp_path: Path, last: RunState, state: str) -> None:
    """A shard that was killed or stopped decides the state of the folder."""
    shard_records(tmp_path, "0-of-2")
    shard_records(tmp_path, "1-of-2", last)

    assert folder_status(tmp_path).total.state == state


def test_unreadable_shard_is_named(tmp_path: Path) -> None:
    """A shard whose records cannot be read is named, and the others are shown."""
    shard_records(tmp_path, "0-of-2")
    shard_records(tmp_path, "1-of-2")
    alter(tmp_path / "1-of-2", "DELETE FROM Cache WHERE key = 'run'")
    status = folder_status(tmp_path)

    assert (status.total.state, status.states["unreadable"]) == ("stopped", 1)
    assert f"shard 1/2: records in {tmp_path}/1-of-2 have no run state" in "\n".join(shard_lines(status))


def test_shards_of_another_split_count_only_if_last(tmp_path: Path) -> None:
    """Shards of another N count only if they ran last; the same is true for a run without shards."""
    shard_records(tmp_path, "0-of-3", replace(ENDED, seen=NOW - 60.0))
    shard_records(tmp_path, "0-of-2")
    assert (folder_status(tmp_path).count, folder_status(tmp_path).states) == (
        2,
        {"done": 1, "not_started": 1},
    )

    shard_records(tmp_path, ".", replace(ENDED, seen=NOW - 30.0))
    assert folder_status(tmp_path).count == 2
    shard_records(tmp_path, ".", replace(ENDED, seen=NOW))
    assert read_shards(tmp_path, now=NOW) is None


def test_other_folders_are_not_shards(tmp_path: Path) -> None:
    """Only names that --shard makes are shards."""
    for name in ("0-of-03", "00-of-2", "2-of-2", "0-of-2.aside-1", "one-of-2"):
        shard_records(tmp_path, name)

    assert read_shards(tmp_path, now=NOW) is None
    assert read_shards(tmp_path / "none", now=NOW) is None
