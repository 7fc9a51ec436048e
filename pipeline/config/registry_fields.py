"""The fields of an entry of the credentials file: their meaning, and how their values are read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pipeline.config import nodes
from pipeline.config.keys import split_key
from pipeline.config.nodes import is_null
from pipeline.config.variables import expand, sole_variable
from pipeline.dataclass import dataclass
from pipeline.errors import FileError, RuleError
from pipeline.model.catalogue import KINDS, CatalogueSetting
from pipeline.model.quantities import parse_bandwidth, parse_duration, parse_rate
from pipeline.model.registry_settings import Mirror, RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.config.nodes import Document, Node, Scalar

FieldType = Literal["text", "flag", "texts", "count", "catalog"]
"""Text; true or false; a text or a list of texts; a whole number; a kind of catalogue, also with its URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldInfo:
    """The description of one field, also for the schema of the file."""

    type: FieldType
    description: str
    example: str
    of_registry: bool = True
    """Whether it is for a whole registry, so that its key must not have a path."""


FIELDS: Mapping[str, FieldInfo] = {
    "username": FieldInfo(type="text", description="name to log in with", example="bob", of_registry=False),
    "password": FieldInfo(
        type="text", description="password or token; $NAME is a variable", example="$TOKEN", of_registry=False
    ),
    "insecure": FieldInfo(
        type="flag",
        description="allow plain HTTP and certificates that cannot be verified",
        example="true",
        of_registry=False,
    ),
    "realm": FieldInfo(
        type="texts",
        description="token servers at private addresses that the registry may name",
        example='["10.0.0.5:8443"]',
        of_registry=False,
    ),
    "ca": FieldInfo(
        type="text",
        description="file of CA certificates to trust in addition to the system's",
        example="corp-ca.pem",
    ),
    "cert": FieldInfo(type="text", description="file of a client certificate", example="client.pem"),
    "key": FieldInfo(
        type="text", description="file of its private key, if not in cert", example="client.key"
    ),
    "proxy": FieldInfo(
        type="text",
        description="proxy for http and https, or none",
        example="http://proxy.example.com:3128",
    ),
    "mirrors": FieldInfo(
        type="texts",
        description="registries to read manifests and blobs from first, by digest",
        example='["cache.example.com/hub"]',
    ),
    "patience": FieldInfo(
        type="text", description="wait so long for a registry that lets nothing through", example="15m"
    ),
    "requests": FieldInfo(type="count", description="requests at a time, at most", example="32"),
    "rate": FieldInfo(type="text", description="requests a second, at most", example="50/s"),
    "bandwidth": FieldInfo(
        type="text", description="bytes of blobs a second in each direction, at most", example="20MB/s"
    ),
    "reserve": FieldInfo(
        type="count",
        description="pulls to leave to others, if the registry counts them",
        example="100",
    ),
    "catalog": FieldInfo(
        type="catalog",
        description=f"which interface lists the repositories: {', '.join(KINDS)}; found out if not written",
        example="{kind: gitlab, url: https://gitlab.example.com}",
    ),
    "create": FieldInfo(
        type="flag",
        description="create what is missing before the first upload: Harbor's project, ECR's repository",
        example="true",
    ),
}
"""By name, in the order in which people should read them."""

_NEAR = 0.65
"""Similarity of two names from which one is a misspelling of the other: not `email` of `realm`."""
_HOST = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_MAX_DIGITS = 9


def meant(name: str) -> str:
    """The known field that an unknown one probably means; empty: none."""
    import difflib  # noqa: PLC0415 - only for a mistake

    return next(iter(difflib.get_close_matches(name.casefold(), FIELDS, 1, _NEAR)), "")


class UnusableError(FileError):
    """A value that cannot be used on this machine: an error only if a rule needs the entry."""


