"""Authorization at one registry: challenges, tokens, and the Authorization header.

The challenge of the first 401 is remembered, so that no request is needed to get it. The threads of a process
share tokens, and one at a time fetches them: token servers limit rates too. A token is only used for the
scopes that it was requested for, in the same order: servers differ in how they treat wider ones.

Sources: distribution's "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import RegistryError, ThrottledError
from pipeline.http.origins import RefusedURLError, resolve_realm
from pipeline.log import Event, Once
from pipeline.registry.faults import fault_for
from pipeline.registry.meter import current_meter
from pipeline.registry.request import Request
from pipeline.registry.responses import clean, parse_challenges
from pipeline.registry.token_cache import TokenCache
from pipeline.registry.tokens import TokenServer, basic

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.http.transport import Answer
    from pipeline.model.credential import Credential
    from pipeline.registry.request_info import RequestInfo
    from pipeline.registry.responses import Challenge
    from pipeline.registry.session import RegistrySession
    from pipeline.registry.tokens import Scopes

_MAX_WARNINGS = 20
"""Warnings of one registry that a process reports: a peer may send new ones without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a 401 revealed."""

    changed: bool = False
    """Whether the challenge is new."""
    scopes: Scopes = ()
    """The registry's challenge."""


class Auth:
    """Authorization at one registry, shared by the threads of a process."""

    def __init__(self, session: RegistrySession) -> None:
        """Start without a challenge."""
        self._session = session
        self._challenges: dict[bool, tuple[str, Challenge]] = {}
        self._asking = threading.Lock()
        """Held while one thread requests the challenge."""
        self._asked: set[bool] = set()
        """The values of `insecure` for which /v2/ was requested."""
        self._tokens = TokenCache()
        self._told = Once()
        self._warned = Once(most=_MAX_WARNINGS)
        self._accepted: set[str] = set()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The current tokens, to mask them in answers that repeat them."""
        return self._tokens.values()

    def name_origin(self, credential: Credential) -> None:
        """Report once per process which credential a registry gets, without its values."""
        if not self._told.first(("chosen", credential.origin)):
            return
        registry, named = self._session.registry, not credential.anonymous
        current_meter().events.append(
            Event(
                name="credentials.chosen",
                message=f"{registry}: {f'credentials from {credential.origin}' if named else 'anonymous'}",
                fields={"registry": registry, "origin": credential.origin},
            )
        )

    def accept(self, credential: Credential) -> None:
        """Note that the registry accepted this credential once."""
        if credential.origin not in self._accepted:
            self._accepted.add(credential.origin)

    def is_doubtful(self, credential: Credential, header: bytes) -> bool:
        """Whether a 401 to `header` may mean a wrong credential rather than a missing right.

        Nexus answers 401 for missing rights too, so a credential that was accepted before is not doubted.
        """
        sent = header.startswith(b"Basic ") or bool(credential.registry_token)
        return sent and credential.origin not in self._accepted

    def tell_rejected(self, credential: Credential, fault: Fault) -> None:
        """Report once per process that the registry rejects a credential."""
        if not self._told.first(("rejected", credential.origin)):
            return
        registry = self._session.registry
        words = f"{registry} rejects the credentials from {credential.origin} ({fault.status})"
        current_meter().events.append(
            Event(
                name="credentials.rejected",
                message=f"{words}: correct them, or log in again",
                level="warning",
                fields={
                    "registry": registry,
                    "origin": credential.origin,
                    "side": fault.side,
                    "status": fault.status,
                },
            )
        )

    def pass_on(self, warning: str) -> None:
        """Report each warning of a registry once per process (RFC 7234, 5.5): deprecations, moves."""
        registry, words = self._session.registry, clean(warning)
        if not self._warned.first(words):
            return
        current_meter().events.append(
            Event(
                name="registry.warning",
                message=f"{registry} warns: {words}",
                level="warning",
                fields={"registry": registry, "reason": words},
            )
        )

    def header(
        self, info: RequestInfo, credential: Credential, scopes: Scopes, *, body: bool = False
    ) -> tuple[bytes, bool]:
        """The Authorization header (empty: none), and whether it is freshly fetched, not cached.

        The registry may have revoked a cached token. `body`: a large body follows, so the token
        must last longer.

        Raises:
            RegistryError: the token server refused, or is unreachable.
        """
        if credential.registry_token:
            return self._encode(info, credential.registry_token), True
        known = self._challenges.get(credential.insecure)
        if known is None:
            return b"", True
        url, challenge = known
        if challenge.scheme == "basic":
            return basic(credential), True
        token, fresh = self._token(info, credential, scopes, url=url, challenge=challenge, body=body)
        return self._encode(info, token), fresh

    def learn(self, call: Request, response: Answer) -> Lesson:
        """Read the challenge of a 401.

        A Bearer challenge is kept: Harbor offers only Basic to a request that had any Authorization.
        """
        if call.authorization.startswith(b"Bearer "):
            self._tokens.discard(call.authorization.removeprefix(b"Bearer ").decode())
        challenge = _choose(response)
        known = self._challenges.get(call.insecure)
        if challenge is None and known is None:
            return self.introduce(call)
        if challenge is None:
            return Lesson()
        changed = known is None or (challenge.scheme == "bearer" and not _same_server(known[1], challenge))
        if changed:
            self._challenges[call.insecure] = (response.url, challenge)
        return Lesson(changed=changed, scopes=_scopes(challenge))

    def introduce(self, call: Request) -> Lesson:
        """Ask /v2/ for a challenge, once, after a refusal without one.

        Old gcr.io, and Harbor for a missing repository, send 401 without a challenge; other registries answer
        403 or 404 to anonymous requests. A challenge from the target of a redirect does not count.

        Raises:
            RegistryError: no answer; ThrottledError: the registry asks for a pause.
        """
        with self._asking:
            if call.insecure not in self._asked and call.insecure not in self._challenges:
                ping = Request(info=call.info, method="GET", url="/v2/", insecure=call.insecure, stay=True)
                response = self._session.send(ping)
                challenge = _choose(response)
                error = self._session.error(call.info, response)
                if isinstance(error, ThrottledError):
                    raise error
                if challenge is not None:
                    self._challenges[call.insecure] = (response.url, challenge)
                if not error.fault.retryable:  # else ask again after the next refusal
                    self._asked.add(call.insecure)
        known = self._challenges.get(call.insecure)
        if known is None:
            return Lesson()
        return Lesson(changed=True, scopes=_scopes(known[1]))

    def _encode(self, info: RequestInfo, token: str) -> bytes:
        if not token.isprintable():
            words = "the token has characters that cannot be sent"
            raise RegistryError(fault_for(info, words=words, code="UNAUTHORIZED"))
        return f"Bearer {token}".encode()

    def _token(
        self,
        info: RequestInfo,
        credential: Credential,
        scopes: Scopes,
        *,
        url: str,
        challenge: Challenge,
        body: bool,
    ) -> tuple[str, bool]:
        info = replace(
            info,
            operation=f"get a token to {info.operation}",
            kind="token",
            origin=credential.origin,
            sent="nothing" if credential.anonymous else "login",
        )
        realm = self._realm(info, credential, url=url, challenge=challenge)
        service = challenge.parameters.get("service", "")
        key = (realm, service, credential, scopes[0].rpartition(":")[0])
        with self._tokens.hold(key, now=time.monotonic()) as slot:
            for token in slot.tokens:
                if token.covers(scopes) and token.lasts(time.monotonic(), body=body):
                    return token.value, False
            if known := slot.refusal(scopes):
                again = RegistryError(replace(known, operation=info.operation, side=info.side))
                again.rejected = True
                raise again
            server = TokenServer(self._session, info, credential, realm=realm, service=service)
            try:
                token = server.fetch(scopes)
            except RegistryError as error:
                if error.rejected:
                    slot.refuse(scopes, error.fault, now=time.monotonic())
                raise
            slot.add(token)
            return token.value, True

    def _realm(self, info: RequestInfo, credential: Credential, *, url: str, challenge: Challenge) -> str:
        """The URL of the token server in a challenge of `url`.

        Raises:
            RegistryError: credentials must not be sent there.
        """
        named, insecure = challenge.parameters["realm"], credential.insecure
        try:
            return resolve_realm(url, named, insecure=insecure, allowed=credential.realms)
        except RefusedURLError as error:
            place = f" in the entry of {self._session.registry} in the auth file"
            hint = f"{error.hint}{place}" if error.hint else ""
            fault = fault_for(info, words=str(error), code="UNAUTHORIZED", hint=hint)
            raise RegistryError(fault) from None


def _choose(response: Answer) -> Challenge | None:
    """The challenge to answer: Bearer, else Basic; others are not supported."""
    challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
    bearer = (each for each in challenges if each.scheme == "bearer" and each.parameters.get("realm"))
    basic = (each for each in challenges if each.scheme == "basic")
    return next(bearer, None) or next(basic, None)


def _scopes(challenge: Challenge) -> Scopes:
    """The scopes that a challenge requires."""
    scopes = challenge.parameters.get("scope", "").split(" ")
    return tuple(scope for scope in scopes if scope.count(":") > 1)


def _same_server(one: Challenge, other: Challenge) -> bool:
    return all(one.parameters.get(name) == other.parameters.get(name) for name in ("realm", "service"))
