"""A Dask cluster as operators run it: scheduler and workers in processes of their own, over TLS."""

from __future__ import annotations

import errno
import gzip
import random
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = str(Path(__file__).parents[2])


def _free_port(host: str) -> int:
    """A port that no outgoing connection gets: one to a scheduler that is gone could else reach itself."""
    for port in random.sample(range(20_000, 30_000), 50):
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise OSError(errno.EADDRINUSE, "no free port")


class Cluster:
    """A cluster in a folder that holds its certificates and logs."""

    def __init__(self, folder: Path, environ: dict[str, str], *, host: str = "127.0.0.1") -> None:
        """Make certificates; nothing runs yet."""
        self._folder, self._environ, self._host = folder, environ, host
        self._processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir()
        subject = ("-subj", "/CN=dask", "-addext", f"subjectAltName=IP:{host}")
        made = ("-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem")
        subprocess.run(
            ["openssl", "req", "-x509", *made, *subject], cwd=folder, check=True, capture_output=True
        )
        self.port = _free_port(host)
        self.address = f"tls://{host}:{self.port}"

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags for the command."""
        files = {"ca": "cert.pem", "cert": "cert.pem", "key": "key.pem"}
        return (
            "--engine=dask",
            f"--scheduler={self.address}",
            *(f"--tls-{name}={self._folder / file}" for name, file in files.items()),
        )

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start the scheduler."""
        pages = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
        place = ("--port", str(self.port), "--host", self._host, "--protocol", "tls")
        return self._start("scheduler", *place, *pages)

    def worker(
        self, *flags: str, prefix: Sequence[str] = (), host: str = "", **environ: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker with its nanny, perhaps by another program, at this address."""
        flags = ("--nthreads", "4", *flags) if "--nthreads" not in flags else flags
        given = (
            "--no-dashboard",
            "--host",
            host or self._host,
            "--local-directory",
            str(self._folder),
            *flags,
        )
        return self._start("worker", self.address, *given, prefix=prefix, **environ)

    def _start(
        self, what: str, *words: str, prefix: Sequence[str] = (), **environ: str
    ) -> subprocess.Popen[bytes]:
        name = f"{what}-{len(self._processes)}.log"
        tls = {"--tls-ca-file": "cert.pem", "--tls-cert": "cert.pem", "--tls-key": "key.pem"}
        files = [word for flag, file in tls.items() for word in (flag, str(self._folder / file))]
        with (self._folder / name).open("wb") as log:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "dask", what, *words, *files],
                cwd=self._folder,
                env=self._environ | {"PYTHONPATH": ROOT} | environ,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process

    @property
    def log(self) -> str:
        """The output of all processes."""
        return "".join(path.read_text() for path in self._folder.glob("*.log"))

    @property
    def files(self) -> str:
        """All that is in its folder, but for the certificates: logs, and what workers leave on disk."""
        paths = (path for path in self._folder.rglob("*") if path.is_file() and path.suffix != ".pem")
        return "".join(path.read_bytes().decode(errors="replace") for path in paths)

    def state(self) -> str:
        """What it tells of itself, as an operator asks for it: a dump of its state."""
        cert, key = str(self._folder / "cert.pem"), str(self._folder / "key.pem")
        dump = self._folder / "state.msgpack.gz"
        code = (
            "from distributed import Client, Security\n"
            f"security = Security(tls_ca_file={cert!r}, tls_client_cert={cert!r}, tls_client_key={key!r})\n"
            f"with Client({self.address!r}, security=security) as client:\n"
            f"    client.dump_cluster_state({str(self._folder / 'state')!r})\n"
        )
        subprocess.run([sys.executable, "-c", code], env=self._environ, check=True, capture_output=True)
        return gzip.decompress(dump.read_bytes()).decode(errors="replace")

    def page(self, path: str) -> str:
        """A page of the scheduler's."""
        [port] = re.findall(r"dashboard at: +http://127.0.0.1:(\d+)", self.log)[:1]
        try:
            answer = urlopen(f"http://127.0.0.1:{port}{path}", timeout=30)
        except HTTPError as failed:  # a page of what has ended meanwhile
            answer = failed
        with answer:
            content: bytes = answer.read()
        return content.decode()

    def stop(self) -> None:
        """Kill all running processes."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
