"""Credentials: the file that users write, and the keyring that answers for one repository.

The keyring travels to every worker. Helper programs run where their answer is needed, so that a slow one
holds up neither the start nor another worker, and a secret crosses no more pipes than it must.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.config import nodes
from pipeline.config.docker import read_logins
from pipeline.config.helpers import Helpers
from pipeline.config.keys import matching_keys, split_key
from pipeline.config.nodes import is_null, warn_of_duplicate
from pipeline.config.text import read_document
from pipeline.config.variables import expand, sole_variable
from pipeline.errors import RuleError
from pipeline.log import Event
from pipeline.model.credential import Credential

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.config.docker import Login
    from pipeline.config.keys import Key
    from pipeline.config.nodes import Document, Node, Scalar
    from pipeline.model.reference import Repository

_SHAPE = "write registry: {username: ..., password: ..., insecure: false}"
_NONE = Credential(origin="none")
_GOOGLE = ("gcr.io", "pkg.dev")


class Keyring:
    """Who we are at each repository: our file, then docker's and containers' logins, then nobody.

    Pickled with its secrets, without what helper programs have answered; find() is safe on many threads.
    """

    def __init__(self, keys: dict[Key, Credential], logins: tuple[Login, ...] = ()) -> None:
        """Answer from `keys`, then from `logins` in their order."""
        self._keys, self._logins = keys, logins
        self._helpers = Helpers()

    def __reduce__(self) -> tuple[type[Keyring], tuple[dict[Key, Credential], tuple[Login, ...]]]:
        """What a worker is sent."""
        return Keyring, (self._keys, self._logins)

    def find(self, repository: Repository) -> Credential:
        """The credential of the longest key that is a whole-segment prefix of `repository`; never None.

        Raises:
            LoginError: a helper program is missing, fails, or does not answer.
        """
        for key in matching_keys(repository):
            credential = self._keys.get(key)
            if credential is not None:
                return credential
        for login in self._logins:
            credential = login.find(repository, self._helpers)
            if credential is not None:
                return credential
        return _NONE

    def forget(self, credential: Credential) -> None:
        """A registry says that the credential has run out: a helper program that gave it is asked again."""
        self._helpers.forget(credential)


def read_credentials(
    path: Path | None,
    *,
    environ: Mapping[str, str],
) -> tuple[Keyring, tuple[Event, ...]]:
    """Read the credentials file at `path` (None: there is none) and the login files of this account.

    Returns:
        The keyring, and warnings.

    Raises:
        FileError: the file cannot be read or parsed, has the wrong shape, or needs an unset variable.
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
        FileError: it has the wrong shape, or needs an unset variable.
    """
    logins, warnings = read_logins(environ)
    if document is None or node is None:
        message = "no credentials file: docker's logins are used where there are any, else none"
        missing = Event(name="config.no_credentials", message=message, level="warning")
        return Keyring({}, logins), (missing, *warnings)
    found: dict[Key, tuple[Scalar, Credential]] = {}
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
        found[place] = key, _Entry(document, key, environ).read(value, registry=place[0])
    return Keyring({place: credential for place, (_, credential) in found.items()}, logins), tuple(warnings)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the file being read."""

    document: Document
    key: Scalar
    environ: Mapping[str, str]

    def read(self, value: Node, *, registry: str) -> Credential:
        """The credential of the entry; a list of one is what the original's README shows."""
        if isinstance(value, nodes.Sequence):
            if len(value.items) != 1:
                message = f"the value of {self.key.text!r} must be one map, not a list of {len(value.items)}"
                raise self.document.error(value, message, hint=_SHAPE)
            value = value.items[0]
        mapping = self.document.mapping(value, f"the value of {self.key.text!r}", hint=_SHAPE)
        credential = Credential(origin=f"{self.document.path} key {self.key.text}")
        for field, word in mapping.entries:
            what = f"{field.text} of {self.key.text!r}"
            match field.text:
                case "username":
                    credential = replace(credential, username=self._secret(word, what))
                case "password":
                    credential = replace(credential, password=self._secret(word, what))
                case "insecure":
                    credential = replace(credential, insecure=self.document.flag(word, what))
                case _:
                    message = f"{self.key.text!r} has the unknown field {field.text!r}"
                    raise self.document.error(
                        field, message, hint="the fields are username, password, insecure"
                    )
        if credential.username == "_oauth2_" and _is_google(registry):
            return replace(credential, username="_json_key_base64")
        return credential

    def _secret(self, node: Node, what: str) -> str:
        """A username or password, its variables replaced; never shown."""
        if is_null(node):
            return ""
        word = self.document.text(node, what, hint="put it in quotes").text
        name = sole_variable(word)
        if name and name not in self.environ:
            hint = f"set {name}; a text that only looks like a variable is written with $$"
            raise self.document.error(node, f"{what} is the variable {name}, which is not set", hint=hint)
        expanded, _ = expand(word, self.environ)
        try:
            expanded.encode()
        except UnicodeEncodeError:
            message = f"{what} has a variable that is not UTF-8"
            raise self.document.error(node, message, hint="set it to text") from None
        return expanded


def _is_google(registry: str) -> bool:
    return any(registry == domain or registry.endswith(f".{domain}") for domain in _GOOGLE)
