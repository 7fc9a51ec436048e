"""A Dask cluster as operators run it: scheduler and workers in processes of their own, over TLS."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from tests.e2e.command import wait_for

ROOT = str(Path(__file__).parents[2])


class Cluster:
    """A cluster in a folder that holds its certificates and logs."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        """Make certificates; nothing runs yet."""
        self._folder, self._environ = folder, environ
        self._processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir()
        subject = ("-subj", "/CN=dask", "-addext", "subjectAltName=IP:127.0.0.1")
        made = ("-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem")
        subprocess.run(
            ["openssl", "req", "-x509", *made, *subject], cwd=folder, check=True, capture_output=True
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"tls://127.0.0.1:{self.port}"

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
        place = ("--port", str(self.port), "--host", "127.0.0.1", "--protocol", "tls")
        return self._start("scheduler", *place, *pages)

    def worker(self, *flags: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a worker with its nanny."""
        flags = ("--nthreads", "4", *flags) if "--nthreads" not in flags else flags
        given = ("--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(self._folder), *flags)
        return self._start("worker", self.address, *given, **environ)

    def _start(self, what: str, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        name = f"{what}-{len(self._processes)}.log"
        tls = {"--tls-ca-file": "cert.pem", "--tls-cert": "cert.pem", "--tls-key": "key.pem"}
        files = [word for flag, file in tls.items() for word in (flag, str(self._folder / file))]
        with (self._folder / name).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", what, *words, *files],
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

    def wait_for_log(self, words: str) -> None:
        """Wait until one of them has printed this."""
        wait_for(lambda: words in self.log)

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
