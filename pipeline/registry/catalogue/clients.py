"""The clients of a catalogue: which host serves it, and which login that host may get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pipeline.model.catalogue import api_host, is_pair
from pipeline.registry.catalogue.api import Api, ApiAuth, HubLogin, as_basic, as_bearer, as_oauth

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.catalogue import CatalogueKind, CatalogueSetting
    from pipeline.registry.auth import Auth
    from pipeline.registry.authenticated import AuthenticatedClient
    from pipeline.registry.session import RegistrySession
    from pipeline.registry.upload_strategy import UploadStrategy

_HEADERS = {"harbor": as_basic, "gitlab": as_bearer, "ghcr": as_bearer, "quay": as_oauth}


class MakeClient(Protocol):
    """Makes a client; see Clients."""

    def __call__(
        self, session: RegistrySession, auth: Auth, *, host: str = "", shares_login: bool = False
    ) -> AuthenticatedClient:
        """Make a client of this session."""
        ...


class CatalogueClients:
    """See Interfaces in catalogue.py.

    Args:
        registry: whose catalogue.
        setting: `catalog` in its settings.
        open_session: returns the session of a host.
        make_client: makes a client.
    """

    def __init__(
        self,
        registry: str,
        setting: CatalogueSetting | None,
        open_session: Callable[[str], tuple[RegistrySession, Auth, UploadStrategy]],
        make_client: MakeClient,
    ) -> None:
        """See the class."""
        self._registry, self._open, self._make = registry, open_session, make_client
        self.host, self._prefix = api_host(registry, setting), setting.prefix if setting else ""
        session, auth, _ = open_session(registry)
        self.client = make_client(session, auth)

    def own(self) -> Api:
        """See Interfaces."""
        return Api(self.client, self._registry)

    def anonymous(self) -> Api:
        """See Interfaces."""
        session, _, _ = self._open(self._registry)
        return Api(self._make(session, ApiAuth(session, lambda *_: b"")), self._registry)

    def vendor(self, kind: CatalogueKind) -> Api:
        """See Interfaces. A login is sent to another host only if the two are a fixed pair."""
        session, _, _ = self._open(self.host)
        header_of = HubLogin(session).header if kind == "hub" else _HEADERS[kind]
        auth, shared = ApiAuth(session, header_of), is_pair(self._registry, self.host)
        client = self._make(session, auth, host=self.host, shares_login=shared)
        return Api(client, self._registry, prefix=self._prefix)
