"""The conformance suite, our client: every verb against both kinds of registry, with the same outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import LackingError, RegistryError
from pipeline.model.credential import Credential
from pipeline.model.manifest import parse
from pipeline.model.messages import ManifestHead
from pipeline.model.reference import Reference, Repository
from pipeline.registry.client import Clients
from pipeline.settings import MAX_MANIFEST
from tests.registry import content
from tests.registry.asking import ABSENT, IMAGE
from tests.registry.push import push
from tests.unit.registry.asking import ANONYMOUS, QUICK, USER, Sent

if TYPE_CHECKING:
    from pipeline.registry.client import Client
    from tests.real.wire import Wire

PATH = "team/app"
BLOB = content.layer("a blob", size=300_000)
DIGEST = content.digest_of(BLOB)
INDEX = content.index(IMAGE, content.attestation(IMAGE))


def connect(address: str, credential: Credential = ANONYMOUS) -> Client:
    """A destination's client with connections of its own."""
    return Clients(QUICK, lambda _: credential).at(address, push=True)


@pytest.fixture
def client(open_registry: str) -> Client:
    """Our client of a registry of each kind."""
    return connect(open_registry)


@pytest.fixture
def repository(open_registry: str) -> Repository:
    """The repository that the tests are about."""
    return Repository(open_registry, PATH)


def upload(client: Client, repository: Repository, body: bytes = BLOB, *, digest: str = "") -> bool:
    """Upload a blob; whether the registry confirmed its digest."""
    digest = digest or content.digest_of(body)
    session = client.begin_upload(repository, digest)
    assert session is not None
    return session.put(Sent(body))


def upload_tree(client: Client, repository: Repository, tree: content.Content, tag: str) -> None:
    """Upload blobs, then manifests leaves first, then the tag."""
    for blob in tree.all_blobs.values():
        upload(client, repository, blob)
    for each in tree.walk():
        for name in (each.digest, *([tag] if each is tree else [])):
            reference = Reference(repository, name)
            client.put_manifest(reference, each.manifest, media_type=each.media_type, digest=each.digest)


def test_lists_tags(client: Client, repository: Repository, wire: Wire) -> None:
    """All tags come over all pages, whether or not the registry pages."""
    names = [f"v{number}" for number in range(7)]
    push(wire, PATH, IMAGE, *names)
    page, found = client.tags(repository, page="", count=3), list[str]()
    found += page.tags
    while page.next:
        page = client.tags(repository, page=page.next, count=3)
        found += page.tags

    assert names == sorted(found)


def test_lists_no_tags_of_no_repository(client: Client, repository: Repository) -> None:
    """A repository that is not there is an error with status 404 and the registry's code."""
    with pytest.raises(RegistryError) as caught:
        client.tags(repository, page="", count=3)

    assert (404, "NAME_UNKNOWN") == (caught.value.fault.status, caught.value.fault.code)


@pytest.mark.parametrize("tree", [IMAGE, INDEX], ids=["image", "index"])
def test_looks_for_a_manifest(
    client: Client, repository: Repository, wire: Wire, tree: content.Content
) -> None:
    """A manifest is found by tag and by digest, with its type."""
    push(wire, PATH, tree, "v1")

    found = [client.head_manifest(Reference(repository, name)) for name in ("v1", tree.digest)]

    assert [ManifestHead(digest=tree.digest, media_type=tree.media_type)] * 2 == found


@pytest.mark.parametrize("name", ["v1", ABSENT])
def test_finds_no_manifest(client: Client, repository: Repository, name: str) -> None:
    """What is not there is None."""
    assert client.head_manifest(Reference(repository, name)) is None


def test_reads_a_manifest(client: Client, repository: Repository, wire: Wire) -> None:
    """The bytes are those that were pushed, and parse under their digest."""
    push(wire, PATH, INDEX, "v1")

    body, media_type = client.get_manifest(Reference(repository, INDEX.digest), limit=MAX_MANIFEST)

    assert (INDEX.manifest, INDEX.media_type) == (body, media_type)
    assert [each.digest for each in INDEX.children] == [
        child.digest for child in parse(body, media_type, INDEX.digest).children
    ]


