"""nginx in front of a registry, as it is often used: TLS, another path, limits of requests and bodies."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.servers import ServerError, make_certificate
from tests.real.wire import Endpoint, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
ADVICE = "nginx missing: run scripts/bootstrap as root with CI=true, or apt-get install nginx-light"
_CONFIG = """
daemon off; {user} worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    limit_req_zone $server_port zone=all:1m rate={rate};
    server {{
        listen {address} {tls};
        {certificate}
        location /v2/ {{
            {limits}
            {body}
            {path}
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_request_buffering {buffering};
            proxy_buffering {buffering};
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How nginx fronts a registry; by default it only forwards."""

    tls: bool = False
    """HTTPS, with a certificate of a CA made for this server; the registry speaks HTTP."""
    path: str = ""
    """Repositories `a/b` are `path/a/b` at the registry, and its Locations are rewritten."""
    rate: str = ""
    """Requests a second for all clients together, as `20r/s`; empty: no limit."""
    burst: int = 1
    """Requests in a burst."""
    status: int = 503
    """The status of refused requests; nginx sends 503 unless told otherwise, and never a Retry-After."""
    body: str = "0"
    """The limit of a request's body, such as nginx's default `1m`; 0: none."""
    buffering: bool = False
    """Whether nginx reads whole bodies before it forwards them, as it does by default."""


@contextmanager
def nginx(upstream: Endpoint, manner: Manner) -> Iterator[Endpoint]:
    """A running nginx; it inherits its listening socket, so that no two can want the same port.

    Raises:
        ServerError: it did not start.
    """
    assert NGINX is not None, ADVICE
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            config = folder / "nginx.conf"
            config.write_text(_config(folder, address, upstream, manner))
            process = subprocess.Popen(
                [NGINX, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)],
                env={
                    **os.environ,
                    "NGINX": f"{listener.fileno()};",
                },  # as a new nginx takes over from an old one
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            ca = folder / "trust" / "ca.crt" if manner.tls else None
            endpoint = Endpoint(address=address, ca=ca)
            _await(process, endpoint, folder / "error.log")
            yield endpoint
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its worker too
            process.wait()


def _config(folder: Path, address: str, upstream: Endpoint, manner: Manner) -> str:
    certificate = limits = path = ""
    if manner.tls:
        certificate = "ssl_certificate {}; ssl_certificate_key {};".format(*make_certificate(folder))
    if manner.rate:
        limits = f"limit_req zone=all burst={manner.burst} nodelay; limit_req_status {manner.status};"
    if manner.path:
        scheme = "https" if manner.tls else "http"
        path = (
            f"rewrite ^/v2/(.+)$ /v2/{manner.path}/$1 break;"
            f" proxy_redirect ~^http://[^/]+/v2/{manner.path}/(.*)$ {scheme}://$http_host/v2/$1;"
        )
    return _CONFIG.format(
        folder=folder,
        user="user root;" if os.geteuid() == 0 else "",  # its worker may read and write the folder
        address=address,
        tls="ssl" if manner.tls else "",
        certificate=certificate,
        rate=manner.rate or "1r/s",
        limits=limits,
        body=f"client_max_body_size {manner.body};",
        path=path,
        upstream=upstream.address,
        buffering="on" if manner.buffering else "off",
    )


def _await(process: subprocess.Popen[bytes], endpoint: Endpoint, log: Path) -> None:
    """Wait for an answer: connections queue in the inherited socket until nginx is running."""
    try:
        with Wire(endpoint) as wire:
            wire.ask("GET", "/")
    except OSError as error:
        raise ServerError(f"{process.args!r} did not start: {error}; {log.read_text()[-2000:]}") from error
