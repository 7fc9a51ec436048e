"""A blob copied between two scripted registries by the stage alone, without an engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.model.manifest import Descriptor
from pipeline.model.messages import BlobCopied, CopyBlob, UploadCheckpoint
from pipeline.registry.clients import Clients
from pipeline.registry.meter import Meter, metering
from pipeline.settings import Uploads
from pipeline.stages.context import StageContext
from pipeline.stages.copy import copy_blob
from pipeline.stages.parallel import ParallelRequests
from tests.registry.content import digest_of, layer
from tests.unit.registry.asking import ANONYMOUS, QUICK, repository

if TYPE_CHECKING:
    from pipeline.registry.upload_strategy import Quirks
    from tests.registry.fixtures import Scripted
    from tests.registry.log import Entry
    from tests.registry.registry import Registry

CHUNK = 100_000
BLOB = layer("large", size=5 * CHUNK + 1)
DIGEST = digest_of(BLOB)
SETTINGS = replace(QUICK, uploads=Uploads(above=2 * CHUNK, chunk=CHUNK))
CHUNKS = [f"{begin}-{min(begin + CHUNK, len(BLOB)) - 1}" for begin in range(0, len(BLOB), CHUNK)]


@dataclass
class BlobCopy:
    """A source with the blob, a destination, and the messages of the worker."""

    source: Registry
    mirror: Registry
    said: list[UploadCheckpoint | None] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)

    def run(
        self,
        *,
        session: UploadCheckpoint | None = None,
        quirks: Quirks | None = None,
        process: Clients | None = None,
        check: bool = False,
        ask: bool = False,
    ) -> BlobCopied:
        """Run the task with the clients of a new process, or with the given ones."""
        process = process or clients()
        if quirks:
            process.at(self.mirror.address).strategy.quirks = quirks
        context = StageContext(
            stores=process,
            settings=SETTINGS,
            parallel=ParallelRequests(),
            on_progress=lambda _: None,
            on_checkpoint=self.said.append,
        )
        task = CopyBlob(
            source=repository(self.source),
            blob=Descriptor(media_type="m", digest=DIGEST, size=len(BLOB)),
            destination=repository(self.mirror, "copy/app"),
            ask=ask,
            check=check,
            session=session,
        )
        with metering() as self.meter:
            return copy_blob(task, context)

    def kept(self) -> UploadCheckpoint:
        """The last checkpoint, as kept in the records."""
        assert self.said
        assert self.said[-1]
        return self.said[-1]

    @property
    def session(self) -> str:
        """The path of the upload in that checkpoint."""
        return urlsplit(self.kept().url).path

    def sent(self, method: str) -> list[Entry]:
        """Requests to uploads."""
        return self.mirror.requests(method=method, path="/blobs/uploads/")

    def patched(self) -> list[str]:
        """Ranges of the chunks that were sent."""
        return [entry.headers.get("content-range", "none") for entry in self.sent("PATCH")]

    def arrived(self) -> bool:
        """Whether the destination has the blob, byte for byte."""
        return self.mirror.blob("copy/app", DIGEST) == BLOB


def clients(uploads: Uploads | None = None) -> Clients:
    """The clients of a new process."""
    return Clients(replace(SETTINGS, uploads=uploads or SETTINGS.uploads), lambda _: ANONYMOUS)


def start_copy(scripted: Scripted, **options: Any) -> BlobCopy:
    """A source with the blob, and a destination with these options."""
    source, mirror = scripted(), scripted(**options)
    source.add_blob(repository(source).path, BLOB)
    return BlobCopy(source, mirror)
