"""Debian's docker-registry on loopback: the real server for tests, demo and benchmark.

The server binds port 0 and logs its port, so no two runs can want the same port. Its access log is the
exact list of requests, as the server saw them.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.real.tools import run
from tests.real.wire import Endpoint, Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTENS = re.compile(r"listening on (127\.0\.0\.1:[0-9]+)")
_LINE = re.compile(
    r'\S+ - (?P<user>\S+) \[[^]]*\] "(?P<method>[A-Z]+) (?P<path>\S+) [^"]*" '
    r'(?P<status>\d+) (?P<sent>\S+) "[^"]*" "(?P<agent>[^"]*)"'
)
_PROBE = "access-log-probe"
_START_SECONDS = 20.0
_QUIET_PROBES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of the access log."""

    method: str
    path: str
    """With the query, as sent."""
    status: int
    agent: str
    """The User-Agent."""
    sent: int = 0
    """Bytes of the response body."""


class ServerError(Exception):
    """The registry did not start; the message holds the end of its log."""


class DockerRegistry:
    """One docker-registry process, started and stopped by `with`.

    Args:
        users: user -> password for Basic authentication; None: anonymous.
        tls: serve HTTPS with a certificate of a CA made for this server.
        schema1: accept docker schema 1 manifests.
        delete: accept DELETE of manifests and blobs.
        memory: keep everything in memory instead of a temporary folder; slow for blobs of many megabytes.
        place: the parent of the temporary folder; None: the system's default.
        program: the distribution registry to start; Debian's is version 2.
        driver: another storage driver, as in its configuration.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        tls: bool = False,
        schema1: bool = False,
        delete: bool = False,
        memory: bool = False,
        place: Path | None = None,
        program: str = "docker-registry",
        driver: Mapping[str, object] | None = None,
    ) -> None:
        """Nothing is started before `__enter__`."""
        self._users = dict(users or {})
        self._tls = tls
        self._schema1 = schema1
        self._delete = delete
        self._memory = memory
        self._place = place
        self._program = program
        self._driver = driver
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = Endpoint(address="")

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return self.endpoint.address

    @property
    def storage(self) -> Path:
        """The folder of the filesystem driver, for tests that damage what is stored."""
        return self._folder / "storage"

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "the registry is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            ServerError: it ended, or did not answer in 20 s.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="docker-registry-", dir=self._place))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def kill(self) -> None:
        """Kill the server with SIGKILL, whatever it is doing; its storage stays."""
        assert self._process is not None, "the registry is not running"
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Start it again, with its storage, at another port.

        Raises:
            ServerError: it ended, or did not answer in 20 s.
        """
        self._start()

    def set_users(self, users: Mapping[str, str]) -> None:
        """Change the users: docker-registry reads its htpasswd file again when it has changed."""
        self._users = dict(users)
        self._write_users()
        self.endpoint = self._reach(self.address)

    def __exit__(self, *_: object) -> None:
        """Stop the server and remove everything that it stored."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def requests(self) -> list[Request]:
        """Every request answered so far, in the order of their answers.

        A line is written when its handler returns, which for a long body may be just after the client read
        the last byte. So the log is read once it stays unchanged between two probes, which are left out of
        the list.
        """
        before = -1
        with Wire(self.endpoint) as wire:
            for _ in range(_QUIET_PROBES):
                wire.ask("GET", "/v2/", headers={"User-Agent": _PROBE})
                found = [line for line in self._lines() if line.agent != _PROBE]
                if len(found) == before:
                    return found
                before = len(found)
        raise ServerError(
            f"the access log of {self.address} does not come to rest: is a client still at work?"
        )

    def _lines(self) -> list[Request]:
        text = (self._folder / "access.log").read_text()
        complete = text[: text.rfind("\n") + 1]
        return [
            Request(
                method=match["method"],
                path=match["path"],
                status=int(match["status"]),
                agent=match["agent"],
                sent=int(match["sent"]) if match["sent"].isdigit() else 0,
            )
            for match in _LINE.finditer(complete)
        ]

    def _start(self) -> None:
        config = self._folder / "config.json"  # JSON is YAML
        config.write_text(json.dumps(self._config()))
        with (
            (self._folder / "access.log").open("wb") as access,
            (self._folder / "server.log").open("wb") as log,
        ):
            self._process = subprocess.Popen(
                [self._program, "serve", str(config)],
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},  # version 3 would look for a collector
                stdin=subprocess.DEVNULL,
                stdout=access,
                stderr=log,
            )
        self.endpoint = self._reach(await_line(self._process, self._folder / "server.log", _LISTENS))
        with Wire(self.endpoint) as wire:
            wire.need(200, "GET", "/v2/", headers={"User-Agent": _PROBE})

    def _config(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": "127.0.0.1:0", "secret": "of these tests"}
        if self._tls:
            certificate, key = make_certificate(self._folder)
            http["tls"] = {"certificate": str(certificate), "key": str(key)}
        driver = {"inmemory": {}} if self._memory else {"filesystem": {"rootdirectory": str(self.storage)}}
        storage = {**(self._driver or driver), "delete": {"enabled": self._delete}}
        config: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "info"},
            "http": http,
            "storage": storage,
            "compatibility": {"schema1": {"enabled": self._schema1}},
        }
        if self._users:
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self._write_users())}}
        return config

    def _write_users(self) -> Path:
        lines = [run("htpasswd", "-Bni", "-C", "4", user, stdin=word) for user, word in self._users.items()]
        path = self._folder / "htpasswd"
        whole = path.with_suffix(".new")
        whole.write_text("".join(line.strip() + "\n" for line in lines))
        whole.replace(path)
        return path

    def _reach(self, address: str) -> Endpoint:
        ca = self._folder / "trust" / "ca.crt" if self._tls else None
        if not self._users:
            return Endpoint(address=address, ca=ca)
        user, password = next(iter(self._users.items()))
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        authfile = self._folder / "auth.json"
        authfile.write_text(json.dumps({"auths": {address: {"auth": pair}}}))
        return Endpoint(address=address, user=user, password=password, authfile=authfile, ca=ca)


def await_line(process: subprocess.Popen[bytes], log: Path, wanted: re.Pattern[str]) -> str:
    """The match of the pattern's group in a server's log, once it is there.

    Raises:
        ServerError: the server ended before, or did not log it in 20 s.
    """
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if match := wanted.search(log.read_text()):
            return match[1]
        try:
            process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
        break
    raise ServerError(f"{process.args!r} did not start: {log.read_text()[-2000:]}")


def make_certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """Make a CA (`folder/trust/ca.crt`, alone there for skopeo), and a certificate for loopback and names."""
    trust = folder / "trust"
    trust.mkdir()
    key, request, certificate = folder / "server.key", folder / "server.csr", folder / "server.crt"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca_use = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    ca_files = ("-keyout", f"{folder}/ca.key", "-out", f"{trust}/ca.crt")
    run(
        "openssl",
        "req",
        "-x509",
        *new_key,
        "-subj",
        "/CN=CA of these tests",
        "-days",
        "2",
        *ca_use,
        *ca_files,
    )
    run("openssl", "req", *new_key, "-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(request))
    extensions = folder / "extensions"
    extensions.write_text(
        f"subjectAltName={','.join(('IP:127.0.0.1', 'DNS:localhost', *(f'DNS:{name}' for name in names)))}\n"
        "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n"
        "extendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    signer = ("-CA", f"{trust}/ca.crt", "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-days", "2")
    run(
        *("openssl", "x509", "-req", "-in", str(request), "-out", str(certificate)),
        *signer,
        *("-extfile", str(extensions)),
    )
    return certificate, key
