"""An upload started by another process: resumed at the registry's offset, or restarted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import RegistryError, ThrottledError
from tests.registry.faults import Drop, Fault, Reply, throttle
from tests.unit.stages.blob_copy import BLOB, CHUNK, CHUNKS, BlobCopy, start_copy

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted

INVALID = '{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}'


def interrupted(scripted: Scripted, **options: Any) -> BlobCopy:
    """An upload whose process died after three chunks."""
    made = start_copy(scripted, **options)
    made.mirror.fault(throttle(method="PATCH", skip=3))
    with pytest.raises(ThrottledError):
        made.run()
    made.mirror.clear_faults()
    made.mirror.reset()
    return made


def test_another_process_sends_only_the_rest(scripted: Scripted) -> None:
    """Another process asks the session for its offset, and reads and sends only the rest."""
    made = interrupted(scripted)

    made.run(session=made.kept())

    assert CHUNKS[3:] == made.patched()
    assert made.source.requests(method="GET")[-1].headers["range"] == f"bytes={3 * CHUNK}-"
    assert ["GET", "PATCH", "PATCH", "PATCH", "PUT"] == [entry.method for entry in made.mirror.requests()]
    assert made.arrived()


def test_too_large_chunk_restarts_with_the_named_size(scripted: Scripted) -> None:
    """An upload that refuses a chunk as too large restarts with the size that the registry names."""
    made = interrupted(scripted, chunk_max=90_000)

    assert made.run(session=made.kept()).how == "uploaded"

    assert made.arrived()


def test_lost_session_is_replaced(scripted: Scripted) -> None:
    """A lost session is replaced by a new one."""
    made = interrupted(scripted)
    made.mirror.fault(Fault(action=Reply(status=404), method="GET", path="uploads"))

    made.run(session=made.kept())

    assert None in made.said
    assert CHUNKS == made.patched()
    assert made.arrived()


@pytest.mark.parametrize("answer", ["0-0", "0-299998", f"0-{len(BLOB) + 1}", "", "nonsense"])
def test_impossible_offset_is_not_resumed(scripted: Scripted, answer: str) -> None:
    """A session that reports less than before, or more than the blob, is not resumed."""
    made = interrupted(scripted)
    headers = {"Range": answer} if answer else {}
    made.mirror.fault(Fault(action=Reply(status=204, headers=headers), method="GET", path="uploads"))

    made.run(session=made.kept())

    assert CHUNKS == made.patched()
    assert made.arrived()


def test_kept_part_of_a_chunk_is_not_sent_again(scripted: Scripted) -> None:
    """The part of a chunk that a registry kept when the process died is not sent again."""
    made = start_copy(scripted, session_dies=False, session_state=False, check_content_range=True)
    made.mirror.fault(Fault(action=Drop(read=50_000), method="PATCH", skip=3))
    made.mirror.fault(throttle(method="GET", path="uploads"))
    with pytest.raises(ThrottledError):
        made.run()

    assert made.kept().offset == 3 * CHUNK
    made.mirror.reset()

    made.run(session=made.kept())

    begins = int(made.patched()[0].partition("-")[0])
    assert 3 * CHUNK < begins < 4 * CHUNK
    assert made.arrived()


def test_overstated_offset_restarts_after_digest_check(scripted: Scripted) -> None:
    """If a registry claims more bytes than it has, its digest check fails and the blob restarts."""
    made = interrupted(scripted)
    headers = {"Range": f"0-{4 * CHUNK - 1}"}
    made.mirror.fault(Fault(action=Reply(status=204, headers=headers), method="GET", path="uploads"))

    made.run(session=made.kept())

    assert [*CHUNKS[4:], *CHUNKS] == made.patched()
    assert made.arrived()


@pytest.mark.parametrize("action", [Reply(status=500), Reply(status=503), Drop()], ids=str)
def test_silent_session_restarts(scripted: Scripted, action: Reply | Drop) -> None:
    """After three attempts without a response the blob restarts in the same task."""
    made = interrupted(scripted)
    made.mirror.fault(Fault(action=action, method="GET", path="uploads", times=None))

    assert made.run(session=made.kept()).how == "uploaded"

    assert len(made.sent("GET")) == (3 if isinstance(action, Reply) else 6)  # a lost one is repeated at once
    assert CHUNKS == made.patched()
    assert None in made.said
    assert made.arrived()


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_session_that_accepts_nothing_restarts(scripted: Scripted, method: str) -> None:
    """An upload that reports its offset and then accepts nothing is restarted."""
    made = interrupted(scripted)
    made.mirror.fault(Fault(action=Reply(status=500), method=method, path=made.session, times=None))

    assert made.run(session=made.kept()).how == "uploaded"

    assert len(made.sent("POST")) == 1
    assert made.arrived()


def test_session_is_kept_until_another_opens(scripted: Scripted) -> None:
    """A session is kept until the registry opens another one."""
    made = interrupted(scripted)
    kept = made.kept()
    made.said.clear()
    made.mirror.fault(Fault(action=Reply(status=500), times=None))

    with pytest.raises(RegistryError):
        made.run(session=kept)

    assert made.said == []


def test_status_of_one_byte_too_many_is_accepted(scripted: Scripted) -> None:
    """A status of one byte too many (Quay) is accepted."""
    made = interrupted(scripted, session_state=False)
    headers = {"Range": f"0-{3 * CHUNK}"}
    made.mirror.fault(Fault(action=Reply(status=204, headers=headers), method="GET", path="uploads"))

    made.run(session=made.kept())

    assert CHUNKS[3:] == made.patched()
    assert made.arrived()


def test_unreachable_registry_keeps_the_upload(scripted: Scripted) -> None:
    """If a registry is unreachable, its upload is kept for later."""
    made = interrupted(scripted)
    made.mirror.fault(Fault(action=Reply(status=502), method="GET", path="uploads"))

    made.run(session=made.kept())

    assert CHUNKS[3:] == made.patched()


def test_wrong_final_digest_restarts_once(scripted: Scripted) -> None:
    """A blob whose final digest is wrong is sent from the start once."""
    made = interrupted(scripted)
    made.mirror.fault(Fault(action=Reply(status=400, body=INVALID), method="PUT"))

    made.run(session=made.kept())

    assert [*CHUNKS[3:], *CHUNKS] == made.patched()
    assert made.arrived()


def test_second_wrong_digest_is_final(scripted: Scripted) -> None:
    """A registry that rejects the right bytes twice for their digest gets no third attempt."""
    made = interrupted(scripted)
    made.mirror.fault(Fault(action=Reply(status=400, body=INVALID), method="PUT", times=None))

    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        made.run(session=made.kept())

    assert len(made.sent("PUT")) == 2
    assert made.said[-1] is None
