"""The forms of upload that are tried in turn if one is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.registry import upload_strategy
from pipeline.registry.upload_strategy import Quirks
from pipeline.settings import Uploads
from tests.registry.faults import Drop, Fault, Reply
from tests.unit.stages.blob_copy import BLOB, CHUNK, CHUNKS, DIGEST, clients, start_copy

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted


@pytest.mark.parametrize("status", [404, 405, 413, 415, 416, 501])
def test_refused_chunks_lead_to_one_put(scripted: Scripted, status: int) -> None:
    """Chunks that are refused at once lead to one PUT, which the process then tries first."""
    made = start_copy(scripted)
    made.mirror.fault(Fault(action=Reply(status=status), method="PATCH", times=None))
    process = clients()
    made.run(process=process)
    assert CHUNKS[:1] == made.patched()
    made.mirror.forget_blob("copy/app", DIGEST)

    made.run(process=process)

    assert CHUNKS[:1] == made.patched()
    assert made.arrived()


def test_refused_put_leads_to_chunks(scripted: Scripted) -> None:
    """A refused PUT leads to chunks."""
    made = start_copy(scripted, chunk_min=CHUNK)
    made.mirror.fault(Fault(action=Reply(status=413), method="PUT"))

    made.run(quirks=Quirks(forms=("whole", "chunks"), parts=1, chunk=CHUNK))

    assert CHUNKS == made.patched()
    assert made.arrived()


def test_two_lost_puts_lead_to_chunks(scripted: Scripted) -> None:
    """Two lost PUTs lead to chunks."""
    made = start_copy(scripted)
    made.mirror.fault(Fault(action=Drop(read=1_000), method="PUT", times=2))

    made.run(quirks=Quirks(forms=("whole", "chunks"), parts=1, chunk=CHUNK))

    assert len(made.sent("PUT")) == 3
    assert CHUNKS == made.patched()


def test_lost_chunks_lead_to_a_patch_without_range(scripted: Scripted) -> None:
    """If chunks are known to be lost, one PATCH without a range follows the PUT."""
    made = start_copy(scripted)
    made.mirror.fault(Fault(action=Reply(status=413), method="PUT"))

    made.run(quirks=Quirks(forms=("whole", "stream")))

    assert ["none"] == made.patched()
    assert made.arrived()


def test_refusal_of_the_only_form_is_final(scripted: Scripted) -> None:
    """If one PUT is the only form, its refusal is the result."""
    made = start_copy(scripted)
    made.mirror.fault(Fault(action=Reply(status=413), method="PUT", times=None))

    with pytest.raises(RegistryError) as caught:
        made.run(quirks=Quirks(forms=("whole",)))

    assert caught.value.fault.status == 413
    assert len(made.sent("PUT")) == 1


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_two_server_errors_lead_to_the_other_form(scripted: Scripted, method: str, status: int) -> None:
    """A form with two server errors leads to the other one, which is then tried first."""
    made = start_copy(scripted)
    path = r"digest=" if method == "PUT" else "."
    quirks = Quirks(forms=("whole", "chunks"), parts=1, chunk=CHUNK) if method == "PUT" else None
    process = clients()
    made.mirror.fault(Fault(action=Reply(status=status), method=method, path=path, times=2))
    made.run(process=process, quirks=quirks)
    assert made.arrived()
    other = "PATCH" if method == "PUT" else "PUT"
    assert len(made.sent(method)) == 2 + (method == "PUT")
    made.mirror.forget_blob("copy/app", DIGEST)
    made.mirror.reset()

    made.run(process=process, quirks=quirks)

    assert made.sent(other)
    assert len(made.sent("POST")) == 1


def test_failed_last_put_leads_to_a_whole_put(scripted: Scripted) -> None:
    """If the last, empty PUT after chunks fails twice, one PUT with the whole body follows."""
    made = start_copy(scripted)
    made.mirror.fault(Fault(action=Reply(status=500), method="PUT", times=2))

    made.run()

    assert [entry.headers["content-length"] for entry in made.sent("PUT")] == ["0", "0", str(len(BLOB))]
    assert CHUNKS == made.patched()
    assert made.arrived()


def test_starting_an_upload_is_tried_three_times(scripted: Scripted) -> None:
    """Starting an upload is attempted three times in all, not nine, and no request follows."""
    made = start_copy(scripted)
    made.mirror.fault(Fault(action=Reply(status=500), method="POST", times=None))

    with pytest.raises(RegistryError):
        made.run()

    assert ["POST"] * 3 == [entry.method for entry in made.mirror.requests()]


@pytest.mark.parametrize(
    ("most", "sizes"), [(30_000, [96_000, 48_000, 24_000]), (10, [96_000, 48_000, 24_000, 12_000, 10_000])]
)
def test_too_large_chunks_are_halved(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, most: int, sizes: list[int]
) -> None:
    """Chunks that are too large are halved down to a limit if no size is stated; then one PUT is tried."""
    monkeypatch.setattr(upload_strategy, "_HALVED_TO", 10_000)
    made = start_copy(scripted)
    large = "uploads"
    process = clients(Uploads(above=2 * CHUNK, chunk=96_000))
    for size in sizes:
        if size > most:
            made.mirror.fault(Fault(action=Reply(status=413), method="PATCH", path=large))
    made.run(process=process)

    assert made.arrived()
    firsts = [int(each.partition("-")[2]) + 1 for each in made.patched() if each.startswith("0-")]
    assert firsts == sizes
    assert len(made.sent("PATCH")) == len(sizes) + (len(BLOB) // sizes[-1] if sizes[-1] <= most else 0)
    made.mirror.forget_blob("copy/app", DIGEST)
    made.mirror.reset()

    made.run(process=process)

    assert len(made.sent("POST")) == 1


def test_later_refused_chunk_is_not_halved(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that is refused after others of its size were accepted is not halved: the blob is too large."""
    monkeypatch.setattr(upload_strategy, "_HALVED_TO", 10)
    made = start_copy(scripted)
    made.mirror.fault(Fault(action=Reply(status=413), method="PATCH", skip=2, times=None))

    made.run()

    assert {str(CHUNK)} == {entry.headers["content-length"] for entry in made.sent("PATCH")}
    assert made.arrived()
