"""Which catalogue a registry has: by its name, by `catalog` in the credentials file, or by a probe."""

from __future__ import annotations

import threading
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeVar

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.catalogue import CatalogueKind, known_kind
from pipeline.registry.catalogue.own import AcrCatalogue, GarCatalogue, V2Catalogue
from pipeline.registry.catalogue.vendors import (
    GhcrCatalogue,
    GitlabCatalogue,
    HarborCatalogue,
    HubCatalogue,
    QuayCatalogue,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault
    from pipeline.model.catalogue import CatalogueSetting, ListedTagPage, RepositoryPage
    from pipeline.model.reference import Repository
    from pipeline.registry.authenticated import AuthenticatedClient
    from pipeline.registry.catalogue.api import Api

T = TypeVar("T")

_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_HIDDEN = frozenset({*_DENIED, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_HARBOR = "/api/v2.0/systeminfo"
"""A path that Harbor answers without a login."""


class Source(Protocol):
    """One vendor's interface."""

    needs: str
    """The required credential, as the end of a sentence."""

    def repositories(self, namespace: str, page: str) -> RepositoryPage:
        """See Catalogue."""
        ...

    def tags(self, repository: Repository, page: str) -> ListedTagPage | None:
        """See Catalogue."""
        ...


class Interfaces(Protocol):
    """Makes the clients that a catalogue needs."""

    client: AuthenticatedClient
    """The client of the registry, with tokens for pulls."""
    host: str
    """The host of the vendor's interface."""

    def own(self) -> Api:
        """The JSON interface of the registry itself, with those tokens."""
        ...

    def anonymous(self) -> Api:
        """The same without a login."""
        ...

    def vendor(self, kind: CatalogueKind) -> Api:
        """The vendor's interface, with its own authorization, at the host that `catalog` names."""
        ...


class RegistryCatalogue:
    """See Catalogue in image_store.py. One for each registry and process; thread-safe."""

    def __init__(self, registry: str, setting: CatalogueSetting | None, interfaces: Interfaces) -> None:
        """Start without requests."""
        self._registry, self._interfaces = registry, interfaces
        self._kind: CatalogueKind | None = setting.kind if setting else known_kind(registry)
        self._lock, self._creating = threading.Lock(), threading.Lock()
        self._created: set[str] = set()
        self._source: Source | None = None

    @property
    def kind(self) -> CatalogueKind:
        """The kind of interface; probes the registry, once, if nothing else determines it."""
        with self._lock:
            if self._kind is None:
                self._kind = self._find_out()
            return self._kind

    def repositories(self, namespace: str, *, page: str = "") -> RepositoryPage:
        """See Catalogue."""
        return self._asked(lambda source: source.repositories(namespace, page))

    def tags(self, repository: Repository, *, page: str = "") -> ListedTagPage | None:
        """See Catalogue."""
        return self._asked(lambda source: source.tags(repository, page))

    def lacks(self, repository: Repository) -> str:
        """See Catalogue."""
        lacks = getattr(self._made(), "lacks", None)
        return str(lacks(repository)) if lacks is not None else ""

    def create(self, repository: Repository) -> bool:
        """See Catalogue: once for each repository in this process."""
        with self._creating:
            if repository.path in self._created:
                return False
            create = getattr(self._made(), "create", None)
            made = bool(create(repository)) if create is not None else False
            self._created.add(repository.path)
            return made

    def _asked(self, ask: Callable[[Source], T]) -> T:
        source = self._made()
        try:
            return ask(source)
        except RegistryError as error:
            error.fault = _with_advice(self._placed(error.fault), self.kind, source.needs)
            raise
        except ThrottledError as error:
            error.fault = self._placed(error.fault)
            raise

    def _placed(self, fault: Fault) -> Fault:
        """The fault with the host that failed, if it is not the registry's own."""
        own = fault.host or self._interfaces.host == self._registry
        return fault if own else replace(fault, host=self._interfaces.host)

    def _find_out(self) -> CatalogueKind:
        """Probe the registry's own origin, without a login."""
        try:
            answer = self._interfaces.anonymous().get(
                _HARBOR, place="", operation="find out which catalogue it has", missing=True
            )
        except RegistryError as error:
            if error.fault.status is None or error.fault.retryable:
                raise
            return "v2"
        document = answer.document if answer else None
        return "harbor" if isinstance(document, dict) and "auth_mode" in document else "v2"

    def _made(self) -> Source:
        kind = self.kind
        with self._lock:
            if self._source is None:
                self._source = _make(kind, self._registry, self._interfaces)
            return self._source


def _make(kind: CatalogueKind, registry: str, interfaces: Interfaces) -> Source:
    match kind:
        case "v2":
            return V2Catalogue(interfaces.client, registry)
        case "acr":
            return AcrCatalogue(interfaces.client, registry, interfaces.own())
        case "gar":
            return GarCatalogue(interfaces.own())
        case "harbor":
            return HarborCatalogue(interfaces.vendor(kind))
        case "hub":
            return HubCatalogue(interfaces.vendor(kind))
        case "quay":
            return QuayCatalogue(interfaces.vendor(kind))
        case "gitlab":
            return GitlabCatalogue(interfaces.vendor(kind), interfaces.own())
        case "ghcr":
            return GhcrCatalogue(interfaces.vendor(kind))
        case "ecr":
            from pipeline.registry.catalogue.ecr import EcrCatalogue  # noqa: PLC0415 - few runs need it

            return EcrCatalogue(registry)


def _with_advice(fault: Fault, kind: CatalogueKind, needs: str) -> Fault:
    """Add to a refusal which credential the listing needs."""
    refused = fault.status in (_HIDDEN if kind == "v2" else _DENIED) or fault.code == "CREDENTIALS"
    if not refused or fault.hint == needs:
        return fault
    said = f"{fault.hint}; " if fault.hint and fault.status == HTTPStatus.UNAUTHORIZED else ""
    return replace(fault, hint=f"{said}a listing needs {needs}")
