"""What the stages of one worker share: stores with their connections, settings, callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.messages import UploadCheckpoint
    from pipeline.registry.image_store import ImageStores
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
