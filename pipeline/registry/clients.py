"""The registries of one worker process: their sessions, what is known of their authorization and uploads."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.http.transport import Transport
from pipeline.model.registry_settings import NO_SETTINGS
from pipeline.registry.auth import Auth
from pipeline.registry.authenticated import AuthenticatedClient
from pipeline.registry.client import Client
from pipeline.registry.session import RegistrySession
from pipeline.registry.upload_strategy import UploadStrategy
from pipeline.settings import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Side
    from pipeline.model.credential import Credential
    from pipeline.model.reference import Repository
    from pipeline.model.registry_settings import RegistrySettings
    from pipeline.settings import Settings


_MIRROR_READ = 20.0
"""Seconds between two reads of a mirror's answer: there is another place to ask."""


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
        self._lock = threading.Lock()
        self._known: dict[tuple[str, bool], tuple[RegistrySession, Auth, UploadStrategy]] = {}

    def at(self, registry: str, *, push: bool = False) -> Client:
        """See ImageStores. A verification does not ask for the right to write: the user may not have it."""
        side: Side = "destination" if push else "source"
        return self._client(registry, self._settings, side=side, push=push and self._settings.aim != "verify")

    def mirror(self, registry: str) -> Client:
        """See ImageStores."""
        return self._client(registry, self._of_mirrors, side="source", push=False)

    def _client(self, registry: str, settings: Settings, *, side: Side, push: bool) -> Client:
        with self._lock:
            key = registry, settings is self._of_mirrors
            if key not in self._known:
                session = RegistrySession(
                    registry, settings.timeouts, self._transport, settings=self._settings_of(registry)
                )
                self._known[key] = session, Auth(session), UploadStrategy(registry, settings.uploads)
            session, auth, strategy = self._known[key]
        client = AuthenticatedClient(
            session, auth, settings, find=self._find, forget=self._forget, side=side, push=push
        )
        return Client(client, strategy)
