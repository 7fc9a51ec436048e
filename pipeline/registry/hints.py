"""What to do about an unsuccessful answer, in one line.

A wrong hint is worse than none. Registries answer 401 to a wrong password, to missing rights and to anonymous
requests, so these are told apart here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.registry.responses import parse_date, parse_pulls

if TYPE_CHECKING:
    from pipeline.registry.error_policy import Refusal
    from pipeline.registry.request_info import RequestInfo

_HOUR = 3600
_SKEW = 300.0
"""Seconds by which clocks may differ, for S3 and most token servers."""
_REFUSED = frozenset({401, 403})
_CREATED_BY_PUSH = frozenset({"begin", "store"})
_DOCKER = "application/vnd.docker."
_TLS_PORT = (
    "http request to an https server",
    "plain http request was sent to https port",
    "speaking plain http to an ssl-enabled",
)
"""The words of Go's server, nginx and Apache for plain HTTP at a TLS port, in lower case."""


def hint_for(info: RequestInfo, refusal: Refusal) -> str:
    """What to do about an answer; empty: unknown."""
    status, complaint = refusal.status, refusal.complaint
    text = complaint.words.lower()
    if complaint.code.upper() in {"REQUESTTIMETOOSKEWED", "REQUEST_TIME_TOO_SKEWED"}:
        return _skew(refusal)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _pulls(info, *parse_pulls(refusal.headers))
    if speaks_tls(refusal):
        return "that port requires HTTPS: check the port, and the URLs that the registry returns"
    if "authorization token has expired" in text:
        return f"log in again: the token of {info.origin or 'the login'} has expired"
    if complaint.html and status in {200, 401, 403, 404}:
        return (
            "it answers with a web page: check host and port in the rule, and any proxy or firewall before it"
        )
    if status in _REFUSED:
        return _access(info, refusal)
    if status == HTTPStatus.NOT_FOUND and info.kind in _CREATED_BY_PUSH:
        return f"create {_place_to_create(info.repository.registry)} first: a push does not create it"
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE and info.media_type:
        return _type(info.media_type)
    return _BY_STATUS.get(status, "")


def _type(media_type: str) -> str:
    """Which manifests the registry accepts; copies are exact, so only the source can change the type."""
    if media_type.startswith(_DOCKER):
        return (
            "the registry accepts only OCI media types, and this is docker's: push it to the source in OCI"
            " format (skopeo copy --format oci), or allow docker's types at the destination"
        )
    return f"the registry does not accept manifests of the type {media_type}"


_BY_STATUS = {
    407: "the proxy requires a login: https_proxy=http://NAME:PASSWORD@HOST:PORT",
    413: "raise the body limit of the registry or of a proxy before it (nginx: client_max_body_size)",
}


def speaks_tls(refusal: Refusal) -> bool:
    """Whether a server says that its port requires TLS."""
    said = refusal.complaint.words.lower()
    return refusal.status == HTTPStatus.BAD_REQUEST and any(words in said for words in _TLS_PORT)


def _access(info: RequestInfo, refusal: Refusal) -> str:
    """There is no login, it is rejected, or it lacks the right."""
    if "rate limit" in refusal.complaint.words.lower():
        return ""  # GitHub asks for a pause
    if "quota" in refusal.complaint.words.lower():
        return "raise the quota there, or delete what is not needed"
    if info.kind != "token" and refusal.host:
        return ""  # storage, which gets no credentials: it refuses its own link
    registry, origin = info.repository.registry, info.origin
    missing = "" if info.kind == "token" else ", or the repository does not exist"
    else_missing = missing.replace(",", ";")
    if info.sent == "nothing":
        if origin in {"", "none"}:
            remedy = f"add them to the auth file, or docker login {registry}"
            return f"no credentials for {registry}: {remedy}{else_missing}"
        return f"{origin} has no username and password: add them there{else_missing}"
    if info.sent == "unasked":
        return (
            f"the login ({origin}) was not sent because the registry did not ask for it{missing}:"
            " check the name, and whether a proxy or firewall answered"
        )
    if info.sent == "login" and refusal.status == HTTPStatus.UNAUTHORIZED:
        return f"{registry} rejects the username or password from {origin}: correct them, or log in again"
    aim = "read" if info.kind == "read" else "write"
    doing = "get no token" if info.kind == "token" else f"may not {aim} there"
    return f"the credentials ({origin}) {doing}{missing}"


def _pulls(info: RequestInfo, left: int, limit: int, window: int) -> str:
    """`0 of 100 pulls in 6h are left`, and how to get more; empty: not stated."""
    if left < 0:
        return ""
    most = f" of {limit}" if limit >= 0 else ""
    within = f" in {window / _HOUR:.3g}h" if window > 0 else ""
    more = f"; docker login {info.repository.registry} raises the limit" if info.sent == "nothing" else ""
    return f"{left}{most} pulls{within} are left{more}"


def _skew(refusal: Refusal) -> str:
    """Which clock is wrong, by the Date of the answer: the registry signs URLs, not we."""
    theirs = parse_date(refusal.headers.get("Date", ""))
    ahead = (datetime.now(UTC) - theirs).total_seconds() if theirs else 0.0
    if abs(ahead) > _SKEW:
        way = "ahead" if ahead > 0 else "behind"
        return f"set the clock of this machine: it is {abs(ahead) / 60:.0f} minutes {way}"
    return "the clocks of the registry and its storage differ: its operator must set them"


def _place_to_create(registry: str) -> str:
    if ".dkr.ecr" in registry or ".dkr-ecr" in registry:
        return "the ECR repository (aws ecr create-repository)"
    if registry.endswith("-docker.pkg.dev"):
        return "the Artifact Registry repository (second part of the path)"
    return "the repository, or its project or namespace,"
