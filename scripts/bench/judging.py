"""Whether every tag arrived with everything below it: read over http.client, without any client's code."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.real.wire import OCI_INDEX, Endpoint, Wire, sha256
from tests.real.witness import blobs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_THREADS = 4


def faults(destination: Endpoint, digests: Mapping[str, str]) -> list[str]:
    """Errors at a destination, if any.

    Args:
        destination: a registry.
        digests: `repository:tag` -> digest of the expected index.
    """
    repositories: dict[str, dict[str, str]] = {}
    for image, digest in sorted(digests.items()):
        repository, _, tag = image.partition(":")
        repositories.setdefault(repository, {})[tag] = digest
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda each: list(_faults(destination, *each)), repositories.items())
        return [fault for each in found for fault in each]


def _faults(destination: Endpoint, repository: str, tags: Mapping[str, str]) -> Iterable[str]:
    seen: set[str] = set()
    with Wire(destination) as wire:
        for tag, expected in tags.items():
            index = wire.manifest(repository, tag)
            if (index.status, sha256(index.body)) != (200, expected):
                digest = sha256(index.body)
                yield f"{repository}:{tag}: {index.status}, {digest} where {expected} was expected"
            elif index.headers["Content-Type"] != OCI_INDEX:
                yield f"{repository}:{tag}: an index of type {index.headers['Content-Type']}"
            else:
                for entry in json.loads(index.body)["manifests"]:
                    yield from _below(wire, repository, entry["digest"], seen)


def _below(wire: Wire, repository: str, digest: str, seen: set[str]) -> Iterable[str]:
    manifest = wire.manifest(repository, digest)
    if (manifest.status, sha256(manifest.body)) != (200, digest):
        yield f"{repository}@{digest}: {manifest.status}"
        return
    for blob in blobs_of(json.loads(manifest.body)):
        if blob["digest"] in seen:
            continue
        seen.add(blob["digest"])
        head = wire.ask("HEAD", f"/v2/{repository}/blobs/{blob['digest']}")
        if (head.status, head.headers["Content-Length"]) != (200, str(blob["size"])):
            yield f"{repository}: blob {blob['digest']}: {head.status}"
