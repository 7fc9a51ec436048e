"""The conformance suite, image stores: every kind of registry does what ImageStore promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import LackingError, RegistryError
from pipeline.model.credential import Credential
from pipeline.model.manifest import parse
from pipeline.model.messages import ManifestHead
from pipeline.model.reference import Reference, Repository
from pipeline.registry.clients import Clients
from pipeline.settings import MAX_MANIFEST
from tests.registry import content
from tests.registry.asking import ABSENT, IMAGE
from tests.registry.push import push
from tests.unit.registry.asking import ANONYMOUS, QUICK, USER, Sent

if TYPE_CHECKING:
    from pipeline.registry.image_store import ImageStore
    from tests.real.wire import Wire

PATH = "team/app"
BLOB = content.layer("a blob", size=300_000)
DIGEST = content.digest_of(BLOB)
INDEX = content.index(IMAGE, content.attestation(IMAGE))


def connect(address: str, credential: Credential = ANONYMOUS) -> ImageStore:
    """A destination with new connections."""
    return Clients(QUICK, lambda _: credential).at(address, push=True)


@pytest.fixture
def store(open_registry: str) -> ImageStore:
    """A registry of each kind."""
    return connect(open_registry)


@pytest.fixture
def repository(open_registry: str) -> Repository:
    """The repository that the tests use."""
    return Repository(open_registry, PATH)


def upload(store: ImageStore, repository: Repository, body: bytes = BLOB, *, digest: str = "") -> bool:
    """Upload a blob; returns whether the registry confirmed its digest."""
    digest = digest or content.digest_of(body)
    session = store.begin_upload(repository, digest)
    assert session is not None
    return session.put(Sent(body))


def upload_tree(store: ImageStore, repository: Repository, tree: content.Content, tag: str) -> None:
    """Upload blobs, then manifests leaves first, then the tag."""
    for blob in tree.all_blobs.values():
        upload(store, repository, blob)
    for each in tree.walk():
        for name in (each.digest, *([tag] if each is tree else [])):
            reference = Reference(repository, name)
            store.put_manifest(reference, each.manifest, media_type=each.media_type, digest=each.digest)


def test_lists_tags(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """All tags are listed, whether or not the registry pages."""
    names = [f"v{number}" for number in range(7)]
    push(wire, PATH, IMAGE, *names)
    page, found = store.tags(repository, page="", count=3), list[str]()
    found += page.tags
    while page.next:
        page = store.tags(repository, page=page.next, count=3)
        found += page.tags

    assert names == sorted(found)


def test_missing_repository_has_no_tags(store: ImageStore, repository: Repository) -> None:
    """A missing repository is an error with status 404 and the registry's code."""
    with pytest.raises(RegistryError) as caught:
        store.tags(repository, page="", count=3)

    assert (404, "NAME_UNKNOWN") == (caught.value.fault.status, caught.value.fault.code)


@pytest.mark.parametrize("tree", [IMAGE, INDEX], ids=["image", "index"])
def test_finds_a_manifest(
    store: ImageStore, repository: Repository, wire: Wire, tree: content.Content
) -> None:
    """A manifest is found by tag and by digest, with its type."""
    push(wire, PATH, tree, "v1")

    found = [store.head_manifest(Reference(repository, name)) for name in ("v1", tree.digest)]

    assert [ManifestHead(digest=tree.digest, media_type=tree.media_type)] * 2 == found


@pytest.mark.parametrize("name", ["v1", ABSENT])
def test_finds_no_missing_manifest(store: ImageStore, repository: Repository, name: str) -> None:
    """Missing content is None."""
    assert store.head_manifest(Reference(repository, name)) is None


