"""Read-back: a HEAD after the first blob and the first manifest at each registry.

It detects a registry that confirms content without storing it, before a tag relies on the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.model.messages import BlobCopied, ManifestPushed

if TYPE_CHECKING:
    from pipeline.model.messages import CopyBlob, Outcome, PushManifest, Task


class ReadBack:
    """Chooses one task of each kind at a time for a read-back, until one succeeds."""

    def __init__(self) -> None:
        """Begin with nothing proven."""
        self._proven: set[tuple[str, type]] = set()
        self._proving: dict[tuple[str, type], str] = {}

    def due(self, task: CopyBlob | PushManifest) -> bool:
        """Whether the task that is given out now must read back."""
        place = _place(task)
        if place in self._proven or place in self._proving:
            return False
        self._proving[place] = task.key
        return True

    def settled(self, task: Task, outcome: Outcome) -> None:
        """A task has an outcome: if its read-back failed, the next task gets one."""
        if task.writes_to is None or self._proving.get(_place(task)) != task.key:
            return
        del self._proving[_place(task)]
        uploaded = isinstance(outcome, BlobCopied) and outcome.how == "uploaded"
        if uploaded or isinstance(outcome, ManifestPushed):
            self._proven.add(_place(task))


def _place(task: Task) -> tuple[str, type]:
    """The registry, and what kind of content is written."""
    assert task.writes_to is not None
    return task.writes_to.registry, type(task)
