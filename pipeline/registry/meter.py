"""What one task costs: requests and bytes, counted where they happen, on the thread that runs the task."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.log import Event


@dataclass(slots=True)
class Meter:
    """What one task costs; filled by all requests of its thread."""

    requests: Counter[str] = field(default_factory=Counter)
    """By registry; those to token servers and storage count for the registry that sent us there."""
    read: int = 0
    """Bytes of bodies received."""
    written: int = 0
    """Bytes of bodies sent."""
    events: list[Event] = field(default_factory=list)


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metering() -> Iterator[Meter]:
    """Count all requests of this thread within the block."""
    meter = Meter()
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def current_meter() -> Meter:
    """The meter of the running task; one that nobody reads outside of `metering`."""
    return _meter.get() or Meter()
