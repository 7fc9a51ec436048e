"""Push content to any registry, over plain http.client."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.real.wire import Wire
    from tests.registry.content import Content


def push(wire: Wire, repository: str, content: Content, *tags: str) -> str:
    """Push a whole tree, leaves first, with tags for its top; returns the digest of the top."""
    for each in content.walk():
        for blob in dict.fromkeys(each.blobs):
            wire.send_blob(repository, blob)
        for name in (each.digest, *(tags if each is content else ())):
            put_manifest(wire, repository, each, name)
    return content.digest


def put_manifest(wire: Wire, repository: str, content: Content, name: str) -> None:
    """Push one manifest under one name; WireError if it is refused."""
    headers = {"Content-Type": content.media_type}
    wire.need(201, "PUT", f"/v2/{repository}/manifests/{name}", body=content.manifest, headers=headers)
