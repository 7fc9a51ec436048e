"""JSON interfaces of registries: requests with a vendor's own authorization, and checked answers.

They have no challenges: each vendor's documentation says what the Authorization header has to contain.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.dataclass import dataclass
from pipeline.errors import RegistryError
from pipeline.model.reference import Repository
from pipeline.registry.auth import Auth, Lesson
from pipeline.registry.faults import fault_for
from pipeline.registry.listing import next_query, read_list, unless_refused
from pipeline.registry.request import Request
from pipeline.registry.responses import parse_json, parse_size
from pipeline.registry.session import finish
from pipeline.registry.tokens import basic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.errors import OperationError
    from pipeline.http.transport import Answer
    from pipeline.model.credential import Credential
    from pipeline.registry.authenticated import AuthenticatedClient
    from pipeline.registry.request_info import RequestInfo
    from pipeline.registry.session import RegistrySession
    from pipeline.registry.tokens import Scopes

T = TypeVar("T")

_TOKEN_LASTS = 300.0
"""Seconds; Docker Hub's lasts ten minutes."""
_MAX_TOKEN = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAnswer:
    """A JSON answer with status 200."""

    document: Any
    next: str
    """The query of the link to the next page; empty if there is none."""
    headers: Mapping[str, str]
    _misread: Callable[[str], OperationError]

    def entries(self, name: str = "") -> list[dict[str, Any]]:
        """The list of objects with that name, or the document itself; `null` is an empty one.

        Raises:
            RegistryError: the answer is not a listing.
        """
        found = self.document
        if name:
            found = found.get(name, _MISSING) if isinstance(found, dict) else _MISSING
        return self._list_of(dict, found)

    def below(self, entry: Any, *names: str) -> list[dict[str, Any]]:
        """The list of objects that a path of names leads to; empty if it is null or missing."""
        return self._list_of(dict, self._at(entry, names))

    def texts(self, entry: Any, *names: str) -> list[str]:
        """The list of texts that a path of names leads to; empty if it is null or missing."""
        return self._list_of(str, self._at(entry, names))

    def _at(self, entry: Any, names: tuple[str, ...]) -> Any:
        for name in names:
            if entry is not None and not isinstance(entry, dict):
                raise self.misread("the answer is not a listing")
            entry = entry.get(name) if entry else None
        return entry

    def _list_of(self, kind: type[T], found: Any) -> list[T]:
        found = [] if found is None else found
        if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
            raise self.misread("the answer is not a listing")
        return found

    def misread(self, words: str) -> OperationError:
        """The error for an unexpected answer."""
        return self._misread(words)

    def count(self, *names: str) -> int:
        """A count of entries from a header or the document; -1: not stated."""
        stated = next((self.headers[name] for name in names if self.headers.get(name)), "")
        if not stated and isinstance(self.document, dict):
            stated = next((str(self.document[name]) for name in names if name in self.document), "")
        return parse_size(stated)

    def text(self, entry: Mapping[str, Any], *names: str) -> str:
        """The first of these fields that is a text; empty if none is."""
        return next((entry[name] for name in names if isinstance(entry.get(name), str)), "")


_MISSING = object()


class Api:
    """One interface of a registry.

    Args:
        client: of the host that serves it.
        registry: the registry that it describes.
        prefix: path in front of all its URLs.
    """

    def __init__(self, client: AuthenticatedClient, registry: str, *, prefix: str = "") -> None:
        """See the class."""
        self._client, self.registry, self._prefix = client, registry, prefix

    def get(
        self, path: str, *, place: str, operation: str, scope: str = "", missing: bool = False
    ) -> ApiAnswer | None:
        """GET a JSON document.

        Args:
            path: with its query.
            place: the namespace or repository.
            operation: a verb phrase.
            scope: the right that a token needs, if it is not to pull from `place`.
            missing: whether a 404 returns None.

        Raises:
            RegistryError: any other answer than a JSON document.
        """
        info = self._client.info(operation, "read", Repository(self.registry, place))
        call = Request(info=info, method="GET", url=self._prefix + path, scope=scope)
        also = frozenset({HTTPStatus.NOT_FOUND}) if missing else frozenset()

        def attempt() -> ApiAnswer | None:
            response = unless_refused(self._client, call, also)
            return None if response is None else self._read(call, response)

        return self._client.persist(attempt)

    def need(self, path: str, *, place: str, operation: str, scope: str = "") -> ApiAnswer:
        """As `get`, but a missing document is an error."""
        answer = self.get(path, place=place, operation=operation, scope=scope)
        assert answer is not None
        return answer

    def _read(self, call: Request, response: Answer) -> ApiAnswer:
        body = read_list(self._client, call, response)
        document = parse_json(body) if response.status_code == HTTPStatus.OK else None

        def misread(words: str) -> OperationError:
            return self._client.misread(call, response, body, words=words)

        if document is None:
            raise misread("the answer is not JSON")
        following = next_query(call.info, response)
        return ApiAnswer(document=document, next=following, headers=response.headers, _misread=misread)

    def create(self, path: str, document: Mapping[str, Any], *, place: str, operation: str) -> bool:
        """POST a JSON document that creates something; False if it already exists.

        Raises:
            RegistryError: it was not accepted.
        """
        info = self._client.info(operation, "begin", Repository(self.registry, place))
        call = Request(
            info=info,
            method="POST",
            url=self._prefix + path,
            headers={"Content-Type": "application/json"},
            body=json.dumps(document).encode(),
        )
        response = self._client.ask(call, also=frozenset({HTTPStatus.CONFLICT}))
        finish(response)
        return response.status_code != HTTPStatus.CONFLICT