def test_reads_a_manifest(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """The bytes are those that were pushed, and parse under their digest."""
    push(wire, PATH, INDEX, "v1")

    body, media_type = store.get_manifest(Reference(repository, INDEX.digest), limit=MAX_MANIFEST)

    assert (INDEX.manifest, INDEX.media_type) == (body, media_type)
    assert [each.digest for each in INDEX.children] == [
        child.digest for child in parse(body, media_type, INDEX.digest).children
    ]


def test_reads_a_manifest_past_caches(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """A fresh read on a new connection gives the same bytes."""
    push(wire, PATH, IMAGE, "v1")

    body, _ = store.get_manifest(Reference(repository, IMAGE.digest), limit=MAX_MANIFEST, fresh=True)

    assert IMAGE.manifest == body


def test_reading_a_missing_manifest_fails(store: ImageStore, repository: Repository) -> None:
    """A missing manifest is a permanent fault with status 404."""
    with pytest.raises(RegistryError) as caught:
        store.get_manifest(Reference(repository, "v1"), limit=MAX_MANIFEST)

    fault = caught.value.fault
    assert (404, "MANIFEST_UNKNOWN", False) == (fault.status, fault.code, fault.retryable)


@pytest.mark.parametrize("tree", [IMAGE, INDEX], ids=["image", "index"])
def test_pushed_tree_can_be_read(
    store: ImageStore, repository: Repository, wire: Wire, tree: content.Content
) -> None:
    """Another client reads what was pushed, byte for byte."""
    upload_tree(store, repository, tree, "v1")

    assert tree.manifest == wire.manifest(PATH, "v1").body
    for each in tree.walk():
        assert each.manifest == wire.manifest(PATH, each.digest).body
    for digest, blob in tree.all_blobs.items():
        assert blob == wire.ask("GET", f"/v2/{PATH}/blobs/{digest}").body


def test_push_needs_no_read_back(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """Both registries return digests, so nothing needs to be read back."""
    push(wire, PATH, IMAGE)
    reference = Reference(repository, "v1")

    assert upload(store, repository)
    kind, digest = IMAGE.media_type, IMAGE.digest
    assert store.put_manifest(reference, IMAGE.manifest, media_type=kind, digest=digest).confirmed


def test_manifest_without_its_blobs_fails(store: ImageStore, repository: Repository) -> None:
    """A manifest without its blobs is a LackingError."""
    upload(store, repository, IMAGE.blobs[0])
    reference = Reference(repository, "v1")

    with pytest.raises(LackingError):
        store.put_manifest(reference, IMAGE.manifest, media_type=IMAGE.media_type, digest=IMAGE.digest)


def test_index_without_its_children_fails(store: ImageStore, repository: Repository) -> None:
    """An index without its children is a LackingError."""
    reference = Reference(repository, "v1")

    with pytest.raises(LackingError):
        store.put_manifest(reference, INDEX.manifest, media_type=INDEX.media_type, digest=INDEX.digest)


def test_finds_a_blob(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """An existing blob has its size; a missing one is None."""
    wire.send_blob(PATH, BLOB)

    found = [store.head_blob(repository, digest) for digest in (DIGEST, ABSENT)]

    assert [len(BLOB), None] == found


@pytest.mark.parametrize("offset", [0, 1, 299_999])
def test_reads_a_blob(store: ImageStore, repository: Repository, wire: Wire, offset: int) -> None:
    """A blob is read from any offset, with its start and size."""
    wire.send_blob(PATH, BLOB)

    with store.open_blob(repository, DIGEST, size=len(BLOB), offset=offset) as body:
        found = b"".join(map(bytes, body))

    assert (offset, len(BLOB), BLOB[offset:]) == (body.offset, body.total, found)


def test_reading_a_missing_blob_fails(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """A missing blob is a permanent fault with status 404."""
    wire.send_blob(PATH, b"something else")

    with pytest.raises(RegistryError) as caught:
        store.open_blob(repository, ABSENT, size=5)

    assert (404, False) == (caught.value.fault.status, caught.value.fault.retryable)


def test_reading_a_blob_of_wrong_size_fails(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """A blob with another size than in its descriptor is refused before it is read."""
    wire.send_blob(PATH, BLOB)

    with pytest.raises(RegistryError) as caught:
        store.open_blob(repository, DIGEST, size=5)

    assert caught.value.fault.code == "SIZE_MISMATCH"


@pytest.mark.parametrize("body", [b"", b"x", BLOB], ids=["empty", "one byte", "many pieces"])
def test_uploads_a_blob(store: ImageStore, repository: Repository, wire: Wire, body: bytes) -> None:
    """A blob of any size is stored."""
    upload(store, repository, body)

    assert body == wire.ask("GET", f"/v2/{PATH}/blobs/{content.digest_of(body)}").body


def test_upload_with_wrong_digest_fails(store: ImageStore, repository: Repository) -> None:
    """A body that does not match the digest is refused, and nothing is stored under it."""
    with pytest.raises(RegistryError) as caught:
        upload(store, repository, BLOB, digest=ABSENT)

    assert (400, "DIGEST_INVALID") == (caught.value.fault.status, caught.value.fault.code)
    assert store.head_blob(repository, ABSENT) is None


def test_broken_upload_stores_nothing(store: ImageStore, repository: Repository) -> None:
    """An exception of the body passes through, nothing is stored, and the next upload succeeds."""
    session = store.begin_upload(repository, DIGEST)
    assert session is not None

    with pytest.raises(ZeroDivisionError):
        session.put(Sent(BLOB[:100], announced=len(BLOB), error=ZeroDivisionError()))

    assert store.head_blob(repository, DIGEST) is None
    upload(store, repository)
    assert len(BLOB) == store.head_blob(repository, DIGEST)


def test_stores_the_same_content_twice(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """Blobs, manifests and tags may be written again, as after the death of a worker."""
    for _ in range(2):
        upload_tree(store, repository, INDEX, "v1")

    assert INDEX.manifest == wire.manifest(PATH, "v1").body


def test_push_moves_a_tag(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """A tag that pointed to another manifest moves; that manifest stays."""
    upload_tree(store, repository, IMAGE, "v1")
    upload_tree(store, repository, INDEX, "v1")

    assert [INDEX.manifest, IMAGE.manifest] == [
        wire.manifest(PATH, "v1").body,
        wire.manifest(PATH, IMAGE.digest).body,
    ]


def test_two_uploads_of_one_blob_at_once(store: ImageStore, repository: Repository) -> None:
    """Each start is a separate upload, and the second to finish changes nothing."""
    sessions = [store.begin_upload(repository, DIGEST) for _ in range(2)]
    for session in sessions:
        assert session is not None
        session.put(Sent(BLOB))

    assert len(BLOB) == store.head_blob(repository, DIGEST)


def test_uploads_by_its_own_strategy(store: ImageStore, repository: Repository) -> None:
    """An upload by the store's own strategy is accepted."""
    session, at = store.begin_upload(repository, DIGEST), 0
    assert session is not None
    plan = store.plan_upload()
    for part in plan.parts(len(BLOB), least=session.least, most=session.most):
        body, at = Sent(BLOB[at : at + part.count]), at + part.count
        if part.last:
            session.put(body)
        else:
            session.patch(body, offset=at - part.count if part.ranged else None)
    plan.succeed()

    assert len(BLOB) == store.head_blob(repository, DIGEST)


def test_resumes_an_upload(store: ImageStore, repository: Repository, open_registry: str) -> None:
    """Another process resumes a session by its URL: it asks for the offset and finishes the upload."""
    half = len(BLOB) // 2
    begun = store.begin_upload(repository, DIGEST)
    assert begun is not None
    assert half == begun.patch(Sent(BLOB[:half]), offset=0)

    session = connect(open_registry).resume_upload(repository, DIGEST, url=begun.url)
    assert half == session.ask_offset(least=half, most=len(BLOB))
    assert len(BLOB) == session.patch(Sent(BLOB[half:]), offset=half)
    session.commit()

    assert len(BLOB) == store.head_blob(repository, DIGEST)


def test_cancels_an_upload(store: ImageStore, repository: Repository) -> None:
    """A cancelled session accepts no blob."""
    session = store.begin_upload(repository, DIGEST)
    assert session is not None
    session.cancel()

    # One byte: a proxy answers 502 if the registry answers before it has read a long body.
    with pytest.raises(RegistryError) as caught:
        session.put(Sent(BLOB[:1]))

    assert caught.value.fault.status == 404


def test_mounts_a_blob(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """A blob of another repository is mounted at once, without a session."""
    wire.send_blob("other/app", BLOB)

    assert store.begin_upload(repository, DIGEST, mount="other/app") is None
    assert len(BLOB) == store.head_blob(repository, DIGEST)


def test_refused_mount_opens_a_session(store: ImageStore, repository: Repository, wire: Wire) -> None:
    """A refused mount returns a session that says so and accepts the blob."""
    wire.send_blob("other/app", b"something else")
    session = store.begin_upload(repository, DIGEST, mount="other/app")

    assert session is not None
    assert session.refused
    assert session.put(Sent(BLOB))
    assert len(BLOB) == store.head_blob(repository, DIGEST)


def test_all_methods_work_with_basic(locked: str) -> None:
    """With credentials every method works through a Basic challenge."""
    store, repository = connect(locked, USER), Repository(locked, PATH)
    upload_tree(store, repository, IMAGE, "v1")

    assert ("v1",) == store.tags(repository, page="", count=10).tags
    with store.open_blob(repository, content.digest_of(IMAGE.blobs[0]), size=len(IMAGE.blobs[0])) as body:
        assert IMAGE.blobs[0] == b"".join(map(bytes, body))


@pytest.mark.parametrize("password", ["", "wrong"])
def test_missing_or_wrong_login_fails(locked: str, password: str) -> None:
    """No credentials, or wrong ones, are a permanent fault with status 401."""
    credential = Credential(
        origin="test", username="user" if password else "", password=password, insecure=True
    )

    with pytest.raises(RegistryError) as caught:
        connect(locked, credential).head_manifest(Reference(Repository(locked, PATH), "v1"))

    assert (401, False) == (caught.value.fault.status, caught.value.fault.retryable)
