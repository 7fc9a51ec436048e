"""The figures that a plan predicts for blobs and manifests, compared with those of the run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.manifest import Descriptor
from pipeline.model.messages import CopyBlob, PushManifest
from pipeline.model.reference import Reference
from pipeline.registry.meter import Meter, metering
from pipeline.registry.upload_strategy import Quirks
from pipeline.stages import copy, plan
from pipeline.stages.context import StageContext
from pipeline.stages.parallel import ParallelRequests
from tests.registry.content import digest_of, image, layer
from tests.registry.faults import Fault, Reply, throttle
from tests.registry.store import Blob
from tests.unit.registry.asking import repository
from tests.unit.stages.blob_copy import CHUNK, SETTINGS, clients

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.messages import Outcome, UploadCheckpoint
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@dataclass(frozen=True)
class Figures:
    """The cost of a task."""

    how: str
    requests: dict[str, int]
    kinds: dict[tuple[str, str], int]
    read: int
    written: int


def figures(
    stage: Callable[[StageContext], Outcome], *, at: str = "", quirks: Quirks | None = None
) -> Figures:
    """Run a stage's function as in a new process, with those quirks of `at`."""
    process = clients()
    if quirks:
        process.at(at).strategy.quirks = quirks
    context = StageContext(
        stores=process,
        settings=SETTINGS,
        parallel=ParallelRequests(),
        on_progress=lambda _: None,
        on_checkpoint=lambda _: None,
    )
    with metering(timed=True) as meter:
        outcome = stage(context)
    return Figures(getattr(outcome, "how", ""), *_counted(meter), meter.read, meter.written)


def _counted(meter: Meter) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    return dict(meter.requests), dict(Counter((asked.method, asked.what) for asked in meter.asked))


def blob_task(source: Registry, mirror: Registry, size: int) -> CopyBlob:
    """A blob of that many bytes at the source, and its task."""
    content = layer("blob", size=size) if size else b""
    source.add_blob(repository(source).path, content)
    return CopyBlob(
        source=repository(source),
        blob=Descriptor(media_type="m", digest=digest_of(content), size=size),
        destination=repository(mirror, "copy/app"),
        ask=False,
    )


def compare(task: CopyBlob, mirror: Registry, *, quirks: Quirks | None = None) -> Figures:
    """Plan, check that nothing was written, copy, and check that the figures are the same."""
    planned = figures(lambda context: plan.copy_blob(task, context), at=mirror.address, quirks=quirks)
    assert {entry.method for entry in mirror.requests()} <= {"GET", "HEAD"}

    moved = figures(lambda context: copy.copy_blob(task, context), at=mirror.address, quirks=quirks)

    assert planned == moved
    return moved


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK - 1, 5 * CHUNK])
@pytest.mark.parametrize(
    "quirks",
    [Quirks(), Quirks(ends_with_bytes=True), Quirks(forms=("whole", "stream")), Quirks(chunk=30_000)],
    ids=["usual", "ends-with-bytes", "no-chunks", "small-chunks"],
)
def test_planned_upload_costs_are_those_of_the_run(scripted: Scripted, size: int, quirks: Quirks) -> None:
    """For every size and form of upload the planned requests and bytes are those of the run."""
    source, mirror = scripted(), scripted()

    assert compare(blob_task(source, mirror, size), mirror, quirks=quirks).how == "uploaded"


def test_present_blob_costs_one_head(scripted: Scripted) -> None:
    """A present blob costs one HEAD, which is really sent."""
    source, mirror = scripted(), scripted()
    task = replace(blob_task(source, mirror, 10), ask=True)
    mirror.add_blob("copy/app", layer("blob", size=10))

    assert compare(task, mirror).how == "present"


def test_missing_blob_costs_head_and_upload(scripted: Scripted) -> None:
    """A blob that is checked and missing costs the HEAD and its upload."""
    source, mirror = scripted(), scripted()

    assert compare(replace(blob_task(source, mirror, 10), ask=True), mirror).how == "uploaded"


def test_unreadable_blob_costs_an_upload_and_a_check(scripted: Scripted) -> None:
    """A blob for which the destination answers 500 costs an upload and a HEAD, and the plan says why."""
    source, mirror = scripted(), scripted()
    task = replace(blob_task(source, mirror, 10), ask=True)
    broken = Fault(action=Reply(status=500), method="HEAD", times=SETTINGS.retry.tries)

    mirror.fault(broken)
    planned = figures(lambda context: plan.copy_blob(task, context))
    mirror.fault(broken)

    assert planned == figures(lambda context: copy.copy_blob(task, context))
    assert planned.how == "uploaded"


