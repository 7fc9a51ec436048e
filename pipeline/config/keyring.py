"""The keyring: finds the credential of a repository and the settings of a registry.

It is sent to every worker. A helper program runs in the worker that needs it, so a slow one delays neither
the start nor other workers, and its secret crosses no pipe.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from pipeline.config.helpers import Helpers
from pipeline.config.keys import matching_keys, registry_names
from pipeline.dataclass import dataclass
from pipeline.errors import FileError, LoginError
from pipeline.model.credential import Credential
from pipeline.model.registry_settings import NO_SETTINGS, RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.config.docker import Login
    from pipeline.config.keys import Key
    from pipeline.model.reference import Repository

_NONE = Credential(origin="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadEntry:
    """An invalid entry; an error only if it is needed, because one file may serve many jobs."""

    path: str
    line: int
    column: int
    message: str
    hint: str

    @property
    def error(self) -> FileError:
        """The error to raise if the entry is needed."""
        return FileError(self.path, self.message, line=self.line, column=self.column, hint=self.hint)


@dataclass(frozen=True, slots=True, eq=False)
class Keyring:
    """Finds a repository's credential: in our files, else in docker's and podman's login files.

    An entry of our files without username and password only sets its other fields.

    Pickled with its secrets, but without helper programs' answers; thread-safe.

    Args:
        keys: the entries of our files.
        logins: docker's and podman's login files.
        given: the command line's logins, for exactly these repositories; they go first.
        registries: settings by registry.
    """

    keys: Mapping[Key, Credential | BadEntry] = field(repr=False)
    logins: tuple[Login, ...] = field(default=(), repr=False)
    given: Mapping[Repository, Credential] = field(default_factory=dict, repr=False)
    registries: Mapping[str, RegistrySettings | BadEntry] = field(default_factory=dict, repr=False)
    _helpers: Helpers = field(init=False, repr=False, compare=False, default_factory=Helpers)

    def __reduce__(self) -> tuple[type[Keyring], tuple[object, ...]]:
        """Pickle for a worker."""
        return Keyring, (self.keys, self.logins, self.given, self.registries)

    def with_logins(self, given: Mapping[Repository, Credential]) -> Keyring:
        """A copy of this keyring with the command line's logins for some repositories."""
        return replace(self, given=given)

    def shared(self, runs: int) -> Keyring:
        """A copy of this keyring for one of several runs that share the limits of registries."""
        registries = {
            name: each if isinstance(each, BadEntry) else each.shared(runs)
            for name, each in self.registries.items()
        }
        return replace(self, registries=registries)

    def settings(self, registry: str) -> RegistrySettings:
        """The settings of a registry; those that are invalid stop each `find` there."""
        found = self._settings(registry)
        return NO_SETTINGS if isinstance(found, BadEntry) else found

    def _settings(self, registry: str) -> RegistrySettings | BadEntry:
        names = (name for name in registry_names(registry) if name in self.registries)
        name = next(names, None)
        return NO_SETTINGS if name is None else self.registries[name]

    def find(self, repository: Repository) -> Credential:
        """The credential of the longest key that is a prefix of `repository` by whole segments; never None.

        If the entry has no login (often it only sets `insecure`), the login files are searched.

        Raises:
            LoginError: the entry is invalid, or a helper program is missing, fails, or does not answer.
        """
        written = self._written(repository)
        bad = self._bad(repository, written)
        if bad is not None:
            raise LoginError(str(bad.error), transient=False)
        entry = self._entry(repository, written)
        if not entry.anonymous:
            return entry
        for login in self.logins:
            credential = login.find(repository, self._helpers)
            if credential is not None:
                return replace(credential, insecure=entry.insecure, realms=entry.realms)
        return entry

    def describe(self) -> dict[str, str]:
        """Each login and each registry's settings in words, without secrets: two keyrings can be compared."""
        logins = [("/".join(part for part in key if part), each) for key, each in self.keys.items()]
        logins += [(str(repository), each) for repository, each in self.given.items()]
        found = {f"the login of {name}": _in_words(each) for name, each in logins}
        return found | {
            f"the settings of {name}": "an invalid entry" if isinstance(each, BadEntry) else each.in_words
            for name, each in self.registries.items()
        }

    def require(self, repositories: Iterable[Repository]) -> None:
        """Check that the entries of these repositories are valid; others may belong to other jobs.

        Raises:
            FileError: one is invalid.
        """
        for repository in repositories:
            bad = self._bad(repository, self._written(repository))
            if bad is not None:
                raise bad.error

    def _bad(self, repository: Repository, entry: Credential | BadEntry) -> BadEntry | None:
        """The invalid entry: the login, unless the command line gives another, or the registry's settings."""
        settings = self._settings(repository.registry)
        if isinstance(entry, BadEntry) and self.given.get(repository, _NONE).anonymous:
            return entry
        return settings if isinstance(settings, BadEntry) else None

    def _written(self, repository: Repository) -> Credential | BadEntry:
        """The entry of the longest matching key."""
        found = (self.keys[key] for key in matching_keys(repository) if key in self.keys)
        return next(found, _NONE)

    def _entry(self, repository: Repository, entry: Credential | BadEntry) -> Credential:
        """The command line's login, else that of the longest matching key."""
        given = self.given.get(repository)
        if given is None:
            return _NONE if isinstance(entry, BadEntry) else entry
        if isinstance(entry, BadEntry):
            return given
        chosen = entry if given.anonymous else given
        return replace(chosen, insecure=given.insecure or entry.insecure, realms=entry.realms)

    def forget(self, credential: Credential) -> None:
        """Discard an expired credential, so that its helper program is run again."""
        self._helpers.forget(replace(credential, insecure=False, realms=()))


def _in_words(entry: Credential | BadEntry) -> str:
    if isinstance(entry, BadEntry):
        return f"an invalid entry ({entry.message})"
    return f"the user {entry.username!r}" if entry.username else "no user"
