"""Blobs: reading, mounting, and upload sessions.

Source: OCI distribution specification ("Pulling blobs", "Pushing blobs", "Mounting a blob").
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.registry.store import Blob, Repository, Upload
from tests.registry.wire import Refusal, Response

if TYPE_CHECKING:
    from tests.registry.api import Request

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(r"(\d+)-(\d+)")
_SINK = b"\0" * (1 << 18)
_REFUSED_MOUNTS = {
    "unauthorized": (401, "UNAUTHORIZED"),
    "denied": (403, "DENIED"),
    "unsupported": (405, "UNSUPPORTED"),
    "broken": (500, "UNKNOWN"),
}


def read(call: Request, name: str, digest: str) -> Response:
    """GET and HEAD of a blob, or the redirect to the second host."""
    repository = call.store.get(name)
    blob = repository.blobs.get(digest) if repository else None
    if blob is None:
        raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry", detail={"digest": digest})
    redirect = call.options.redirect
    if not call.entry.elsewhere and (redirect == "all" or (redirect == "get" and call.entry.method == "GET")):
        url = f"{call.scheme}://{call.elsewhere}/storage/{name}/{digest}?signature={secrets.token_hex(8)}"
        return Response(status=307, headers={"Location": url})
    return _answer(call, blob, digest)


def read_storage(call: Request, name: str, digest: str) -> Response:
    """The second host's side of a redirect: presigned, so GET only and no Authorization, as on S3."""
    if "authorization" in call.entry.headers:
        body = (
            b"<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>"
        )
        return Response(status=400, headers={"Content-Type": "application/xml"}, body=body)
    if call.entry.method != "GET":
        body = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        return Response(status=403, headers={"Content-Type": "application/xml"}, body=body)
    return read(call, name, digest)


def _answer(call: Request, blob: Blob, digest: str) -> Response:
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": f'"{digest}"'}
    if call.options.digest_header:
        headers["Docker-Content-Digest"] = digest
    match = _RANGE.fullmatch(call.entry.headers.get("range", ""))
    changed = call.entry.headers.get("if-range", headers["ETag"]) != headers["ETag"]
    if match is None or changed or call.options.ranges == "ignored":
        return Response(status=200, headers=headers, stream=blob.pieces(), length=blob.size)
    first, last = match.groups()
    start = int(first) if first else max(0, blob.size - int(last or 0))
    stop = min(blob.size, int(last) + 1) if first and last else blob.size
    if start >= stop:
        # distribution 2.8 announces the blob's length here and sends the short error body.
        length = blob.size if call.options.ranges == "lying" else None
        headers["Content-Range"] = f"bytes */{blob.size}"
        return Response(status=416, headers=headers, body=b"requested range not satisfiable", length=length)
    if call.options.ranges == "wrong-start":
        start = max(0, start - 1)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return Response(status=206, headers=headers, stream=blob.pieces(start, stop), length=stop - start)


def begin(call: Request, name: str) -> Response:
    """POST: mount, or open a session."""
    call.refuse_writes(name)
    digest, origin = call.parameter("mount"), call.parameter("from")
    repository = call.store.create(name)
    if digest and origin:
        mounted = _mount(call, repository, digest, origin)
        if mounted:
            return _created(call, name, digest)
    upload, session = Upload(), secrets.token_hex(16)
    repository.uploads[session] = upload
    whole = call.parameter("digest")
    if whole and call.options.monolithic_post:
        _append(call, upload)
        return _finish(call, name, session, whole)
    return _progress(call, name, session, status=202)


def _mount(call: Request, repository: Repository, digest: str, origin: str) -> bool:
    how = call.options.mount
    if how in _REFUSED_MOUNTS:
        raise Refusal(*_REFUSED_MOUNTS[how])
    source = call.store.get(origin)
    blob = source.blobs.get(digest) if source else None
    if blob is None or how == "refused":
        return False
    if how == "yes":
        repository.blobs[digest] = blob
    return True


