"""Stage 1, in front of the tags: one page of the repositories of a namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.model.messages import RepositoriesListed

if TYPE_CHECKING:
    from pipeline.model.listing_tasks import ListRepositories
    from pipeline.stages.context import StageContext


def list_repositories(task: ListRepositories, context: StageContext) -> RepositoriesListed:
    """Read one page as the registry sent it.

    Raises:
        RegistryError: the listing cannot be read.
    """
    catalogue = context.stores.catalogue(task.namespace.registry)
    page = catalogue.repositories(task.namespace.path, page=task.page)
    return RepositoriesListed(key=task.key, page=page, kind=catalogue.kind)
