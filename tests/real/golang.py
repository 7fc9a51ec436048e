"""Programs that no Debian package has, built with Go at fixed versions into a cache.

`python -m tests.real.golang crane ocimem` builds missing ones. Programs that tests always need are pinned
with their dependencies in tests/real/go; the larger ones are pinned by their own version.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.tools import ToolError, run

if TYPE_CHECKING:
    from collections.abc import Mapping

_MODULE = Path(__file__).parent / "go"
PROGRAMS: Mapping[str, str] = {
    "crane": "github.com/google/go-containerregistry/cmd/crane",
    "ocimem": "./ocimem",
    "regsync": "github.com/regclient/regclient/cmd/regsync@v0.11.7",
    "oras": "oras.land/oras/cmd/oras@v1.3.6",
    "cosign": "github.com/sigstore/cosign/v2/cmd/cosign@v2.5.3",
    "registry": "github.com/distribution/distribution/v3/cmd/registry@v3.1.2",
    "gofakes3": "github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0",
}
"""Program -> what `go install` builds it from: a package of that module, or a module at that version."""


def has_go() -> bool:
    """Whether Go is installed."""
    return shutil.which("go") is not None


def built(name: str) -> Path:
    """The path of a program once it is built; it depends on the version."""
    pinned = PROGRAMS[name].encode()
    if b"@" not in pinned:
        pinned += b"".join(path.read_bytes() for path in sorted(_MODULE.rglob("*")) if path.is_file())
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "image-syncer", "go", f"{name}-{hashlib.sha256(pinned).hexdigest()[:12]}", name)


def build(name: str) -> Path:
    """Build a program unless it exists; returns its path.

    Raises:
        ToolError: Go is missing, or cannot build it.
    """
    path = built(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may need it at the same moment
        if path.exists():
            return path
        if not has_go():
            raise ToolError(
                f"{name} is not installed, and there is no Go (https://go.dev/dl) to build it with"
            )
        try:
            run("env", f"GOBIN={path.parent}", "go", "-C", str(_MODULE), "install", PROGRAMS[name])
        except ToolError as error:
            raise ToolError(f"Go cannot build {name}: {str(error)[-300:]}") from error
    return path


if __name__ == "__main__":
    for each in sys.argv[1:]:
        try:
            build(each)
        except ToolError as missing:
            sys.exit(str(missing))