class ApiAuth(Auth):
    """Authorization without challenges: `header_of` makes the header from a login."""

    def __init__(
        self, session: RegistrySession, header_of: Callable[[RequestInfo, Credential], bytes]
    ) -> None:
        """See the class."""
        super().__init__(session)
        self._header_of = header_of

    def header(
        self, info: RequestInfo, credential: Credential, scopes: Scopes, *, body: bool = False
    ) -> tuple[bytes, bool]:
        """See Auth."""
        del scopes, body
        return self._header_of(info, credential), True

    def learn(self, call: Request, response: Answer) -> Lesson:
        """Nothing can be learned from a refusal."""
        del call, response
        return Lesson()

    def introduce(self, call: Request) -> Lesson:
        """There is no place to request a challenge."""
        del call
        return Lesson()


def as_basic(_info: RequestInfo, credential: Credential) -> bytes:
    """Send username and password (Harbor)."""
    return basic(credential)


def as_bearer(info: RequestInfo, credential: Credential) -> bytes:
    """Send the password as a token (GitLab, GitHub)."""
    token = credential.registry_token or credential.password
    if not (token.isascii() and token.isprintable()):
        words = "the token has characters that cannot be sent"
        raise RegistryError(fault_for(info, words=words, code="CREDENTIALS"))
    return b"Bearer " + token.encode() if token else b""


def as_oauth(info: RequestInfo, credential: Credential) -> bytes:
    """Send Quay's OAuth token, with which docker logs in as `$oauthtoken`; robots cannot use the API."""
    if credential.anonymous or credential.username == "$oauthtoken":
        return as_bearer(info, credential)
    words = f"{credential.origin} is a robot or a user, and Quay's API takes OAuth tokens only"
    raise RegistryError(fault_for(info, words=words, code="CREDENTIALS"))


class HubLogin:
    """Docker Hub's API: a token for a username and a password or personal access token.

    Source: docs.docker.com/reference/api/hub/latest, "Create access token".
    """

    def __init__(self, session: RegistrySession) -> None:
        """`session`: of the API's host."""
        self._session = session
        self._lock = threading.Lock()
        self._tokens: dict[Credential, tuple[float, str]] = {}
        """The time at which each was fetched."""

    def header(self, info: RequestInfo, credential: Credential) -> bytes:
        """The Authorization header; empty: anonymous.

        Raises:
            RegistryError: the login was refused.
        """
        if credential.anonymous:
            return b""
        with self._lock:
            fetched, token = self._tokens.get(credential, (0.0, ""))
            if not token or time.monotonic() - fetched > _TOKEN_LASTS:
                token = self._fetch(info, credential)
                self._tokens[credential] = time.monotonic(), token
        return b"Bearer " + token.encode()

    def _fetch(self, info: RequestInfo, credential: Credential) -> str:
        info = replace(
            info, operation=f"get a token to {info.operation}", kind="token", origin=credential.origin
        )
        info = replace(info, sent="login")
        login = {"identifier": credential.username, "secret": credential.password}
        call = Request(
            info=info,
            method="POST",
            url="/v2/auth/token",
            headers={"Content-Type": "application/json"},
            body=json.dumps(login).encode(),
            insecure=credential.insecure,
            follow=False,
        )
        response = self._session.send(call)
        if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._session.error(info, response)
        document = parse_json(self._session.read(info, response, limit=_MAX_TOKEN))
        token = document.get("access_token") if isinstance(document, dict) else None
        if not (isinstance(token, str) and token and token.isascii() and token.isprintable()):
            raise self._session.misread(info, response, b"", words="the answer has no token")
        return token