def test_reads_a_manifest_past_caches(client: Client, repository: Repository, wire: Wire) -> None:
    """A fresh read on a new connection gives the same bytes."""
    push(wire, PATH, IMAGE, "v1")

    body, _ = client.get_manifest(Reference(repository, IMAGE.digest), limit=MAX_MANIFEST, fresh=True)

    assert IMAGE.manifest == body


def test_reads_no_manifest_that_is_absent(client: Client, repository: Repository) -> None:
    """A manifest that is not there is a permanent fault with status 404."""
    with pytest.raises(RegistryError) as caught:
        client.get_manifest(Reference(repository, "v1"), limit=MAX_MANIFEST)

    fault = caught.value.fault
    assert (404, "MANIFEST_UNKNOWN", False) == (fault.status, fault.code, fault.retryable)


@pytest.mark.parametrize("tree", [IMAGE, INDEX], ids=["image", "index"])
def test_stores_a_tree(client: Client, repository: Repository, wire: Wire, tree: content.Content) -> None:
    """What our client pushed is there for another client, byte for byte."""
    upload_tree(client, repository, tree, "v1")

    assert tree.manifest == wire.manifest(PATH, "v1").body
    for each in tree.walk():
        assert each.manifest == wire.manifest(PATH, each.digest).body
    for digest, blob in tree.all_blobs.items():
        assert blob == wire.ask("GET", f"/v2/{PATH}/blobs/{digest}").body


def test_confirms_what_it_stored(client: Client, repository: Repository, wire: Wire) -> None:
    """Both registries return digests, so nothing needs to be read back."""
    push(wire, PATH, IMAGE)
    reference = Reference(repository, "v1")

    assert upload(client, repository)
    assert client.put_manifest(reference, IMAGE.manifest, media_type=IMAGE.media_type, digest=IMAGE.digest)


def test_names_what_a_manifest_lacks(client: Client, repository: Repository) -> None:
    """A manifest without its blobs is a LackingError with every digest."""
    upload(client, repository, IMAGE.blobs[0])
    reference = Reference(repository, "v1")

    with pytest.raises(LackingError) as caught:
        client.put_manifest(reference, IMAGE.manifest, media_type=IMAGE.media_type, digest=IMAGE.digest)

    assert sorted(map(content.digest_of, IMAGE.blobs[1:])) == sorted(caught.value.digests)


def test_names_what_an_index_lacks(client: Client, repository: Repository) -> None:
    """An index without its children is a LackingError with every digest."""
    reference = Reference(repository, "v1")

    with pytest.raises(LackingError) as caught:
        client.put_manifest(reference, INDEX.manifest, media_type=INDEX.media_type, digest=INDEX.digest)

    assert sorted(each.digest for each in INDEX.children) == sorted(caught.value.digests)


def test_looks_for_a_blob(client: Client, repository: Repository, wire: Wire) -> None:
    """A blob that is there has its size, one that is not is None."""
    wire.send_blob(PATH, BLOB)

    found = [client.head_blob(repository, digest) for digest in (DIGEST, ABSENT)]

    assert [len(BLOB), None] == found


@pytest.mark.parametrize("offset", [0, 1, 299_999])
def test_reads_a_blob(client: Client, repository: Repository, wire: Wire, offset: int) -> None:
    """A blob is read from any offset, and says where it begins and how large it is."""
    wire.send_blob(PATH, BLOB)

    with client.open_blob(repository, DIGEST, size=len(BLOB), offset=offset) as body:
        found = b"".join(map(bytes, body))

    assert (offset, len(BLOB), BLOB[offset:]) == (body.offset, body.total, found)


def test_reads_no_blob_that_is_absent(client: Client, repository: Repository, wire: Wire) -> None:
    """A blob that is not there is a permanent fault with status 404."""
    wire.send_blob(PATH, b"something else")

    with pytest.raises(RegistryError) as caught:
        client.open_blob(repository, ABSENT, size=5)

    assert (404, False) == (caught.value.fault.status, caught.value.fault.retryable)


