"""Stage 1: one page of a tag list."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.log import Event
from pipeline.model.messages import TagsListed

if TYPE_CHECKING:
    from pipeline.model.listing_tasks import ListTags
    from pipeline.stages.context import StageContext


def list_tags(task: ListTags, context: StageContext) -> TagsListed:
    """Read one page as the registry sent it (distribution-spec, "Listing Tags").

    Raises:
        RegistryError: the list cannot be read; a missing destination is not an error.
    """
    store = context.stores.at(task.repository.registry, push=task.side == "destination")
    try:
        page = store.tags(task.repository, page=task.page, count=task.count)
    except RegistryError as error:
        if task.side == "destination" and error.fault.status == HTTPStatus.NOT_FOUND:
            return TagsListed(key=task.key, tags=(), missing=True, events=_to_create(task, context))
        raise
    return TagsListed(key=task.key, tags=page.tags, next=page.next, guessed=page.guessed)


def _to_create(task: ListTags, context: StageContext) -> tuple[Event, ...]:
    """What a run would create before it writes to a missing repository, for a plan to name."""
    if not task.is_probe or context.settings.aim != "plan":
        return ()
    try:
        what = context.stores.lacks(task.repository)
    except RegistryError:  # who may not look there is told so by the run
        return ()
    words = f"a run would create {what} at {task.repository.registry}"
    fields = {"destination": str(task.repository)}
    return (Event(name="repository.to_create", message=words, fields=fields),) if what else ()
