"""A registry accessed over plain http.client: the smallest client that can fill and check a registry.

It shares no code with `pipeline`, so that a fault there cannot hide behind the same fault here.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message
    from pathlib import Path

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
ACCEPT = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}, {DOCKER_SCHEMA1}"


class WireError(Exception):
    """A registry gave another answer than expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """How to reach one registry."""

    address: str
    """`host:port`."""
    user: str = ""
    password: str = field(default="", repr=False)
    authfile: Path | None = None
    """The same credentials in skopeo's form."""
    ca: Path | None = None
    """The CA that signed the registry's certificate; None: plain HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Message
    body: bytes


def sha256(data: bytes) -> str:
    """The digest of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Wire:
    """One persistent connection to one registry; a context manager, not for two threads at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        """The first request connects."""
        host, _, port = endpoint.address.rpartition(":")
        self._connection = (
            http.client.HTTPConnection(host, int(port), timeout=60)
            if endpoint.ca is None
            else http.client.HTTPSConnection(
                host, int(port), timeout=60, context=ssl.create_default_context(cafile=endpoint.ca)
            )
        )
        self._headers = {"User-Agent": "wire"}
        if endpoint.user:
            pair = base64.b64encode(f"{endpoint.user}:{endpoint.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {pair}"

    def __enter__(self) -> Self:
        """Connect lazily; returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connection."""
        self._connection.close()

    def ask(
        self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request and read its answer; redirects are not followed."""
        self._connection.request(method, path, body or None, {**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def need(
        self,
        status: int,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Like `ask`, but any other status than `status` is an error.

        Raises:
            WireError: with the request, the status and the registry's message.
        """
        answer = self.ask(method, path, body=body, headers=headers)
        if answer.status != status:
            words = answer.body[:300].decode(errors="replace")
            raise WireError(f"{method} {path}: {answer.status} where {status} was needed: {words}")
        return answer

    def manifest(self, repository: str, name: str) -> Answer:
        """The manifest of a tag or digest, in whatever type the registry holds it."""
        return self.ask("GET", f"/v2/{repository}/manifests/{name}", headers={"Accept": ACCEPT})

    def send_blob(self, repository: str, data: bytes) -> str:
        """Upload `data` with one POST and one PUT; returns its digest."""
        digest = sha256(data)
        begun = self.need(202, "POST", f"/v2/{repository}/blobs/uploads/")
        where = urlsplit(begun.headers["Location"])
        query = "&".join(part for part in (where.query, urlencode({"digest": digest})) if part)
        headers = {"Content-Type": "application/octet-stream"}
        self.need(201, "PUT", f"{where.path}?{query}", body=data, headers=headers)
        return digest

    def mount_blob(self, repository: str, digest: str, *, source: str) -> None:
        """Mount a blob of the repository `source` into `repository`."""
        query = urlencode({"mount": digest, "from": source})
        self.need(201, "POST", f"/v2/{repository}/blobs/uploads/?{query}")

    def send_manifest(self, repository: str, name: str, data: bytes) -> str:
        """Upload a manifest under a tag or digest, with the type that it states; returns its digest."""
        kind = json.loads(data).get("mediaType", OCI_MANIFEST)
        path = f"/v2/{repository}/manifests/{name}"
        self.need(201, "PUT", path, body=data, headers={"Content-Type": kind})
        return sha256(data)
