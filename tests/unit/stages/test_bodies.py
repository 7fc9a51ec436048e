"""A blob's bytes are sent unchanged, although all of them pass through one buffer."""

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
    """The blob through one buffer that is overwritten with each read."""
    buffer = bytearray(size)
    for begin in range(0, len(BLOB), size):
        piece = BLOB[begin : begin + size]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]
        buffer[:] = b"!" * size


@pytest.mark.parametrize("size", [4, 10, 30])
def test_one_buffer_sends_the_hashed_bytes(size: int) -> None:
    """The hashed bytes are the ones handed out, including the last piece, held until the end is reached."""
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
