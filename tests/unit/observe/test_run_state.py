"""The run state in the records, and whether its process is still alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.figures import Figures
from pipeline.observe.run_state import RunState, Wait, run_state_of, text_of
from pipeline.process import Process, is_gone, this_process
from pipeline.report.causes import Failure

RUN_STATE = RunState(
    run="7f3a21c0",
    version="1.0",
    process=Process(host="build-3", pid=4211, space="boot pid:[1]", start="17"),
    command=("image-syncer", "--images", "a b.yaml"),
    folder="/srv",
    began=1_790_000_000.25,
    seen=1_790_000_002.0,
    waits=(Wait(registry="quay.io", until=1_790_000_060.0, why="429", tasks=3),),
    lost=(Failure(source="quay.io/a", destinations=("r.io/a", "r.io/b"), words="é\x00", is_rule=True),),
)


@given(st.builds(RunState))
def test_run_state_survives_a_round_trip(run_state: RunState) -> None:
    """A run state is read back field by field."""
    found = run_state_of(text_of(run_state))

    assert found is not None
    assert text_of(found) == text_of(run_state)


def test_unknown_fields_are_ignored() -> None:
    """Fields of a later version are ignored, and missing ones have their defaults."""
    value = json.loads(text_of(RUN_STATE))
    del value["rate"], value["waits"]
    value |= {"mood": "good", "began": 5, "process": value["process"] | {"cores": 2}}

    assert run_state_of(json.dumps(value)) == replace(RUN_STATE, waits=(), began=5.0)


def test_figures_have_stable_names() -> None:
    """Figures have the names that other versions write and read."""
    figures = Figures(known=9, to_retry=1, sent=5, received=6, saved=7, uploaded=2, requests=40, rules=3)
    names = {"known": 9, "to_retry": 1, "bytes": 5, "read": 6, "spared": 7, "uploaded": 2, "requests": 40}
    row = json.loads(text_of(replace(RUN_STATE, figures=figures)))

    assert names.items() <= row.items()
    found = run_state_of(json.dumps(row))
    assert found is not None
    assert found.figures == figures


WRONG: list[dict[str, object]] = [
    {"run": 7},
    {"known": True},
    {"known": 1.5},
    {"command": "image-syncer"},
    {"waits": [[]]},
    {"waits": {"a": 1}},
    {"process": None},
]


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "7", "null", "{}", "[" * 100_000]
    + [json.dumps(json.loads(text_of(RUN_STATE)) | wrong) for wrong in WRONG],
)
def test_row_with_other_fields_is_not_a_run_state(text: str) -> None:
    """A row with other fields is not a run state."""
    assert run_state_of(text) is None


def test_live_process_is_not_gone() -> None:
    """A live process is not gone, and a zombie is."""
    mine = this_process()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin
    start = this_process_of(child.pid)
    assert (is_gone(mine), is_gone(start)) == (False, False)
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert is_gone(start) is True
    child.wait()
    assert is_gone(start) is True


def this_process_of(pid: int) -> Process:
    """The identity of a process with that number."""
    ticks = subprocess.run(["cat", f"/proc/{pid}/stat"], capture_output=True, text=True, check=True).stdout
    return replace(this_process(), pid=pid, start=ticks.rpartition(")")[2].split()[19])


def test_reused_process_number_is_not_the_run() -> None:
    """Another process with the same number is not the run's; on another machine the answer is unknown."""
    mine = this_process()

    assert is_gone(replace(mine, start="1")) is True
    assert is_gone(replace(mine, space="another boot pid:[1]")) is None
    assert is_gone(replace(mine, space="")) is None
