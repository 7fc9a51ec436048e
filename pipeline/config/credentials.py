"""Credentials: the file that users write, and the keyring that finds a repository's credential.

The keyring is sent to every worker. A helper program runs in the worker that needs it, so a slow one delays
neither the start nor other workers, and its secret crosses no pipe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.config import nodes
from pipeline.config.docker import read_logins
from pipeline.config.helpers import Helpers
from pipeline.config.keys import matching_keys, split_key
from pipeline.config.nodes import is_null, warn_of_duplicate, warn_of_unknown
from pipeline.config.text import read_document
from pipeline.config.variables import expand, sole_variable
from pipeline.errors import FileError, LoginError, RuleError
from pipeline.log import Event
from pipeline.model.credential import Credential

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipeline.config.docker import Login
    from pipeline.config.keys import Key
    from pipeline.config.nodes import Document, Node, Scalar
    from pipeline.model.reference import Repository

_SHAPE = "write registry: {username: ..., password: ..., insecure: false}"
_REALM = 'write realm: ["10.0.0.5:8443"]'
_HOST = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_NONE = Credential(origin="none")
_NOBODY: Mapping[Repository, Credential] = {}
_GOOGLE = ("gcr.io", "pkg.dev")


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


class Keyring:
    """Finds a repository's credential: in our file, else in docker's and podman's login files.

    An entry of our file without username and password only sets its other fields.

    Pickled with its secrets, but without helper programs' answers; thread-safe.
    """

    def __init__(
        self,
        keys: Mapping[Key, Credential | BadEntry],
        logins: tuple[Login, ...] = (),
        given: Mapping[Repository, Credential] = _NOBODY,
    ) -> None:
        """Search `given` (for exactly these repositories), then `keys`, then `logins`."""
        self._keys, self._logins, self._given = keys, logins, given
        self._helpers = Helpers()

    def __reduce__(self) -> tuple[type[Keyring], tuple[object, ...]]:
        """Pickle for a worker."""
        return Keyring, (self._keys, self._logins, self._given)

    def with_logins(self, given: Mapping[Repository, Credential]) -> Keyring:
        """A copy of this keyring with the command line's logins for some repositories."""
        return Keyring(self._keys, self._logins, given)

    def find(self, repository: Repository) -> Credential:
        """The credential of the longest key that is a prefix of `repository` by whole segments; never None.

        If the entry has no login (often it only sets `insecure`), the login files are searched.

        Raises:
            LoginError: the entry is invalid, or a helper program is missing, fails, or does not answer.
        """
        entry = self._entry(repository)
        if isinstance(entry, BadEntry):
            raise LoginError(str(entry.error), transient=False)
        if not entry.anonymous:
            return entry
        for login in self._logins:
            credential = login.find(repository, self._helpers)
            if credential is not None:
                return replace(credential, insecure=entry.insecure, realms=entry.realms)
        return entry

    def require(self, repositories: Iterable[Repository]) -> None:
        """Check that the entries of these repositories are valid; others may belong to other jobs.

        Raises:
            FileError: one is invalid.
        """
        for repository in repositories:
            entry = self._entry(repository)
            if isinstance(entry, BadEntry):
                raise entry.error

    def _entry(self, repository: Repository) -> Credential | BadEntry:
        """The command line's login, else the entry of the longest matching key."""
        given = self._given.get(repository, _NONE)
        found = (self._keys[key] for key in matching_keys(repository) if key in self._keys)
        entry = next(found, _NONE)
        if isinstance(entry, BadEntry):
            return entry if given.anonymous else given
        chosen = entry if given.anonymous else given
        return replace(chosen, insecure=given.insecure or entry.insecure, realms=entry.realms)

    def forget(self, credential: Credential) -> None:
        """Discard an expired credential, so that its helper program is run again."""
        self._helpers.forget(replace(credential, insecure=False, realms=()))


def read_credentials(
    path: Path | None,
    *,
    environ: Mapping[str, str],
) -> tuple[Keyring, tuple[Event, ...]]:
    """Read the credentials file at `path` (None: there is none) and the login files of this account.

    Returns:
        The keyring, and warnings.

    Raises:
        FileError: the file cannot be read or parsed, or has the wrong shape.
    """
    if path is None:
        return keyring_from_node(None, None, environ=environ)
    document = read_document(path)
    keyring, warnings = keyring_from_node(document, document.root, environ=environ)
    return keyring, (*document.warnings, *warnings)


