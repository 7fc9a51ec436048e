"""Manifests and tag lists.

Source: OCI distribution specification ("Pulling manifests", "Pushing manifests", "Listing tags").
"""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.registry.content import ALL_TYPES, SCHEMA1, SCHEMA1_SIGNED, digest_of, manifest_digest
from tests.registry.referrers import subject_of
from tests.registry.store import Stored
from tests.registry.wire import Refusal, Response, json_response

if TYPE_CHECKING:
    from tests.registry.api import Request
    from tests.registry.store import Repository

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SCHEMA1_TYPES = (SCHEMA1, SCHEMA1_SIGNED)
_ENDLESS = "zzzz-"
_USED_UP = (
    "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading:"
    " https://www.docker.com/increase-rate-limit"
)


def read(call: Request, name: str, reference: str) -> Response:
    """GET and HEAD of a manifest."""
    if call.entry.method == "HEAD" and not call.options.head:
        raise Refusal(405, "UNSUPPORTED")
    repository = call.store.get(name)
    digest = repository.resolve(reference) if repository else None
    stored = repository.manifests.get(digest) if repository and digest else None
    if digest is None or stored is None:
        raise Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown", detail={"Tag": reference})
    if call.options.strict_accept and stored.media_type not in call.entry.headers.get("accept", ""):
        message = f"manifest found, but accept header does not support {stored.media_type}"
        raise Refusal(404, "MANIFEST_UNKNOWN", message)
    headers = {"ETag": f'"{digest}"', **_pulls(call)}
    if call.options.digest_header:
        headers["Docker-Content-Digest"] = digest
    if call.options.content_type != "none":
        right = call.options.content_type == "right"
        headers["Content-Type"] = stored.media_type if right else call.options.content_type
    if call.entry.headers.get("if-none-match") == headers["ETag"]:
        return Response(status=304, headers=headers)
    return Response(status=200, headers=headers, body=stored.content)


def _pulls(call: Request) -> dict[str, str]:
    """The headers about the rate limit (docs.docker.com/docker-hub/usage/pulls).

    Raises:
        Refusal: the limit is used up.
    """
    if not call.options.pulls:
        return {}
    account = call.access.account(call.entry)
    limit = (account and call.options.pulls_of_account) or call.options.pulls
    with call.store.lock:
        call.store.pulled += call.entry.method == "GET"
        left = limit - call.store.pulled
    headers = {
        "RateLimit-Limit": f"{limit};w=21600",
        "RateLimit-Remaining": f"{max(0, left)};w=21600",
        "Docker-RateLimit-Source": account or "127.0.0.1",
    }
    if left < 0 and call.options.pulls_refused and call.entry.method == "GET":
        refusal = Refusal(429, "TOOMANYREQUESTS", _USED_UP)
        refusal.response.headers.update(headers)
        raise refusal
    return headers


def write(call: Request, name: str, reference: str) -> Response:
    """PUT of a manifest by tag or digest."""
    call.refuse_writes(name)
    stored = Stored(call.body.content, call.entry.headers.get("content-type", ""))
    if len(stored.content) > call.options.max_manifest:
        raise Refusal(413, "MANIFEST_INVALID", "http: request body too large")
    _check_type(call, stored)
    digest = manifest_digest(stored.content)
    by_digest = ":" in reference
    if by_digest:
        if reference not in (digest, digest_of(stored.content, "sha512")):
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        digest = reference
    elif _TAG.fullmatch(reference) is None:
        raise Refusal(404, "TAG_INVALID", "manifest tag did not match URI")
    else:
        _check_immutable(call, call.store.create(name), tag=reference, name=name)
        _check_match(call, call.store.create(name), tag=reference)
    _check_references(call, name, stored.content)
    call.store.put(name, stored, digest=digest, tags=() if by_digest else (reference,))
    headers = {"Location": f"/v2/{name}/manifests/{digest}"}
    if call.options.digest_header:
        headers["Docker-Content-Digest"] = digest
    subject = subject_of(stored.content)
    if subject and call.options.referrers != "no":
        headers["OCI-Subject"] = subject
    return Response(status=201, headers=headers)


def delete(call: Request, name: str, reference: str) -> Response:
    """DELETE of a manifest with its tags, or of one tag."""
    repository = call.store.get(name)
    digest = repository.resolve(reference) if repository else None
    if repository is None or digest is None:
        raise Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
    with call.store.lock:
        doomed = (
            [tag for tag, to in repository.tags.items() if to == digest] if ":" in reference else [reference]
        )
        for tag in doomed:
            repository.untag(tag)
        if ":" in reference:
            del repository.manifests[digest]
    return Response(status=202)


