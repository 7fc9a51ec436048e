"""`dataclass` as the standard library has it, for classes that are defined and instantiated faster.

A run defines some two hundred dataclasses in each process before its first request. The standard library
compiles up to eight methods for each, half of the time of all imports; here only `__init__` is compiled, and
the other methods are shared. That an object is frozen is checked by mypy, not at run time, where it doubles
the time of `__init__`. Frozen objects are pickled as their values, without the names of their fields.
"""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - mypy knows no other decorator as well

    Values = Callable[[Any], Any]
    """Returns the values of some fields of an object."""


def _dataclass(
    *, frozen: bool = False, slots: bool = False, kw_only: bool = False, eq: bool = True, order: bool = False
) -> Callable[[type], Any]:
    """Class decorator; its arguments are those of the standard library, with the same defaults."""

    def decorate(plain: type) -> Any:
        cls: Any = dataclasses.dataclass(repr=False, eq=False, slots=slots, kw_only=kw_only)(plain)
        cls.__repr__ = _repr
        compared = _values([field.name for field in fields(cls) if field.compare])
        if eq:
            cls.__eq__ = _comparison(operator.eq, compared)
            cls.__hash__ = (lambda self: hash(compared(self))) if frozen else None
        for name in ("__lt__", "__le__", "__gt__", "__ge__") if order else ():
            setattr(cls, name, _comparison(getattr(operator, name), compared))
        if frozen:
            _pickle_values(cls)
        return cls

    return decorate


if not TYPE_CHECKING:
    dataclass = _dataclass


def _values(names: Sequence[str]) -> Values:
    return operator.attrgetter(*names) if names else lambda _: ()


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _comparison(compare: Callable[[Any, Any], bool], values: Values) -> Callable[[Any, object], bool]:
    def method(self: Any, other: object) -> bool:
        return compare(values(self), values(other)) if type(other) is type(self) else NotImplemented

    return method


def _pickle_values(cls: Any) -> None:
    """Pickle objects as their values; the default looks the fields up for every object."""
    slots = [getattr(cls, field.name) for field in fields(cls)]

    def values(self: Any) -> list[Any]:
        return [slot.__get__(self) for slot in slots]

    def fill(self: Any, state: Sequence[Any]) -> None:
        for slot, value in zip(slots, state, strict=True):
            slot.__set__(self, value)

    cls.__getstate__, cls.__setstate__ = values, fill
