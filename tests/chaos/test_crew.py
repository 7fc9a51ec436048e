"""A round on a Dask cluster: it is struck, it is kept up, and the images arrive."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.chaos import play
from tests.chaos.crew import KeptCluster
from tests.chaos.draw import Round
from tests.chaos.draw_faults import Blow, Trouble

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SEED = 0


def test_machine_dies_during_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of the cluster dies during a round: another one does its tasks, and nothing is wrong."""
    blow = Blow(registry=1, request=3, kind="machine", choice=0.0)
    plain = Round(SEED, Random(SEED), [{"auth": "basic", "password": "chaos-hunter2"}] * 2, sources=1)
    plain.runs = [Trouble(faults=(), blows=(blow,), after=())]
    monkeypatch.setattr(play, "draw", lambda *_: plain)
    monkeypatch.setattr(play, "assemble", lambda *_: KeptCluster(tmp_path / "cluster", debug=True))

    played = play.play(SEED, tmp_path / "round", engine="dask")

    assert (["machine"], [], 2) == (played.delivered, played.wrong, len(played.codes))
