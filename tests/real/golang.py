"""Programs that come from no package of Debian and are built by Go, each of one version, into .venv.

`python -m tests.real.golang crane registry` builds those that are not there yet.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.tools import ToolError, run

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULES: Mapping[str, str] = {
    "crane": "github.com/google/go-containerregistry/cmd/crane@v0.22.1",
    "regsync": "github.com/regclient/regclient/cmd/regsync@v0.11.7",
    "oras": "oras.land/oras/cmd/oras@v1.3.6",
    "registry": "github.com/distribution/distribution/v3/cmd/registry@v3.0.0",
}
"""Program -> what `go install` makes it of."""
GO_BIN = Path(__file__).resolve().parents[2] / ".venv" / "go-bin"


def built(name: str) -> Path:
    """The path at which a program is once it is built."""
    return GO_BIN / name


def build(name: str) -> None:
    """Build a program unless it is there.

    Raises:
        ToolError: there is no Go, or it cannot build it.
    """
    if built(name).exists():
        return
    if shutil.which("go") is None:
        raise ToolError(f"{name} is not installed, and there is no Go (https://go.dev/dl) to build it with")
    try:
        run("env", f"GOBIN={GO_BIN}", "go", "install", MODULES[name])
    except ToolError as error:
        raise ToolError(f"Go cannot build {name}: {str(error)[-300:]}") from error


if __name__ == "__main__":
    for each in sys.argv[1:]:
        try:
            build(each)
        except ToolError as missing:
            sys.exit(str(missing))
