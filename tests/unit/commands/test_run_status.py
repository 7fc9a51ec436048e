"""What status says about made-up runs: the words for each state, and what is left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.main import main
from pipeline.commands.run_status import Status, as_object, lines, read_status
from pipeline.model.facts import RunRow
from pipeline.model.figures import Figures
from pipeline.observe.run_state import RunState, Wait, text_of
from pipeline.process import Process, this_process
from tests.unit.records.stores import failed, image, opened

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_790_000_100.0
ELSEWHERE = Process(host="pod-1", pid=7, space="another boot pid:[1]", start="5")
RUN_STATE = RunState(
    run="one",
    version="1.0",
    process=this_process(),
    command=("image-syncer", "--images", "a b.yaml"),
    folder="/srv",
    began=NOW - 100.0,
    seen=NOW - 1.0,
    seconds=99.0,
    figures=Figures(known=10),
    final=True,
)


def status_and_lines(path: Path, run_state: RunState) -> tuple[Status, list[str]]:
    """The status of records with one copied and one failed image."""
    with opened(path) as store:
        for row in (image(), failed("quay.io/team/app:v2")):
            store.write(row)
        store.write(RunRow(text=text_of(run_state)))
    found = read_status(path, now=NOW)
    return found, list(lines(found))


def test_running_run_has_limits_and_no_command(tmp_path: Path) -> None:
    """The status of a running run has no command, and names its rate limits and retries."""
    waits = (
        Wait(registry="quay.io", until=NOW + 39.0, why="429", tasks=288),
        Wait(registry="gone.io", until=0.0, why="no request accepted for 3600s"),
        Wait(registry="over.io", until=NOW - 1.0, tasks=3),
    )
    found, said = status_and_lines(
        tmp_path, replace(RUN_STATE, waits=waits, figures=Figures(known=10, to_retry=1), left=61.0, planned=4)
    )

    assert (found.state, found.exit_code, found.go_on) == ("running", 0, ())
    assert said[1].startswith("10 images in 1m40s: 1 copied, 0 up to date, 8 not finished, 1 FAILED")
    assert said[3:7] == [
        "  left: 8 images, more when all rules are expanded, about 1m0s at the current rate",
        "  to retry at the end of the run: 1 image",
        "  rate limited: quay.io (429), next try in 39s; 288 tasks waiting",
        "  unavailable: gone.io (no request accepted for 3600s)",
    ]
    assert said[7].startswith("FAILED  ")
    assert [wait["seconds"] for wait in as_object(found)["waits"]] == [39.0, None, 0.0]


def test_run_without_updates_is_suspended(tmp_path: Path) -> None:
    """A run whose process exists but that stores no updates counts as suspended, not as lost."""
    found, said = status_and_lines(tmp_path, replace(RUN_STATE, seen=NOW - 90.0))

    assert found.state == "running"
    assert "  no update for 1m30s: the run is suspended, or its disk hangs" in said


def test_stopping_run_is_running(tmp_path: Path) -> None:
    """A run that is stopping still counts as running."""
    found, said = status_and_lines(tmp_path, replace(RUN_STATE, stopping=True))

    assert (found.state, found.exit_code) == ("stopping", 0)
    assert "is stopping, current transfers are finishing" in said[0]


@pytest.mark.parametrize(("silence", "state"), [(29.0, "running"), (31.0, "lost")])
def test_last_update_decides_for_another_machine(tmp_path: Path, silence: float, state: str) -> None:
    """For a run on another machine or in another container, the time of its last update decides."""
    found, said = status_and_lines(tmp_path, replace(RUN_STATE, process=ELSEWHERE, seen=NOW - silence))

    assert (found.state, found.exit_code) == (state, int(state == "lost"))
    assert "process 7 on pod-1" in said[0]


@pytest.mark.parametrize(
    ("code", "state", "words", "command"),
    [
        (0, "done", "exit code 0: all images are at their destination", ""),
        (1, "failed", "exit code 1: some images are not at their destination", "image-syncer --again"),
        (3, "stopped", "exit code 3: work is left", "image-syncer --images 'a b.yaml'"),
        (143, "stopped", "exit code 143: work is left", "image-syncer --images 'a b.yaml'"),
    ],
)
def test_ended_run_has_result_and_resume_command(
    tmp_path: Path, code: int, state: str, words: str, command: str
) -> None:
    """The status of an ended run states the result, the command that resumes, and its folder."""
    again = ("image-syncer", "--again") if code == 1 else ()
    trouble = "no space left" if code == 3 else ""
    found, said = status_and_lines(tmp_path, replace(RUN_STATE, exit_code=code, again=again, trouble=trouble))

    assert (found.state, found.exit_code) == (state, int(code > 0))
    assert words in said[0]
    assert said[-1].endswith(f"cd /srv && {command}") == bool(command)
    assert ("  stopped by a problem of this machine: no space left" in said) == bool(trouble)
    assert as_object(found)["exit_code"] == code


def test_terminal_controls_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Terminal controls in the run state are printed escaped."""
    status_and_lines(tmp_path, replace(RUN_STATE, exit_code=3, trouble="\x1b[2J"))
    code = main(["status", "--records", str(tmp_path)], {})
    output = capsys.readouterr().out

    assert code == 1
    assert "\\x1b[2J" in output
    assert "\x1b" not in output
