"""Faults from answers and from exceptions of requests, urllib3, http.client, ssl and socket.

error_policy.py decides what an answer means, hints.py what to do; this module has the words.
"""

from __future__ import annotations

import errno
import http.client
import random
import socket
import ssl
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import urllib3.exceptions

from pipeline.errors import LackingError, OperationError, RegistryError, ThrottledError
from pipeline.http.deadlines import OverdueError
from pipeline.http.dialing import HandshakeError
from pipeline.model.faults import fault_at
from pipeline.registry.error_policy import decide
from pipeline.registry.hints import hint_for
from pipeline.registry.responses import clean, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.errors import Fault
    from pipeline.registry.error_policy import Refusal
    from pipeline.registry.request_info import RequestInfo

STACK_ERRORS = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
"""What the HTTP stack raises; errors of sockets, ssl and requests are OSErrors."""

_NO_TLS = 'if it uses plain HTTP, set "insecure": true for this registry in the auth file'
_NO_ANSWER_OF_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL"})
"""OpenSSL's reasons for an answer that is not TLS, usually plain HTTP."""
_ELSEWHERE = frozenset({"UNREACHABLE", "TIMEOUT", "CONNECTION_LOST"})
"""Codes of hosts that are down: the hint says which registry named them."""
_NEITHER = "check host and port: neither HTTPS nor plain HTTP works there"
_NO_PAUSE_GIVEN = 5.0
_MAX_PAUSE = 900.0
_OF_GATEWAYS = frozenset({407, 413, 415, 429})
"""Statuses of a proxy before the registry, whose web page does not change their meaning; so do 5xx."""
_REQUEST_IDS = (
    "X-Request-Id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-ms-correlation-request-id",
    "x-github-request-id",
    "cf-ray",
)
"""Request IDs, which a registry's support asks for: of most, ECR, S3, ACR, GHCR, Cloudflare."""


def fault_for(
    info: RequestInfo, *, words: str, code: str, retryable: bool = False, hint: str = "", host: str = ""
) -> Fault:
    """A fault without an answer; `host`: the one that was asked, if it is not the registry."""
    return fault_at(
        info.repository,
        info.side,
        operation=info.operation,
        host=host,
        words=clean(f"{host}: {words}" if host else words),
        code=code,
        retryable=retryable,
        hint=hint,
    )


def error_for(info: RequestInfo, refusal: Refusal) -> OperationError:
    """The error for an unsuccessful answer."""
    complaint, status, verdict = refusal.complaint, refusal.status, decide(info.kind, refusal)
    page = complaint.html and status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _OF_GATEWAYS
    fault = fault_at(
        info.repository,
        info.side,
        operation=info.operation,
        host=refusal.host,
        status=status,
        code=complaint.code or ("NOT_A_REGISTRY" if page else ""),
        words=_words(refusal),
        retryable=verdict in {"later", "lacking", "again"},
        hint=hint_for(info, refusal),
    )
    if verdict == "later":
        if info.kind == "token":
            fault = replace(fault, host="")  # every request to the registry needs a token, so all wait
        asked = parse_retry_after(
            refusal.headers.get("Retry-After", ""), date=refusal.headers.get("Date", "")
        )
        return ThrottledError(fault, delay=_pause(refusal, asked), asked=max(0.0, asked or 0.0))
    if verdict == "lacking":
        return LackingError(fault)
    error = RegistryError(fault)
    error.expired = verdict == "renew"
    error.unasked = info.sent == "unasked" and not refusal.host
    error.rejected = info.sent == "login" and status == HTTPStatus.UNAUTHORIZED
    return error


def misread(info: RequestInfo, refusal: Refusal, *, words: str) -> OperationError:
    """The error for an answer with a success status and a wrong body; `words`: what it is not."""
    error, complaint = error_for(info, refusal), refusal.complaint
    if not complaint.html:
        legible = complaint.words and "\ufffd" not in complaint.words
        said = complaint.words if legible else refusal.headers.get("Content-Type") or "no Content-Type"
        error.fault = replace(
            error.fault,
            code=complaint.code or "NOT_A_REGISTRY",
            words=clean(f"{words}: {said}"),
            hint=error.fault.hint or "check for a proxy or a login page in between",
        )
    return error


def _pause(refusal: Refusal, asked: float | None) -> float:
    """Seconds, 1 to 900, with jitter upwards so that not all clients return at once."""
    if asked is None:
        # Docker Hub counts its pull limit over hours: a few seconds do not help.
        asked = _MAX_PAUSE if "pull rate limit" in refusal.complaint.words.lower() else _NO_PAUSE_GIVEN
    jittered = max(1.0, asked) * random.uniform(1.0, 1.25)  # noqa: S311 - no secret depends on it
    return min(_MAX_PAUSE, jittered)


