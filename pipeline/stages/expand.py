"""Stage 1: one page of a tag list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.model.messages import Page

if TYPE_CHECKING:
    from pipeline.model.messages import Expand
    from pipeline.stages.context import Context

NOT_FOUND = 404


def expand(task: Expand, context: Context) -> Page:
    """Read one page, as the registry sent it (distribution-spec, "Listing Tags").

    Raises:
        RegistryError: the list cannot be had; a destination that is not there is an answer.
    """
    client = context.clients.at(task.repository.registry, push=task.side == "destination")
    try:
        page = client.tags(task.repository, page=task.page, count=task.count)
    except RegistryError as error:
        if task.side == "destination" and error.fault.status == NOT_FOUND:
            return Page(key=task.key, tags=(), missing=True)
        raise error.on(task.side) from error
    return Page(key=task.key, tags=page.tags, next=page.next, guessed=page.guessed)
