"""Registries that Go builds, on loopback: other implementations than Debian's docker-registry."""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.golang import built
from tests.real.servers import DockerRegistry, await_line
from tests.real.wire import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

_PORT = re.compile(r"serving on port ([0-9]+)")


@contextmanager
def distribution(users: Mapping[str, str] | None = None) -> Iterator[Endpoint]:
    """The registry of distribution, version 3; Debian's is of version 2."""
    with DockerRegistry(program=str(built("registry")), users=users, memory=True) as server:
        yield server.endpoint


@contextmanager
def crane() -> Iterator[Endpoint]:
    """The registry of go-containerregistry, which holds everything in memory and lets everybody in."""
    with tempfile.TemporaryDirectory(prefix="crane-registry-") as folder:
        path = Path(folder) / "log"
        with path.open("wb") as log:
            command = [str(built("crane")), "registry", "serve", "--address", "127.0.0.1:0"]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Endpoint(address=f"127.0.0.1:{await_line(process, path, _PORT)}")
        finally:
            process.kill()
            process.wait()


def compiled(kind: str) -> AbstractContextManager[Endpoint]:
    """A running registry of that kind, `distribution-3` or `crane`, within the context."""
    return crane() if kind == "crane" else distribution()
