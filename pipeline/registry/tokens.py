"""Tokens: their scopes and lifetime, and requests to a token server.

Sources: distribution's "Token Authentication Specification" (GET) and "OAuth2 Token Authentication" (POST).
Nearly every server supports GET; POST is only used with an identity token.
"""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from pipeline.dataclass import dataclass
from pipeline.registry.request import Request
from pipeline.registry.responses import is_html, parse_json
from pipeline.registry.session import finish
from pipeline.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.http.transport import Answer
    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.registry.request_info import RequestInfo
    from pipeline.registry.session import RegistrySession

Scopes = tuple[str, ...]
"""`repository:<path>:<actions>`, beginning with the repository that is written."""

_CLIENT_ID = "image-syncer"
_NO_POST = frozenset({400, 401, 404, 405})
"""Answers of servers without the POST form."""
_JWT_DOTS = 2
_SHORTEST_LIFE = 60.0
"""Seconds: old servers state less, but mean this (token specification, `expires_in`)."""
_LONGEST_LIFE = 86_400.0
_FAR = 1 << 40
"""Seconds; the bound for any stated number."""
_BODY_LIFE = 60.0
"""Seconds that a token should last at the start of a body."""


def scopes_for(repository: Repository, *, push: bool, mount: str = "") -> Scopes:
    """The scopes of a request; `mount`: path of the repository to mount a blob from."""
    scope = f"repository:{repository.path}:{'pull,push' if push else 'pull'}"
    # GitLab keeps only the last of two scopes for one repository (GoogleContainerTools/kaniko#181).
    return (scope, f"repository:{mount}:pull") if mount and mount != repository.path else (scope,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token."""

    value: str = field(repr=False)
    scopes: Scopes
    life: float
    """Seconds in total."""
    ends: float
    """On the monotonic clock."""

    def lasts(self, now: float, *, body: bool) -> bool:
        """Whether it lasts for a request that begins at `now`; `body`: with a large body."""
        margin = max(10.0, 0.1 * self.life)
        if body:
            margin = max(margin, min(_BODY_LIFE, self.life / 2))
        return self.ends - now > margin

    def covers(self, scopes: Scopes) -> bool:
        """Whether it was requested for all of `scopes`, and for the first of them first."""
        return within(scopes[0], self.scopes[:1]) and all(within(scope, self.scopes) for scope in scopes)


def within(scope: str, scopes: Scopes) -> bool:
    """Whether one of `scopes` includes `scope`."""
    name, _, actions = scope.rpartition(":")
    wanted = set(actions.split(","))
    return any(
        name == has and wanted <= set(have.split(",")) for has, _, have in (s.rpartition(":") for s in scopes)
    )


def basic(credential: Credential) -> bytes:
    """The Basic header for username and password; empty if there are none."""
    if not (credential.username or credential.password):
        return b""
    # Registries expect UTF-8; requests would use latin-1.
    pair = f"{credential.username}:{credential.password}".encode()
    return b"Basic " + base64.b64encode(pair)


class TokenServer:
    """A token server, for one credential and one service."""

    def __init__(
        self, session: RegistrySession, info: RequestInfo, credential: Credential, *, realm: str, service: str
    ) -> None:
        """`realm`: an absolute URL that has been checked."""
        self._session, self._info, self._credential = session, info, credential
        self._realm, self._service = realm, service

    def fetch(self, scopes: Scopes) -> Token:
        """Request a token; the server may grant less without saying so.

        Raises:
            RegistryError: refused, unreachable, or the answer has no token.
        """
        begun = time.monotonic()
        if self._credential.identity_token:
            response = self._post(scopes)
            if response.status_code in _NO_POST and self._credential.password:
                finish(response)
                response = self._get(scopes)
        else:
            response = self._get(scopes)
        if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._session.error(self._info, response)
        body = self._session.read(self._info, response, limit=MIB)
        answer = parse_json(body)
        fields = answer if isinstance(answer, dict) else {}
        value = fields.get("token") or fields.get("access_token")
        if not isinstance(value, str) or not value:
            # A body that is neither an object nor a web page may be the token itself: do not show it.
            shown = body if fields or is_html(response.headers.get("Content-Type", "")) else b""
            words = "the token server's answer has no token"
            raise self._session.misread(self._info, response, shown, words=words)
        life = _life(fields, value)
        return Token(value=value, scopes=scopes, life=life, ends=begun + life - _age(fields, life))

    def _get(self, scopes: Scopes) -> Answer:
        service = [("service", self._service)] if self._service else []
        query = urlencode([*service, *(("scope", scope) for scope in scopes)])
        url = f"{self._realm}{'&' if '?' in self._realm else '?'}{query}"
        return self._send("GET", url, authorization=basic(self._credential))

    def _post(self, scopes: Scopes) -> Answer:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._credential.identity_token,
            "service": self._service,
            "client_id": _CLIENT_ID,
            "scope": " ".join(scopes),
        }
        return self._send("POST", self._realm, body=urlencode(form).encode())

    def _send(self, method: str, url: str, *, authorization: bytes = b"", body: bytes = b"") -> Answer:
        return self._session.send(
            Request(
                info=self._info,
                method=method,
                url=url,
                headers={"Content-Type": "application/x-www-form-urlencoded"} if body else {},
                body=body,
                authorization=authorization,
                insecure=self._credential.insecure,
                follow=not body,  # the body is a secret
            )
        )


def _life(fields: Mapping[str, object], value: str) -> float:
    """Seconds that a token lives: as stated, else by its own claims (ACR's JWT), else 60."""
    stated = _number(fields.get("expires_in"))
    if stated is None:
        ends = _number(_claims(value).get("exp"))
        stated = ends - time.time() if ends is not None else 0.0
    return min(max(stated, _SHORTEST_LIFE), _LONGEST_LIFE)


def _number(value: object) -> float | None:
    """A usable number: JSON's may be too large for a float, and Python reads NaN."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:  # noqa: PLR0124 - NaN
        return None
    return float(min(max(value, -_FAR), _FAR))


def _claims(value: str) -> Mapping[str, object]:
    payload = value.split(".")[1] if value.count(".") == _JWT_DOTS else ""
    try:
        claims = parse_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _age(fields: Mapping[str, object], life: float) -> float:
    """Seconds since `issued_at`, for tokens that were issued before; 0: the clocks disagree."""
    issued = fields.get("issued_at")
    try:
        moment = datetime.fromisoformat(issued) if isinstance(issued, str) else None
    except ValueError:
        return 0.0
    if moment is None or moment.tzinfo is None:
        return 0.0
    age = (datetime.now(UTC) - moment).total_seconds()
    return age if 0 < age < life else 0.0
