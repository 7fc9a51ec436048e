"""Credentials: the file that users write, and the keyring that answers for one repository.

The keyring travels to every worker. Helper programs run where their answer is needed, so that a slow one
holds up neither the start nor another worker, and a secret crosses no more pipes than it must.
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
class Flaw:
    """Why an entry is of no use, which matters to who needs it: one file may serve many jobs."""

    path: str
    line: int
    column: int
    message: str
    hint: str

    @property
    def error(self) -> FileError:
        """The error of who needs the entry."""
        return FileError(self.path, self.message, line=self.line, column=self.column, hint=self.hint)


class Keyring:
    """Who we are at each repository: our file, then docker's and containers' logins, then nobody.

    An entry of our file without username and password is there for what it says beside them.

    Pickled with its secrets, without what helper programs have answered; find() is safe on many threads.
    """

    def __init__(
        self,
        keys: Mapping[Key, Credential | Flaw],
        logins: tuple[Login, ...] = (),
        given: Mapping[Repository, Credential] = _NOBODY,
    ) -> None:
        """Answer from `given`, for just these repositories, from `keys`, from `logins`, each in its turn."""
        self._keys, self._logins, self._given = keys, logins, given
        self._helpers = Helpers()

    def __reduce__(self) -> tuple[type[Keyring], tuple[object, ...]]:
        """What a worker is sent."""
        return Keyring, (self._keys, self._logins, self._given)

    def lend(self, given: Mapping[Repository, Credential]) -> Keyring:
        """The same keyring, with what the command line gives for some repositories beside it."""
        return Keyring(self._keys, self._logins, given)

    def find(self, repository: Repository) -> Credential:
        """The credential of the longest key that is a whole-segment prefix of `repository`; never None.

        An entry without a login, which is often there for `insecure` alone, leaves that to the login files.

        Raises:
            LoginError: the entry is of no use, or a helper program is missing, fails, or does not answer.
        """
        entry = self._entry(repository)
        if isinstance(entry, Flaw):
            raise LoginError(str(entry.error), transient=False)
        if not entry.anonymous:
            return entry
        for login in self._logins:
            credential = login.find(repository, self._helpers)
            if credential is not None:
                return replace(credential, insecure=entry.insecure, realms=entry.realms)
        return entry

    def require(self, repositories: Iterable[Repository]) -> None:
        """Make sure that the entries of these repositories are of use; others may wait for other jobs.

        Raises:
            FileError: one is not.
        """
        for repository in repositories:
            entry = self._entry(repository)
            if isinstance(entry, Flaw):
                raise entry.error

    def _entry(self, repository: Repository) -> Credential | Flaw:
        """What the command line gives, else what the longest key has that matches."""
        given = self._given.get(repository, _NONE)
        found = (self._keys[key] for key in matching_keys(repository) if key in self._keys)
        entry = next(found, _NONE)
        if isinstance(entry, Flaw):
            return entry if given.anonymous else given
        chosen = entry if given.anonymous else given
        return replace(chosen, insecure=given.insecure or entry.insecure, realms=entry.realms)

    def forget(self, credential: Credential) -> None:
        """A registry says that the credential has run out: a helper program that gave it is asked again."""
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
        return keyring_of(None, None, environ=environ)
    document = read_document(path)
    keyring, warnings = keyring_of(document, document.root, environ=environ)
    return keyring, (*document.warnings, *warnings)


def keyring_of(
    document: Document | None,
    node: Node | None,
    *,
    environ: Mapping[str, str],
) -> tuple[Keyring, tuple[Event, ...]]:
    """The keyring of what `node` of `document` maps; None: there is no such map.

    Raises:
        FileError: it has the wrong shape.
    """
    logins, warnings = read_logins(environ)
    if document is None or node is None:
        message = "no credentials file: docker's logins are used where there are any, else none"
        missing = Event(name="config.no_credentials", message=message, level="warning")
        return Keyring({}, logins), (missing, *warnings)
    found: dict[Key, tuple[Scalar, Credential | Flaw]] = {}
    mapping = document.mapping(node, "the credentials", hint=_SHAPE)
    for key, value in mapping.entries:
        try:
            place = split_key(key.text)
        except RuleError as error:
            message = f"the key {key.text!r} is no registry or namespace: {error}"
            raise document.error(key, message, hint=_SHAPE) from None
        if place in found:
            first = found[place][0].line
            warnings.append(warn_of_duplicate(document.path, key.text, line=key.line, first_line=first))
        found[place] = key, _Entry(document, key, environ, warnings).read(value, registry=place[0])
    return Keyring({place: credential for place, (_, credential) in found.items()}, logins), tuple(warnings)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the file being read."""

    document: Document
    key: Scalar
    environ: Mapping[str, str]
    warnings: list[Event]

    def read(self, value: Node, *, registry: str) -> Credential | Flaw:
        """The credential of the entry; a list of one is what the original's README shows."""
        if isinstance(value, nodes.Sequence):
            if len(value.items) != 1:
                message = f"the value of {self.key.text!r} must be one map, not a list of {len(value.items)}"
                raise self.document.error(value, message, hint=_SHAPE)
            value = value.items[0]
        credential = Credential(origin=f"{self.document.path} key {self.key.text}")
        if is_null(value):
            return credential
        mapping = self.document.mapping(value, f"the value of {self.key.text!r}", hint=_SHAPE)
        fields, doubled = self.document.fields(mapping)
        self.warnings.extend(doubled)
        words = {"username": "", "password": ""}
        for name, (field, word) in fields.items():
            what = f"{field.text} of {self.key.text!r}"
            if name == "insecure":
                credential = replace(credential, insecure=self.document.flag(word, what))
            elif name == "realm":
                credential = replace(credential, realms=self._realms(word, what))
            elif name in words:
                secret = self._secret(word, what)
                if isinstance(secret, Flaw):
                    return secret
                words[name] = secret
            else:
                hint = f"the fields of {self.key.text!r} are username, password, insecure, realm"
                self.warnings.append(
                    warn_of_unknown(self.document.path, field.text, line=field.line, hint=hint)
                )
        credential = replace(credential, username=words["username"], password=words["password"])
        return self._login(credential, registry)

    def _login(self, credential: Credential, registry: str) -> Credential | Flaw:
        """The credential, unless one half of its login is missing."""
        if bool(credential.username) != bool(credential.password):
            given, lacking = ("username", "password") if credential.username else ("password", "username")
            message = f"{self.key.text!r} has a {given} and no {lacking}"
            return self._flaw(self.key, message, hint=f"add the {lacking}, or leave both to docker login")
        if credential.username == "_oauth2_" and _is_google(registry):
            return replace(credential, username="_json_key_base64")
        return credential

    def _flaw(self, node: Node, message: str, *, hint: str) -> Flaw:
        return Flaw(path=self.document.path, line=node.line, column=node.column, message=message, hint=hint)

    def _realms(self, node: Node, what: str) -> tuple[str, ...]:
        """Hosts of token servers, one or a list of them."""
        items = node.items if isinstance(node, nodes.Sequence) else () if is_null(node) else (node,)
        hosts = tuple(self.document.text(item, what, hint=_REALM).text.strip().lower() for item in items)
        for item, host in zip(items, hosts, strict=True):
            if not _HOST.fullmatch(host):
                raise self.document.error(item, f"{host!r} in {what} is not a host or host:port", hint=_REALM)
        return hosts

    def _secret(self, node: Node, what: str) -> str | Flaw:
        """A username or password, its variables replaced; never shown."""
        if is_null(node):
            return ""
        word = self.document.text(node, what, hint="put it in quotes").text
        name = sole_variable(word)
        if name and name not in self.environ:
            hint = f"set {name}; a text that only looks like a variable is written with $$"
            return self._flaw(node, f"{what} is the variable {name}, which is not set", hint=hint)
        expanded, _ = expand(word, self.environ)
        try:
            expanded.encode()
        except UnicodeEncodeError:
            return self._flaw(node, f"{what} has a variable that is not UTF-8", hint="set it to text")
        return expanded


def _is_google(registry: str) -> bool:
    return any(registry == domain or registry.endswith(f".{domain}") for domain in _GOOGLE)
