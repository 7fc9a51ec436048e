"""The retries of one operation, limited in tries and in waiting; no other code in a worker retries."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import RegistryError
from pipeline.registry.meter import current_meter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault
    from pipeline.settings import Retry

T = TypeVar("T")


class RetryBudget:
    """The remaining retries of one operation."""

    def __init__(self, retry: Retry) -> None:
        """Start with the full budget."""
        self._retry, self._left = retry, retry.waiting
        self.tried = 0
        """Failed tries."""

    def next_wait(self, fault: Fault, *, damaged: bool = False) -> float | None:
        """Count a failed try: the seconds to wait before the next one; None if there is none.

        `damaged`: the content was wrong. A proxy may have damaged it, so it is read once more, at once.
        """
        self.tried += 1
        if damaged:
            return 0.0 if self.tried == 1 else None
        if not fault.retryable or self.tried >= self._retry.tries:
            return None
        wait = random.uniform(0, self._retry.base * 2**self.tried)  # noqa: S311 - jitter is no secret
        wait = min(wait, self._left)
        self._left -= wait
        return wait


def persist(retry: Retry, attempt: Callable[[], T]) -> T:
    """Try a short request until it succeeds or its budget is used up.

    Raises:
        ThrottledError, LackingError: at once, for the scheduler knows what to do.
        RegistryError: of the last try.
    """
    budget = RetryBudget(retry)
    while True:
        try:
            return attempt()
        except RegistryError as error:
            fault, wait = error.fault, budget.next_wait(error.fault)
            if wait is None:
                raise
        words = f"{fault}; attempt {budget.tried} failed, retrying in {wait:.1f}s"
        current_meter().repeat("request.retry", fault, words, attempt=budget.tried, delay=round(wait, 3))
        time.sleep(wait)
