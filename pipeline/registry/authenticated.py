"""Requests with what opens the registry: authorization, what a 401 teaches, and the retry layer.

A 401 to a token that was just fetched for the very scopes is the answer (Docker Hub says so of what does not
exist); a 401 to anything else is a lesson, and the request is repeated at once.
"""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import LackingError, LoginError, RegistryError, ThrottledError
from pipeline.registry.faults import fault_for
from pipeline.registry.meter import current_meter
from pipeline.registry.request import Body, Request
from pipeline.registry.responses import is_html, is_page
from pipeline.registry.session import RegistrySession, finish
from pipeline.registry.tokens import basic, scopes_for, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault
    from pipeline.http.transport import Answer
    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.registry.auth import Auth, Lesson
    from pipeline.registry.request_info import Sent
    from pipeline.registry.tokens import Scopes
    from pipeline.settings import Retry, Settings

T = TypeVar("T")

_MAX_ROUNDS = 4
_MAX_SCOPES = 5
_REDIRECTING = 300
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_HIDING = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_SHORTEST_SECRET = 4
"""Characters: a shorter one hides nothing, and would be found in every word."""
_NOTHING: frozenset[int] = frozenset()


class AuthenticatedClient:
    """One registry as one side of a copy uses it; thread-safe.

    Args:
        push: whether requests ask for the right to write too, so that one token serves HEAD and PUT.
        find: the credential for a repository.
        forget: is told of a credential that has run out, before `find` is asked for another.
    """

    def __init__(
        self,
        session: RegistrySession,
        auth: Auth,
        settings: Settings,
        *,
        find: Callable[[Repository], Credential],
        forget: Callable[[Credential], None],
        push: bool,
    ) -> None:
        """See the class."""
        self.session, self.settings, self.push = session, settings, push
        self._auth, self._find, self._forget = auth, find, forget

    def persist(self, attempt: Callable[[], T]) -> T:
        """Try `attempt` as often as one operation may be tried."""
        return _persist(self.settings.retry, attempt)

    def ask(
        self, call: Request, *, mount: str = "", also: frozenset[int] = _NOTHING, once: bool = False
    ) -> Answer:
        """The answer to `call`; its body is not read yet.

        `mount` is the path of a repository that is to be read as well, `also` the statuses beside 2xx that
        the caller wants to see (one that asks for a pause is an error still), `once` forbids a second try.

        Raises:
            RegistryError: any other answer, or none.
        """
        if once:
            return self._try(call, mount=mount, also=also)
        return self.persist(lambda: self._try(call, mount=mount, also=also))

    def locate(self, call: Request, response: Answer) -> str:
        """The absolute URL in the Location of `response`; empty: it has none.

        Raises:
            RegistryError: the URL is refused.
        """
        location = response.headers.get("Location", "")
        if not location:
            return ""
        insecure = self._credential(call).insecure
        return self.session.resolve(call, response.url, location, insecure=insecure)

    def _try(self, call: Request, *, mount: str = "", also: frozenset[int] = _NOTHING) -> Answer:
        credential = self._credential(call)
        try:
            return self._try_as(credential, call, mount=mount, also=also)
        except RegistryError as error:
            if not error.expired:
                self._tell(credential, error)
                raise
            self._forget(credential)
            renewed = self._credential(call)
            if renewed == credential:
                self._tell(credential, error)
                raise
            if isinstance(call.body, Body):
                error.fault = replace(error.fault, retryable=True)  # with a body that is read anew
                raise
        return self._try_as(renewed, call, mount=mount, also=also)

    def _try_as(self, credential: Credential, call: Request, *, mount: str, also: frozenset[int]) -> Answer:
        self._auth.name_origin(credential)
        if call.insecure != credential.insecure:
            call = replace(call, insecure=credential.insecure)
        scopes = scopes_for(call.info.repository, push=self.push, mount=mount)
        header = b""
        try:
            response, header = self._authorized(call, credential, scopes)
            if warning := response.headers.get("Warning"):
                self._auth.pass_on(_hide(warning, credential, header))
            wanted = response.status_code in also and "Retry-After" not in response.headers
            page = _page(call, response)
            if (wanted or response.status_code < _REDIRECTING) and not page:
                if header and not wanted:
                    self._auth.accept(credential)
                return response
            sent: Sent = "nothing" if credential.anonymous else "login" if header else "unasked"
            if sent == "login" and not self._auth.is_doubtful(credential, header):
                sent = "token"
            info = replace(call.info, origin=credential.origin, sent=sent)
            raise self.session.error(info, response, page or None)
        except RegistryError as error:
            error.fault = replace(error.fault, words=_hide(error.fault.words, credential, header))
            raise

    def misread(self, call: Request, response: Answer, body: bytes, *, words: str) -> RegistryError:
        """The error that a good answer with another body than asked for is; see Session.misread."""
        error = self.session.misread(call.info, response, body, words=words)
        hidden = _hide(error.fault.words, self._credential(call), b"", *self._auth.tokens)
        error.fault = replace(error.fault, words=hidden)
        return error

    def _tell(self, credential: Credential, error: RegistryError) -> None:
        if error.rejected:
            self._auth.tell_rejected(credential, error.fault, push=self.push)

    def _credential(self, call: Request) -> Credential:
        """Who we are there; a helper program that fails is a fault of this operation."""
        try:
            return self._find(call.info.repository)
        except LoginError as error:
            raise RegistryError(
                fault_for(
                    call.info,
                    words=error.message,
                    code="CREDENTIALS",
                    retryable=error.transient,
                    hint=error.hint,
                )
            ) from None

    def _authorized(self, call: Request, credential: Credential, scopes: Scopes) -> tuple[Answer, bytes]:
        """Send with authorization, learn from a refusal, and repeat while there is something new to say.

        Returns:
            The answer, and the Authorization header that it answers.
        """
        try:
            header, fresh = self._header(call, credential, scopes)
        except RegistryError as error:
            if not _is_of_dead_host(error.fault) or isinstance(call.body, Body):
                raise
            header, fresh = b"", True  # the challenge may be that of another repository
        for left in reversed(range(_MAX_ROUNDS)):
            if header != call.authorization:
                call = replace(call, authorization=header)
            response = self.session.send(call)
            lesson = self._lesson(call, credential, response)
            if lesson is None:
                break
            wider = tuple(scope for scope in lesson.scopes if not within(scope, scopes))
            # Without a header, another thread may have learned what this request did not know yet.
            new = wider or lesson.changed or not fresh or not header
            if isinstance(call.body, Body) or not new or not left or len(scopes + wider) > _MAX_SCOPES:
                break
            scopes += wider
            try:
                header, fresh = self._header(call, credential, scopes)
            except RegistryError:
                response.close()
                raise
            if header == call.authorization:
                break
            finish(response)
        return response, call.authorization

    def _header(self, call: Request, credential: Credential, scopes: Scopes) -> tuple[bytes, bool]:
        """What opens the registry, only for its own origin; and whether it is the best there is."""
        if not (call.url.startswith("/") or self.session.is_own(call.url, insecure=call.insecure)):
            return b"", True
        body = isinstance(call.body, Body)
        return self._auth.header(call.info, credential, scopes, body=body)

    def _lesson(self, call: Request, credential: Credential, response: Answer) -> Lesson | None:
        """What an answer teaches of who may come in; None: nothing.

        403 and 404 teach something where there is a login that was never asked for: some registries hide what
        needs one, and say at /v2/ alone that they take one.
        """
        try:
            if self._is_challenge(call, response):
                return self._auth.learn(call, response)
            silent = not (call.authorization or credential.anonymous or isinstance(call.body, Body))
            own = self.session.is_own(response.url, insecure=call.insecure)
            if silent and own and response.status_code in _HIDING:
                return self._auth.introduce(call)
        except RegistryError:
            response.close()
            raise
        return None

    def _is_challenge(self, call: Request, response: Answer) -> bool:
        """Whether the registry itself, not a host that it sent us to, wants to know who we are."""
        if response.status_code not in _REFUSED:
            return False
        wider = "insufficient_scope" in response.headers.get("WWW-Authenticate", "")
        told = wider or response.status_code == HTTPStatus.UNAUTHORIZED
        return told and self.session.is_own(response.url, insecure=call.insecure)


