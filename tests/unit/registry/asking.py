"""Clients for scripted registries, and bodies to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.model.credential import Credential
from pipeline.model.reference import Reference, Repository
from pipeline.registry.clients import Clients
from pipeline.settings import Retry, Settings, Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.registry.client import Client
    from tests.registry.registry import Registry

ANONYMOUS = Credential(origin="none", insecure=True)
USER = Credential(origin="auth.yaml key 127.0.0.1", username="user", password="pass", insecure=True)
QUICK = Settings(retry=Retry(base=0.0), timeouts=Timeouts(connect=5, read=5, send=5, commit=5, stall=5))


def clients(
    registry: Registry,
    credential: Credential = ANONYMOUS,
    *,
    find: Callable[[Repository], Credential] | None = None,
    settings: Settings = QUICK,
) -> Clients:
    """The clients of a process whose credentials `find`, or always `credential`, gives.

    They know whether the registry speaks TLS, so that its log starts with the requests of the test.
    """
    made = Clients(settings, find or (lambda _: credential))
    made.at(registry.address)._session._schemes[True] = registry.server.scheme
    return made


def client(registry: Registry, credential: Credential = ANONYMOUS, *, push: bool = False) -> Client:
    """A client as in a new process."""
    return clients(registry, credential).at(registry.address, push=push)


def repository(registry: Registry, path: str = "team/app") -> Repository:
    """A repository of the registry."""
    return Repository(registry.address, path)


def reference(registry: Registry, name: str, path: str = "team/app") -> Reference:
    """A tag or digest of the registry."""
    return Reference(repository(registry, path), name)


@dataclass(frozen=True)
class Sent:
    """A body in pieces, which may end early or raise."""

    content: bytes
    announced: int | None = None
    error: Exception | None = None
    piece: int = 1 << 16

    def __len__(self) -> int:
        """The announced length."""
        return len(self.content) if self.announced is None else self.announced

    def __iter__(self) -> Iterator[bytes]:
        """The pieces, then the error."""
        for begin in range(0, len(self.content), self.piece):
            yield self.content[begin : begin + self.piece]
        if self.error:
            raise self.error
