"""Records that travel between processes arrive unchanged."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, fields

import pytest

from pipeline.model.cost import Cost
from pipeline.model.messages import BytesTransferred, ManifestsHeaded, UploadCheckpoint
from pipeline.model.reference import Reference, Repository


@pytest.mark.parametrize(
    "record",
    [
        Reference(Repository("registry.test", "a/b"), "v1"),
        ManifestsHeaded(
            key="k", cost=Cost(requests=(("registry.test", 2),), seconds=0.5), source=None, destinations=()
        ),
        BytesTransferred(key="k", sent=7),
        UploadCheckpoint(url="https://registry.test/upload", offset=3),
    ],
)
def test_round_trip(record: object) -> None:
    """Inherited fields, defaults and fields hidden from repr travel, and the received record is frozen."""
    arrived = pickle.loads(pickle.dumps(record, protocol=5))

    assert record == arrived
    with pytest.raises(FrozenInstanceError):
        setattr(arrived, fields(arrived)[0].name, "")


def test_as_values() -> None:
    """A record is pickled as its values, without field names."""
    assert b"offset" not in pickle.dumps(UploadCheckpoint(url="u", offset=3), protocol=5)
