"""Login files of `docker login` and `podman login`, and the helper programs named in them.

Sources: docker/cli's config file (auths, credHelpers, credsStore), the protocol of docker-credential-helpers,
and containers-auth.json(5). These files are not written for us: a broken file or entry is skipped with a
warning. A failing helper program is an error, because continuing anonymously would hide it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import pwd
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.keys import matching_keys, registry_names, split_key
from pipeline.dataclass import dataclass
from pipeline.errors import RuleError
from pipeline.log import Event
from pipeline.model.credential import Credential
from pipeline.model.reference import DOCKER_HUB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.config.helpers import Helpers
    from pipeline.config.keys import Key
    from pipeline.model.reference import Repository

_HUB_KEY = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One login file."""

    origin: str
    """The file's name for people."""
    auths: Mapping[Key, tuple[str, Credential | None]]
    """By registry and path: the key as written, and the credential; None: the store has the secret."""
    helpers: Mapping[str, str] = field(default_factory=dict)
    """The suffix of the helper program by registry."""
    store: str = ""
    """The suffix of the helper program for all other registries."""

    def find(self, repository: Repository, helpers: Helpers) -> Credential | None:
        """The file's credential for the repository: from credHelpers, credsStore, or auths; None: none.

        Raises:
            LoginError: a helper program is missing, fails, or does not answer.
        """
        names = registry_names(repository.registry)
        suffix = next((self.helpers[name] for name in names if name in self.helpers), self.store)
        if suffix:
            credential = helpers.ask(suffix, self._server(repository.registry), origin=self.origin)
            if credential is not None:
                return credential
        found = (self.auths[key][1] for key in matching_keys(repository) if key in self.auths)
        return next((credential for credential in found if credential is not None), None)

    def _server(self, registry: str) -> str:
        """The registry's name for the helper: as in `auths`, if it is there."""
        if registry == DOCKER_HUB:
            return _HUB_KEY
        for name in registry_names(registry):
            if (name, "") in self.auths:
                return self.auths[name, ""][0]
        return registry


def read_logins(environ: Mapping[str, str]) -> tuple[tuple[Login, ...], list[Event]]:
    """Read all existing login files, in order of precedence.

    Returns:
        The logins, and a warning for each file or entry that cannot be used.
    """
    logins, warnings = [], []
    for origin, content in _contents(environ):
        try:
            text = content.read_bytes() if isinstance(content, Path) else content
            login, broken = _read_login(origin, json.loads(text))
            logins.append(login)
            warnings += [
                _unreadable(origin, f"{origin}: {words}; its other entries are used") for words in broken
            ]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as error:
            words = getattr(error, "strerror", None) or f"it is not a login file ({error})"
            warnings.append(_unreadable(origin, f"{origin} is not used: {words}"))
    return tuple(logins), warnings


def _unreadable(origin: str, message: str) -> Event:
    fields = {"file.path": origin}
    return Event(name="config.login_unreadable", message=message, level="warning", fields=fields)


def _contents(environ: Mapping[str, str]) -> Iterator[tuple[str, Path | str]]:
    """The name and path of each login file; the first one's content comes from the environment."""
    if environ.get("DOCKER_AUTH_CONFIG"):
        yield "$DOCKER_AUTH_CONFIG", environ["DOCKER_AUTH_CONFIG"]
    if environ.get("REGISTRY_AUTH_FILE"):
        yield environ["REGISTRY_AUTH_FILE"], Path(environ["REGISTRY_AUTH_FILE"])
    if environ.get("XDG_RUNTIME_DIR"):
        path = Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
        yield str(path), path
    home = _home(environ)
    places = [home / ".config" / "containers" / "auth.json", home / ".dockercfg"]
    docker = environ.get("DOCKER_CONFIG")
    places.insert(1, (Path(docker) if docker else home / ".docker") / "config.json")
    for path in places:
        name = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
        yield name, path


def _home(environ: Mapping[str, str]) -> Path:
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")


def _read_login(origin: str, config: Any) -> tuple[Login, list[str]]:
    """Read the content of a login file.

    Returns:
        The login, and messages about skipped entries, without secrets.

    Raises:
        ValueError: the file has another shape; without secrets too.
    """
    if not isinstance(config, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - one error for all that is wrong with the file
    is_old = "auths" not in config and origin.endswith(".dockercfg")
    auths, helpers, broken = {}, {}, []
    for text, entry in _object(config if is_old else config.get("auths"), "auths").items():
        try:
            auths.update(
                {
                    key: (text, _read_entry(origin, text, _object(entry, text)))
                    for key in _split_login_key(text)
                }
            )
        except ValueError as error:
            broken.append(f"the login of {text} is not used: {error}")
    for text, suffix in _object(config.get("credHelpers"), "credHelpers").items():
        try:
            helpers.update(
                {name: _string(suffix, f"credHelpers of {text}") for name, _ in _split_login_key(text)}
            )
        except ValueError as error:
            broken.append(f"the credential helper of {text} is not used: {error}")
    store = _string(config.get("credsStore"), "credsStore")
    return Login(origin=origin, auths=auths, helpers=helpers, store=store), broken


def _split_login_key(text: str) -> tuple[Key, ...]:
    """The key, or nothing if `text` is not a reference: these files are not written for us."""
    try:
        registry, path = split_key(text)
    except RuleError:
        return ()
    return ((registry, "" if path in {"v1", "v2"} else path),)


def _read_entry(origin: str, key: str, entry: Mapping[str, Any]) -> Credential | None:
    """One entry of `auths`; None: the store has the secret."""
    username = _string(entry.get("username"), f"username of {key}")
    password = _string(entry.get("password"), f"password of {key}")
    auth = _string(entry.get("auth"), f"auth of {key}")
    if auth:
        username, password = _decode_auth(auth, key)
    credential = Credential(
        origin=origin,
        username=username,
        password=password,
        identity_token=_string(entry.get("identitytoken"), f"identitytoken of {key}"),
        registry_token=_string(entry.get("registrytoken"), f"registrytoken of {key}"),
    )
    return None if credential.anonymous else credential


def _decode_auth(auth: str, key: str) -> tuple[str, str]:
    """User and password of `auth`: base64 in either alphabet, padded or not."""
    plain = auth.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError(f"the auth of {key} is not base64") from None
    username, colon, password = text.partition(":")
    if not colon:
        raise ValueError(f"the auth of {key} is not user:password")
    return username, password.rstrip("\0")


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")  # noqa: TRY004 - one error for all that is wrong
    return value


def _string(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{what} is not text")  # noqa: TRY004 - one error for all that is wrong
    return value
