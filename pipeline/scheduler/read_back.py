"""The first blob and the first manifest at each registry are read back.

A registry that says yes and stores nothing is caught by it before a tag relies on the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.model.messages import BlobCopied, ManifestPushed

if TYPE_CHECKING:
    from pipeline.model.messages import CopyBlob, Outcome, PushManifest, Task


class ReadBack:
    """One task of each kind at a time is to be read back, until one of them was found."""

    def __init__(self) -> None:
        """Nothing is proven."""
        self._proven: set[tuple[str, type]] = set()
        self._proving: dict[tuple[str, type], str] = {}

    def due(self, task: CopyBlob | PushManifest) -> bool:
        """Whether the task, which is given out now, is to be read back."""
        place = _place(task)
        if place in self._proven or place in self._proving:
            return False
        self._proving[place] = task.key
        return True

    def settled(self, task: Task, outcome: Outcome) -> None:
        """A task has come back: if it was to be read back and was not, the next one is."""
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
