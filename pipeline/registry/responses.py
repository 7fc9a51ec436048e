"""Parse answers other than content: error bodies, challenges, links, pauses.

Everything here is pure and never raises: what cannot be parsed is dropped. Text for people has no control
characters, tokens or queries of URLs.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.log import mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_WORDS = 500
_MAX_HEADER = 16 << 10
_MAX_TITLE = 4 << 10
"""Characters of a web page to search for its title: the search is quadratic on a hostile page."""

_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_CHALLENGE_ITEM = re.compile(
    rf"""[\s,]*(?:
        (?P<name>{_WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"?|(?P<bare>[^\s,"]*))
        |(?P<scheme>{_WORD})(?:\ +[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$)))?
    )""",
    re.VERBOSE,
)
_LINK = re.compile(
    r"""(?:<([^>]*)>|([^\s<>;,"]+))((?:\ ?;\ ?[\w*-]+\ ?(?:=\ ?(?:"[^"]*"|'[^']*'|[^\s;,"]*))?)*)""",
    re.VERBOSE,
)
_REL = re.compile(r""";\s?rel\s?=\s?(?:"([^"]*)"|'([^']*)'|([^\s;,"]+))""", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,63}")
_PULLS = re.compile(r"([0-9]{1,9})(?:;w=([0-9]{1,9}))?")
_CODE_FIELD = re.compile(r'"code"\s*:\s*"([^"]{1,64})"')
_WORDS_FIELD = re.compile(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)')
_XML = re.compile(r"<(Code|Message)>([^<]*)</")
_TITLE = re.compile(r"<(?:title|h1)[^>]*>([^<]*)<", re.IGNORECASE)
_UPLOADED = re.compile(r"(?:bytes[= ])?0-(-1|[0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge of a WWW-Authenticate header."""

    scheme: str
    """In lower case: `basic`, `bearer`, or another one."""
    parameters: Mapping[str, str]
    """Names in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """The contents of an error body."""

    code: str = ""
    """The first error code; empty: none."""
    words: str = ""
    """One line for people without secrets, at most 500 characters."""
    html: bool = False
    """Whether it is a web page, so that a proxy or firewall answered."""


def clean(text: str) -> str:
    """A peer's text for a log line: one line, no control characters or secrets, 500 characters."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    line = mask(" ".join(shown.split()))
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 3] + "..."


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Parse a WWW-Authenticate header; repeated ones were joined by commas (RFC 9110, 11.6.1)."""
    challenges: list[tuple[str, dict[str, str]]] = []
    text, at = header[:_MAX_HEADER], 0
    while at < len(text):
        item = _CHALLENGE_ITEM.match(text, at)
        if item is None:
            at += 1
            continue
        at = max(item.end(), at + 1)
        if item["scheme"]:
            challenges.append((item["scheme"].lower(), {}))
        elif challenges:
            quoted = item["quoted"]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else item["bare"]
            challenges[-1][1].setdefault(item["name"].lower(), value)
    return tuple(Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in challenges)


def next_link(header: str) -> str | None:
    """The target of the link to the next page, as sent (RFC 8288); None if there is none.

    A target without angle brackets counts too (Cloudflare), and a link with a query but no relation, unless
    another one is `next`: a list has no other links.
    """
    unrelated = None
    for link in _LINK.finditer(re.sub(r"\s+", " ", header[:_MAX_HEADER])):
        target: str = link[1] if link[1] is not None else link[2]
        found = _REL.search(link[3])
        relations = (found[1] or found[2] or found[3] or "").lower().split() if found else []
        if "next" in relations:
            return target
        if not relations and "?" in target:
            unrelated = unrelated or target
    return unrelated


def parse_retry_after(value: str, *, date: str = "") -> float | None:
    """Seconds to wait, unbounded; None: neither seconds nor an HTTP-date.

    Args:
        value: of the Retry-After header.
        date: the Date header of the same answer, because the peer's clock may differ.
    """
    text = value.strip()
    if re.fullmatch(r"-?[0-9]{1,300}(?:\.[0-9]{1,9})?", text):
        return float(text)
    until = parse_date(text)
    if until is None:
        return None
    return (until - (parse_date(date) or datetime.now(UTC))).total_seconds()


def parse_date(text: str) -> datetime | None:
    """The time of an HTTP-date; None: it is not one."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_size(text: str) -> int:
    """A number of bytes or entries; -1 for anything else."""
    size = text.strip()  # of more than int() strips
    return int(size) if re.fullmatch(r"[0-9]{1,18}", size) else -1


def parse_pulls(headers: Mapping[str, str]) -> tuple[int, int, int]:
    """Pulls left, the limit, and its window in seconds; -1: not stated.

    Docker Hub sends `RateLimit-Limit: 100;w=21600` and `RateLimit-Remaining: 76;w=21600`, also to HEAD, which
    it does not count (docs.docker.com/docker-hub/usage/pulls).
    """
    left = _PULLS.fullmatch(headers.get("RateLimit-Remaining", "").strip())
    limit = _PULLS.fullmatch(headers.get("RateLimit-Limit", "").strip())
    window = (limit and limit[2]) or (left and left[2])
    return int(left[1]) if left else -1, int(limit[1]) if limit else -1, int(window) if window else -1


def parse_uploaded(text: str) -> int | None:
    """Bytes that an upload has by its Range `0-<last>` (`0--1`: none); None: anything else."""
    match = _UPLOADED.fullmatch(text.strip())
    return int(match[1]) + 1 if match else None


def parse_json(body: bytes) -> object:
    """The JSON value of `body`; None: it is not JSON, or nested too deeply."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value


def is_html(content_type: str) -> bool:
    """Whether the Content-Type is that of a web page; some frameworks send it for everything."""
    return "html" in content_type.lower()


def is_page(body: bytes, content_type: str) -> bool:
    """Whether an answer is a web page: by its Content-Type, and neither empty nor JSON."""
    return is_html(content_type) and bool(body.strip()) and parse_json(body) is None


def parse_complaint(body: bytes, *, content_type: str = "") -> Complaint:
    """Parse an error body of a registry, token server, storage or proxy."""
    text = body.decode("utf-8", errors="replace")
    value = parse_json(body)
    if isinstance(value, dict | list):
        errors = tuple(_errors_in(value, depth=3))
        code = next((code for code, _ in errors if code), "")
        words = "; ".join(dict.fromkeys(words for _, words in errors if words))
        return Complaint(code=code, words=clean(words))
    start = text.lstrip()[:256].lower()
    if is_html(content_type) or start.startswith(("<!doctype html", "<html")):
        title = _TITLE.search(text[:_MAX_TITLE])
        return Complaint(words=clean(title[1] if title else "a web page"), html=True)
    if start.startswith("<"):
        parts = dict(_XML.findall(text))
        code = parts.get("Code", "")
        return Complaint(code=code if _CODE.fullmatch(code) else "", words=clean(parts.get("Message", "")))
    if start.startswith("{"):
        # It was too long to be read to its end: cue's registry quotes the blob that it refuses.
        found, said = _CODE_FIELD.search(text), _WORDS_FIELD.search(text)
        code = found[1] if found and _CODE.fullmatch(found[1]) else ""
        return Complaint(code=code, words=clean(said[1] if said else text))
    return Complaint(words=clean(text))


def _errors_in(value: object, *, depth: int) -> Iterator[tuple[str, str]]:
    """Pairs of code and words, from `{"errors": [...]}`, a single object, and other forms in use."""
    if isinstance(value, list) and depth:
        for item in value[:20]:
            yield from _errors_in(item, depth=depth - 1)
    elif isinstance(value, str):
        yield "", value
    elif isinstance(value, dict):
        nested = value.get("errors") or (
            value.get("error") if isinstance(value.get("error"), dict | list) else None
        )
        if nested and depth:
            yield from _errors_in(nested, depth=depth - 1)
            return
        code = value.get("code") or value.get("error")
        words = value.get("message") or value.get("error_description") or value.get("details")
        detail = value.get("detail")
        said = [part if isinstance(part, str) else _dump(part) for part in (words, detail) if part]
        is_code = isinstance(code, str) and _CODE.fullmatch(code)
        if code and not is_code:
            said.insert(0, str(code))
        yield (str(code) if is_code else ""), ": ".join(said)


def _dump(value: object) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return ""
