"""Artifacts with a subject: how rounds draw them, and which ones must be copied.

Rounds that draw them use `--referrers=always`: a success then includes them, whatever earlier runs did.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.chaos.expect import Tree, entries_of
from tests.registry import content

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from tests.chaos.expect import Held
    from tests.chaos.watch import Watched

ALWAYS = "--referrers=always"


def attach(random: Random, registry: Watched, repository: str, word: str) -> None:
    """Attach artifacts to an image or one of its children, and perhaps another one to the first artifact."""
    held = registry.store.create(repository)
    digests = sorted(digest for digest in held.manifests if digest.startswith("sha256:"))
    subjects = [(digest, held.manifests[digest]) for digest in random.sample(digests, 1)]
    for number in range(random.randint(1, 3)):
        digest, stored = subjects[0] if number < 2 else subjects[-1]
        made = content.artifact(content.layer(f"{word} {number}", size=300), kind=f"text/x-{number}")
        body = json.loads(made.manifest)
        body["subject"] = {"mediaType": stored.media_type, "digest": digest, "size": len(stored.content)}
        raw = json.dumps(body).encode()
        for blob in made.all_blobs.values():
            registry.add_blob(repository, blob)
        named = registry.add_manifest(repository, raw, content.OCI_MANIFEST)
        subjects.append((named, held.manifests[named]))
        if registry.options.referrers == "no":
            _list(registry, repository, digest, named)


def _list(registry: Watched, repository: str, subject: str, artifact: str) -> None:
    """Add an entry to the fallback tag of a subject."""
    held, tag = registry.store.create(repository), subject.replace(":", "-")
    there = held.tags.get(tag)
    entries = entries_of(held.manifests[there].content) if there else []
    stored = held.manifests[artifact]
    entry = {"mediaType": stored.media_type, "digest": artifact, "size": len(stored.content)}
    body = {"schemaVersion": 2, "mediaType": content.OCI_INDEX, "manifests": [*entries, entry]}
    registry.add_manifest(repository, json.dumps(body).encode(), content.OCI_INDEX, (tag,))


def attached(held: Held, digest: str, *, api: bool) -> set[str]:
    """The artifacts that a repository lists for a manifest."""
    list_of = held.tags.get(digest.replace(":", "-"), "")
    found = (
        {each["digest"] for each in entries_of(held.manifests[list_of][0])}
        if list_of in held.manifests
        else set()
    )
    if api:
        found |= {each for each, (raw, _) in held.manifests.items() if _subject(raw) == digest}
    return found


def _subject(raw: bytes) -> str:
    body: dict[str, Any] = json.loads(raw)
    return str((body.get("subject") or {}).get("digest", ""))


def all_attached(held: Held, digests: set[str], *, api: bool) -> dict[str, set[str]]:
    """By subject: the artifacts of these manifests, and the artifacts of those."""
    found: dict[str, set[str]] = {}
    todo = [*digests]
    while todo:
        digest = todo.pop()
        if digest not in found:
            found[digest] = attached(held, digest, api=api)
            todo += found[digest]
    return {digest: mine for digest, mine in found.items() if mine}


def whole(tree: Tree) -> Iterator[str]:
    """The digests of the manifests in a tree that no filter has changed."""
    if not (tree.changed or tree.is_blob):
        yield tree.digest
    for _, child in tree.entries or ():
        yield from whole(child)
