"""Lists in pages: the tags of a repository, the referrers of a digest.

A list that is not understood is never taken for an empty one, nor a link that leads nowhere for the last
page: a run would copy nothing and succeed.
Source: OCI distribution specification, "Listing Tags", "Listing Referrers"; comments name registries that
differ.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from pipeline.dataclass import dataclass
from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.document import dump
from pipeline.model.manifest import OCI_INDEX
from pipeline.model.reference import is_digest
from pipeline.model.referrers import Referrer
from pipeline.registry.faults import fault_for
from pipeline.registry.request import Request
from pipeline.registry.responses import is_page, next_link, parse_json, parse_size
from pipeline.settings import MAX_TAG_PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.http.transport import Answer
    from pipeline.model.reference import Repository
    from pipeline.registry.authenticated import AuthenticatedClient
    from pipeline.registry.request_info import RequestInfo

MAX_ENTRIES = 1_000_000
"""Of one page, including the manifests that GCR adds: short ones take twenty times their bytes in memory."""
_NO_COUNT = frozenset({400})
"""Answers of registries that refuse `n`."""
_NO_REFERRERS = frozenset({400, 404, 405, 501})
"""Answers of registries without a referrers API; a web page is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPage:
    """One page of a tag list."""

    tags: tuple[str, ...]
    """As sent: unsorted, with duplicates and invalid names."""
    next: str = ""
    """The query of the next page; empty: this is the last one."""
    guessed: bool = False
    """Whether there was no link, but the page is full, so that a next one is possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferrerPage:
    """One page of the referrers of a digest."""

    referrers: tuple[Referrer, ...]
    """As listed; may have duplicates."""
    next: str = ""
    """The query of the next page; empty: this is the last one."""


def read_tags(client: AuthenticatedClient, repository: Repository, *, page: str, count: int) -> TagPage:
    """See ImageStore.tags."""
    info = client.info("list the tags", "read", repository)
    call = Request(info=info, method="GET", url=f"/v2/{repository.path}/tags/list")
    return read_names(client, call, "tags", page=page, count=count)


def read_names(client: AuthenticatedClient, call: Request, kind: str, *, page: str, count: int) -> TagPage:
    """One page of a list of names: `tags`, or the `repositories` of a catalogue."""
    bare, url, query, info = call, call.url, page or f"n={count}", call.info

    def attempt() -> TagPage:
        asked = query
        call = replace(bare, url=f"{url}?{query}")
        response = unless_refused(client, call, _NO_COUNT)
        if response is None:
            asked = urlencode([pair for pair in parse_qsl(query) if pair[0] != "n"])
            call = replace(call, url=f"{url}?{asked}".rstrip("?"))
            response = client.ask(call, once=True)
        body = read_list(client, call, response)
        names = _parse_names(body, kind) if response.status_code == HTTPStatus.OK else None
        if names is None:
            raise client.misread(call, response, body, words=f"the answer is not a list of {kind}")
        following = next_query(info, response, count=count)
        return (
            TagPage(tags=names, next=following) if following else _maybe_last(names, asked=asked, count=count)
        )

    return client.persist(attempt)


def read_referrers(
    client: AuthenticatedClient, repository: Repository, digest: str, *, page: str, artifact_type: str
) -> ReferrerPage | None:
    """See ImageStore.referrers. Only the answer to the first page can say that there is no API."""
    info = client.info(f"list the referrers of {digest}", "read", repository)
    query = page or urlencode({"artifactType": artifact_type} if artifact_type else {})
    url = f"/v2/{repository.path}/referrers/{digest}{'?' if query else ''}{query}"
    call = Request(info=info, method="GET", url=url, headers={"Accept": OCI_INDEX})

    def attempt() -> ReferrerPage | None:
        response = unless_refused(client, call, frozenset() if page else _NO_REFERRERS)
        if response is None:
            return None
        body = read_list(client, call, response)
        if not page and is_page(body, response.headers.get("Content-Type", "")):
            return None
        found = parse_referrers(body) if response.status_code == HTTPStatus.OK else None
        if found is None:
            raise client.misread(call, response, body, words="the answer is not a list of referrers")
        if artifact_type and "artifactType" not in response.headers.get("OCI-Filters-Applied", ""):
            found = tuple(each for each in found if each.artifact_type in ("", artifact_type))
        return ReferrerPage(referrers=found, next=next_query(info, response))

    return client.persist(attempt)


def unless_refused(client: AuthenticatedClient, call: Request, statuses: frozenset[int]) -> Answer | None:
    """The answer; None if it has one of these statuses and does not ask for a pause, as ECR does with 400."""
    response = client.ask(call, also=statuses, once=True)
    if response.status_code not in statuses:
        return response
    refused = client.session.error(call.info, response)
    if isinstance(refused, ThrottledError):
        raise refused
    return None


def read_list(client: AuthenticatedClient, call: Request, response: Answer) -> bytes:
    """The body of a page, unless it is unreasonably large."""
    body = client.session.read(call.info, response, limit=MAX_TAG_PAGE)
    if body.count(b",") > MAX_ENTRIES:
        words = f"a page of the list has more than {MAX_ENTRIES:,} entries"
        raise RegistryError(fault_for(call.info, words=words, code="TOO_LARGE"))
    return body


def _parse_list(body: bytes, name: str) -> list[object] | None:
    """The list with that name, `null` counting as empty; None: there is none, or there are `errors`."""
    document = parse_json(body)
    if not isinstance(document, dict) or document.get("errors") or name not in document:
        return None
    entries = [] if document[name] is None else document[name]
    return entries if isinstance(entries, list) else None


def _parse_names(body: bytes, kind: str) -> tuple[str, ...] | None:
    entries = _parse_list(body, kind)
    names = tuple(name for name in entries or () if isinstance(name, str))
    return None if entries is None or len(names) < len(entries) else names


def parse_referrers(body: bytes) -> tuple[Referrer, ...] | None:
    """The referrers in an index; None: it is not an index, or has an entry without a type or digest."""
    entries = _parse_list(body, "manifests")
    found = tuple(
        Referrer(
            media_type=entry["mediaType"],
            digest=entry["digest"],
            artifact_type=entry.get("artifactType") or "",
            entry=dump(entry),
        )
        for entry in entries or ()
        if isinstance(entry, dict) and _is_descriptor(entry)
    )
    return None if entries is None or len(found) < len(entries) else found


def _is_descriptor(entry: Mapping[str, object]) -> bool:
    fields = [entry.get("mediaType"), entry.get("digest"), entry.get("artifactType") or ""]
    return all(isinstance(field, str) for field in fields) and is_digest(str(fields[1]))


def _maybe_last(tags: tuple[str, ...], *, asked: str, count: int) -> TagPage:
    """A page without a link; `asked`: its query. If it is full, it may have a next one all the same."""
    now = dict(parse_qsl(asked))
    full = tags and len(tags) == parse_size(now.get("n", ""))
    if not full or now.get("last") in tags:
        return TagPage(tags=tags)
    return TagPage(tags=tags, next=urlencode({"last": tags[-1], "n": count}), guessed=True)


def next_query(info: RequestInfo, response: Answer, *, count: int = 0) -> str:
    """The query of the link to the next page; empty if there is no link.

    Only the query is used: proxies get the link's host wrong, Artifactory its path.

    Raises:
        RegistryError: the link has no query.
    """
    link = next_link(response.headers.get("Link", ""))
    if link is None:
        return ""
    try:
        pairs = parse_qsl(urlsplit(link).query, keep_blank_values=True)
    except ValueError:
        pairs = []
    if not pairs:
        words = "the link to the list's next page has no query"
        raise RegistryError(fault_for(info, words=words, code="PAGINATION_INVALID"))
    # GHCR's links had n=0, which asks for an empty page.
    return urlencode([(name, str(count) if (name, value) == ("n", "0") else value) for name, value in pairs])
