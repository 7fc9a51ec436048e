"""Access: challenges, Basic, Bearer tokens and the token endpoint.

Sources: distribution docs/spec/auth (token.md, oauth.md, scope.md), RFC 7235, RFC 6750.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from tests.registry.wire import Refusal, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.registry.log import Entry
    from tests.registry.options import Options

SERVICE = "scripted"
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_REFRESH = "refresh:"


@dataclass(slots=True)
class Grant:
    """The access that one token grants."""

    scopes: frozenset[tuple[str, str]]
    """Pairs of (repository, action)."""
    ends: float
    """The time.monotonic() at which it expires."""
    uses: int | None
    """Requests until it expires; None: no limit."""
    account: str
    """The account; empty: anonymous."""


class Access:
    """The issued tokens, and the access checks."""

    def __init__(self) -> None:
        """Start without tokens."""
        self._lock = threading.Lock()
        self._grants: dict[str, Grant] = {}
        self._admitted: deque[float] = deque()
        """Times of the requests of the last second."""

    def admits(self, rate: int) -> bool:
        """Whether one more request is within the rate; 0: no limit."""
        with self._lock:
            now = time.monotonic()
            while self._admitted and self._admitted[0] <= now - 1.0:
                self._admitted.popleft()
            if rate and len(self._admitted) >= rate:
                return False
            self._admitted.append(now)
            return True

    def account(self, entry: Entry) -> str:
        """The account of a request's token; empty: none."""
        with self._lock:
            grant = self._grants.get(entry.headers.get("authorization", "").partition(" ")[2])
            return grant.account if grant else ""

    def expire(self) -> None:
        """Expire every token issued so far."""
        with self._lock:
            self._grants.clear()

    def check(
        self, entry: Entry, options: Options, *, repository: str, origin: str, realm: str, scope: str = ""
    ) -> None:
        """Allow the request or refuse it.

        Args:
            entry: the request.
            options: how the registry behaves.
            repository: the requested repository; empty for /v2/ itself.
            origin: the repository to mount from, or empty.
            realm: URL of the token endpoint.
            scope: the scope that a token needs, if it is not access to the repository.

        Raises:
            Refusal: 401 with a challenge.
        """
        if options.auth == "none":
            return
        given = entry.headers.get("authorization", "")
        basic_opens = options.auth == "basic" or options.harbor
        if basic_opens and given and _basic(given) == (options.username, options.password):
            return
        if options.auth == "basic":
            raise _challenge(f'Basic realm="{SERVICE}"')
        needed = _pairs(scope) if scope else _needed(entry.method, repository, origin)
        error = self._error(given, needed)
        if error is None:
            return
        if options.harbor and given:
            raise _challenge('Basic realm="harbor"')
        names = dict.fromkeys(name for name, _ in needed)
        scopes = [scope] if scope else [f"repository:{name}:{_joined(needed, name)}" for name in names]
        challenge = f'Bearer realm="{realm}",service="{SERVICE}"'
        challenge += f',scope="{" ".join(scopes)}"' if scopes else ""
        raise _challenge(challenge + (f',error="{error}"' if error else ""))

    def _error(self, given: str, needed: list[tuple[str, str]]) -> str | None:
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer":
            return ""
        with self._lock:
            grant = self._grants.get(token)
            if grant is None or grant.ends < time.monotonic() or grant.uses == 0:
                return "invalid_token"
            if not grant.scopes.issuperset(needed):
                return "insufficient_scope"
            if grant.uses is not None:
                grant.uses -= 1
        return None

    def token(self, entry: Entry, content: bytes, options: Options) -> Response:
        """Answer the token endpoint, for the GET form and the OAuth2 POST form.

        Raises:
            Refusal: the credentials are wrong, or the form is not supported.
        """
        if entry.method == "POST" and options.token_post:
            return self._token_post(parse_qs(content.decode()), options)
        if entry.method != "GET":
            raise Refusal(404, "UNSUPPORTED", "no such form of the token request")
        given = entry.headers.get("authorization", "")
        if given and _basic(given) != (options.username, options.password):
            raise Refusal(401, "UNAUTHORIZED", "incorrect username or password")
        asked = entry.parameters
        offline = asked.get("offline_token") == ["true"]
        return self._give(asked.get("scope", []), options, known=bool(given), offline=offline)

    def _token_post(self, form: dict[str, list[str]], options: Options) -> Response:
        def field(name: str) -> str:
            return form.get(name, [""])[0]

        refreshed = field("refresh_token") == _REFRESH + options.password
        named = (field("username"), field("password")) == (options.username, options.password)
        if not {"refresh_token": refreshed, "password": named}.get(field("grant_type"), False):
            raise Refusal(401, "UNAUTHORIZED", "incorrect credentials")
        offline = field("access_type") == "offline" or refreshed
        return self._give(form.get("scope", []), options, known=True, offline=offline)

    def _give(self, scopes: Iterable[str], options: Options, *, known: bool, offline: bool) -> Response:
        pairs = [pair for scope in " ".join(scopes).split() for pair in _pairs(scope)]
        if options.token_grants == "first" and pairs:
            pairs = [pair for pair in pairs if pair[0] == pairs[0][0]]
        pull_only = options.token_grants == "pull" or not known
        granted = frozenset(
            (name, action)
            for name, action in pairs
            if (action == "pull" or not pull_only)
            and (known or options.anonymous)
            and not (options.denied and re.fullmatch(options.denied, name))
        )
        token = secrets.token_urlsafe(24)
        lifetime = 60 if options.token_expires_in is None else options.token_expires_in
        with self._lock:
            account = options.username if known else ""
            self._grants[token] = Grant(granted, time.monotonic() + lifetime, options.token_uses, account)
        names = ("token", "access_token") if options.token_field == "both" else (options.token_field,)
        body: dict[str, str | int] = dict.fromkeys(names, token)
        body["issued_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if options.token_expires_in is not None:
            body["expires_in"] = options.token_expires_in
        if offline and known:
            body["refresh_token"] = _REFRESH + options.password
        return json_response(body)


def _needed(method: str, repository: str, origin: str) -> list[tuple[str, str]]:
    if not repository:
        return []
    action = _ACTIONS.get(method)
    needed = [(repository, action)] if action else [(repository, "pull"), (repository, "push")]
    return [*needed, (origin, "pull")] if origin else needed


def _joined(needed: list[tuple[str, str]], repository: str) -> str:
    return ",".join(action for name, action in needed if name == repository)


def _pairs(scope: str) -> list[tuple[str, str]]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    # A repository's name never contains a colon.
    named = name if kind == "repository" else f"{kind}:{name}"
    return [(named, action) for action in actions.split(",")]


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        username, _, password = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return username, password


def _challenge(challenge: str) -> Refusal:
    refusal = Refusal(401, "UNAUTHORIZED", "authentication required")
    refusal.response.headers["WWW-Authenticate"] = challenge
    return refusal
