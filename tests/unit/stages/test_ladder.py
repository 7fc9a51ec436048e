"""The forms of upload that follow one another where one is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.registry.forms import Habit
from tests.registry.faults import Drop, Fault, Reply
from tests.unit.stages.way import CHUNK, CHUNKS, DIGEST, clients, way

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted


@pytest.mark.parametrize("status", [404, 405, 413, 415, 416, 501])
def test_climbed(scripted: Scripted, status: int) -> None:
    """Chunks that are refused at once lead to one PUT, which the process then begins with."""
    made = way(scripted)
    made.mirror.fault(Fault(action=Reply(status=status), method="PATCH", times=None))
    process = clients()
    made.move(process=process)
    assert CHUNKS[:1] == made.patched()
    made.mirror.forget_blob("copy/app", DIGEST)

    made.move(process=process)

    assert CHUNKS[:1] == made.patched()
    assert made.arrived()


def test_whole_refused(scripted: Scripted) -> None:
    """A PUT with a body that is refused leads to chunks."""
    made = way(scripted, chunk_min=CHUNK)
    made.mirror.fault(Fault(action=Reply(status=413), method="PUT"))

    made.move(habit=Habit(forms=("whole", "chunks"), parts=1, chunk=CHUNK))

    assert CHUNKS == made.patched()
    assert made.arrived()


def test_lost_twice(scripted: Scripted) -> None:
    """Two PUTs that were lost without a word lead to chunks."""
    made = way(scripted)
    made.mirror.fault(Fault(action=Drop(read=1_000), method="PUT", times=2))

    made.move(habit=Habit(forms=("whole", "chunks"), parts=1, chunk=CHUNK))

    assert len(made.sent("PUT")) == 3
    assert CHUNKS == made.patched()


def test_without_range(scripted: Scripted) -> None:
    """Where chunks are known to be lost, one PATCH without a range comes after the PUT."""
    made = way(scripted)
    made.mirror.fault(Fault(action=Reply(status=413), method="PUT"))

    made.move(habit=Habit(forms=("whole", "stream")))

    assert ["none"] == made.patched()
    assert made.arrived()


def test_no_ladder(scripted: Scripted) -> None:
    """Where one PUT is all that there is, its refusal is the answer."""
    made = way(scripted)
    made.mirror.fault(Fault(action=Reply(status=413), method="PUT", times=None))

    with pytest.raises(RegistryError) as caught:
        made.move(habit=Habit(forms=("whole",)))

    assert caught.value.fault.status == 413
    assert len(made.sent("PUT")) == 1