def test_blob_of_other_size_costs_an_upload_and_a_check(scripted: Scripted) -> None:
    """A blob of another size than in the manifest costs an upload and a HEAD."""
    source, mirror = scripted(), scripted()
    task = replace(blob_task(source, mirror, 10), ask=True)
    mirror.store.create("copy/app").blobs[task.blob.digest] = Blob(b"other", 5)

    assert compare(task, mirror).how == "uploaded"


@pytest.mark.parametrize("check", [False, True])
def test_mount_costs_one_post(scripted: Scripted, check: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A mount costs one POST, and a HEAD if it is read back."""
    source, mirror = scripted(), scripted()
    task = replace(blob_task(source, mirror, 10), mount="other/app", check=check)
    mirror.add_blob("other/app", layer("blob", size=10))

    assert compare(task, mirror).how == "mounted"


def test_read_back_costs_one_head(scripted: Scripted) -> None:
    """An upload that is read back costs a HEAD more."""
    source, mirror = scripted(), scripted()

    assert compare(replace(blob_task(source, mirror, 10), check=True), mirror).how == "uploaded"


def test_earlier_upload_is_planned_to_resume(scripted: Scripted) -> None:
    """An upload of an earlier run is planned to resume, without a request to its URL."""
    source, mirror = scripted(), scripted()
    task = blob_task(source, mirror, 5 * CHUNK)
    mirror.fault(throttle(method="PATCH", skip=2))
    kept: list[UploadCheckpoint | None] = []
    with pytest.raises(ThrottledError):
        figures(lambda context: copy.copy_blob(task, replace(context, on_checkpoint=kept.append)))
    task = replace(task, session=kept[-1])
    before = len(mirror.requests())

    planned = figures(lambda context: plan.copy_blob(task, context))

    assert len(mirror.requests()) == before
    assert planned == figures(lambda context: copy.copy_blob(task, context))
    assert planned.read == 3 * CHUNK


def test_unknown_size_is_asked_of_the_source(scripted: Scripted) -> None:
    """If the manifest does not state a blob's size, the plan asks the source, which a run does not."""
    source, mirror = scripted(), scripted()
    task = blob_task(source, mirror, 77)
    task = replace(task, blob=replace(task.blob, size=-1))

    assert compare(task, mirror).read == 77


def test_missing_blob_of_unknown_size_fails(scripted: Scripted) -> None:
    """A blob of unknown size that the source does not hold fails in the plan as it would in the run."""
    source, mirror = scripted(), scripted()
    task = blob_task(source, mirror, 77)
    task = replace(task, blob=replace(task.blob, size=-1))
    source.forget_blob(task.source.path, task.blob.digest)

    with pytest.raises(RegistryError) as caught:
        figures(lambda context: plan.copy_blob(task, context))

    assert (caught.value.fault.side, caught.value.fault.code) == ("source", "BLOB_UNKNOWN")


@pytest.mark.parametrize("there", [False, True])
def test_foreign_layer_missing_at_source_is_not_copied(scripted: Scripted, there: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A layer with urls is not copied if the source lacks it, which is really checked."""
    source, mirror = scripted(), scripted()
    task = blob_task(source, mirror, 10)
    task = replace(task, blob=replace(task.blob, has_urls=True))
    if not there:
        source.forget_blob(task.source.path, task.blob.digest)

    assert compare(task, mirror).how == ("uploaded" if there else "left")


@pytest.mark.parametrize("check", [False, True])
def test_cost_of_a_manifest(scripted: Scripted, check: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A manifest costs its PUT and its bytes, and a HEAD if it is read back."""
    mirror = scripted(check_references=False)
    made = image(layer("one"))
    task = PushManifest(
        destination=Reference(repository(mirror, "copy/app"), "v1"),
        media_type=made.media_type,
        digest=made.digest,
        content=made.manifest,
        check=check,
    )

    planned = figures(lambda context: plan.push_manifest(task, context))

    assert mirror.requests() == []
    assert planned == figures(lambda context: copy.push_manifest(task, context))
