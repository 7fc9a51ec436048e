"""Parallel requests of one task to several registries, if a registry is slow enough to be worth a thread.

In a local network a response takes a millisecond, and a second thread would cost as much CPU as the request.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline.dataclass import dataclass
from pipeline.registry.meter import current_meter, metering

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.registry.meter import Meter

T = TypeVar("T")
_SLOW = 0.01
"""Seconds: a registry with this mean response time or more is slow."""
_WEIGHT = 0.2
"""Of the latest response in the moving average."""
_THREADS = 64


class ParallelRequests:
    """One for each worker; all its threads may use it."""

    def __init__(self) -> None:
        """Threads start when they are needed."""
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="parallel")
        self._seconds: dict[str, float] = {}

    def timed(self, registry: str, call: Callable[[], T]) -> T:
        """Make a request and record the registry's response time."""
        began = time.monotonic()
        try:
            return call()
        finally:
            took = time.monotonic() - began
            before = self._seconds.get(registry, took)
            self._seconds[registry] = before + _WEIGHT * (took - before)

    def is_slow(self, registry: str) -> bool:
        """Whether the registry is so slow that requests to others should run in parallel."""
        return self._seconds.get(registry, 0.0) >= _SLOW

    def run(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Make all calls in parallel and return the results in order; the current task is charged for them.

        Raises:
            Exception: of the first call in order that raised, after all have finished.
        """
        first, *others = calls
        futures = [self._pool.submit(copy_context().run, _measured, call) for call in others]
        ended = [_measured(first), *(future.result() for future in futures)]
        for call in ended:
            current_meter().add(call.meter)
        return [call.future.result() for call in ended]


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    """A finished call."""

    future: Future[T]
    meter: Meter


def _measured(call: Callable[[], T]) -> _Call[T]:
    own = current_meter()
    future: Future[T] = Future()
    with metering(timed=own.timed, debug=own.debug) as meter:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - result() raises it
            future.set_exception(error)
    return _Call(future, meter)
