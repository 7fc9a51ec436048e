"""Requests of one task to several registries at once, where waiting for one costs more than a thread's work.

On a local network an answer takes a millisecond, and a second thread would cost as much CPU as the request.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline.registry.meter import current_meter, metering

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.registry.meter import Meter

T = TypeVar("T")
_PAYS_FROM = 0.01
"""Seconds that an answer takes from which the next one is not waited for in line."""
_WEIGHT = 0.2
"""Of the latest answer in the running mean."""
_THREADS = 64


class ParallelRequests:
    """One per worker; used by all its threads."""

    def __init__(self) -> None:
        """Begin without threads: they start when they are needed."""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="together")
        self._seconds: dict[str, float] = {}

    def timed(self, registry: str, call: Callable[[], T]) -> T:
        """Make a request, and take down how long that registry takes to answer."""
        began = time.monotonic()
        try:
            return call()
        finally:
            took = time.monotonic() - began
            before = self._seconds.get(registry, took)
            self._seconds[registry] = before + _WEIGHT * (took - before)

    def pays(self, registry: str) -> bool:
        """Whether that registry answers so slowly that others are better asked meanwhile."""
        return self._seconds.get(registry, 0.0) >= _PAYS_FROM

    def run(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Make all calls at once; what they cost is the running task's. Their results, in order.

        Raises:
            Exception: the first in order that a call raised, after all have ended.
        """
        first, *others = calls
        futures = [self._pool.submit(copy_context().run, _measured, call) for call in others]
        ended = [_measured(first), *(future.result() for future in futures)]
        for call in ended:
            current_meter().add(call.meter)
        return [call.future.result() for call in ended]


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    """One call that has ended."""

    future: Future[T]
    meter: Meter


def _measured(call: Callable[[], T]) -> _Call[T]:
    own = current_meter()
    future: Future[T] = Future()
    with metering(timed=own.timed, debug=own.debug) as meter:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - whoever takes the result gets it
            future.set_exception(error)
    return _Call(future, meter)
