"""A blob's bytes are sent as they were read, although all of them pass through one buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.model.manifest import Descriptor
from pipeline.model.reference import Repository
from pipeline.stages.bodies import CheckedBlob, Checkpoint
from tests.registry.content import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOB = b"ten bytes." * 3


def pieces(size: int) -> Iterator[memoryview]:
    """The blob through one buffer, in which something else lies as soon as more is asked for."""
    buffer = bytearray(size)
    for begin in range(0, len(BLOB), size):
        piece = BLOB[begin : begin + size]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]
        buffer[:] = b"!" * size


@pytest.mark.parametrize("size", [4, 10, 30])
def test_one_buffer(size: int) -> None:
    """What was hashed is what is handed out, the last piece too, behind which the end is looked for first."""
    blob = Descriptor(media_type="", digest=digest_of(BLOB), size=len(BLOB))
    checked = CheckedBlob(
        pieces(size),
        blob=blob,
        size=len(BLOB),
        begin=Checkpoint.start(blob.digest),
        source=Repository("source.example", "team/app"),
        on_progress=lambda _: None,
    )

    assert b"".join(map(bytes, checked.read(len(BLOB)))) == BLOB