def _check_type(call: Request, stored: Stored) -> None:
    if stored.media_type not in ALL_TYPES:
        raise Refusal(400, "MANIFEST_INVALID", f"unsupported manifest type {stored.media_type!r}")
    if stored.media_type in _SCHEMA1_TYPES and not call.options.schema1:
        raise Refusal(400, "MANIFEST_INVALID", "schema 1 manifests are not supported")
    try:
        stated = json.loads(stored.content).get("mediaType", stored.media_type)
    except (ValueError, AttributeError) as error:
        raise Refusal(400, "MANIFEST_INVALID", "no JSON object") from error
    if stated != stored.media_type:
        raise Refusal(400, "MANIFEST_INVALID", f"mediaType is {stated!r}, Content-Type {stored.media_type!r}")


def _check_references(call: Request, name: str, content: bytes) -> None:
    try:
        missing = call.store.missing(name, content)
    except ValueError as error:
        raise Refusal(400, "MANIFEST_INVALID", str(error)) from error
    if missing and call.options.check_references:
        raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail=missing)


def _check_match(call: Request, repository: Repository, *, tag: str) -> None:
    expected = call.entry.headers.get("if-match", "")
    if call.options.if_match and expected and expected != f'"{repository.resolve(tag)}"':
        raise Refusal(412, "PRECONDITION_FAILED", "the tag has moved")


def _check_immutable(call: Request, repository: Repository, *, tag: str, name: str) -> None:
    how = call.options.immutable
    if how == "no" or repository.resolve(tag) is None:
        return
    exists = f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten"
    answers = {
        "ecr": (400, "TAG_INVALID", f"{exists} because the repository is immutable."),
        "harbor": (412, "PRECONDITION", f"Failed to process request due to '{tag}' configured as immutable."),
        "quay": (409, "TAG_IMMUTABLE", f"tag '{tag}' is immutable"),
        "acr": (405, "UNSUPPORTED", "The operation is disallowed on this registry, repository or image."),
    }
    raise Refusal(*answers[how])


def list_tags(call: Request, name: str) -> Response:
    """GET of a tag list, or of one page."""
    repository = call.store.get(name)
    if repository is None or not (repository.manifests or repository.tags):
        raise Refusal(404, "NAME_UNKNOWN", "repository name not known to registry", detail={"name": name})
    last = call.parameter("last") if call.options.honour_n else ""
    size = _page_size(call)
    with call.store.lock:
        found = list(itertools.islice(repository.names(last), None if size is None else size + 1))
    page, more = (found, False) if size is None else (found[:size], len(found) > size)
    if call.options.link == "endless" and size and not more:
        start = int(last.removeprefix(_ENDLESS)) if last.startswith(_ENDLESS) else 0
        made = range(start + 1, start + 1 + size - len(page))
        page, more = [*page, *(f"{_ENDLESS}{number:09d}" for number in made)], True
    response = json_response(_listing(call, name, page))
    link = _link(call, name, last=page[-1] if page else "", size=size, more=more)
    if link:
        response.headers["Link"] = link
    return response


def _page_size(call: Request) -> int | None:
    if not call.options.honour_n:
        return None
    asked = call.parameter("n")
    if not asked:
        return call.options.page
    if not asked.isdecimal():
        raise Refusal(
            400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested", detail={"n": asked}
        )
    return int(asked) if call.options.page is None else min(int(asked), call.options.page)


def _listing(call: Request, name: str, page: list[str]) -> dict[str, object]:
    match call.options.tags:
        case "unsorted":
            return {"name": name, "tags": page[::-1]}
        case "doubled":
            return {"name": name, "tags": [*page, *page]}
        case "null":
            return {"name": name, "tags": page or None}
        case "missing":
            return {"name": name, **({"tags": page} if page else {})}
        case _:
            return {"name": name, "tags": page}


def _link(call: Request, name: str, *, last: str, size: int | None, more: bool) -> str:
    how = call.options.link
    path, query = f"/v2/{name}/tags/list", f"last={quote(last)}&n={size}"
    if how == "repeat":
        return f'<{call.entry.target}>; rel="next"'
    if how == "loop" and not more:
        return f'<{path}?n={size}>; rel="next"'
    if not more or how == "none" or not size:
        return ""
    target = {
        "absolute": f"{call.scheme}://{call.address}{path}?{query}",
        "http": f"http://{call.address}{path}?{query}",
        "lost-prefix": f"/v2/tags/list?{query}",
        "other-host": f"{call.scheme}://{call.elsewhere}{path}?{query}",
    }.get(how, f"{path}?{query}")
    return f'{target}; rel="next"' if how == "bare" else f'<{target}>; rel="next"'