@dataclass(frozen=True, slots=True)
class FieldReader:
    """Reads the values of one key in one file.

    Its methods raise FileError for a wrong value, and UnusableError for one that cannot be used here.
    """

    document: Document
    key: Scalar
    environ: Mapping[str, str]

    def error(self, node: Node, name: str, words: str) -> FileError:
        """An error about the value of the field `name`; `words` must hold no secret."""
        hint = f"write {name}: {FIELDS[name].example}"
        return self.document.error(node, f"{name} of {self.key.text!r} {words}", hint=hint)

    def unusable(self, node: Node, message: str, *, hint: str) -> UnusableError:
        """An error that counts only if the entry is needed."""
        return UnusableError(self.document.path, message, line=node.line, column=node.column, hint=hint)

    def flag(self, name: str, node: Node) -> bool:
        """A boolean."""
        return self.document.flag(node, f"{name} of {self.key.text!r}")

    def secret(self, name: str, node: Node, *, hint: str = "put it in quotes") -> str:
        """A text with its variables replaced; never shown. Empty: null."""
        if is_null(node):
            return ""
        what = f"{name} of {self.key.text!r}"
        word = self.document.text(node, what, hint=hint).text
        variable = sole_variable(word)
        if variable and variable not in self.environ:
            hint = f"set {variable}; a text that only looks like a variable is written with $$"
            raise self.unusable(node, f"{what} is the variable {variable}, which is not set", hint=hint)
        expanded, _ = expand(word, self.environ)
        try:
            expanded.encode()
        except UnicodeEncodeError:
            message = f"{what} has a variable that is not UTF-8"
            raise self.unusable(node, message, hint="set it to text") from None
        return expanded

    def realms(self, node: Node) -> tuple[str, ...]:
        """Hosts of token servers."""
        hosts = []
        for item, text in self._texts("realm", node):
            host = text.lower()
            if not _HOST.fullmatch(host):
                raise self.error(item, "realm", f"is not a host or host:port: {host!r}")
            hosts.append(host)
        return tuple(hosts)

    def setting(self, name: str, node: Node, *, registry: str) -> Any:
        """The value of a setting of RegistrySettings."""
        readers: Mapping[str, Callable[[], Any]] = {
            **dict.fromkeys(("ca", "cert", "key"), lambda: self._path(name, node)),
            "proxy": lambda: self._proxy(node),
            "mirrors": lambda: self._mirrors(node, registry),
            "catalog": lambda: self._catalogue(node),
            "create": lambda: self.flag(name, node),
            "requests": lambda: self._count(name, node, least=1),
            "reserve": lambda: self._count(name, node, least=0),
            "patience": lambda: self._measure(name, node, parse_duration),
            "rate": lambda: self._measure(name, node, parse_rate),
            "bandwidth": lambda: self._measure(name, node, parse_bandwidth),
        }
        return readers[name]()

    def _texts(self, name: str, node: Node) -> list[tuple[Node, str]]:
        items = node.items if isinstance(node, nodes.Sequence) else () if is_null(node) else (node,)
        what, hint = f"{name} of {self.key.text!r}", f"write {name}: {FIELDS[name].example}"
        return [(item, self.document.text(item, what, hint=hint).text.strip()) for item in items]

    def _path(self, name: str, node: Node) -> str:
        """A file, relative to the credentials file."""
        text = self.secret(name, node)
        if not text:
            return ""
        path = (Path(self.document.path).parent / text).absolute()
        try:
            path.open("rb").close()
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            message = f"{name} of {self.key.text!r}: {path} cannot be read: {words}"
            hint = "paths are relative to this file"
            raise self.unusable(node, message, hint=hint) from None
        return str(path)

    def _proxy(self, node: Node) -> str | None:
        """The URL of a proxy, empty for none; its password may be a variable."""
        text = self.secret("proxy", node).strip()
        if not text:
            return None
        if text.lower() == "none":
            return ""
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            sound = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound or parts.path.strip("/") or parts.query:
            raise self.error(node, "proxy", "is not the URL of a proxy")
        return parts._replace(path="").geturl()

    def _mirrors(self, node: Node, registry: str) -> tuple[Mirror, ...]:
        found = []
        for item, text in self._texts("mirrors", node):
            try:
                host, prefix = split_key(text)
            except RuleError as error:
                raise self.error(item, "mirrors", f"is not a list of registries: {text!r}: {error}") from None
            if host == registry:
                raise self.error(item, "mirrors", f"names the registry itself: {text!r}")
            place = (self.document.path, item.line, item.column)
            found.append(Mirror(registry=host, prefix=prefix, place=place))
        return tuple(dict.fromkeys(found))

    def _catalogue(self, node: Node) -> CatalogueSetting | None:
        """A kind, or a map of a kind and the URL of its interface."""
        if is_null(node):
            return None
        kind, url = node, None
        if isinstance(node, nodes.Mapping):
            found, _ = self.document.fields(node)
            unknown = [written for name, (written, _) in found.items() if name not in ("kind", "url")]
            if unknown or "kind" not in found:
                raise self.error(unknown[0] if unknown else node, "catalog", "is a map of kind and url")
            kind = found["kind"][1]
            url = found["url"][1] if "url" in found else None
        named = next((each for each in KINDS if each == getattr(kind, "text", None)), None)
        if named is None:
            raise self.error(kind, "catalog", f"is not one of {', '.join(KINDS)}")
        if url is None:
            return CatalogueSetting(kind=named)
        text = self.document.text(url, f"url of catalog of {self.key.text!r}", hint="https://HOST").text
        try:
            parts = urlsplit(text)
            sound = parts.scheme in ("https", "http") and bool(_HOST.fullmatch(parts.netloc.lower()))
        except ValueError:
            sound = False
        if not sound or parts.query or parts.fragment:
            raise self.error(url, "catalog", "has no URL of a host: https://HOST")
        return CatalogueSetting(kind=named, host=parts.netloc.lower(), prefix=parts.path.rstrip("/"))

    def _number(self, name: str, node: Node) -> str | None:
        """A number or a text as it is written; None: null."""
        if is_null(node):
            return None
        if isinstance(node, nodes.Scalar) and node.kind == "number":
            return node.text
        return self.document.text(node, f"{name} of {self.key.text!r}", hint=FIELDS[name].example).text

    def _count(self, name: str, node: Node, *, least: int) -> int | None:
        text = self._number(name, node)
        if text is None:
            return None
        digits = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
        if not digits or int(text) < least:
            raise self.error(node, name, f"is not a whole number of at least {least}: {text[:40]!r}")
        return int(text)

    def _measure(self, name: str, node: Node, parse: Callable[[str], float]) -> float | None:
        text = self._number(name, node)
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise self.error(node, name, f"is not understood: {error}") from None


def check_identity(settings: RegistrySettings) -> str:
    """Why the CA, certificate or key cannot be used; empty: they can. Never their content."""
    if not (settings.ca or settings.cert or settings.key):
        return ""
    import ssl  # noqa: PLC0415 - takes 10 ms, needed for certificates only

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if settings.ca:
            context.load_verify_locations(cafile=settings.ca)
    except (OSError, ValueError) as error:
        return f"ca: {settings.ca} holds no CA certificate in PEM form: {_reason(error)}"
    if settings.key and not settings.cert:
        return "key: there is no cert for it"
    try:
        if settings.cert:
            context.load_cert_chain(settings.cert, settings.key or None, password=str)
    except (OSError, ValueError) as error:
        files = f"{settings.cert} and {settings.key}" if settings.key else settings.cert
        return f"cert: {files} hold no certificate with its key, without a password: {_reason(error)}"
    return ""


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


def with_setting(settings: RegistrySettings, name: str, value: Any) -> RegistrySettings:
    """The settings with one more."""
    return replace(settings, **{name: value})