def keyring_from_node(
    document: Document | None,
    node: Node | None,
    *,
    environ: Mapping[str, str],
) -> tuple[Keyring, tuple[Event, ...]]:
    """The keyring of the map `node` of `document`; None: there is no such map.

    Raises:
        FileError: it has the wrong shape.
    """
    logins, warnings = read_logins(environ)
    if document is None or node is None:
        message = "no credentials file: using docker's logins if there are any"
        missing = Event(name="config.no_credentials", message=message, level="warning")
        return Keyring({}, logins), (missing, *warnings)
    found: dict[Key, tuple[Scalar, Credential | BadEntry]] = {}
    mapping = document.mapping(node, "the credentials", hint=_SHAPE)
    for key, value in mapping.entries:
        try:
            place = split_key(key.text)
        except RuleError as error:
            message = f"the key {key.text!r} is not a registry or namespace: {error}"
            raise document.error(key, message, hint=_SHAPE) from None
        if place in found:
            first = found[place][0].line
            warnings.append(warn_of_duplicate(document.path, key.text, line=key.line, first_line=first))
        found[place] = key, _Entry(document, key, environ, warnings).read(value, registry=place[0])
    return Keyring({place: credential for place, (_, credential) in found.items()}, logins), tuple(warnings)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Reads one entry of the file."""

    document: Document
    key: Scalar
    environ: Mapping[str, str]
    warnings: list[Event]

    def read(self, value: Node, *, registry: str) -> Credential | BadEntry:
        """The credential of the entry; a list with one map is accepted, as in the original tool."""
        if isinstance(value, nodes.Sequence):
            if len(value.items) != 1:
                message = f"the value of {self.key.text!r} must be one map, not a list of {len(value.items)}"
                raise self.document.error(value, message, hint=_SHAPE)
            value = value.items[0]
        credential = Credential(origin=f"{self.document.path} key {self.key.text}")
        if is_null(value):
            return credential
        mapping = self.document.mapping(value, f"the value of {self.key.text!r}", hint=_SHAPE)
        fields, duplicates = self.document.fields(mapping)
        self.warnings.extend(duplicates)
        words = {"username": "", "password": ""}
        for name, (field, word) in fields.items():
            what = f"{field.text} of {self.key.text!r}"
            if name == "insecure":
                credential = replace(credential, insecure=self.document.flag(word, what))
            elif name == "realm":
                credential = replace(credential, realms=self._realms(word, what))
            elif name in words:
                secret = self._secret(word, what)
                if isinstance(secret, BadEntry):
                    return secret
                words[name] = secret
            else:
                hint = f"the fields of {self.key.text!r} are username, password, insecure, realm"
                self.warnings.append(
                    warn_of_unknown(self.document.path, field.text, line=field.line, hint=hint)
                )
        credential = replace(credential, username=words["username"], password=words["password"])
        return self._login(credential, registry)

    def _login(self, credential: Credential, registry: str) -> Credential | BadEntry:
        """The credential, if its login is complete."""
        if bool(credential.username) != bool(credential.password):
            given, lacking = ("username", "password") if credential.username else ("password", "username")
            message = f"{self.key.text!r} has a {given} and no {lacking}"
            return self._bad(self.key, message, hint=f"add the {lacking}, or leave both to docker login")
        if credential.username == "_oauth2_" and _is_google(registry):
            return replace(credential, username="_json_key_base64")
        return credential

    def _bad(self, node: Node, message: str, *, hint: str) -> BadEntry:
        return BadEntry(
            path=self.document.path, line=node.line, column=node.column, message=message, hint=hint
        )

    def _realms(self, node: Node, what: str) -> tuple[str, ...]:
        """Hosts of token servers, one or a list of them."""
        items = node.items if isinstance(node, nodes.Sequence) else () if is_null(node) else (node,)
        hosts = tuple(self.document.text(item, what, hint=_REALM).text.strip().lower() for item in items)
        for item, host in zip(items, hosts, strict=True):
            if not _HOST.fullmatch(host):
                raise self.document.error(item, f"{host!r} in {what} is not a host or host:port", hint=_REALM)
        return hosts

    def _secret(self, node: Node, what: str) -> str | BadEntry:
        """A username or password with its variables replaced; never shown."""
        if is_null(node):
            return ""
        word = self.document.text(node, what, hint="put it in quotes").text
        name = sole_variable(word)
        if name and name not in self.environ:
            hint = f"set {name}; a text that only looks like a variable is written with $$"
            return self._bad(node, f"{what} is the variable {name}, which is not set", hint=hint)
        expanded, _ = expand(word, self.environ)
        try:
            expanded.encode()
        except UnicodeEncodeError:
            return self._bad(node, f"{what} has a variable that is not UTF-8", hint="set it to text")
        return expanded


def _is_google(registry: str) -> bool:
    return any(registry == domain or registry.endswith(f".{domain}") for domain in _GOOGLE)
