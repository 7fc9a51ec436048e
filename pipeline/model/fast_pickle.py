"""Fast pickling of frozen dataclasses with slots: only the values, in the order of the fields.

The methods that `dataclass` generates look up the fields for every object, which doubles the time of
pickling.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def fast_pickle(cls: type[T]) -> type[T]:
    """Class decorator; each subclass needs it again."""
    names = tuple(field.name for field in fields(cls))  # type: ignore[arg-type] # a dataclass, by contract
    slots = tuple(getattr(cls, name) for name in names)

    def values(self: T) -> list[Any]:
        return [slot.__get__(self) for slot in slots]

    def fill(self: T, state: Sequence[Any]) -> None:
        for slot, value in zip(slots, state, strict=True):
            slot.__set__(self, value)

    cls.__getstate__ = values  # type: ignore[assignment, method-assign] # in place of those of dataclasses
    cls.__setstate__ = fill  # type: ignore[attr-defined] # likewise
    return cls
