"""TLS contexts: trusted CAs and client certificates for each registry.

Paths are those of docker and containers/image, environment variables those of Go, curl and requests, so that
existing set-ups work.
"""

from __future__ import annotations

import os
import ssl
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import FileError
from pipeline.model.registry_settings import NO_SETTINGS

if TYPE_CHECKING:
    import socket

    from pipeline.model.registry_settings import RegistrySettings

_context_lock = threading.Lock()


def make_context(
    registry: str, *, insecure: bool, settings: RegistrySettings = NO_SETTINGS, own: bool = True
) -> PeerContext:
    """The TLS context for requests for `registry` (`host[:port]`).

    Registries without their own files share one: loading a CA bundle takes as long as some requests.

    Args:
        registry: its name.
        insecure: whether certificates are not verified.
        settings: what the user has set for it.
        own: whether it is for the registry itself, not for a host that it named: these see no client
            certificate.

    Raises:
        FileError: a certificate file cannot be used.
    """
    bundles = {os.environ.get(name, "") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")} - {""}
    with _context_lock:
        return _make_context(
            tuple(sorted(bundles)),
            os.environ.get("SSL_CERT_DIR", ""),
            tuple(_certs_d(registry)),
            settings.ca,
            (settings.cert, settings.key) if own and settings.cert else None,
            insecure=insecure,
            own=own,
        )


def has_identity(registry: str, settings: RegistrySettings) -> bool:
    """Whether there is a client certificate for the registry."""
    return bool(settings.cert) or any(any(folder.glob("*.cert")) for folder in _certs_d(registry))


class PeerContext(ssl.SSLContext):
    """A TLS context that resumes the sessions of earlier connections to the same peer.

    Then neither side signs or checks a certificate again (RFC 8446, 2.2).
    """

    _MOST = 64
    """Maximum saved sessions."""

    def __init__(self, _protocol: int) -> None:
        """`_protocol` is for SSLContext's __new__."""
        self._lock = threading.Lock()
        self._sessions: dict[tuple[object, ...], ssl.SSLSession] = {}

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        """See SSLContext; resumes a saved session."""
        options.setdefault("session", self._sessions.get(_peer(sock, options.get("server_hostname"))))
        return super().wrap_socket(sock, *args, **options)

    def save(self, sock: ssl.SSLSocket) -> None:
        """Save the session of a connection; the ticket arrives with the first response."""
        peer, session = _peer(sock, sock.server_hostname), sock.session
        if session is not None and session.has_ticket:
            with self._lock:
                self._sessions.pop(peer, None)
                self._sessions[peer] = session
                if len(self._sessions) > self._MOST:
                    del self._sessions[next(iter(self._sessions))]


def _peer(sock: socket.socket, name: str | None) -> tuple[object, ...]:
    """The identity of a peer: certificates are for names, tickets for one server."""
    try:
        return name, *sock.getpeername()[:2]
    except OSError:
        return (name,)


@lru_cache(maxsize=64)
def _make_context(
    bundles: tuple[str, ...],
    places: str,
    folders: tuple[Path, ...],
    ca: str,
    identity: tuple[str, str] | None,
    *,
    insecure: bool,
    own: bool,
) -> PeerContext:
    context = PeerContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust_environment(context, bundles, places)
        if ca:
            _trust_bundle(context, ca)
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if own or file.suffix != ".cert":
                _use(context, file)
    if identity is not None:
        _load_identity(context, *identity)
    return context


def _trust_environment(context: ssl.SSLContext, bundles: tuple[str, ...], places: str) -> None:
    folders = [folder for folder in places.split(os.pathsep) if folder]
    if not bundles and not folders:
        paths = ssl.get_default_verify_paths()
        if paths.cafile or paths.capath:
            context.load_default_certs()
        else:
            from requests.utils import DEFAULT_CA_BUNDLE_PATH  # noqa: PLC0415 - takes 20 ms, needed if OpenSSL has no default

            context.load_verify_locations(cafile=DEFAULT_CA_BUNDLE_PATH)
    for path in bundles:
        _trust_bundle(context, path)
    for folder in folders:
        _trust_folder(context, Path(folder))


def _trust_bundle(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(**{"capath" if Path(path).is_dir() else "cafile": path})
    except OSError as error:
        raise FileError(path, f"unusable CA bundle: {error.strerror or error}") from error


def _load_identity(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Load a client certificate; a key that needs a password is refused, not asked for on the terminal."""
    try:
        context.load_cert_chain(cert, key or None, password=str)
    except OSError as error:
        raise FileError(cert, f"unusable client certificate: {error.strerror or error}") from error


def _trust_folder(context: ssl.SSLContext, folder: Path) -> None:
    """Trust every certificate in `folder`, as Go does; OpenSSL would require hashed names."""
    context.load_verify_locations(capath=str(folder))
    for file in sorted(folder.glob("*")) if folder.is_dir() else ():
        if file.suffix in {".pem", ".crt", ".cer"}:
            try:
                context.load_verify_locations(cafile=str(file))
            except OSError:
                continue


def _certs_d(registry: str) -> list[Path]:
    # In a container the home may be missing or another user's: that is not an error.
    home = os.path.expanduser("~/.config/containers/certs.d")  # noqa: PTH111 - Path's raises without a home
    roots = (Path(home), Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))
    return [root / registry for root in roots if os.path.isdir(root / registry)]  # noqa: PTH112 - Path's raises without rights


def _use(context: ssl.SSLContext, file: Path) -> None:
    """`*.crt` is a CA; `*.cert` and `*.key` are a client certificate (docker's certs.d)."""
    try:
        if file.suffix == ".crt" and context.verify_mode is not ssl.CERT_NONE:
            context.load_verify_locations(cafile=str(file))
        elif file.suffix == ".cert":
            context.load_cert_chain(str(file), str(file.with_suffix(".key")))
    except OSError as error:
        raise FileError(str(file), f"unusable certificate: {error.strerror or error}") from error
