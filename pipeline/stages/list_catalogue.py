"""Stage 1, from the catalogue of a registry: repositories, and tags with their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.model.messages import DigestsListed, RepositoriesListed

if TYPE_CHECKING:
    from pipeline.model.listing_tasks import ListDigests, ListRepositories
    from pipeline.stages.context import StageContext


def list_repositories(task: ListRepositories, context: StageContext) -> RepositoriesListed:
    """Read one page of the repositories of a namespace, as the registry sent it.

    Raises:
        RegistryError: the listing cannot be read.
    """
    catalogue = context.stores.catalogue(task.namespace.registry)
    page = catalogue.repositories(task.namespace.path, page=task.page)
    return RepositoriesListed(key=task.key, page=page, kind=catalogue.kind)


def list_digests(task: ListDigests, context: StageContext) -> DigestsListed:
    """Read one page of tags with their digests, as the registry sent it.

    Raises:
        RegistryError: the listing cannot be read.
    """
    catalogue = context.stores.catalogue(task.repository.registry, push=task.side == "destination")
    page = catalogue.tags(task.repository, page=task.page)
    return DigestsListed(key=task.key, page=page, kind=catalogue.kind)
