"""Credentials: the files that users write, with logins and the settings of registries."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, TypeVar

from pipeline.config import nodes
from pipeline.config.docker import read_logins
from pipeline.config.keyring import BadEntry, Keyring
from pipeline.config.keys import registry_names, split_key
from pipeline.config.nodes import is_null, warn_of_duplicate, warn_of_unknown
from pipeline.config.registry_fields import (
    FIELDS,
    FieldReader,
    UnusableError,
    check_identity,
    meant,
    with_setting,
)
from pipeline.config.text import read_document
from pipeline.dataclass import dataclass
from pipeline.errors import RuleError
from pipeline.log import Event
from pipeline.model.credential import Credential
from pipeline.model.registry_settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.config.keys import Key
    from pipeline.config.nodes import Document, Node, Scalar

T = TypeVar("T")

_SHAPE = "write registry: {username: ..., password: ..., insecure: false}"
_GOOGLE = ("gcr.io", "pkg.dev")


def read_credentials(
    paths: Sequence[Path],
    *,
    environ: Mapping[str, str],
) -> tuple[Keyring, tuple[Event, ...]]:
    """Read the credentials files at `paths` (there may be none) and the login files of this account.

    Returns:
        The keyring, and warnings.

    Raises:
        FileError: a file cannot be read or parsed, or has the wrong shape, or two files have the same field.
    """
    documents = [read_document(path) for path in paths]
    keyring, warnings = keyring_from_nodes(
        [(document, document.root) for document in documents], environ=environ
    )
    return keyring, (*(each for document in documents for each in document.warnings), *warnings)


def keyring_from_nodes(
    maps: Sequence[tuple[Document, Node]], *, environ: Mapping[str, str]
) -> tuple[Keyring, tuple[Event, ...]]:
    """The keyring of the maps in these documents.

    Raises:
        FileError: one has the wrong shape.
    """
    logins, warnings = read_logins(environ)
    if not maps:
        message = "no credentials file: using docker's logins if there are any"
        missing = Event(name="config.no_credentials", message=message, level="warning")
        return Keyring({}, logins), (missing, *warnings)
    entries: dict[Key, _Entry] = {}
    for document, node in maps:
        for place, (key, value) in _keys(document, node, warnings).items():
            entry = entries.setdefault(place, _Entry(registry=place[0], is_whole=not place[1]))
            entry.add(FieldReader(document, key, environ), value, warnings)
    keys = {place: entry.credential(_whole(entries, place)) for place, entry in entries.items()}
    registries = {place[0]: entry.settings() for place, entry in entries.items() if entry.is_whole}
    return Keyring(keys, logins, registries=registries), tuple(warnings)


def _keys(document: Document, node: Node, warnings: list[Event]) -> dict[Key, tuple[Scalar, Node]]:
    """The keys of one file with their values; of a duplicate key, the last value."""
    found: dict[Key, tuple[Scalar, Node]] = {}
    for key, value in document.mapping(node, "the credentials", hint=_SHAPE).entries:
        try:
            place = split_key(key.text)
        except RuleError as error:
            message = f"the key {key.text!r} is not a registry or namespace: {error}"
            raise document.error(key, message, hint=_SHAPE) from None
        if place in found:
            first = found[place][0].line
            warnings.append(warn_of_duplicate(document.path, key.text, line=key.line, first_line=first))
        found[place] = key, value
    return found


def _whole(entries: Mapping[Key, _Entry], place: Key) -> _Entry | None:
    """The entry of the whole registry, if `place` is a part of it; None if there is none."""
    names = (name for name in registry_names(place[0]) if (name, "") in entries)
    return next((entries[name, ""] for name in names if place[1]), None)


@dataclass(slots=True, kw_only=True)
class _Entry:
    """The fields of one key in all files, each with its reader."""

    registry: str
    is_whole: bool
    """Whether the key names the whole registry."""
    readers: list[FieldReader] = field(default_factory=list)
    fields: dict[str, tuple[FieldReader, Node]] = field(default_factory=dict)

    def add(self, reader: FieldReader, value: Node, warnings: list[Event]) -> None:
        """Add one file's value; a list with one map is accepted, as in the original tool."""
        document, key = reader.document, reader.key
        self.readers.append(reader)
        if isinstance(value, nodes.Sequence):
            if len(value.items) != 1:
                message = f"the value of {key.text!r} must be one map, not a list of {len(value.items)}"
                raise document.error(value, message, hint=_SHAPE)
            value = value.items[0]
        if is_null(value):
            return
        mapping = document.mapping(value, f"the value of {key.text!r}", hint=_SHAPE)
        found, duplicates = document.fields(mapping)
        warnings.extend(duplicates)
        for name, (written, node) in found.items():
            if self._is_used(name, written, reader, warnings):
                self._check_once(name, written, reader)
                self.fields[name] = reader, node

    def _is_used(self, name: str, written: Scalar, reader: FieldReader, warnings: list[Event]) -> bool:
        """Whether a field is used; an unknown or unused one is a warning.

        Raises:
            FileError: it is probably misspelled, or belongs into another key.
        """
        document, key = reader.document, reader.key.text
        info = FIELDS.get(name)
        if info is None:
            if close := meant(name):
                message = f"{key!r} has no field {written.text!r}; did you mean {close}?"
                raise document.error(written, message, hint=f"write {close}: {FIELDS[close].example}")
            hint = f"the fields of {key!r} are {', '.join(FIELDS)}"
            warnings.append(warn_of_unknown(document.path, written.text, line=written.line, hint=hint))
            return False
        if info.of_registry and not self.is_whole:
            message = f"{name} of {key!r} is a setting of the whole registry"
            raise document.error(written, message, hint=f"write it under the key {self.registry}")
        return True

    def _check_once(self, name: str, written: Scalar, reader: FieldReader) -> None:
        if name in self.fields:
            first, node = self.fields[name]
            message = f"{name} of {reader.key.text!r} is also in {first.document.path}, line {node.line}"
            raise reader.document.error(written, message, hint="say it in one of the two files")

    @property
    def origin(self) -> str:
        """For people: each file with its key."""
        places = (f"{reader.document.path} key {reader.key.text}" for reader in self.readers)
        return " and ".join(places)

    def credential(self, whole: _Entry | None) -> Credential | BadEntry:
        """The login; without its own `insecure` and `realm` it has those of the `whole` registry."""
        shared = whole.fields if whole else {}
        insecure, realm = (self.fields.get(name) or shared.get(name) for name in ("insecure", "realm"))
        credential = Credential(
            origin=self.origin,
            insecure=insecure is not None and insecure[0].flag("insecure", insecure[1]),
            realms=realm[0].realms(realm[1]) if realm else (),
        )
        words = {"username": "", "password": ""}
        try:
            for name in words:
                if name in self.fields:
                    reader, node = self.fields[name]
                    words[name] = reader.secret(name, node)
            if bool(words["username"]) != bool(words["password"]):
                raise self._half_login(has_user=bool(words["username"]))
        except UnusableError as error:
            return _bad(error)
        if words["username"] == "_oauth2_" and _is_google(self.registry):
            words["username"] = "_json_key_base64"
        return replace(credential, username=words["username"], password=words["password"])

    def _half_login(self, *, has_user: bool) -> UnusableError:
        given, lacking = ("username", "password") if has_user else ("password", "username")
        reader, _ = self.fields[given]
        message = f"{reader.key.text!r} has a {given} and no {lacking}"
        return reader.unusable(reader.key, message, hint=f"add the {lacking}, or leave both to docker login")

    def settings(self) -> RegistrySettings | BadEntry:
        """The settings of the registry."""
        found = RegistrySettings()
        try:
            for name, (reader, node) in self.fields.items():
                if FIELDS[name].of_registry:
                    value = reader.setting(name, node, registry=self.registry)
                    found = with_setting(found, name, value)
            if trouble := check_identity(found):
                name, _, words = trouble.partition(": ")
                reader, node = self.fields[name]
                message = f"{name} of {reader.key.text!r} cannot be used: {words}"
                raise reader.unusable(node, message, hint=f"{name} is {FIELDS[name].description}")
        except UnusableError as error:
            return _bad(error)
        return found


def _bad(error: UnusableError) -> BadEntry:
    return BadEntry(
        path=error.path, line=error.line, column=error.column, message=error.message, hint=error.hint
    )


def _is_google(registry: str) -> bool:
    return any(registry == domain or registry.endswith(f".{domain}") for domain in _GOOGLE)
