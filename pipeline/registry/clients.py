"""The registries of one worker process: their sessions, what is known of their authorization and uploads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pipeline.http.transport import Transport
from pipeline.model.registry_settings import NO_SETTINGS
from pipeline.registry.auth import Auth
from pipeline.registry.authenticated import AuthenticatedClient
from pipeline.registry.client import Client
from pipeline.registry.session import RegistrySession
from pipeline.registry.upload_strategy import UploadStrategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.model.registry_settings import RegistrySettings
    from pipeline.settings import Settings


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
        self._transport = Transport(dial=settings.timeouts.connect)
        self._lock = threading.Lock()
        self._known: dict[str, tuple[RegistrySession, Auth, UploadStrategy]] = {}

    def at(self, registry: str, *, push: bool = False) -> Client:
        """See ImageStores. A verification does not ask for the right to write: the user may not have it."""
        with self._lock:
            if registry not in self._known:
                session = RegistrySession(
                    registry,
                    self._settings.timeouts,
                    self._transport,
                    settings=self._settings_of(registry),
                )
                strategy = UploadStrategy(registry, self._settings.uploads)
                self._known[registry] = session, Auth(session), strategy
            session, auth, strategy = self._known[registry]
        client = AuthenticatedClient(
            session,
            auth,
            self._settings,
            find=self._find,
            forget=self._forget,
            side="destination" if push else "source",
            push=push and self._settings.aim != "verify",
        )
        return Client(client, strategy)
