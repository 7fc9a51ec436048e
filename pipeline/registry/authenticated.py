"""Requests with authorization and retries.

A 401 to a token that was just fetched for the same scopes is final: Docker Hub answers so for a repository
that does not exist. Any other 401 tells how to authorize, and the request is repeated at once.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import LoginError, OperationError, RegistryError
from pipeline.log import mask
from pipeline.registry.faults import fault_for
from pipeline.registry.request import Body, Request
from pipeline.registry.request_info import RequestInfo
from pipeline.registry.responses import is_html, is_page
from pipeline.registry.retries import persist
from pipeline.registry.session import RegistrySession, finish
from pipeline.registry.tokens import basic, scopes_for, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault, Side
    from pipeline.http.transport import Answer
    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.registry.auth import Auth, Lesson
    from pipeline.registry.error_policy import RequestKind
    from pipeline.registry.request_info import Sent
    from pipeline.registry.tokens import Scopes
    from pipeline.settings import Settings

T = TypeVar("T")

_MAX_ROUNDS = 4
_MAX_SCOPES = 5
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_HIDING = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_NOTHING: frozenset[int] = frozenset()


class AuthenticatedClient:
    """One registry as one side of a copy; thread-safe.

    Args:
        session: of the registry.
        auth: of the registry.
        settings: of the run.
        find: returns the credential for a repository.
        forget: is called with an expired credential before `find` is called again.
        side: in faults.
        push: whether to ask for the right to write in every token, so that one token serves HEAD and PUT.
    """

    def __init__(
        self,
        session: RegistrySession,
        auth: Auth,
        settings: Settings,
        *,
        find: Callable[[Repository], Credential],
        forget: Callable[[Credential], None],
        side: Side,
        push: bool,
    ) -> None:
        """See the class."""
        self.session, self.settings = session, settings
        self._auth, self._find, self._forget = auth, find, forget
        self._side: Side = side
        self._push = push

    def info(self, operation: str, kind: RequestKind, repository: Repository) -> RequestInfo:
        """What a request is for."""
        return RequestInfo(operation=operation, kind=kind, repository=repository, side=self._side)

    def persist(self, attempt: Callable[[], T]) -> T:
        """Try `attempt` as often as an operation may be tried."""
        return persist(self.settings.retry, attempt)

    def ask(
        self, call: Request, *, mount: str = "", also: frozenset[int] = _NOTHING, once: bool = False
    ) -> Answer:
        """Send a request: the answer, with its body unread.

        Args:
            call: the request.
            mount: path of a repository to be read as well.
            also: statuses besides 2xx that are not errors, unless they ask for a pause.
            once: do not retry.

        Raises:
            RegistryError: any other answer, or none.
        """
        if once:
            return self._try(call, mount=mount, also=also)
        return self.persist(lambda: self._try(call, mount=mount, also=also))

    def locate(self, call: Request, response: Answer) -> str:
        """The absolute URL in the Location of `response`; empty if there is none.

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
                error.fault = replace(error.fault, retryable=True)  # the caller reads the body again
                raise
        return self._try_as(renewed, call, mount=mount, also=also)

    def _try_as(self, credential: Credential, call: Request, *, mount: str, also: frozenset[int]) -> Answer:
        self._auth.name_origin(credential)
        if call.insecure != credential.insecure:
            call = replace(call, insecure=credential.insecure)
        own = scopes_for(call.info.repository, push=self._push, mount=mount)
        scopes = (call.scope,) if call.scope else own
        header = b""
        try:
            response, header = self._authorized(call, credential, scopes)
            if warning := response.headers.get("Warning"):
                self._auth.pass_on(mask(warning, *_secrets(credential, header)))
            wanted = response.status_code in also and "Retry-After" not in response.headers
            page = _page(call, response)
            if (wanted or response.status_code < HTTPStatus.MULTIPLE_CHOICES) and not page:
                if header and not wanted:
                    self._auth.accept(credential)
                return response
            sent: Sent = "nothing" if credential.anonymous else "login" if header else "unasked"
            if sent == "login" and not self._auth.is_doubtful(credential, header):
                sent = "token"
            info = replace(call.info, origin=credential.origin, sent=sent)
            raise self.session.error(info, response, page or None)
        except OperationError as error:
            error.fault = replace(error.fault, words=mask(error.fault.words, *_secrets(credential, header)))
            raise

    def misread(self, call: Request, response: Answer, body: bytes, *, words: str) -> OperationError:
        """The error for an unexpected answer; see RegistrySession.misread."""
        error = self.session.misread(call.info, response, body, words=words)
        hidden = mask(error.fault.words, *_secrets(self._credential(call), b""), *self._auth.tokens)
        error.fault = replace(error.fault, words=hidden)
        return error

    def _tell(self, credential: Credential, error: RegistryError) -> None:
        if error.rejected:
            self._auth.tell_rejected(credential, error.fault)

    def _credential(self, call: Request) -> Credential:
        """The credential; a failing helper program is a fault of this operation."""
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
        """Send with authorization, and repeat as long as a refusal shows how to authorize.

        Returns:
            The last answer, and the Authorization header of its request.
        """
        try:
            header, fresh = self._header(call, credential, scopes)
        except RegistryError as error:
            if not _is_of_dead_host(error.fault) or isinstance(call.body, Body):
                raise
            header, fresh = b"", True  # this repository may have another token server
        for left in reversed(range(_MAX_ROUNDS)):
            if header != call.authorization:
                call = replace(call, authorization=header)
            response = self.session.send(call)
            lesson = self._lesson(call, credential, response)
            if lesson is None:
                break
            wider = tuple(scope for scope in lesson.scopes if not within(scope, scopes))
            # If there was no header, another thread may have learned the challenge meanwhile.
            new = wider or lesson.changed or not fresh or not header
            if isinstance(call.body, Body) or not new or not left or len(scopes + wider) > _MAX_SCOPES:
                break
            scopes += wider
            try:
                header, fresh = self._header(call, credential, scopes)
            except OperationError:
                response.close()
                raise
            if header == call.authorization:
                break
            finish(response)
        return response, call.authorization

    def _header(self, call: Request, credential: Credential, scopes: Scopes) -> tuple[bytes, bool]:
        """The Authorization header, only for the own origin; whether it is freshly fetched, not cached."""
        if not (call.url.startswith("/") or self.session.is_own(call.url, insecure=call.insecure)):
            return b"", True
        body = isinstance(call.body, Body)
        return self._auth.header(call.info, credential, scopes, body=body)

    def _lesson(self, call: Request, credential: Credential, response: Answer) -> Lesson | None:
        """What an answer reveals about authorization, if anything.

        Some registries answer 403 or 404 to anonymous requests and have a challenge only at /v2/, so with a
        login that was never requested, /v2/ is requested once.
        """
        try:
            if self._is_challenge(call, response):
                return self._auth.learn(call, response)
            silent = not (call.authorization or credential.anonymous or isinstance(call.body, Body))
            hiding = silent and response.status_code in _HIDING
            if hiding and self.session.is_own(response.url, insecure=call.insecure):
                return self._auth.introduce(call)
        except OperationError:
            response.close()
            raise
        return None

    def _is_challenge(self, call: Request, response: Answer) -> bool:
        """Whether the registry itself, not the target of a redirect, asks for authorization."""
        if response.status_code not in _REFUSED:
            return False
        wider = "insufficient_scope" in response.headers.get("WWW-Authenticate", "")
        told = wider or response.status_code == HTTPStatus.UNAUTHORIZED
        return told and self.session.is_own(response.url, insecure=call.insecure)


def _is_of_dead_host(fault: Fault) -> bool:
    return bool(fault.host) and fault.status is None


def _page(call: Request, response: Answer) -> bytes:
    """A web page with status 200, such as a login page or captive portal; empty: it is not one.

    Answers to GET and HEAD are judged by the caller.
    """
    content_type = response.headers.get("Content-Type", "")
    if call.method in {"GET", "HEAD"} or response.status_code != HTTPStatus.OK or not is_html(content_type):
        return b""
    body = finish(response)
    return body if is_page(body, content_type) else b""


def _secrets(credential: Credential, header: bytes) -> tuple[str, ...]:
    """Secrets to mask in an answer, since some servers and debugging proxies repeat them."""
    sent = header.partition(b" ")[2].decode()
    pair = basic(credential).partition(b" ")[2].decode()
    return sent, pair, credential.password, credential.identity_token, credential.registry_token