def test_reads_no_blob_of_another_size(client: Client, repository: Repository, wire: Wire) -> None:
    """A blob whose size is not the descriptor's is refused before it is read."""
    wire.send_blob(PATH, BLOB)

    with pytest.raises(RegistryError) as caught:
        client.open_blob(repository, DIGEST, size=5)

    assert caught.value.fault.code == "SIZE_MISMATCH"


@pytest.mark.parametrize("body", [b"", b"x", BLOB], ids=["empty", "one byte", "many pieces"])
def test_uploads_a_blob(client: Client, repository: Repository, wire: Wire, body: bytes) -> None:
    """A blob of any size is stored."""
    upload(client, repository, body)

    assert body == wire.ask("GET", f"/v2/{PATH}/blobs/{content.digest_of(body)}").body


def test_uploads_no_blob_of_another_digest(client: Client, repository: Repository) -> None:
    """A body that is not what the digest says is refused, and nothing is stored under it."""
    with pytest.raises(RegistryError) as caught:
        upload(client, repository, BLOB, digest=ABSENT)

    assert (400, "DIGEST_INVALID") == (caught.value.fault.status, caught.value.fault.code)
    assert client.head_blob(repository, ABSENT) is None


def test_uploads_nothing_that_broke_off(client: Client, repository: Repository) -> None:
    """What the body raises comes out, nothing is stored, and the client goes on with the next upload."""
    session = client.begin_upload(repository, DIGEST)
    assert session is not None

    with pytest.raises(ZeroDivisionError):
        session.put(Sent(BLOB[:100], announced=len(BLOB), error=ZeroDivisionError()))

    assert client.head_blob(repository, DIGEST) is None
    upload(client, repository)
    assert len(BLOB) == client.head_blob(repository, DIGEST)


def test_cancels_an_upload(client: Client, repository: Repository) -> None:
    """A session that was given up takes no blob any more."""
    session = client.begin_upload(repository, DIGEST)
    assert session is not None
    session.cancel()

    with pytest.raises(RegistryError) as caught:
        session.put(Sent(BLOB))

    assert caught.value.fault.status == 404


def test_mounts_a_blob(client: Client, repository: Repository, wire: Wire) -> None:
    """A blob of another repository is there at once, without a session."""
    wire.send_blob("other/app", BLOB)

    assert client.begin_upload(repository, DIGEST, mount="other/app") is None
    assert len(BLOB) == client.head_blob(repository, DIGEST)


def test_uploads_where_it_cannot_mount(client: Client, repository: Repository, wire: Wire) -> None:
    """A mount that is refused brings a session that says so, and takes the blob."""
    wire.send_blob("other/app", b"something else")
    session = client.begin_upload(repository, DIGEST, mount="other/app")

    assert session is not None
    assert session.refused
    assert session.put(Sent(BLOB))
    assert len(BLOB) == client.head_blob(repository, DIGEST)


def test_opens_with_basic(locked: str) -> None:
    """With credentials every verb goes through a Basic challenge."""
    client, repository = connect(locked, USER), Repository(locked, PATH)
    upload_tree(client, repository, IMAGE, "v1")

    assert ("v1",) == client.tags(repository, page="", count=10).tags
    with client.open_blob(repository, content.digest_of(IMAGE.blobs[0]), size=len(IMAGE.blobs[0])) as body:
        assert IMAGE.blobs[0] == b"".join(map(bytes, body))


@pytest.mark.parametrize("password", ["", "wrong"])
def test_stays_out_without_credentials(locked: str, password: str) -> None:
    """No credentials, or wrong ones, are a permanent fault with status 401."""
    credential = Credential(
        origin="test", username="user" if password else "", password=password, insecure=True
    )

    with pytest.raises(RegistryError) as caught:
        connect(locked, credential).head_manifest(Reference(Repository(locked, PATH), "v1"))

    assert (401, False) == (caught.value.fault.status, caught.value.fault.retryable)
