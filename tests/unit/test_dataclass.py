"""Objects of our `dataclass` behave like those of the standard library, and travel between processes."""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import field, replace
from typing import Any

import pytest

from pipeline.dataclass import dataclass
from pipeline.model.cost import Cost
from pipeline.model.messages import BytesTransferred, ManifestsHeaded, UploadCheckpoint
from pipeline.model.reference import Reference, Repository


def _behaviour(decorator: Any, **arguments: bool) -> list[object]:
    """What objects of a decorated class reveal."""

    class Point:
        x: int
        y: int = 2
        hidden: str = field(default="h", repr=False)
        note: tuple[int, ...] = field(default=(), compare=False)

    point: Any = decorator(slots=True, **arguments)(Point)
    one, two, noted = point(x=1), point(x=2), point(x=1, note=(7,))
    hidden = replace(one, hidden="other")
    shown: list[object] = [repr(noted), one == noted, one == two, one == hidden, one == (1, 2, "h")]
    if arguments.get("order"):
        shown += [one < two, two <= one, one > noted, noted >= one, min(two, one).x]
    hashes = point.__hash__ is not None
    return [*shown, hashes, len({one, noted, two}) if hashes else 0]


@pytest.mark.parametrize(
    "arguments",
    [{}, {"frozen": True}, {"kw_only": True}, {"eq": False}, {"frozen": True, "order": True}],
    ids=str,
)
def test_behaves_like_the_standard_librarys(arguments: dict[str, bool]) -> None:
    """Text, comparison, order and hash are those of the standard library."""
    assert _behaviour(dataclass, **arguments) == _behaviour(dataclasses.dataclass, **arguments)


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
def test_all_fields_survive_pickling(record: object) -> None:
    """Inherited fields, defaults and fields hidden from repr travel."""
    assert record == pickle.loads(pickle.dumps(record, protocol=5))


def test_pickle_has_no_field_names() -> None:
    """A record is pickled as its values, without field names."""
    assert b"offset" not in pickle.dumps(UploadCheckpoint(url="u", offset=3), protocol=5)
