"""Which form of upload is chosen, by registry and size."""

from __future__ import annotations

import pytest

from pipeline.registry.upload_strategy import UploadForm, UploadStrategy, refused_from
from pipeline.settings import MIB, Uploads

LARGE = 400 * MIB


def forms(registry: str = "registry.test") -> UploadStrategy:
    """A process without knowledge of any registry."""
    return UploadStrategy(registry, Uploads())


@pytest.mark.parametrize(
    ("registry", "size", "form", "then"),
    [
        ("registry.test", 288 * MIB, "whole", "chunks"),
        ("registry.test", 288 * MIB + 1, "chunks", "whole"),
        ("registry.test", LARGE, "chunks", "whole"),
        ("docker.io", LARGE, "chunks", "whole"),
        ("gcr.io", LARGE, "chunks", "whole"),
        ("ghcr.io", LARGE, "whole", "stream"),
        ("europe-docker.pkg.dev", LARGE, "whole", None),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", LARGE, "chunks", "whole"),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", 42_000 * MIB + 1, "whole", "chunks"),
        ("public.ecr.aws", LARGE, "chunks", "whole"),
        ("team.azurecr.io", MIB, "whole", "chunks"),
    ],
)
def test_order_of_upload_forms(registry: str, size: int, form: UploadForm, then: UploadForm | None) -> None:
    """The first form, and the next one after it failed, by registry and size."""
    made = forms(registry)

    assert form == made.choose(size, failed={}, most=0)
    assert (then is not None) == made.has_other(size, failed={form: size}, most=0)
    assert (then or form) == made.choose(size, failed={form: size}, most=0)


@pytest.mark.parametrize(
    ("registry", "size", "step"),
    [
        ("registry.test", LARGE, 16 * MIB),
        ("registry.test", 2048 * MIB, 32 * MIB),
        ("registry.test", 20_480 * MIB, 64 * MIB),
        ("1.dkr.ecr.eu-west-1.amazonaws.com", LARGE, 10 * MIB),
        ("public.ecr.aws", LARGE, 10 * MIB),
        ("team.azurecr.io", LARGE, 4 * MIB),
    ],
)
def test_chunk_size_by_registry_or_blob(registry: str, size: int, step: int) -> None:
    """A chunk's size follows the registry's quirks, or else the blob's size."""
    assert step == forms(registry).step(size, least=0, most=0)


def test_announced_chunk_sizes_are_respected() -> None:
    """A registry's announced chunk sizes are respected."""
    assert 20 * MIB == forms().step(LARGE, least=20 * MIB, most=0)
    assert 5 * MIB == forms().step(LARGE, least=0, most=5 * MIB)
    assert forms().choose(6 * MIB, failed={}, most=5 * MIB) == "chunks"
    assert forms().step(LARGE, least=0, most=1) == 64 << 10


def test_failed_form_is_not_used_again() -> None:
    """A form that failed before another one succeeded is not used from that size on."""
    made = forms()
    made.learn({"whole": 50 * MIB})
    made.learn({"whole": 60 * MIB})

    assert made.choose(49 * MIB, failed={}, most=0) == "whole"
    assert made.choose(50 * MIB, failed={}, most=0) == "chunks"


@pytest.mark.parametrize(
    ("status", "code", "losses", "size"),
    [
        (404, "", 1, 7),
        (405, "", 1, 0),
        (413, "", 1, 7),
        (415, "", 1, 0),
        (416, "", 1, 7),
        (501, "", 1, 0),
        (None, "CONNECTION_LOST", 1, None),
        (None, "CONNECTION_LOST", 2, 7),
        (None, "TIMEOUT", 2, 7),
        (None, "UNREACHABLE", 2, None),
        (500, "", 1, None),
        (500, "", 2, 7),
        (504, "", 2, 7),
        (403, "DENIED", 1, None),
    ],
)
def test_answers_that_refuse_an_upload_form(
    status: int | None, code: str, losses: int, size: int | None
) -> None:
    """Responses that refuse a form of upload, and the sizes they apply to."""
    assert size == refused_from(status, code, troubles=losses, size=7)
