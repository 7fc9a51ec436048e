"""What the registries of the world list: referrers, merged tags, repositories."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.model.catalogue import ListedTag, ListedTagPage, RepositoryPage
from pipeline.model.companions import fallback_tag, join, referrer_entry
from pipeline.model.cost import Cost
from pipeline.model.manifest import Manifest, parse
from pipeline.model.messages import (
    DigestsListed,
    ManifestPushed,
    PushManifest,
    ReferrersListed,
    RepositoriesListed,
)
from pipeline.model.referrers import ListReferrers, Referrer

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping, MutableMapping

    from pipeline.model.catalogue import CatalogueKind
    from pipeline.model.listing_tasks import ListDigests, ListRepositories
    from pipeline.model.messages import Task


def list_referrers(
    task: ListReferrers, tags: Mapping[str, str], manifests: Mapping[str, bytes], *, api: bool = False
) -> ReferrersListed:
    """With the API the manifests with this subject, else the entries of the fallback tag."""
    found: list[dict[str, str]] = []
    if api and task.api:
        named = (each for each in manifests.items() if json.loads(each[1]).get("subject", {}) != {})
        found = [
            json.loads(referrer_entry(parse(content, "", digest)))
            for digest, content in named
            if json.loads(content)["subject"]["digest"] == task.digest
        ]
    if task.fallback or (task.fallback is None and not api):
        content = manifests.get(tags.get(fallback_tag(task.digest), ""), b'{"manifests": []}')
        found += json.loads(content)["manifests"]
    listed = {
        each["digest"]: Referrer(
            media_type=each["mediaType"],
            digest=each["digest"],
            artifact_type=each.get("artifactType", ""),
            entry=json.dumps(each).encode(),
        )
        for each in found
    }
    return ReferrersListed(
        key=task.key,
        referrers=tuple(listed.values()),
        tags=tuple((tag, tags[tag]) for tag in task.tags if tag in tags),
        api=api if task.api else None,
    )


def merge(
    task: PushManifest,
    tags: MutableMapping[str, str],
    manifests: MutableMapping[str, bytes],
    *,
    api: bool = False,
) -> ManifestPushed:
    """Add a manifest's entries to those of its tag, unless the registry lists them all itself."""
    own = parse(task.content, task.media_type, task.digest)
    there: Manifest | None = None
    if task.destination.name in tags:
        digest = tags[task.destination.name]
        there = parse(manifests[digest], "", digest)
    if api and there is None:
        return ManifestPushed(key=task.key, stored=False)
    wanted = own if there is None else join(own, there, task.destination.name)
    assert wanted is not None
    manifests[wanted.digest] = wanted.content
    tags[task.destination.name] = wanted.digest
    return ManifestPushed(key=task.key, stored=wanted is not there, no_api=not api)


def list_repositories(
    task: ListRepositories, names: Iterable[str], requests: Counter[str]
) -> RepositoriesListed:
    """All repositories of a registry, as /v2/_catalog lists them, on one page."""
    requests["CATALOGUE"] += 1
    front = f"{task.namespace.registry}/"
    paths = tuple(name.removeprefix(front) for name in sorted(names) if name.startswith(front))
    return RepositoriesListed(key=task.key, page=RepositoryPage(paths=paths), kind="v2")


def list_digests(
    task: ListDigests, tags: Mapping[str, str], requests: Counter[str], *, kind: CatalogueKind, count: int
) -> DigestsListed:
    """A page of the tags with their digests, by any catalogue but v2; Harbor's says how many there are."""
    requests["DIGESTS"] += 1
    begin = int(task.page or 0)
    found = [ListedTag(*each) for each in sorted(tags.items())]
    page = ListedTagPage(
        tags=tuple(found[begin : begin + count]),
        entries=len(found[begin : begin + count]),
        next=str(begin + count) if begin + count < len(found) else "",
        total=len(found) if kind == "harbor" else -1,
    )
    return DigestsListed(key=task.key, page=None if kind == "v2" else page, kind=kind)


def cost_of(task: Task, *, answered: bool) -> Cost:
    """One request at each of the registries that a task asks, every answer after 10 ms."""
    names = sorted({ask.repository.registry for ask in task.asks_if_mounted or task.asks if answered})
    return Cost(
        requests=tuple((name, 1) for name in names),
        waited=tuple((name, 0.01) for name in names),
        seconds=0.01,
    )
