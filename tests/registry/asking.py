"""Helpers of this folder's tests: small requests over http.client, and readers of their responses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from tests.real.wire import Endpoint, Wire
from tests.registry import content

if TYPE_CHECKING:
    from tests.real.wire import Answer

ABSENT = "sha256:" + "0" * 64
IMAGE = content.image(content.layer("one"), content.layer("two"))


def code(answer: Answer) -> str:
    """The OCI error code."""
    return str(json.loads(answer.body)["errors"][0]["code"])


def accept(media_type: str = content.ACCEPT) -> dict[str, str]:
    """The Accept header."""
    return {"Accept": media_type}


def put(wire: Wire, repository: str, name: str, manifest: bytes, media_type: str) -> Answer:
    """PUT a manifest."""
    path = f"/v2/{repository}/manifests/{name}"
    return wire.ask("PUT", path, body=manifest, headers={"Content-Type": media_type})


def begin(wire: Wire, repository: str = "a/b") -> str:
    """Open an upload session and return its path and query."""
    return location(wire.need(202, "POST", f"/v2/{repository}/blobs/uploads/"))


def location(answer: Answer) -> str:
    """Path and query of the Location."""
    return urlsplit(answer.headers["Location"])._replace(scheme="", netloc="").geturl()


def finish(wire: Wire, session: str, digest: str, body: bytes = b"") -> Answer:
    """End a session with a PUT."""
    joint = "&" if "?" in session else "?"
    headers = {"Content-Type": "application/octet-stream"}
    return wire.ask("PUT", f"{session}{joint}digest={quote(digest)}", body=body, headers=headers)


def ask(
    address: str, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request on a new connection."""
    with Wire(Endpoint(address=address)) as wire:
        return wire.ask(method, path, headers=headers, body=body)
