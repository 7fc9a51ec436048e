"""The registries of one worker process: their sessions, and what is known of authorization and uploads."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pipeline.http.transport import Transport
from pipeline.model.registry_settings import NO_SETTINGS
from pipeline.registry.auth import Auth
from pipeline.registry.authenticated import AuthenticatedClient
from pipeline.registry.catalogue.catalogue import RegistryCatalogue
from pipeline.registry.catalogue.clients import CatalogueClients
from pipeline.registry.client import Client
from pipeline.registry.session import RegistrySession
from pipeline.registry.upload_strategy import UploadStrategy
from pipeline.settings import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.model.registry_settings import RegistrySettings
    from pipeline.settings import Settings

    _Known = tuple[RegistrySession, Auth, UploadStrategy]

_MIRROR_READ = 20.0
"""Seconds between two reads of a mirror's answer: there is another place to read from."""


class Clients:
    """The registries of one worker process; thread-safe.

    Args:
        settings: of the run.
        find: returns the credential for a repository; its results are not kept here.
        forget: is called with an expired credential.
        settings_of: what the user has set for a registry.
    """

    def __init__(
        self,
        settings: Settings,
        find: Callable[[Repository], Credential],
        forget: Callable[[Credential], None] = lambda _: None,
        settings_of: Callable[[str], RegistrySettings] = lambda _: NO_SETTINGS,
    ) -> None:
        """See the class."""
        self._settings, self._find, self._forget = settings, find, forget
        self._settings_of = settings_of
        short = replace(settings.timeouts, read=_MIRROR_READ, stall=_MIRROR_READ)
        self._of_mirrors = replace(settings, timeouts=short, retry=Retry(tries=1))
        self._transport = Transport(dial=settings.timeouts.connect)
        self._lock, self._sessions = threading.Lock(), threading.Lock()
        self._known: dict[tuple[str, bool], _Known] = {}
        self._catalogues: dict[tuple[str, bool], RegistryCatalogue] = {}

    def at(self, registry: str, *, push: bool = False) -> Client:
        """See ImageStores. A verification does not ask for the right to write: the user may not have it."""
        session, auth, strategy = self._open(registry, self._settings)
        client = self._client(session, auth, push=push and self._settings.aim != "verify", is_target=push)
        creates = push and self._settings.aim == "copy" and self._settings_of(registry).create
        return Client(client, strategy, self.catalogue(registry, push=True).create if creates else None)

    def mirror(self, registry: str) -> Client:
        """See ImageStores."""
        session, auth, strategy = self._open(registry, self._of_mirrors)
        return Client(self._client(session, auth, settings=self._of_mirrors), strategy)

    def lacks(self, repository: Repository) -> str:
        """See ImageStores."""
        allowed = self._settings_of(repository.registry).create
        return self.catalogue(repository.registry, push=True).lacks(repository) if allowed else ""

    def catalogue(self, registry: str, *, push: bool = False) -> RegistryCatalogue:
        """See ImageStores."""
        with self._lock:
            if (registry, push) not in self._catalogues:
                setting = self._settings_of(registry).catalog
                make_client = partial(self._client, is_target=push)
                interfaces = CatalogueClients(registry, setting, self._open, make_client)
                self._catalogues[registry, push] = RegistryCatalogue(registry, setting, interfaces)
            return self._catalogues[registry, push]

    def _open(self, host: str, settings: Settings | None = None) -> _Known:
        """What is known of a host in this process."""
        settings = settings or self._settings
        key = host, settings is self._of_mirrors
        with self._sessions:
            if key not in self._known:
                session = RegistrySession(
                    host, settings.timeouts, self._transport, settings=self._settings_of(host)
                )
                self._known[key] = session, Auth(session), UploadStrategy(host, settings.uploads)
            return self._known[key]

    def _client(
        self,
        session: RegistrySession,
        auth: Auth,
        *,
        settings: Settings | None = None,
        is_target: bool = False,
        push: bool = False,
        host: str = "",
        shares_login: bool = False,
    ) -> AuthenticatedClient:
        """A client of one side.

        Args:
            session: of the host that gets the requests.
            auth: of that host.
            settings: other ones than the run's.
            is_target: whether the registry is a destination.
            push: whether to request the right to write.
            host: the host, if it is not the registry itself.
            shares_login: whether that host may get the registry's login, if it has none of its own.
        """

        def find(repository: Repository) -> Credential:
            if host in ("", repository.registry):
                return self._find(repository)
            found = self._find(replace(repository, registry=host))
            if found.anonymous and shares_login:
                return replace(self._find(repository), insecure=found.insecure)
            return found

        return AuthenticatedClient(
            session,
            auth,
            settings or self._settings,
            find=find,
            forget=self._forget,
            side="destination" if is_target else "source",
            push=push,
        )
