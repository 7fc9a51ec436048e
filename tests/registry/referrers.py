"""The referrers API: artifacts by the digest that they name as their subject.

Source: OCI distribution specification ("Listing Referrers").
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tests.registry.content import OCI_INDEX
from tests.registry.wire import Refusal, Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tests.registry.api import Request
    from tests.registry.store import Stored


def subject_of(content: bytes) -> str:
    """The digest that a manifest names as its subject, or empty."""
    subject = json.loads(content).get("subject")
    return str(subject["digest"]) if subject else ""


def list_referrers(call: Request, name: str, digest: str) -> Response:
    """GET of the referrers of a digest, or of one page; empty for a digest without referrers."""
    repository = call.store.get(name)
    if ":" not in digest:
        raise Refusal(400, "DIGEST_INVALID", "the digest is malformed")
    kind, filters = call.parameter("artifactType"), call.options.referrers == "filters"
    with call.store.lock:
        stored = sorted(repository.manifests.items()) if repository else []
    found = [_descriptor(each, content) for each, content in stored if digest == subject_of(content.content)]
    found = [each for each in found if each["digest"] > call.parameter("last")]
    if kind and filters:
        found = [each for each in found if each["artifactType"] == kind]
    size = call.options.referrers_page or len(found)
    headers = {"Content-Type": OCI_INDEX}
    if kind and filters:
        headers["OCI-Filters-Applied"] = "artifactType"
    if len(found) > size:
        query = urlencode({**({"artifactType": kind} if kind else {}), "last": found[size - 1]["digest"]})
        headers["Link"] = f'</v2/{name}/referrers/{digest}?{query}>; rel="next"'
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found[:size]}
    return Response(status=200, headers=headers, body=json.dumps(body).encode())


def _descriptor(digest: str, stored: Stored) -> dict[str, Any]:
    body: Mapping[str, Any] = json.loads(stored.content)
    kind = body.get("artifactType") or body.get("config", {}).get("mediaType", "")
    return {
        "mediaType": stored.media_type,
        "digest": digest,
        "size": len(stored.content),
        "artifactType": kind,
        **({"annotations": body["annotations"]} if "annotations" in body else {}),
    }
