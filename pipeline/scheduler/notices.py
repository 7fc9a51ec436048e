"""Notices: what one part of the scheduler learned and another part needs to know.

A part appends notices to the shared state while it changes; the scheduler's only loop delivers them when the
change is complete. So no part is called while it is half changed, and none knows who listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import FetchManifest, ManifestHead, Task
    from pipeline.model.referrers import Referrer
    from pipeline.scheduler.manifest_need import ManifestNeed


@dataclass(frozen=True, slots=True)
class Looked:
    """Both sides of an image answered."""

    image: str
    source: ManifestHead
    found: ManifestHead | Fault | None
    """What the destination has; None: nothing, or it was not asked."""
    listed: bool = False
    """Whether a listing answered for one side: then only what the records confirm counts."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest that an image needs was read."""

    image: str
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A manifest that an image needs cannot be read."""

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
    """A blob that a manifest needs cannot be copied."""

    need: str
    fault: Fault


@dataclass(frozen=True, slots=True)
class ChildStored:
    """A child manifest is stored, for one of the manifests that name it."""

    need: str
    child: str


@dataclass(frozen=True, slots=True)
class ManifestStored:
    """A manifest is stored, for one of the images that need it."""

    image: str
    need: ManifestNeed


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """An image cannot get something that it needs."""

    image: str
    fault: Fault
    need: str = ""
    """Key of the manifest, if it is one."""


@dataclass(frozen=True, slots=True)
class ReferrersFound:
    """The companions of a manifest at the source are known, or cannot be read."""

    image: str
    digest: str
    referrers: tuple[Referrer, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class CompanionsEnded:
    """The companions of an image are stored, or failed."""

    image: str


@dataclass(frozen=True, slots=True)
class ChildrenUnread:
    """The destination lacks children of a manifest that these images took to be complete and did not read."""

    images: tuple[str, ...]
    fault: Fault


@dataclass(frozen=True, slots=True)
class TurnCame:
    """The image that this one follows at the same destination is finished."""

    image: str


@dataclass(frozen=True, slots=True)
class TaskDoomed:
    """A task fails before it is given out because its registry is unavailable."""

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
"""Notices about one image, which may be finished meanwhile."""
Notice = ImageNotice | BlobArrived | BlobFailed | ChildStored | ChildrenUnread | TaskDoomed
