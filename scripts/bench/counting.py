"""Requests by purpose, as registries logged them, and the fewest that the protocol allows."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scripts.corpus import Corpus
    from tests.real.servers import Request

State = Literal["cold", "unchanged", "changed"]
"""Into empty destinations; then an unchanged run; then another one after 5 % of the tags have changed."""

_KINDS = (
    ("ping", re.compile(r"\w+ /v2/")),
    ("list tags", re.compile(r"GET /v2/.+/tags/list(\?.*)?")),
    ("list referrers", re.compile(r"GET /v2/.+/referrers/[^/]+")),
    ("HEAD manifest", re.compile(r"HEAD /v2/.+/manifests/[^/]+")),
    ("GET manifest", re.compile(r"GET /v2/.+/manifests/[^/]+")),
    ("PUT manifest", re.compile(r"PUT /v2/.+/manifests/[^/]+")),
    ("HEAD blob", re.compile(r"HEAD /v2/.+/blobs/sha256[^/]+")),
    ("GET blob", re.compile(r"GET /v2/.+/blobs/sha256[^/]+")),
    ("mount blob", re.compile(r"POST /v2/.+/blobs/uploads/\?.*\bmount=.*")),
    ("begin upload", re.compile(r"POST /v2/.+/blobs/uploads/.*")),
    ("send a piece", re.compile(r"PATCH /v2/.+/blobs/uploads/.+")),
    ("end upload", re.compile(r"PUT /v2/.+/blobs/uploads/.+")),
)
KINDS = (*(name for name, _ in _KINDS), "mount refused", "other")
_DIGEST = re.compile(r"[?&]digest=(?P<digest>sha256(?::|%3A)[0-9a-f]{64})", re.IGNORECASE)


def kind_of(request: Request) -> str:
    """The purpose of a request, in words; `other` if a copy does not need it."""
    line = f"{request.method} {request.path}"
    kind = next((name for name, pattern in _KINDS if pattern.fullmatch(line)), "other")
    return "mount refused" if kind == "mount blob" and request.status != 201 else kind


def count(requests: Iterable[Request]) -> Counter[str]:
    """Kind of request -> how many."""
    return Counter(map(kind_of, requests))


def bytes_sent(requests: Iterable[Request]) -> int:
    """Bytes of blobs that the registry sent."""
    return sum(request.sent for request in requests if kind_of(request) == "GET blob")


def bytes_stored(requests: Iterable[Request], sizes: Mapping[str, int]) -> int:
    """Bytes of blobs that were uploaded to the registry, by the digests that ended the uploads."""
    return sum(
        sizes[match["digest"].lower().replace("%3a", ":")]
        for request in requests
        if kind_of(request) == "end upload" and (match := _DIGEST.search(request.path))
    )


def least(corpus: Corpus, state: State, *, destinations: int = 1) -> dict[str, int]:
    """The fewest requests that copy a corpus, or find it unchanged, without earlier knowledge.

    Each repository's tags are listed, at the destination too if it may be new (a 404 means that it is
    empty); each tag is looked up by HEAD on all sides; each missing manifest is read once, and written once
    per destination; each blob is read once, sent with one POST and one PUT per destination registry, and
    mounted in each further repository that needs it.
    """
    asked = {"list tags": corpus.repos, "HEAD manifest": corpus.images * (1 + destinations)}
    if state == "unchanged":
        return asked
    platforms = len(corpus.platforms)
    if state == "changed":
        manifests, mounted = corpus.turning * (1 + platforms), 0
        blobs = corpus.turning * (platforms + corpus.per_tag)
    else:
        manifests, blobs, mounted = corpus.manifests, corpus.blobs, corpus.shared
        asked["list tags"] += corpus.repos * destinations
    return asked | {
        "GET manifest": manifests,
        "PUT manifest": manifests * destinations,
        "GET blob": blobs,
        "begin upload": blobs * destinations,
        "end upload": blobs * destinations,
        "mount blob": mounted * destinations,
    }
