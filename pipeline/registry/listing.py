"""Tag lists: what an answer holds, and the query of the page that follows.

A list that is not understood is never taken for an empty one, nor a link that leads nowhere for the end: a
run would copy nothing and end well.
Source: OCI distribution specification, "Listing Tags"; where registries differ is said beside the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from pipeline.registry.responses import next_link, parse_json, parse_size

MAX_ENTRIES = 1_000_000
"""Of one page, the manifests that GCR adds included: short ones take twenty times their bytes in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPage:
    """One page of a tag list."""

    tags: tuple[str, ...]
    """As sent: unsorted, with duplicates and names outside the grammar."""
    next: str = ""
    """The query of the following page; empty: this was the last one."""
    guessed: bool = False
    """Whether no link, but a page that was exactly full, says that there may be a following one."""


def parse_tags(body: bytes) -> tuple[str, ...] | None:
    """The tags in the body of an answer; None: it is no list of tags."""
    document = parse_json(body)
    if not isinstance(document, dict) or document.get("errors") or "tags" not in document:
        return None
    tags = document["tags"]
    if tags is None:
        return ()
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return None
    return tuple(tags)


def turn(tags: tuple[str, ...], links: str, *, asked: str, count: int) -> TagPage | None:
    """The page with the query of the following one: only a link, or a full page, says that there is one.

    Args:
        tags: of the page.
        links: the answer's Link header.
        asked: the query of the page.
        count: tags wanted in a page.

    Returns:
        The page; None: its link to the next one names no query.
    """
    link = next_link(links)
    if link is not None:
        query = _query(link, count)
        return TagPage(tags=tags, next=query) if query else None
    now = dict(parse_qsl(asked))
    full = tags and len(tags) == parse_size(now.get("n", ""))
    if not full or now.get("last") in tags:
        return TagPage(tags=tags)
    return TagPage(tags=tags, next=urlencode({"last": tags[-1], "n": count}), guessed=True)


def _query(link: str, count: int) -> str:
    """The query of a link, all that is taken of it: proxies get its host wrong, Artifactory its path."""
    try:
        pairs = parse_qsl(urlsplit(link).query, keep_blank_values=True)
    except ValueError:
        return ""
    # GHCR's links carried n=0, which asks for an empty page.
    return urlencode([(name, str(count) if (name, value) == ("n", "0") else value) for name, value in pairs])