def _is_of_dead_host(fault: Fault) -> bool:
    return bool(fault.host) and fault.status is None


def _page(call: Request, response: Answer) -> bytes:
    """The web page that came as if all were well: a login page, a captive portal; empty: none did.

    What GET brings, and that HEAD has no body, is judged by whoever asked.
    """
    content_type = response.headers.get("Content-Type", "")
    if call.method in {"GET", "HEAD"} or response.status_code != HTTPStatus.OK or not is_html(content_type):
        return b""
    body = finish(response)
    return body if is_page(body, content_type) else b""


def _hide(words: str, credential: Credential, header: bytes, *tokens: str) -> str:
    """The words without what we said ourselves: some servers, and all debugging proxies, repeat it."""
    sent = header.partition(b" ")[2].decode()
    pair = basic(credential).partition(b" ")[2].decode()
    said = (sent, pair, credential.password, credential.identity_token, credential.registry_token)
    for secret in (*said, *tokens):
        if len(secret) >= _SHORTEST_SECRET:
            words = words.replace(secret, "[hidden]")
    return words


def _persist(retry: Retry, attempt: Callable[[], T]) -> T:
    """The one retry layer of short requests: try `attempt` until it succeeds or cannot any more.

    Raises:
        ThrottledError, LackingError: at once: a pause and a remedy are the supervisor's to give.
        RegistryError: of the last try.
    """
    left = retry.waiting
    for tried in itertools.count(1):
        try:
            return attempt()
        except (ThrottledError, LackingError):
            raise
        except RegistryError as error:
            wait = random.uniform(0, retry.base * 2**tried)  # noqa: S311 - jitter is no secret
            if not error.fault.retryable or tried >= retry.tries or wait > left:
                raise
            words = f"{error.fault}; try {tried}, repeated after {wait:.1f}s"
            current_meter().repeat("request.retry", error.fault, words, attempt=tried, delay=round(wait, 3))
        left -= wait
        time.sleep(wait)
    raise AssertionError("count() does not end")
