"""A scripted registry in its own process, for runs whose registries must not share our interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.registry.control import Remote

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
_PATIENCE = 10.0


@contextmanager
def start_process(*, port: int = 0, tls: tuple[Path, Path] | None = None, **options: Any) -> Iterator[Remote]:
    """Run `python -m tests.registry` while the context lasts; it also ends when this process dies.

    Args:
        port: 0: any.
        tls: files of certificate and key, to serve HTTPS.
        options: fields of Options.
    """
    command = [sys.executable, "-m", "tests.registry", "--until-eof", "--port", str(port)]
    command += ["--options", json.dumps(options)]
    command += ["--tls", *map(str, tls)] if tls else []
    with subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError(f"the registry did not start: exit status {process.wait(_PATIENCE)}")
            yield Remote(address, scheme="https" if tls else "http")
        finally:
            process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
