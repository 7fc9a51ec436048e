"""The history of one key: the events of a task, an image or a rule in order, for tests and bug reports."""

from __future__ import annotations

from collections import deque

_KEPT = 10_000


class TaskHistory:
    """The last ten thousand steps of all keys, so that memory does not grow with the run."""

    def __init__(self) -> None:
        """Begin empty."""
        self._steps: deque[tuple[float, str, str]] = deque(maxlen=_KEPT)

    def tell(self, now: float, key: str, step: str) -> None:
        """Note one step."""
        self._steps.append((now, key, step))

    def of(self, key: str) -> list[str]:
        """The steps of one key, oldest first, each with its time in seconds."""
        return [f"{now:.3f} {step}" for now, of, step in self._steps if of == key]
