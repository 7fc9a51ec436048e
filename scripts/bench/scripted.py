"""A registry that makes up its content: as many tags as asked for, each an image of its own, and no storage.

It answers what reads (tag lists in pages, Harbor's listings, manifests, HEADs of blobs, which are all there)
faster than a registry that stores, so that 100,000 tags can be asked for. What writes is refused: a run that
should find nothing to do fails where it finds something.

    python -m scripts.bench.scripted 1000 100
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.real.wire import OCI_MANIFEST, Endpoint, Wire, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>tags/list|manifests|blobs)(?:/(?P<name>[^/]+))?")
_HARBOR = re.compile(r"/api/v2\.0/projects/(?P<project>[^/]+)/repositories(?:/(?P<name>[^/]+)/artifacts)?")
_TAGS_A_REPOSITORY = 1000
_TLS = b"\x16"
"""The first request of a client that probes for HTTPS."""
_WORDS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed"}


def repositories(tags: int, each: int = _TAGS_A_REPOSITORY) -> list[str]:
    """The names over which so many tags are spread."""
    return [f"bench/app{number:03d}" for number in range(-(-tags // each))]


class Content:
    """The content of the registry, which follows from the number of tags."""

    def __init__(self, tags: int, each: int) -> None:
        """Make up `tags` tags, so many in each repository."""
        self._repositories = repositories(tags, each)
        self._names = [f"v1.{number}" for number in range(min(tags, each))]
        self._digests = {
            (repository, name): sha256(self._manifest(repository, name))
            for repository in self._repositories
            for name in self._names
        }
        self._tags = {(repository, digest): name for (repository, name), digest in self._digests.items()}
        self.asked: Counter[str] = Counter()

    def _manifest(self, repository: str, name: str) -> bytes:
        blobs = [
            {"mediaType": f"application/vnd.oci.image.{kind}", "digest": sha256(text.encode()), "size": 100}
            for kind, text in (
                ("config.v1+json", f"{repository}:{name}"),
                ("layer.v1.tar+gzip", f"{repository}:{name} layer"),
            )
        ]
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blobs[0], "layers": blobs[1:]}
        return json.dumps(manifest).encode()

    def answer(self, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; the headers tell the length of a body that HEAD leaves out."""
        parts = urlsplit(target)
        if target == "/asked":
            return 200, {}, json.dumps(self.asked).encode()
        if (listed := _HARBOR.fullmatch(parts.path)) is not None:
            self.asked[f"{method} {'artifacts' if listed['name'] else 'repositories'}"] += 1
            return self._harbor(listed["project"], listed["name"], parse_qs(parts.query))
        match = _PATH.fullmatch(parts.path)
        self.asked[f"{method} {match['kind'] if match else parts.path}"] += 1
        if method not in ("GET", "HEAD"):
            return 405, {}, b""
        if match is None:
            return 200 if parts.path == "/v2/" else 404, {}, b""
        repository, name = match["repository"], match["name"] or ""
        if match["kind"] == "tags/list":
            return self._list(repository, parse_qs(parts.query))
        if match["kind"] == "blobs":
            return 200, {"Content-Length": "100"}, b""
        digest = self._digests.get((repository, name), name)
        tag = self._tags.get((repository, digest))
        if tag is None:
            return 404, {}, b""
        headers = {"Docker-Content-Digest": digest, "Content-Type": OCI_MANIFEST}
        return 200, headers, self._manifest(repository, tag)

    def _harbor(
        self, project: str, name: str | None, query: dict[str, list[str]]
    ) -> tuple[int, dict[str, str], bytes]:
        """A page of a project's repositories, or of the artifacts of one of them."""
        found: list[dict[str, Any]] = [{"name": each} for each in self._repositories]
        if name:
            found = [
                {"digest": self._digests[f"{project}/{name}", tag], "tags": [{"name": tag}]}
                for tag in self._names
            ]
        count = int(query["page_size"][0])
        begin = (int(query["page"][0]) - 1) * count
        body = json.dumps(found[begin : begin + count]).encode()
        return 200, {"X-Total-Count": str(len(found))}, body

    def _list(self, repository: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        if (repository, self._names[0]) not in self._digests:
            return 404, {}, b""
        most, last = int(query.get("n", ["1000"])[0]), query.get("last", [""])[0]
        begin = self._names.index(last) + 1 if last else 0
        page = self._names[begin : begin + most]
        headers = {}
        if begin + most < len(self._names):
            headers["Link"] = f'</v2/{repository}/tags/list?n={most}&last={page[-1]}>; rel="next"'
        return 200, headers, json.dumps({"name": repository, "tags": page}).encode()


class _Connection(asyncio.Protocol):
    """One client; it sends no bodies, so a blank line ends each request."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(_TLS):
            self._transport.close()
            return
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            status, headers, body = self._content.answer(method, target)
            headers.setdefault("Content-Length", str(len(body)))
            lines = [f"HTTP/1.1 {status} {_WORDS[status]}", *map(": ".join, headers.items()), "", ""]
            self._transport.write("\r\n".join(lines).encode() + (b"" if method == "HEAD" else body))


async def serve(tags: int, each: int) -> None:
    """Serve a port chosen by the system, which is printed, until cancelled."""
    content = Content(tags, each)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(content), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


@contextmanager
def scripted(tags: int, each: int = _TAGS_A_REPOSITORY) -> Iterator[Endpoint]:
    """Such a registry in a process of its own."""
    command = [sys.executable, "-m", "scripts.bench.scripted", str(tags), str(each)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Endpoint(address=f"127.0.0.1:{process.stdout.readline().strip()}")
        finally:
            process.kill()


def asked(endpoint: Endpoint) -> Counter[str]:
    """Kind of request -> how many it has answered."""
    with Wire(endpoint) as wire:
        return Counter(json.loads(wire.need(200, "GET", "/asked").body))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
