"""The minimum cost of moving bytes in Python: recv_into, sha256, sendall, four layers at a time on threads.

It copies one image, as a baseline for a copy with all its checks. Any error ends it.

    python -m scripts.bench.bare http|https SOURCE DESTINATION REPOSITORY TAG
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

_AT_A_TIME = 4
_PIECE = 1 << 20


class Peer:
    """One connection to a registry."""

    def __init__(self, scheme: str, address: str) -> None:
        """Connect."""
        self._host = address
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        if scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket, server_hostname=host)

    def begin(
        self, method: str, target: str, *, length: int = 0, accept: str = "*/*", kind: str = ""
    ) -> None:
        """Send the head of a request."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", f"Accept: {accept}"]
        lines += [f"Content-Length: {length}", *([f"Content-Type: {kind}"] if kind else [])]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())

    def head(self) -> tuple[int, dict[str, str], bytes]:
        """Status and headers of the answer, and any received bytes of its body."""
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self.socket.recv(_PIECE)
            assert piece, "the registry hung up"
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers, body

    def read(self, target: str, *, accept: str = "*/*") -> tuple[bytes, str]:
        """A small body, and its type."""
        self.begin("GET", target, accept=accept)
        status, headers, body = self.head()
        assert status == 200, f"GET {target}: {status}"
        while len(body) < int(headers["content-length"]):
            body += self.socket.recv(_PIECE)
        return body, headers["content-type"]

    def write(self, target: str, body: bytes, kind: str) -> None:
        """A small body."""
        self.begin("PUT", target, length=len(body), kind=kind)
        self.socket.sendall(body)
        status, _, _ = self.head()
        assert status == 201, f"PUT {target}: {status}"

    def begin_upload(self, repository: str, digest: str) -> str:
        """Path and query for the upload."""
        self.begin("POST", f"/v2/{repository}/blobs/uploads/")
        status, headers, _ = self.head()
        assert status == 202, f"POST in {repository}: {status}"
        parts = urlsplit(headers["location"])
        return f"{parts.path}?{parts.query}&digest={digest}"


def move(source: Peer, destination: Peer, repository: str, blob: dict[str, str | int]) -> None:
    """Copy one blob, computing its digest meanwhile."""
    digest, left = str(blob["digest"]), int(blob["size"])
    source.begin("GET", f"/v2/{repository}/blobs/{digest}")
    target = destination.begin_upload(repository, digest)
    destination.begin("PUT", target, length=left, kind="application/octet-stream")
    status, _, first = source.head()
    assert status == 200, f"GET {digest}: {status}"
    hashed = hashlib.sha256(first)
    destination.socket.sendall(first)
    left -= len(first)
    buffer = bytearray(_PIECE)
    view = memoryview(buffer)
    while left:
        count = source.socket.recv_into(view[: min(left, _PIECE)])
        assert count, "the source hung up"
        hashed.update(view[:count])
        destination.socket.sendall(view[:count])
        left -= count
    assert digest == f"sha256:{hashed.hexdigest()}"
    status, _, _ = destination.head()
    assert status == 201, f"PUT {digest}: {status}"


def main(scheme: str, source: str, destination: str, repository: str, tag: str) -> None:
    """Copy one image."""
    reader, writer = Peer(scheme, source), Peer(scheme, destination)
    place = f"/v2/{repository}/manifests/"
    accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    index, index_type = reader.read(f"{place}{tag}", accept=accept)
    for entry in json.loads(index)["manifests"]:
        manifest, kind = reader.read(f"{place}{entry['digest']}", accept=accept)
        content = json.loads(manifest)

        def one(blob: dict[str, str | int]) -> None:
            move(Peer(scheme, source), Peer(scheme, destination), repository, blob)

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(one, [*content["layers"], content["config"]]))
        writer.write(f"{place}{entry['digest']}", manifest, kind)
    writer.write(f"{place}{tag}", index, index_type)


if __name__ == "__main__":
    main(*sys.argv[1:])
