"""What can be asked of a registry: tags, manifests, blobs, uploads.

Each verb is one operation with one layer of retries inside; what it raises is final for the task, or a pause
that the supervisor waits for. Uploads of bodies are not repeated here: the stage has the source.
Source: OCI distribution specification 1.1; the places where real registries differ are named beside the code.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from pipeline.errors import LackingError, ManifestError, RegistryError, ThrottledError
from pipeline.http.transport import Transport
from pipeline.model.companions import fallback_tag
from pipeline.model.manifest import ACCEPT, compute_digest
from pipeline.model.messages import ManifestHead
from pipeline.model.reference import Reference, is_digest
from pipeline.registry.auth import Auth
from pipeline.registry.authenticated import AuthenticatedClient
from pipeline.registry.blobs import BlobBody
from pipeline.registry.faults import fault_for
from pipeline.registry.listing import parse_referrers, read_referrers, read_tags
from pipeline.registry.probe import probe
from pipeline.registry.request import Request
from pipeline.registry.request_info import RequestInfo
from pipeline.registry.responses import is_html, is_page, parse_json, parse_size
from pipeline.registry.session import REDIRECTS, RegistrySession, finish
from pipeline.registry.upload import Upload, confirms
from pipeline.registry.upload_strategy import FormPlan, UploadStrategy
from pipeline.settings import MAX_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault
    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.registry.error_policy import RequestKind
    from pipeline.registry.listing import Referrer, ReferrerPage, TagPage
    from pipeline.registry.probe import Probe
    from pipeline.settings import Settings

_NO_HEAD = frozenset({403, 404, 405, 500, 501, 502, 503, 504})
"""Answers to a HEAD that say nothing of a GET (404 apart): old registries, proxies, Artifactory."""
_IMMUTABLE = frozenset({400, 403, 405, 409, 412})
"""What registries answer to a PUT of a tag that may not move: ECR 400, Harbor 412, Quay 409, ACR 405."""

_TAG_STAYS = ("immutable", "overwrit", "protected", "updating", "already exist")
"""What they say: ECR and Harbor, Artifactory, GitLab, Nexus, Quay."""


class Clients:
    """The registries of one worker process; thread-safe.

    Args:
        find: the credential for a repository; may be slow at the first call, its answers are not kept here.
        forget: is told of a credential that has run out.
    """

    def __init__(
        self,
        settings: Settings,
        find: Callable[[Repository], Credential],
        forget: Callable[[Credential], None] = lambda _: None,
    ) -> None:
        """See the class."""
        self._settings, self._find, self._forget = settings, find, forget
        self._transport = Transport(dial=settings.timeouts.connect)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[RegistrySession, Auth, UploadStrategy]] = {}

    def at(self, registry: str, *, push: bool = False) -> Client:
        """The client for `registry`, by its canonical name; `push` where it is a destination.

        A verification asks nobody for the right to write: who looks may have none.
        """
        with self._lock:
            if registry not in self._known:
                session = RegistrySession(registry, self._settings.timeouts, self._transport)
                strategy = UploadStrategy(registry, self._settings.uploads)
                self._known[registry] = session, Auth(session), strategy
            session, auth, strategy = self._known[registry]
        writes = push and self._settings.aim != "verify"
        exchange = AuthenticatedClient(
            session, auth, self._settings, find=self._find, forget=self._forget, push=writes
        )
        return Client(exchange, strategy)


class Client:
    """One registry; thread-safe. Every method raises RegistryError, and ThrottledError for a pause."""

    def __init__(self, exchange: AuthenticatedClient, strategy: UploadStrategy) -> None:
        """`strategy`: of uploads to this registry."""
        self._exchange = exchange
        self.strategy = strategy
        self._session = exchange.session

    def probe(self, repository: Repository, *, insecure: bool) -> Probe:
        """How the registry presents itself; asked once, on behalf of `repository`."""
        return probe(self._session, repository, insecure=insecure)

    def tags(self, repository: Repository, *, page: str, count: int) -> TagPage:
        """See ImageStore."""
        return read_tags(self._exchange, repository, page=page, count=count)

    def referrers(
        self, repository: Repository, digest: str, *, page: str = "", artifact_type: str = ""
    ) -> ReferrerPage | None:
        """See ImageStore."""
        return read_referrers(self._exchange, repository, digest, page=page, artifact_type=artifact_type)

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
            info = RequestInfo(operation=f"read the manifest {tag.name}", kind="read", repository=repository)
            words = "the index lists an entry without a media type or a digest"
            raise RegistryError(fault_for(info, words=words, code="MANIFEST_INVALID"))
        return found or ()

    def head_manifest(self, reference: Reference, *, sure: bool = False) -> ManifestHead | None:
        """Digest and type of a manifest; None: it is not there (404).

        A registry that has no digest for a HEAD, or another one than it was asked for, or no HEAD, is asked
        by GET. With `sure` so is one that answers 404: pull-through caches do until they have fetched it.
        """
        call = self._manifest_call("HEAD", reference, operation="look for", kind="read")
        response = self._exchange.ask(call, also=_NO_HEAD)
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
        """The exact bytes of a manifest, and the Content-Type; neither digest nor content are checked.

        More than `limit` bytes are a fault TOO_LARGE; `fresh` goes past all caches, on a new connection.
        """
        call = self._manifest_call("GET", reference, operation="read", kind="read")
        if fresh:
            call = replace(call, headers={**call.headers, "Cache-Control": "no-cache"}, fresh=True)

        def attempt() -> tuple[bytes, str]:
            response = self._exchange.ask(call, once=True)
            content = self._session.read(call.info, response, limit=limit)
            if response.status_code != HTTPStatus.OK or not _may_be_manifest(content):
                raise self._exchange.misread(call, response, content, words="the answer is no manifest")
            return content, response.headers.get("Content-Type", "")

        return self._exchange.persist(attempt)

    def put_manifest(self, reference: Reference, content: bytes, *, media_type: str, digest: str) -> bool:
        """Store exactly these bytes; whether the registry confirmed the digest. Repeating it is safe.

        Raises:
            LackingError: the registry does not know what the manifest names.
        """
        call = self._manifest_call("PUT", reference, operation="store", kind="store")
        info = replace(call.info, media_type=media_type)
        call = replace(call, info=info, headers={"Content-Type": media_type}, body=content)
        try:
            response = self._exchange.ask(call)
        except (ThrottledError, LackingError):
            raise
        except RegistryError as error:
            if not (error.fault.retryable or error.fault.status in _IMMUTABLE):
                raise
            self._expect_stored(reference, digest, error)
            return True
        finish(response)
        # Accepted is not stored yet.
        return confirms(call.info, response, digest=digest) and response.status_code != HTTPStatus.ACCEPTED

    def _expect_stored(self, reference: Reference, digest: str, error: RegistryError) -> None:
        """After a failed PUT: fine if the very manifest is there (a lost answer, ECR's immutable tags)."""
        try:
            found = self.head_manifest(reference)
        except ThrottledError:
            raise
        except RegistryError:
            raise error from None
        if found and found.digest == digest:
            return
        if found and not reference.is_digest and _is_immutable(error.fault):
            hint = (
                f"the tag exists with another digest ({found.digest}) and seems to be immutable: delete it"
                " there, have it made mutable, or write another tag in the rule"
            )
            fault = replace(error.fault, code="TAG_IMMUTABLE", retryable=False, hint=hint)
            raise RegistryError(fault) from None
        raise error from None

    def head_blob(
        self, repository: Repository, digest: str, *, size: int = -1, sure: bool = False
    ) -> int | None:
        """Size of a blob, -1 where it is there and its size is not said; None: not there.

        The answer to HEAD is believed where nothing speaks against it. One byte is asked for where it tells
        nothing (no length, a length of 0, a redirect to storage that may have lost it), another size than the
        manifest, or calls itself a web page.

        Args:
            repository: where it is looked for.
            digest: of the blob.
            size: by its descriptor; -1: not known.
            sure: whether one byte is asked for after a 404 too, for pull-through caches.
        """
        info = RequestInfo(operation=f"look for the blob {digest}", kind="read", repository=repository)
        call = Request(info=info, method="HEAD", url=f"/v2/{repository.path}/blobs/{digest}", follow=False)
        response = self._exchange.ask(call, also=REDIRECTS | {403, 404, 405})
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
        """As `head_blob`, where HEAD `said` what proves nothing; presigned URLs refuse HEAD, and take GET."""
        call = replace(head, method="GET", headers={"Range": "bytes=0-0"}, follow=True)

        def attempt() -> int | None:
            response = self._exchange.ask(call, also=frozenset({404, 416}), once=True)
            status = response.status_code
            if status in {HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
                finish(response)
                return None if status == HTTPStatus.NOT_FOUND else 0  # only an empty blob has no first byte
            begin = self._session.read_begin(call.info, response)
            ranged = status == HTTPStatus.PARTIAL_CONTENT
            stated = response.headers.get("Content-Range" if ranged else "Content-Length", "")
            found = parse_size(stated.rpartition("/")[2])
            if found not in {-1, size} and is_page(begin, response.headers.get("Content-Type", "")):
                raise self._session.error(call.info, response, begin)
            if not begin:
                return 0
            return found if found >= 0 or said <= 0 else said

        return self._exchange.persist(attempt)

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
        """Open a blob for reading.

        `size` is that of the whole blob by its descriptor, -1 where not known; an answer of another size is
        refused. `offset` is where to begin, if `etag` (unless empty) still holds; `BlobBody.offset` says
        where the server did. `fresh` goes past all caches, on a new connection.
        """
        info = RequestInfo(operation=f"read the blob {digest}", kind="read", repository=repository)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and etag:
            headers["If-Range"] = etag
        if fresh:
            headers["Cache-Control"] = "no-cache"
        url = f"/v2/{repository.path}/blobs/{digest}"
        call = Request(info=info, method="GET", url=url, headers=headers, fresh=fresh)
        response = self._exchange.ask(call)
        host = self._session.foreign_host(response.url)
        body = BlobBody(info, response, stall=self._exchange.settings.timeouts.stall, host=host)
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
        """Open an upload session, or have the blob mounted; None: it is in the repository now.

        `mount` is the path of a repository of this registry that holds the blob; empty: none is known.
        """
        if mount:
            try:
                return self._post_upload(repository, digest, mount=mount)
            except ThrottledError:
                raise
            except RegistryError as error:
                if error.fault.status is None and error.fault.code != "DIGEST_MISMATCH":
                    raise
                # Registries answer 4xx and 5xx to mounts that they do not do, and some token servers refuse
                # the second scope; an ordinary upload is not affected (containerd#14086).
                upload = self._post_upload(repository, digest)
                if upload:
                    upload.refused = True
                return upload
        return self._post_upload(repository, digest)

    def _post_upload(self, repository: Repository, digest: str, *, mount: str = "") -> Upload | None:
        what = f"mount the blob {digest} from {mount}" if mount else f"begin to upload the blob {digest}"
        info = RequestInfo(operation=what, kind="begin", repository=repository)
        fields = {"mount": digest, "from": mount} if mount else {}
        if not mount and not digest.startswith("sha256:"):
            fields["digest-algorithm"] = digest.partition(":")[0]
        query = f"?{urlencode(fields)}" if fields else ""
        call = Request(info=info, method="POST", url=f"/v2/{repository.path}/blobs/uploads/{query}")
        response = self._exchange.ask(call, mount=mount)
        finish(response)
        if response.status_code == HTTPStatus.CREATED:
            confirms(info, response, digest=digest)
            return None
        url = self._exchange.locate(call, response)
        if not url:
            words = f"the registry answered {response.status_code} without a Location"
            fault = fault_for(info, words=words, code="NOT_A_REGISTRY")
            raise RegistryError(replace(fault, status=response.status_code))
        upload = Upload(self._exchange, repository, url=url, digest=digest, refused=bool(mount))
        upload.take_limits(response.headers)
        return upload

    def plan_upload(self) -> FormPlan:
        """How to upload one blob, by what this process knows of the registry."""
        return FormPlan(self.strategy)

    def resume_upload(self, repository: Repository, digest: str, *, url: str) -> Upload:
        """The session at `url`, which was begun before; nothing is asked."""
        return Upload(self._exchange, repository, url=url, digest=digest)

    def _manifest_call(
        self, method: str, reference: Reference, *, operation: str, kind: RequestKind
    ) -> Request:
        repository = reference.repository
        return Request(
            info=RequestInfo(
                operation=f"{operation} the manifest {reference.name}", kind=kind, repository=repository
            ),
            method=method,
            url=f"/v2/{repository.path}/manifests/{quote(reference.name, safe=':')}",
            headers={"Accept": ACCEPT},
        )


def _may_be_manifest(content: bytes) -> bool:
    """Whether this is neither a web page nor an error that came with a good status."""
    document = parse_json(content) if b'"errors"' in content else None
    failed = isinstance(document, dict) and "errors" in document and "schemaVersion" not in document
    return content.lstrip().startswith(b"{") and not failed


def _is_immutable(fault: Fault) -> bool:
    """Whether a refused PUT of a tag that exists is about that tag; 400 and 403 say many other things too."""
    said = f"{fault.code} {fault.words}".lower()
    return fault.status in _IMMUTABLE - {400, 403} or any(word in said for word in _TAG_STAYS)
