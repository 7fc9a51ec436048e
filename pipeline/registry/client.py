"""A registry as an ImageStore.

Source: OCI distribution specification 1.1; comments name registries that differ from it.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from pipeline.errors import ManifestError, RegistryError
from pipeline.log import Event
from pipeline.model.companions import fallback_tag
from pipeline.model.manifest import ACCEPT, compute_digest
from pipeline.model.messages import ManifestHead
from pipeline.model.reference import Reference, is_digest
from pipeline.registry.blobs import BlobBody
from pipeline.registry.faults import fault_for
from pipeline.registry.image_store import StoredManifest, TaggedManifest
from pipeline.registry.listing import parse_referrers, read_referrers, read_tags
from pipeline.registry.meter import current_meter
from pipeline.registry.probe import probe
from pipeline.registry.request import Request
from pipeline.registry.responses import is_html, is_page, parse_json, parse_size
from pipeline.registry.session import REDIRECTS, finish
from pipeline.registry.upload import Upload, confirms
from pipeline.registry.upload_strategy import FormPlan
from pipeline.settings import MAX_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault
    from pipeline.model.reference import Repository
    from pipeline.model.referrers import Referrer
    from pipeline.registry.authenticated import AuthenticatedClient
    from pipeline.registry.error_policy import RequestKind
    from pipeline.registry.listing import ReferrerPage, TagPage
    from pipeline.registry.probe import Probe
    from pipeline.registry.upload_strategy import UploadStrategy

_NO_HEAD = frozenset({403, 404, 405, 500, 501, 502, 503, 504})
"""Answers to HEAD after which GET may succeed: old registries, proxies, pull-through caches (404)."""
_NO_REPOSITORY = frozenset({401, 403, 404})
"""Answers to an upload if a project or repository is missing: Harbor's tokens then grant no access."""
_IMMUTABLE = frozenset({400, 403, 405, 409, 412})
"""Answers to a PUT of an immutable tag: ECR 400, Harbor 412, Quay 409, ACR 405."""
_SAYS_IMMUTABLE = ("immutable", "overwrit", "protected", "updating", "already exist")
"""Words of such an answer: ECR and Harbor, Artifactory, GitLab, Nexus, Quay."""


