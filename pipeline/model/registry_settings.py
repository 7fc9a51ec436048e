"""The user's settings of one registry, besides logins: how to reach it, and its limits."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.reference import Repository
from pipeline.model.units import format_duration, format_size

if TYPE_CHECKING:
    from pipeline.model.catalogue import CatalogueSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A registry that may serve another one's manifests and blobs by digest."""

    registry: str
    prefix: str = ""
    """Path that precedes the repository's own; empty: none."""
    place: tuple[str, int, int] = field(default=("", 0, 0), compare=False)
    """File, line and column where it is written."""

    def repository(self, source: Repository) -> Repository:
        """Where the mirror has the content of `source`."""
        return Repository(self.registry, f"{self.prefix}/{source.path}" if self.prefix else source.path)

    def covers(self, repository: Repository) -> bool:
        """Whether a repository lies within this mirror."""
        below = not self.prefix or f"{repository.path}/".startswith(f"{self.prefix}/")
        return repository.registry == self.registry and below

    def __str__(self) -> str:
        """`registry` or `registry/prefix`."""
        return f"{self.registry}/{self.prefix}" if self.prefix else self.registry


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """The settings of one registry; the password of a proxy is not in its repr."""

    ca: str = ""
    """Absolute path of CA certificates to trust besides the system's; empty: none."""
    cert: str = ""
    """File of the client certificate, which is shown to the registry's own origin only."""
    key: str = ""
    """File of its private key; empty: it is in `cert`."""
    proxy: str | None = field(default=None, repr=False)
    """URL of the proxy; empty: none; None: from the environment."""
    mirrors: tuple[Mirror, ...] = ()
    """In the order in which they are asked."""
    patience: float | None = None
    """Seconds without an accepted request after which it is unavailable; None: the run's patience."""
    requests: int | None = None
    """Maximum requests at a time; None: the usual limit. The adaptive limit stays below."""
    rate: float | None = None
    """Maximum requests a second; None: unlimited."""
    bandwidth: float | None = None
    """Maximum bytes a second of blobs, in each direction; None: unlimited."""
    reserve: int | None = None
    """Pulls to leave to others, if the registry counts them; None: no reserve."""

    catalog: CatalogueSetting | None = None
    """The interface that lists its repositories; None: known by its name, or found out."""
    create: bool = False
    """Whether missing repositories are created."""

    def describe(self) -> str:
        """The settings in force except the proxy: `ca corp.pem, at most 50 requests/s`."""
        named = [f"{name} {path}" for name, path in (("ca", self.ca), ("cert", self.cert)) if path]
        if self.requests is not None:
            named.append(f"at most {self.requests} requests at a time")
        if self.rate is not None:
            named.append(f"at most {self.rate:g} requests/s")
        if self.bandwidth is not None:
            named.append(f"at most {format_size(self.bandwidth)}/s in each direction")
        if self.patience is not None:
            named.append(f"patience {format_duration(self.patience)}")
        if self.reserve is not None:
            named.append(f"{self.reserve:,} pulls for others")
        if self.mirrors:
            named.append(f"mirrors {' and '.join(map(str, self.mirrors))}")
        return ", ".join(named)

    @property
    def in_words(self) -> str:
        """All of them but for the places of files and the proxy, which may differ between machines."""
        mirrors = f"mirrors {', '.join(map(str, self.mirrors))}" if self.mirrors else ""
        reserve = f"reserve {self.reserve}" if self.reserve is not None else ""
        described = replace(self, ca="", cert="").describe()
        return ", ".join(part for part in (described, mirrors, reserve) if part) or "nothing"

    def shared(self, runs: int) -> RegistrySettings:
        """The settings of one of several runs that use the registry at the same time."""
        return replace(
            self,
            requests=self.requests and max(1, self.requests // runs),
            rate=self.rate and self.rate / runs,
            bandwidth=self.bandwidth and self.bandwidth / runs,
        )


NO_SETTINGS = RegistrySettings()
