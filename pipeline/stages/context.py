"""What the stages of one worker share: stores with their connections, settings, callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.messages import FetchManifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.messages import CopyBlob, UploadCheckpoint
    from pipeline.registry.image_store import ImageStore, ImageStores
    from pipeline.settings import Settings
    from pipeline.stages.parallel import ParallelRequests


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """The second argument of a stage's function."""

    stores: ImageStores
    settings: Settings
    parallel: ParallelRequests
    on_progress: Callable[[int], None]
    """Called during a transfer with the bytes so far in this attempt."""
    on_checkpoint: Callable[[UploadCheckpoint | None], None]
    """Called with the confirmed part of an upload; None: the upload cannot be resumed any more."""

    def read_store(self, task: FetchManifest | CopyBlob) -> ImageStore:
        """The store that a task reads content from."""
        if task.mirror is not None:
            return self.stores.mirror(task.mirror.registry)
        push = isinstance(task, FetchManifest) and task.side == "destination"
        return self.stores.at(task.read_from.registry, push=push)
