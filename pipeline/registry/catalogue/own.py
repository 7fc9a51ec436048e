"""Catalogues that the registry itself serves, with tokens for pulls: /v2/_catalog, Google's, Azure's.

Sources: distribution's "HTTP API V2", "Listing Repositories"; google/go-containerregistry,
pkg/v1/google/list.go; learn.microsoft.com/rest/api/containerregistry/tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.model.catalogue import ListedTag, ListedTagPage, RepositoryPage
from pipeline.model.reference import Repository, is_digest
from pipeline.registry.catalogue.times import parse_milliseconds, parse_time
from pipeline.registry.listing import read_names
from pipeline.registry.request import Request
from pipeline.settings import PAGE

if TYPE_CHECKING:
    from typing import Any

    from pipeline.registry.authenticated import AuthenticatedClient
    from pipeline.registry.catalogue.api import Api, ApiAnswer

_ALL = "registry:catalog:*"
_MOST_TAGS = 10_000
"""Tags of one repository, above which Google's listings are incomplete."""


class V2Catalogue:
    """`/v2/_catalog`: all repositories of a registry, whatever the namespace; no digests."""

    needs = (
        "a login that may list the whole registry (registry:catalog:*); Harbor grants that to administrators"
        " and system robots only: set catalog: harbor there"
    )

    def __init__(self, client: AuthenticatedClient, registry: str) -> None:
        """`client`: of the registry."""
        self._client, self._registry = client, registry

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue."""
        info = self._client.info("list the repositories", "read", Repository(self._registry, namespace))
        call = Request(info=info, method="GET", url="/v2/_catalog", scope=_ALL)
        found = read_names(self._client, call, "repositories", page=page, count=PAGE)
        return RepositoryPage(paths=found.tags, more=(found.next,) if found.next else ())

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue."""
        del repository, page
        return None


class AcrCatalogue(V2Catalogue):
    """Azure: `/v2/_catalog`, and tags with digests and times."""

    needs = "an account or token that may list the registry (AcrPull, or a scope map with metadata/read)"

    def __init__(self, client: AuthenticatedClient, registry: str, api: Api) -> None:
        """`api`: of the registry itself."""
        super().__init__(client, registry)
        self._api = api

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue."""
        path = f"/acr/v1/{repository.path}/_tags?{page or f'n={PAGE}'}"
        answer = self._api.need(path, place=repository.path, operation="list the tags with digests")
        tags = tuple(
            ListedTag(
                answer.text(each, "name"),
                digest_in(answer, each, "digest"),
                parse_time(answer.text(each, "lastUpdateTime", "createdTime")),
            )
            for each in answer.entries("tags")
        )
        return ListedTagPage(tags=tags, entries=len(tags), next=answer.next)


class GarCatalogue:
    """Google: `tags/list` names repositories below (`child`), and the tags of each digest (`manifest`)."""

    needs = "a login with the role Artifact Registry Reader"

    def __init__(self, api: Api) -> None:
        """`api`: of the registry itself."""
        self._api = api

    def _ask(self, path: str, operation: str) -> ApiAnswer:
        return self._api.need(f"/v2/{path}/tags/list", place=path, operation=operation)

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue: a page is a path, and leads to the paths below it."""
        path = page or namespace
        answer = self._ask(path, "list the repositories")
        manifests = self._manifests(answer)
        children = answer.texts(answer.document, "child")
        return RepositoryPage(
            paths=(path,) if manifests or answer.document.get("tags") else (),
            more=tuple(f"{path}/{child}" for child in children if child and "/" not in child),
            short=_limit(len(children)),
        )

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue."""
        del page
        answer = self._ask(repository.path, "list the tags with digests")
        manifests = self._manifests(answer)
        tags = tuple(
            ListedTag(tag, digest, parse_milliseconds(answer.text(each, "timeUploadedMs")))
            for digest, each in manifests.items()
            for tag in answer.texts(each, "tag")
            if is_digest(digest)
        )
        if "tags" not in answer.document:
            raise answer.misread("the answer has no tags")
        named = answer.texts(answer.document, "tags")
        missing = len(set(named) - {each.name for each in tags})
        if missing:
            raise answer.misread(f"{missing} of its tags have no digest in the map of manifests")
        return ListedTagPage(tags=tags, entries=len(tags), short=_limit(len(manifests)))

    @staticmethod
    def _manifests(answer: ApiAnswer) -> dict[str, dict[str, Any]]:
        document = answer.document if isinstance(answer.document, dict) else {}
        found = document.get("manifest") or {}
        known = document.keys() & {"child", "manifest", "tags"}
        if (
            not known
            or not isinstance(found, dict)
            or not all(isinstance(each, dict) for each in found.values())
        ):
            raise answer.misread("the answer is not a listing")
        return found


def digest_in(answer: ApiAnswer, entry: dict[str, Any], *names: str) -> str:
    """The digest in an entry; empty if it is missing or not understood, so that the tag is looked up."""
    digest = answer.text(entry, *names)
    return digest if is_digest(digest) else ""


def _limit(count: int) -> str:
    """Why a listing with this many entries may be incomplete."""
    if count < _MOST_TAGS:
        return ""
    return f"Google's listings are incomplete from {_MOST_TAGS:,} entries on: name repositories and tags"
