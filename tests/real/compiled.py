"""Registries built with Go, on loopback: implementations other than Debian's docker-registry."""

from __future__ import annotations

import re
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.golang import build
from tests.real.servers import DockerRegistry, await_line
from tests.real.wire import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

_PORT = re.compile(r"(?:serving on|using) port[: ]+([0-9]+)")
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "crane": ("registry", "serve", "--address", "127.0.0.1:0"),
    "ocimem": (),
    "gofakes3": ("-host", "127.0.0.1:0", "-backend", "memory", "-initialbucket", "registry"),
}
"""In-memory servers without authentication; each logs its port."""


@contextmanager
def _in_memory(program: str) -> Iterator[Endpoint]:
    with tempfile.TemporaryDirectory(prefix=f"{program}-") as folder:
        path = Path(folder) / "log"
        with path.open("wb") as log:
            command = [str(build(program)), *_COMMANDS[program]]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield Endpoint(address=f"127.0.0.1:{await_line(process, path, _PORT)}")
        finally:
            process.kill()
            process.wait()


@contextmanager
def distribution(users: Mapping[str, str] | None = None, *, s3: bool = False) -> Iterator[Endpoint]:
    """The registry of distribution, version 3, in memory or on an S3 server; Debian's is version 2."""
    with ExitStack() as stack:
        driver: dict[str, object] = {"inmemory": {}}
        if s3:
            storage = stack.enter_context(_in_memory("gofakes3"))
            driver = {"s3": _bucket(storage), "redirect": {"disable": True}}
        server = DockerRegistry(program=str(build("registry")), users=users, driver=driver)
        yield stack.enter_context(server).endpoint


def _bucket(storage: Endpoint) -> Mapping[str, object]:
    return {
        "region": "us-east-1",
        "regionendpoint": f"http://{storage.address}",
        "forcepathstyle": True,
        "secure": False,
        "bucket": "registry",
        "accesskey": "user",
        "secretkey": "secret",
    }


def compiled(kind: str) -> AbstractContextManager[Endpoint]:
    """A running registry of that kind: `crane`, `ocimem`, `distribution-3` or `distribution-3-s3`."""
    return distribution(s3=kind.endswith("-s3")) if kind.startswith("distribution") else _in_memory(kind)