def _words(refusal: Refusal) -> str:
    phrases = (each.phrase for each in HTTPStatus if each == refusal.status)
    said = refusal.complaint.words or next(phrases, "no explanation")
    identity = next((refusal.headers[name] for name in _REQUEST_IDS if refusal.headers.get(name)), "")
    host = f"{refusal.host}: " if refusal.host else ""
    return clean(f"{host}{said}" + (f" (request {identity})" if identity else ""))


def fault_of(info: RequestInfo, error: BaseException, *, host: str = "", insecure: bool = False) -> Fault:
    """The fault for an exception of the HTTP stack.

    Args:
        info: of the request.
        error: the exception.
        host: the one that was asked, if it is not the registry.
        insecure: whether plain HTTP is allowed, and was tried too.
    """
    chain = tuple(_chain(error))
    code, words, retryable, hint = _diagnose(chain)
    if host and code in _ELSEWHERE:
        what = "as its token server" if info.kind == "token" else "for this request"
        hint = f"{info.repository.registry} names {host} {what}: make it reachable from here"
    elif hint == _NO_TLS and insecure:
        hint = _NEITHER
    return fault_for(info, words=words, code=code, retryable=retryable, hint=hint, host=host)


def shows_no_tls(error: BaseException) -> bool:
    """Whether the peer answered the TLS handshake with something else; no answer does not count."""
    return any(isinstance(each, ssl.SSLError) and each.reason in _NO_ANSWER_OF_TLS for each in _chain(error))


def is_stale(error: BaseException) -> bool:
    """Whether the server closed the connection before the request: repeat it at once."""
    chain = tuple(_chain(error))
    if any(isinstance(cause, OverdueError | HandshakeError) for cause in chain):
        return False  # we closed it, or it was new
    return any(
        isinstance(cause, ConnectionResetError | BrokenPipeError) and not isinstance(cause, ssl.SSLError)
        for cause in chain
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it wraps, in any way that requests and urllib3 do."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        waiting.extend(part for part in inner if isinstance(part, BaseException))


def _diagnose(chain: tuple[BaseException, ...]) -> tuple[str, str, bool, str]:
    """Code, words, whether to retry, and a hint."""
    for cause in chain:
        if isinstance(cause, OverdueError):
            return "TIMEOUT", str(cause), True, ""
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = (
                "trust its CA with ca in the auth file, SSL_CERT_FILE or certs.d,"
                " or set insecure: true for this registry"
            )
            return "CERTIFICATE", f"certificate refused: {_text(cause, 'verify_message')}", False, hint
        if isinstance(cause, HandshakeError):
            silent = isinstance(cause.__cause__, TimeoutError)
            return "TIMEOUT" if silent else "CONNECTION_LOST", str(cause), True, _NO_TLS
        if isinstance(cause, urllib3.exceptions.ProxyError):
            words = next(
                (str(inner) for inner in chain if type(inner) is OSError), "the proxy is unreachable"
            )
            return (
                "UNREACHABLE",
                words,
                "407" not in words,
                "check HTTPS_PROXY and NO_PROXY, or proxy in the auth file",
            )
        if isinstance(cause, socket.gaierror):
            return "UNREACHABLE", f"unknown host: {cause.strerror}", True, "check the name and the DNS"
        if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return "CONNECTION_LOST", "the server closed the connection", True, ""
        if isinstance(cause, ssl.SSLError):
            return "CERTIFICATE", f"TLS failed: {_text(cause, 'reason')}", False, _NO_TLS
    return _diagnose_plain(chain)


def _text(error: ssl.SSLError, name: str) -> str:
    """An attribute that only OpenSSL's own errors have."""
    return str(getattr(error, name, None) or error)


def _diagnose_plain(chain: tuple[BaseException, ...]) -> tuple[str, str, bool, str]:
    for cause in chain:
        if isinstance(cause, urllib3.exceptions.ConnectTimeoutError) and not isinstance(
            cause, urllib3.exceptions.NewConnectionError
        ):
            return "UNREACHABLE", "no connection within the time allowed", True, ""
        if isinstance(cause, urllib3.exceptions.ReadTimeoutError | TimeoutError):
            return "TIMEOUT", "no answer within the time allowed", True, ""
        if isinstance(cause, http.client.IncompleteRead):
            return "CONNECTION_LOST", "the response ended early", True, ""
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, ConnectionError):
            return "CONNECTION_LOST", f"invalid HTTP response: {cause}", True, ""
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return "OPEN_FILES", f"{cause.strerror} on this machine", True, "raise ulimit -n or lower --proc"
        if isinstance(cause, OSError) and cause.errno is not None:
            lost = isinstance(cause, ConnectionResetError | BrokenPipeError | ConnectionAbortedError)
            return (
                "CONNECTION_LOST" if lost else "UNREACHABLE",
                cause.strerror or "connection failed",
                True,
                "",
            )
    return "CONNECTION_LOST", "the server closed the connection", True, ""
