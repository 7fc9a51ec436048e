"""Notices: what one part of the scheduler has learned and another part needs to know.

A part appends them to the shared state while it changes itself; the scheduler's one loop delivers them when
that change is complete. So no part is called while it is half changed, and none needs to know who listens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import FetchManifest, ManifestHead, Task
    from pipeline.model.referrers import Referrer
    from pipeline.scheduler.manifest_need import ManifestNeed


@dataclass(frozen=True, slots=True)
class Looked:
    """Both sides of an image have answered."""

    image: str
    source: ManifestHead
    found: ManifestHead | Fault | None
    """What the destination has; None: nothing, or it was not asked."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest that an image wants has been read."""

    image: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A manifest that an image wants cannot be read."""

    image: str
    task: FetchManifest
    fault: Fault


@dataclass(frozen=True, slots=True)
class BlobArrived:
    """A blob is in the repository of a manifest that needs it."""

    need: str
    digest: str


@dataclass(frozen=True, slots=True)
class BlobFailed:
    """A blob cannot be brought to a manifest that needs it."""

    need: str
    fault: Fault


@dataclass(frozen=True, slots=True)
class ChildStored:
    """A child manifest is in place, for one of the manifests that name it."""

    need: str
    child: str


@dataclass(frozen=True, slots=True)
class ManifestStored:
    """A manifest is in place, for one of the images that need it."""

    image: str
    need: ManifestNeed


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """Something that an image needs cannot be had."""

    image: str
    fault: Fault
    need: str = ""
    """Key of the manifest, if it is one."""


@dataclass(frozen=True, slots=True)
class ReferrersFound:
    """What belongs to a manifest at the source is known, or cannot be."""

    image: str
    digest: str
    referrers: tuple[Referrer, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class CompanionsEnded:
    """What belongs to an image is stored, or given up."""

    image: str


@dataclass(frozen=True, slots=True)
class ChildrenUnread:
    """The destination lacks children of a manifest that these images took to be complete: none was read."""

    images: tuple[str, ...]
    fault: Fault


@dataclass(frozen=True, slots=True)
class TurnCame:
    """The image that went before this one at the same destination has ended."""

    image: str


@dataclass(frozen=True, slots=True)
class TaskDoomed:
    """A task fails before it is given out, since its registry is unavailable."""

    task: Task
    fault: Fault


ImageNotice = (
    Looked
    | Fetched
    | FetchFailed
    | ManifestStored
    | ImageFailed
    | ReferrersFound
    | CompanionsEnded
    | TurnCame
)
"""What concerns one image, which may have ended meanwhile."""
Notice = ImageNotice | BlobArrived | BlobFailed | ChildStored | ChildrenUnread | TaskDoomed
