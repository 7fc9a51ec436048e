"""Frozen records as they travel between processes: pickled as their values, in the order of their fields.

What dataclasses generate for frozen records with slots finds the fields anew for every record that is pickled
or unpickled, which takes as long as all the rest.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def fast_pickle(cls: type[T]) -> type[T]:
    """Have a frozen dataclass with slots travel fast; to be repeated for each class that inherits from it."""
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
