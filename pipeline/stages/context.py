"""What the stages share in one worker: clients with their connections, settings, a word for progress."""

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
    """Given to a stage's function along with its task."""

    clients: ImageStores
    settings: Settings
    together: ParallelRequests
    moved: Callable[[int], None]
    """To be called as a body moves, with the bytes so far in this try."""
    kept: Callable[[UploadCheckpoint | None], None]
    """To be called with what a registry has confirmed of an upload; None: that is of no use any more."""