class Client:
    """One registry as one side of a copy; see ImageStore."""

    def __init__(
        self,
        client: AuthenticatedClient,
        strategy: UploadStrategy,
        create: Callable[[Repository], bool] | None = None,
    ) -> None:
        """`strategy`: of uploads to this registry; `create`: creates a missing repository, if allowed."""
        self._create = create
        self._client = client
        self.strategy = strategy
        self._session = client.session

    def probe(self, repository: Repository, *, insecure: bool) -> Probe:
        """Certificate and clock of the registry, by one request for `repository`."""
        return probe(self._session, repository, insecure=insecure)

    def tags(self, repository: Repository, *, page: str, count: int) -> TagPage:
        """See ImageStore."""
        return read_tags(self._client, repository, page=page, count=count)

    def referrers(
        self, repository: Repository, digest: str, *, page: str = "", artifact_type: str = ""
    ) -> ReferrerPage | None:
        """See ImageStore."""
        return read_referrers(self._client, repository, digest, page=page, artifact_type=artifact_type)

    def tagged_referrers(self, repository: Repository, digest: str) -> tuple[Referrer, ...]:
        """See ImageStore."""
        tag = Reference(repository, fallback_tag(digest))
        try:
            content, _ = self.get_manifest(tag, limit=MAX_MANIFEST)
        except RegistryError as error:
            if error.fault.status == HTTPStatus.NOT_FOUND:
                return ()
            raise
        found, document = parse_referrers(content), parse_json(content)
        if found is None and isinstance(document, dict) and "manifests" in document:
            info = self._client.info(f"read the manifest {tag.name}", "read", repository)
            words = "the index lists an entry without a media type or a digest"
            raise RegistryError(fault_for(info, words=words, code="MANIFEST_INVALID"))
        return found or ()

    def head_manifest(self, reference: Reference, *, sure: bool = False) -> ManifestHead | None:
        """See ImageStore. GET follows if HEAD is not supported, or gives no digest or another one."""
        call = self._manifest_call("HEAD", reference, operation="look for", kind="read")
        response = self._client.ask(call, also=_NO_HEAD)
        finish(response)
        if response.status_code == HTTPStatus.NOT_FOUND and not sure:
            return None
        digest = response.headers.get("Docker-Content-Digest", "").strip()
        media_type = response.headers.get("Content-Type", "")
        fits = digest == reference.name if reference.is_digest else is_digest(digest)
        if response.status_code == HTTPStatus.OK and fits:
            return ManifestHead(digest=digest, media_type=media_type)
        try:
            content, media_type = self.get_manifest(reference, limit=MAX_MANIFEST)
            algorithm = reference.name.partition(":")[0] if reference.is_digest else "sha256"
            return ManifestHead(digest=compute_digest(content, media_type, algorithm), media_type=media_type)
        except ManifestError as error:
            fault = fault_for(call.info, words=str(error), code="MANIFEST_INVALID")
            raise RegistryError(fault) from error
        except RegistryError as error:
            if error.fault.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def get_manifest(self, reference: Reference, *, limit: int, fresh: bool = False) -> tuple[bytes, str]:
        """See ImageStore; `fresh` uses a new connection."""
        found = self._read_manifest(reference, limit=limit, fresh=fresh)
        return found.content, found.media_type

    def get_tag(self, reference: Reference, *, limit: int) -> TaggedManifest | None:
        """See ImageStore."""
        try:
            return self._read_manifest(reference, limit=limit, fresh=False)
        except RegistryError as error:
            if error.fault.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _read_manifest(self, reference: Reference, *, limit: int, fresh: bool) -> TaggedManifest:
        call = self._manifest_call("GET", reference, operation="read", kind="read")
        if fresh:
            call = replace(call, headers={**call.headers, "Cache-Control": "no-cache"}, fresh=True)

        def attempt() -> TaggedManifest:
            response = self._client.ask(call, once=True)
            content = self._session.read(call.info, response, limit=limit)
            if response.status_code != HTTPStatus.OK or not _may_be_manifest(content):
                raise self._client.misread(call, response, content, words="the answer is not a manifest")
            headers = response.headers
            return TaggedManifest(
                content=content,
                media_type=headers.get("Content-Type", ""),
                etag=headers.get("ETag", "").strip(),
            )

        return self._client.persist(attempt)

    def put_manifest(
        self, reference: Reference, content: bytes, *, media_type: str, digest: str, only_if: str = ""
    ) -> StoredManifest:
        """See ImageStore."""
        call = self._manifest_call("PUT", reference, operation="store", kind="store")
        info = replace(call.info, media_type=media_type)
        headers = {"Content-Type": media_type, **({"If-Match": only_if} if only_if else {})}
        call = replace(call, info=info, headers=headers, body=content)
        try:
            response = self._client.ask(call)
        except RegistryError as error:
            changed = only_if and error.fault.status == HTTPStatus.PRECONDITION_FAILED
            if changed or not (error.fault.retryable or error.fault.status in _IMMUTABLE):
                raise
            self._expect_stored(reference, digest, error)
            return StoredManifest(confirmed=True)
        finish(response)
        confirmed = confirms(call.info, response, digest=digest)
        return StoredManifest(
            confirmed=confirmed and response.status_code != HTTPStatus.ACCEPTED,  # that is not stored yet
            registered=bool(response.headers.get("OCI-Subject")),
        )

    def _expect_stored(self, reference: Reference, digest: str, error: RegistryError) -> None:
        """After a failed PUT: a success if this manifest exists (a lost answer, ECR's immutable tags)."""
        try:
            found = self.head_manifest(reference)
        except RegistryError:
            raise error from None
        if found and found.digest == digest:
            return
        if found and not reference.is_digest and _is_immutable(error.fault):
            words = f"{error.fault.words} (the tag is immutable and has the digest {found.digest})"
            fault = replace(error.fault, code="TAG_IMMUTABLE", retryable=False, words=words)
            raise RegistryError(fault) from None
        raise error from None

    def head_blob(
        self, repository: Repository, digest: str, *, size: int = -1, sure: bool = False
    ) -> int | None:
        """See ImageStore.

        HEAD is not enough if it states no length or 0, another size than the manifest, redirects (storage may
        have lost the blob), or calls itself a web page: then one byte is read.
        """
        info = self._client.info(f"look for the blob {digest}", "read", repository)
        call = Request(info=info, method="HEAD", url=f"/v2/{repository.path}/blobs/{digest}", follow=False)
        response = self._client.ask(call, also=REDIRECTS | {403, 404, 405})
        finish(response)
        if response.status_code == HTTPStatus.NOT_FOUND and not sure:
            return None
        said = -1
        if response.status_code == HTTPStatus.OK:
            said = parse_size(response.headers.get("Content-Length", ""))
        fits = said == size >= 0 or said > 0 > size
        if fits and not is_html(response.headers.get("Content-Type", "")):
            return said
        return self._ask_for_byte(call, said=said, size=size)

    def _ask_for_byte(self, head: Request, *, said: int, size: int) -> int | None:
        """As `head_blob`, by reading one byte: presigned URLs refuse HEAD. `said`: the size by HEAD."""
        call = replace(head, method="GET", headers={"Range": "bytes=0-0"}, follow=True)

        def attempt() -> int | None:
            response = self._client.ask(call, also=frozenset({404, 416}), once=True)
            status = response.status_code
            if status in {HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
                finish(response)
                return None if status == HTTPStatus.NOT_FOUND else 0  # an empty blob has no first byte
            begin = self._session.read_begin(call.info, response)
            ranged = status == HTTPStatus.PARTIAL_CONTENT
            stated = response.headers.get("Content-Range" if ranged else "Content-Length", "")
            found = parse_size(stated.rpartition("/")[2])
            if found not in {-1, size} and is_page(begin, response.headers.get("Content-Type", "")):
                raise self._session.error(call.info, response, begin)
            if not begin:
                return 0
            return found if found >= 0 or said <= 0 else said

        return self._client.persist(attempt)

    def open_blob(
        self,
        repository: Repository,
        digest: str,
        *,
        size: int,
        offset: int = 0,
        etag: str = "",
        fresh: bool = False,
    ) -> BlobBody:
        """See ImageStore; `fresh` uses a new connection."""
        info = self._client.info(f"read the blob {digest}", "read", repository)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and etag:
            headers["If-Range"] = etag
        if fresh:
            headers["Cache-Control"] = "no-cache"
        url = f"/v2/{repository.path}/blobs/{digest}"
        call = Request(info=info, method="GET", url=url, headers=headers, fresh=fresh)
        response = self._client.ask(call)
        host = self._session.foreign_host(response.url)
        body = BlobBody(info, response, stall=self._client.settings.timeouts.stall, host=host)
        expected = {body.total if size < 0 else size}
        if is_html(response.headers.get("Content-Type", "")) and (size < 0 or not body.sizes <= expected):
            raise self._session.error(info, response)
        if not body.sizes <= expected or body.offset not in {0, offset}:
            response.close()
            sizes = " or ".join(map(str, sorted(body.sizes))) or "?"
            words = f"the answer is bytes {body.offset} to {sizes}, the manifest says {size} in all"
            raise RegistryError(fault_for(info, words=words, code="SIZE_MISMATCH"))
        return body

    def begin_upload(self, repository: Repository, digest: str, *, mount: str = "") -> Upload | None:
        """See ImageStore."""
        if mount:
            try:
                return self._post_upload(repository, digest, mount=mount)
            except RegistryError as error:
                if error.fault.status is None and error.fault.code != "DIGEST_MISMATCH":
                    raise
                # Registries answer 4xx or 5xx to a mount that they do not support, and some token servers
                # refuse the second scope; an ordinary upload still works (containerd#14086).
                upload = self._post_upload(repository, digest)
                if upload:
                    upload.refused = True
                return upload
        return self._post_upload(repository, digest)

    def _post_upload(self, repository: Repository, digest: str, *, mount: str = "") -> Upload | None:
        try:
            return self._open_upload(repository, digest, mount=mount)
        except RegistryError as error:
            if self._create is None or error.fault.status not in _NO_REPOSITORY:
                raise
            made = self._create(repository)
        if made:
            words, fields = f"{repository}: created for the first upload", {"destination": str(repository)}
            current_meter().events.append(Event(name="repository.created", message=words, fields=fields))
        return self._open_upload(repository, digest, mount=mount)

    def _open_upload(self, repository: Repository, digest: str, *, mount: str) -> Upload | None:
        what = f"mount the blob {digest} from {mount}" if mount else f"begin to upload the blob {digest}"
        info = self._client.info(what, "begin", repository)
        fields = {"mount": digest, "from": mount} if mount else {}
        if not mount and not digest.startswith("sha256:"):
            fields["digest-algorithm"] = digest.partition(":")[0]
        query = f"?{urlencode(fields)}" if fields else ""
        call = Request(info=info, method="POST", url=f"/v2/{repository.path}/blobs/uploads/{query}")
        response = self._client.ask(call, mount=mount)
        finish(response)
        if response.status_code == HTTPStatus.CREATED:
            confirms(info, response, digest=digest)
            return None
        url = self._client.locate(call, response)
        if not url:
            words = f"the registry answered {response.status_code} without a Location"
            fault = fault_for(info, words=words, code="NOT_A_REGISTRY")
            raise RegistryError(replace(fault, status=response.status_code))
        upload = Upload(self._client, repository, url=url, digest=digest, refused=bool(mount))
        upload.take_limits(response.headers)
        return upload

    def plan_upload(self) -> FormPlan:
        """See ImageStore."""
        return FormPlan(self.strategy)

    def resume_upload(self, repository: Repository, digest: str, *, url: str) -> Upload:
        """See ImageStore."""
        return Upload(self._client, repository, url=url, digest=digest)

    def _manifest_call(
        self, method: str, reference: Reference, *, operation: str, kind: RequestKind
    ) -> Request:
        repository = reference.repository
        return Request(
            info=self._client.info(f"{operation} the manifest {reference.name}", kind, repository),
            method=method,
            url=f"/v2/{repository.path}/manifests/{quote(reference.name, safe=':')}",
            headers={"Accept": ACCEPT},
        )


def _may_be_manifest(content: bytes) -> bool:
    """Whether this is neither a web page nor an error with a success status."""
    document = parse_json(content) if b'"errors"' in content else None
    failed = isinstance(document, dict) and "errors" in document and "schemaVersion" not in document
    return content.lstrip().startswith(b"{") and not failed


def _is_immutable(fault: Fault) -> bool:
    """Whether the PUT of an existing tag failed because of the tag; 400 and 403 have other causes too."""
    said = f"{fault.code} {fault.words}".lower()
    return fault.status in _IMMUTABLE - {400, 403} or any(word in said for word in _SAYS_IMMUTABLE)
