"""The measured clients, each as the command that copies given repositories with it.

Compiled peers are built with `go install` if Go is installed; a missing client is left out with a message.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.golang import build, built
from tests.real.tools import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.real.wire import Endpoint

ROOT = Path(__file__).resolve().parents[2]
OURS, SKOPEO, CRANE, REGSYNC, ORAS = "image-syncer", "skopeo", "crane", "regsync", "oras"
PEER, BARE = "peer", "bare loop"
_REGSYNC_AT_A_TIME = 8
_TAG = "v1.0"
"""The one tag of a corpus of one image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to copy."""

    source: Endpoint
    destinations: Sequence[Endpoint]
    repositories: Sequence[str]
    folder: Path
    """The client's own working folder, which keeps its files from one run to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client."""

    name: str
    command: Callable[[Job], list[str]]
    """Writes the client's files into the job's folder; returns the command line."""
    images: int | None = None
    """How many images it can copy; None: no limit."""


def _write(job: Job, name: str, content: object) -> str:
    path = job.folder / name
    path.write_text(json.dumps(content))  # JSON is YAML
    return str(path)


def _in_turn(commands: Sequence[Sequence[str]]) -> list[str]:
    """One command that runs all until the first failure."""
    return ["sh", "-c", " && ".join(map(shlex.join, commands))]


def _flags(job: Job) -> list[str]:
    """The flags of image-syncer and of clients that take the same files."""
    rules = {
        f"{job.source.address}/{repository}": [f"{each.address}/{repository}" for each in job.destinations]
        for repository in job.repositories
    }
    insecure = {each.address: {"insecure": True} for each in (job.source, *job.destinations)}
    return ["--auth", _write(job, "auth.json", insecure), "--images", _write(job, "images.json", rules)]


def _ours(job: Job) -> list[str]:
    records = ["--records", str(job.folder / "records")]
    return ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "pipeline", *_flags(job), *records]


def _skopeo(job: Job) -> list[str]:
    images: dict[str, list[str]] = {repository: [] for repository in job.repositories}
    source = _write(job, "skopeo.yaml", {job.source.address: {"tls-verify": False, "images": images}})
    sync = ["skopeo", "--insecure-policy", "sync", "--all", "--src", "yaml", "--dest", "docker"]
    folder = job.repositories[0].rpartition("/")[0]
    return _in_turn(
        [[*sync, "--dest-tls-verify=false", source, f"{each.address}/{folder}"] for each in job.destinations]
    )


def _crane(job: Job) -> list[str]:
    copy = [_found(CRANE), "copy", "--insecure", "--all-tags"]
    return _in_turn(
        [
            [*copy, f"{job.source.address}/{repository}", f"{each.address}/{repository}"]
            for each in job.destinations
            for repository in job.repositories
        ]
    )


def _regsync(job: Job) -> list[str]:
    tls = "disabled" if job.source.ca is None else "insecure"
    config = {
        "version": 1,
        "creds": [{"registry": each.address, "tls": tls} for each in (job.source, *job.destinations)],
        "defaults": {"parallel": _REGSYNC_AT_A_TIME},
        "sync": [
            {
                "source": f"{job.source.address}/{repository}",
                "target": f"{each.address}/{repository}",
                "type": "repository",
            }
            for each in job.destinations
            for repository in job.repositories
        ],
    }
    return [_found(REGSYNC), "once", "--config", _write(job, "regsync.yaml", config)]


def _oras(job: Job) -> list[str]:
    plain = "plain-http" if job.source.ca is None else "insecure"
    image = f"{job.repositories[0]}:{_TAG}"
    copy = [_found(ORAS), "cp", "--recursive", f"--from-{plain}", f"--to-{plain}"]
    return _in_turn(
        [[*copy, f"{job.source.address}/{image}", f"{each.address}/{image}"] for each in job.destinations]
    )


def _bare(job: Job) -> list[str]:
    scheme = "http" if job.source.ca is None else "https"
    addresses = [job.source.address, job.destinations[0].address]
    return [sys.executable, "-m", "scripts.bench.bare", scheme, *addresses, job.repositories[0], _TAG]


def bare() -> Client:
    """The bare loop."""
    return Client(name=BARE, command=lambda job: ["env", f"PYTHONPATH={ROOT}", *_bare(job)], images=1)


def clients(*, peer: str, alone: bool) -> list[Client]:
    """The available clients.

    Args:
        peer: a command that takes image-syncer's flags; empty: none.
        alone: only image-syncer and that peer.
    """
    found = [Client(name=OURS, command=_ours)]
    if not alone:
        found.append(Client(name=SKOPEO, command=_skopeo))
        built_by_go = (
            Client(name=CRANE, command=_crane),
            Client(name=REGSYNC, command=_regsync),
            Client(name=ORAS, command=_oras, images=1),
        )
        found += [client for client in built_by_go if _install(client.name)]
    if peer:
        found.append(Client(name=PEER, command=lambda job: [*shlex.split(peer), *_flags(job)]))
    return found


def _found(name: str) -> str:
    """The path of a Go program: first ours, of the pinned version."""
    return str(built(name)) if built(name).exists() else shutil.which(name) or name


def _install(name: str) -> bool:
    """Whether the program is available, after building it with Go if necessary."""
    if shutil.which(name):
        return True
    try:
        build(name)
    except ToolError as error:
        print(f"{name} is missing: {error}", flush=True)
        return False
    return True
