"""A request that nginx refuses above its rate limit is a pause, not a fault of the registry behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ThrottledError
from pipeline.model.reference import Reference, Repository
from pipeline.settings import MAX_MANIFEST
from tests.real.wire import Wire
from tests.registry.asking import ABSENT
from tests.registry.test_conformance_store import PATH, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.registry.image_store import ImageStore
    from tests.real.fixtures import StartNginx, StartRegistry


ASKING: Mapping[str, Callable[[ImageStore, Repository], object]] = {
    "head": lambda store, repository: store.head_blob(repository, ABSENT),
    "get": lambda store, repository: store.get_manifest(Reference(repository, "v1"), limit=MAX_MANIFEST),
    "post": lambda store, repository: store.begin_upload(repository, ABSENT),
}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("verb", ASKING)
def test_rate_limited_request_is_throttled(
    status: int, verb: str, docker_registry: StartRegistry, behind_nginx: StartNginx
) -> None:
    """Any request, with or without a body in its answer, is told to retry later."""
    front = behind_nginx(docker_registry(memory=True).endpoint, rate="1r/m", status=status)
    store, repository = connect(front.address), Repository(front.address, PATH)
    with Wire(front) as wire:
        for _ in range(2):
            wire.need(200, "GET", "/v2/")  # refuses every further request

    with pytest.raises(ThrottledError):
        ASKING[verb](store, repository)