def session(call: Request, name: str, session: str) -> Response:
    """GET, PATCH, PUT and DELETE of a session."""
    repository = call.store.get(name)
    upload = repository.uploads.get(session) if repository else None
    if repository is None or upload is None:
        raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    if call.entry.method == "DELETE":
        del repository.uploads[session]
        return Response(status=204)
    if upload.dead or (call.options.session_state and call.parameter("_state") != str(upload.state)):
        raise Refusal(404, "BLOB_UPLOAD_INVALID", "blob upload invalid")
    if call.entry.method == "GET":
        return _progress(call, name, session, status=204)
    if 0 < call.options.chunk_max < call.body.length:
        raise Refusal(413, "SIZE_INVALID", "larger than OCI-Chunk-Max-Length")
    if call.entry.method == "PATCH":
        _check_range(call, upload)
        _append(call, upload, most=call.options.patch_takes)
        return _progress(call, name, session, status=call.options.patch_status)
    if call.entry.method == "PUT":
        _append(call, upload)
        return _finish(call, name, session, call.parameter("digest"))
    raise Refusal(405, "UNSUPPORTED")


def broke_off(call: Request, name: str, session: str) -> None:
    """A session with an incomplete body: the received bytes are kept, and distribution ends the session."""
    repository = call.store.get(name)
    upload = repository.uploads.get(session) if repository else None
    if upload and call.options.broken_bodies:
        _append(call, upload)
        upload.dead = call.options.session_dies


def _append(call: Request, upload: Upload, *, most: int = 0) -> None:
    content, length = call.body.content, call.body.length
    if most:
        content, length = content[:most], min(length, most)
    if content:
        upload.pieces.append(content)
    upload.size += length
    upload.first = upload.first or upload.size


def _check_range(call: Request, upload: Upload) -> None:
    match = _CONTENT_RANGE.fullmatch(call.entry.headers.get("content-range", ""))
    if call.options.check_content_range and match and int(match[1]) != upload.size:
        raise Refusal(416, "RANGE_INVALID", "invalid content range")


def _finish(call: Request, name: str, session: str, digest: str) -> Response:
    repository = call.store.create(name)
    upload = repository.uploads[session]
    algorithm, _, wanted = digest.partition(":")
    content = upload.pieces[0] if len(upload.pieces) == 1 else b"".join(upload.pieces)
    whole_in_one = upload.size == call.body.length and algorithm == "sha256"
    if not whole_in_one and (algorithm not in hashlib.algorithms_available or call.options.sink):
        raise Refusal(400, "DIGEST_INVALID", "a digest that cannot be checked")
    found = call.body.sha256 if whole_in_one else hashlib.new(algorithm, content).hexdigest()
    if wanted != found:
        # As in distribution 2.8: the session stays open and keeps what was sent.
        detail = {"Digest": digest, "Reason": {}}
        raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content", detail=detail)
    with call.store.lock:
        del repository.uploads[session]
        repository.blobs[digest] = Blob(_SINK if call.options.sink else content, upload.size)
    return _created(call, name, digest)


def _created(call: Request, name: str, digest: str) -> Response:
    headers = {"Location": f"/v2/{name}/blobs/{digest}"}
    if call.options.digest_header:
        headers["Docker-Content-Digest"] = digest
    return Response(status=201, headers=headers)


def _progress(call: Request, name: str, session: str, *, status: int) -> Response:
    upload = call.store.create(name).uploads[session]
    upload.state += 1
    headers = {"Docker-Upload-UUID": session, "Range": f"0-{max(0, upload.size - 1)}"}
    location = f"/v2/{name}/blobs/uploads/{session}"
    for limit in ("min", "max"):
        if size := getattr(call.options, f"chunk_{limit}"):
            headers[f"OCI-Chunk-{limit.title()}-Length"] = str(size)
    if call.options.session_state:
        location += f"?_state={upload.state}"
    match call.options.location:
        case "missing" if call.entry.method in ("PATCH", "GET"):
            pass
        case "absolute":
            headers["Location"] = f"{call.scheme}://{call.address}{location}"
        case "http":
            headers["Location"] = f"http://{call.address}{location}"
        case "other-host":
            headers["Location"] = f"{call.scheme}://{call.elsewhere}{location}"
        case _:
            headers["Location"] = location
    if call.entry.method == "PATCH":
        match call.options.patch_range:
            case "stuck":
                headers["Range"] = f"0-{upload.first - 1}"
            case "one-too-many":
                headers["Range"] = f"0-{upload.size}"
            case "none":
                del headers["Range"]
    return Response(status=status, headers=headers)


def session_of(target: str) -> tuple[str, str] | None:
    """Repository and session in an upload's URL."""
    name, found, session = urlsplit(target).path.removeprefix("/v2/").partition("/blobs/uploads/")
    return (name, session) if found and session else None
