"""Requests to one registry, with their redirects and faults.

Redirects are followed here, because credentials must stay at their origin and bodies cannot be sent twice.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline import __version__
from pipeline.errors import FileError, OperationError, RegistryError
from pipeline.http import tls
from pipeline.http.origins import RefusedURLError, origin_of, resolve
from pipeline.http.proxies import is_local
from pipeline.http.transport import Transport
from pipeline.model.cost import RequestRecord
from pipeline.model.reference import DOCKER_HUB
from pipeline.model.registry_settings import NO_SETTINGS
from pipeline.registry.error_policy import Refusal
from pipeline.registry.faults import (
    STACK_ERRORS,
    error_for,
    fault_for,
    fault_of,
    is_stale,
    misread,
    shows_no_tls,
)
from pipeline.registry.hints import speaks_tls
from pipeline.registry.meter import current_meter, what_of
from pipeline.registry.pacing import PACER
from pipeline.registry.request import Body, BodyError, Request
from pipeline.registry.responses import clean, parse_complaint, parse_pulls
from pipeline.settings import MIB

if TYPE_CHECKING:
    import ssl

    from pipeline.http.transport import Answer
    from pipeline.model.registry_settings import RegistrySettings
    from pipeline.registry.request_info import RequestInfo
    from pipeline.settings import Timeouts

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_HOPS = 5
_MAX_ERROR_BODY = 64 << 10
_MAX_BEGIN = 1 << 10
_USER_AGENT = f"image-syncer/{__version__}"
_HUB_HOST = "registry-1.docker.io"
"""docker.io itself redirects API requests to its web site."""
_DEFAULT_PORTS = {None, 80, 443}
_OTHERS_FIND_OUT = 1.0
"""Seconds to wait while another thread detects whether a registry supports HTTPS."""


class RegistrySession:
    """Requests of a process to one registry; thread-safe.

    Args:
        registry: its canonical name.
        timeouts: of requests.
        transport: the connections of this process; None: new ones.
        settings: what the user has set for the registry.
    """

    def __init__(
        self,
        registry: str,
        timeouts: Timeouts,
        transport: Transport | None = None,
        *,
        settings: RegistrySettings = NO_SETTINGS,
    ) -> None:
        """Start without a connection."""
        self.registry = registry
        self._host = _HUB_HOST if registry == DOCKER_HUB else registry
        self._timeouts, self.settings = timeouts, settings
        self._has_identity = tls.has_identity(registry, settings)
        PACER.restrict(registry, settings)
        self._schemes = {} if is_local(urlsplit(f"//{registry}").hostname or "") else {False: "https"}
        """By `insecure`, if known. On this machine plain HTTP is tried too, as docker does."""
        self._contexts: dict[tuple[bool, bool], ssl.SSLContext] = {}
        """By `insecure`, and whether it shows the client certificate if there is one."""
        self._lock = threading.Lock()
        self._first = threading.Lock()
        """Held while one thread detects the scheme."""
        self._transport = transport or Transport(dial=timeouts.connect)

    def base(self, *, insecure: bool) -> str:
        """Scheme (https until known) and host."""
        return f"{self._schemes.get(insecure, 'https')}://{self._host}"

    def is_own(self, url: str, *, insecure: bool) -> bool:
        """Whether `url` has the registry's origin, which may get its credentials."""
        base = self.base(insecure=insecure)
        return url.startswith(f"{base}/") or origin_of(url) == origin_of(base)

    def send(self, call: Request) -> Answer:
        """Send `call` and follow redirects: the answer with any status, its body unread.

        Raises:
            RegistryError: no answer, or a refused redirect.
            Exception: of a streamed body's iterable, unchanged.
        """
        if not call.url.startswith("/"):
            return self._follow(call, self._transmit(call, call.url))
        if call.insecure not in self._schemes:
            mine = self._first.acquire(timeout=_OTHERS_FIND_OUT)
            try:
                if call.insecure not in self._schemes:
                    return self._find_scheme(call)
            finally:
                if mine:
                    self._first.release()
        return self._follow(call, self._transmit(call, self.base(insecure=call.insecure) + call.url))

    def _find_scheme(self, call: Request) -> Answer:
        """Send the first request by HTTPS, then by HTTP; the scheme that is answered is used from then on.

        Without `insecure`, HTTP is tried only if the answer is not TLS, never after a certificate error.
        """
        try:
            response = self._transmit(call, f"https://{self._host}{call.url}")
        except RegistryError as error:
            first = error
        else:
            self._schemes[call.insecure] = "https"
            return self._follow(call, response)
        # Outside of the except block: `first` must not become the context of later errors.
        if not (call.insecure or first.plain):
            raise first
        current_meter().unask(self.registry)
        try:
            response = self._transmit(call, f"http://{self._host}{call.url}")
        except RegistryError as second:
            raise (second if first.plain else first) from None
        if response.status_code == HTTPStatus.BAD_REQUEST and self._is_tls_port(call):
            finish(response)
            raise first from None
        self._schemes[call.insecure] = "http"
        return self._follow(call, response)

    def _is_tls_port(self, call: Request) -> bool:
        """Whether the port requires TLS: found by GET, since an answer to HEAD has no body."""
        try:
            asking = replace(call, method="GET", headers={}, body=b"")
            response = self._transmit(asking, f"http://{self._host}/v2/")
        except RegistryError:
            return False
        return speaks_tls(self._refusal(response))

    def resolve(
        self, call: Request, url: str, location: str, *, insecure: bool, redirect: bool = False
    ) -> str:
        """The absolute URL of `location` in the answer to `call` from `url`; see origins.resolve.

        Raises:
            RegistryError: the URL is refused.
        """
        try:
            return resolve(url, location, insecure=insecure, redirect=redirect)
        except RefusedURLError as error:
            raise self._refuse_url(call, str(error)) from None

    def _refuse_url(self, call: Request, words: str) -> RegistryError:
        return RegistryError(fault_for(call.info, words=words, code="NOT_A_REGISTRY"))

    def _follow(self, call: Request, response: Answer) -> Answer:
        """The answer after all redirects, beginning with `response`."""
        if not call.follow or isinstance(call.body, Body):
            return response
        for _ in range(_MAX_HOPS):
            location = response.headers.get("Location", "")
            if response.status_code not in REDIRECTS or not location:
                return response
            try:
                url = self.resolve(call, response.url, location, insecure=call.insecure, redirect=True)
            except RegistryError:
                if call.stay:
                    return response
                response.close()
                raise
            leaves = origin_of(url) != origin_of(response.url)
            if leaves and call.stay:
                return response
            finish(response)
            call = call.redirected(response.status_code, leaves=leaves)
            response = self._transmit(call, url)
        response.close()
        raise self._refuse_url(call, f"more than {_MAX_HOPS} redirects")

    def _transmit(self, call: Request, url: str, *, again: bool = True) -> Answer:
        meter, began = current_meter(), time.monotonic()
        meter.requests[self.registry] += 1
        if PACER.is_active and not self.foreign_host(url):
            PACER.request(self.registry)
        try:
            response = self._transport.send(
                call.method,
                url,
                context=self._context(call, url),
                headers=_headers(call),
                body=call.body,
                timeout=(self._timeouts.send, call.patience or self._timeouts.read),
                fresh=call.fresh,
                proxy=self.settings.proxy,
            )
        except BodyError as error:
            raise error.what from None
        except STACK_ERRORS as error:
            if again and is_stale(error) and not isinstance(call.body, Body):
                return self._transmit(replace(call, fresh=True), url, again=False)
            host = self.foreign_host(url)
            fault = fault_of(call.info, error, host=host, insecure=call.insecure)
            self._note(call, url, began, code=fault.code)
            lost = RegistryError(fault)
            lost.plain = shows_no_tls(error)
            raise lost from None
        self._note(call, url, began, answer=response)
        meter.waited[self.registry] += response.waited
        if self.settings.reserve is not None and (left := parse_pulls(response.headers)[0]) >= 0:
            meter.pulls_left[self.registry] = left
        if isinstance(call.body, bytes):
            meter.written += len(call.body)
        if response.status_code < HTTPStatus.OK:
            response.close()
            words = f"status {response.status_code} instead of a final answer"
            host = self.foreign_host(url)
            fault = fault_for(call.info, words=words, code="CONNECTION_LOST", retryable=True, host=host)
            raise RegistryError(fault)
        return response

    def _note(
        self, call: Request, url: str, began: float, *, answer: Answer | None = None, code: str = ""
    ) -> None:
        """Note one request if wanted."""
        meter = current_meter()
        if meter.timed or meter.debug:
            left, limit, window = parse_pulls(answer.headers) if answer else (-1, -1, -1)
            asked = RequestRecord(
                registry=self.registry,
                method=call.method,
                status=answer.status_code if answer else 0,
                seconds=time.monotonic() - began,
                pulls_left=left,
                what=what_of(url),
                pulls_limit=limit,
                pulls_window=window,
            )
            meter.note(asked, url=url, code=code)

    def foreign_host(self, url: str) -> str:
        """The host of `url`, with its port unless it is a default; empty: the registry's."""
        if url.partition("://")[2].startswith(f"{self._host}/"):
            return ""
        theirs, ours = urlsplit(url), urlsplit(f"//{self._host}")
        ports = {None if port in _DEFAULT_PORTS else port for port in (theirs.port, ours.port)}
        if theirs.hostname == ours.hostname and len(ports) == 1:
            return ""
        return (theirs.hostname if theirs.port in _DEFAULT_PORTS else theirs.netloc.lower()) or ""

    def _context(self, call: Request, url: str) -> ssl.SSLContext:
        own = not self._has_identity or self.is_own(url, insecure=call.insecure)
        with self._lock:
            context = self._contexts.get((call.insecure, own))
            if context is None:
                try:
                    context = tls.make_context(
                        self.registry, insecure=call.insecure, settings=self.settings, own=own
                    )
                except FileError as error:
                    raise RegistryError(fault_for(call.info, words=str(error), code="CERTIFICATE")) from None
                self._contexts[call.insecure, own] = context
        return context

    def error(self, info: RequestInfo, response: Answer, body: bytes | None = None) -> OperationError:
        """The error for an unsuccessful answer; `body`: None: it is read now, and the answer closed."""
        return error_for(info, self._refusal(response, body))

    def misread(self, info: RequestInfo, response: Answer, body: bytes, *, words: str) -> OperationError:
        """The error for an answer with a success status and a wrong body; `words`: what it is not."""
        return misread(info, self._refusal(response, body[:_MAX_ERROR_BODY]), words=words)

    def _refusal(self, response: Answer, body: bytes | None = None) -> Refusal:
        said = finish(response) if body is None else body
        complaint = parse_complaint(said, content_type=response.headers.get("Content-Type", ""))
        if body is None and not said:
            complaint = replace(complaint, words=clean(response.reason))  # an answer to HEAD has no body
        return Refusal(
            status=response.status_code,
            complaint=complaint,
            headers=response.headers,
            host=self.foreign_host(response.url),
        )

    def read_begin(self, info: RequestInfo, response: Answer) -> bytes:
        """The first bytes of a body, to reuse the connection if they are all.

        Raises:
            RegistryError: they cannot be read.
        """
        try:
            begin = response.read(_MAX_BEGIN)
        except STACK_ERRORS as error:
            raise RegistryError(fault_of(info, error, host=self.foreign_host(response.url))) from None
        finally:
            response.close()
        current_meter().read += len(begin)
        return begin

    def read(self, info: RequestInfo, response: Answer, *, limit: int) -> bytes:
        """The whole body, undecoded.

        Raises:
            RegistryError: it broke off, or has more than `limit` bytes (TOO_LARGE).
        """
        pieces: list[bytes] = []
        left = limit + 1
        try:
            while left > 0 and (piece := response.read(min(left, MIB))):
                pieces.append(piece)
                left -= len(piece)
        except STACK_ERRORS as error:
            raise RegistryError(fault_of(info, error, host=self.foreign_host(response.url))) from None
        finally:
            current_meter().read += sum(map(len, pieces))
            response.close()
        if left <= 0:
            words = f"the answer has more than {limit} bytes"
            raise RegistryError(fault_for(info, words=words, code="TOO_LARGE"))
        return b"".join(pieces)


def _headers(call: Request) -> dict[str, str | bytes]:
    headers: dict[str, str | bytes] = {
        "User-Agent": _USER_AGENT,
        "Accept-Encoding": "identity",
        **call.headers,
    }
    if call.authorization:
        headers["Authorization"] = call.authorization
    return headers


def finish(response: Answer) -> bytes:
    """Read up to 64 KiB of the body and close the answer, to reuse the connection if that was all."""
    body = b""
    # distribution 2.8 states the blob's length in a 416 without a body: reading would wait for it.
    if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        with suppress(*STACK_ERRORS):
            body = response.read(_MAX_ERROR_BODY)
    response.close()
    current_meter().read += len(body)
    return body
