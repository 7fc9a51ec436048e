"""Cut links: `make chaos ENGINE=cut` cuts a worker of a Dask cluster off, with the times that users have.

The worker has a network namespace of its own, with one link to Dask's scheduler and one to the registries:
this needs root. Without the first link it may go on writing for a while, and nobody can tell it to stop. Its
tasks are done elsewhere all the same, and at no time do two workers upload.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.cluster import Cluster
from tests.e2e.command import Command, wait_for
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Stall
from tests.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LINKS = {"dask": "10.213.77", "registry": "10.213.78"}
"""The links, with their networks; this machine is .1, the worker's namespace .2."""
_LONGEST = 400.0
_FENCED = 45.0
"""Seconds after a cut before which nobody takes over: Dask notices it after 30, and the fence lasts 35."""
_IMAGES = 3


class Space:
    """A network namespace with its links."""

    def __init__(self) -> None:
        """Make it."""
        self.name = f"chaos{os.getpid()}"
        _ip("netns", "add", self.name)
        for number, network in enumerate(LINKS.values()):
            ours, theirs = self._ends(number)
            _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self.name)
            _ip("address", "add", f"{network}.1/24", "dev", ours)
            _ip("link", "set", ours, "up")
            self._inside("address", "add", f"{network}.2/24", "dev", theirs)
            self._inside("link", "set", theirs, "up")
        self._inside("link", "set", "lo", "up")

    def _ends(self, number: int) -> tuple[str, str]:
        return f"{self.name[-9:]}a{number}", f"{self.name[-9:]}b{number}"

    def _inside(self, *words: str) -> None:
        _ip("-n", self.name, *words)

    def cut(self, links: Sequence[str]) -> None:
        """Take links down."""
        for number, link in enumerate(LINKS):
            if link in links:
                _ip("link", "set", self._ends(number)[0], "down")

    def close(self) -> None:
        """Remove it, and its links with it."""
        _ip("netns", "delete", self.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def play(links: Sequence[str], folder: Path, say: Callable[[str], None]) -> list[str]:
    """Cut these links in the middle of uploads; returns what is wrong."""
    folder.mkdir()
    command = Command(folder)
    command.words = lambda *arguments: [*small, *arguments]  # type: ignore[method-assign] # small chunks
    small = (*Command.words()[:2], "tests.e2e.small")
    with ExitStack() as stack:
        space = Space()
        stack.callback(space.close)
        host = f"{LINKS['registry']}.1"
        source, mirror = (stack.enter_context(Registry(host=host, second_host=host)) for _ in range(2))
        for number in range(_IMAGES):
            source.add(f"team/app{number}", image(layer(f"{number}", size=3_000_000)), "v1")
        mirror.fault(Fault(method="PATCH", times=None, action=Stall(seconds=0.5)))
        command.insecure(source.address, mirror.address)
        command.rules(
            {f"{source.address}/team/app{n}": f"{mirror.address}/copy/app{n}" for n in range(_IMAGES)}
        )
        cluster = Cluster(folder / "cluster", command.environ, host=f"{LINKS['dask']}.1")
        stack.callback(cluster.stop)
        cluster.scheduler()
        cluster.worker(prefix=("ip", "netns", "exec", space.name), host=f"{LINKS['dask']}.2")
        process = command.start(*cluster.flags)
        mirror.wait_for(method="PATCH", count=6, seconds=60)
        space.cut(links)
        cut = time.monotonic()
        cluster.worker()
        wait_for(lambda: process.poll() is not None, seconds=_LONGEST)
        result = command.end(process)
        wrong = [] if result.code == 0 else [f"exit code {result.code}: {result.text[-1500:]}"]
        wrong += _overlaps(mirror, cut, say)
        return wrong


def _overlaps(mirror: Registry, cut: float, say: Callable[[str], None]) -> list[str]:
    """Whether the worker that was cut off wrote after another one had begun, or anything came twice."""
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    for entry in mirror.requests():
        first.setdefault(entry.connection, entry.at)
        last[entry.connection] = entry.at
    before = [last[each] for each in first if first[each] < cut + _FENCED]
    after = [first[each] for each in first if first[each] >= cut + _FENCED]
    commits = mirror.requests(method="PUT", path="/blobs/uploads/", status=201)
    names = [f"{each.path.split('/blobs/')[0]} {each.parameters['digest'][0]}" for each in commits]
    wrong = [f"sent twice: {name}" for name in {each for each in names if names.count(each) > 1}]
    if not after:
        return [*wrong, "nobody took over"]
    say(
        f"  the last request of the worker came {max(before) - cut:.1f} s after the cut, the first of another"
        f" one {min(after) - cut:.1f} s after it; {len(names)} blobs arrived"
    )
    return wrong + ["two workers wrote at a time"] * (max(before) >= min(after))


def main(say: Callable[[str], None]) -> int:
    """Cut the link to the scheduler, then both; returns the exit code."""
    if os.geteuid():
        say("links are cut in a network namespace: this needs root")
        return 1
    folder, found = Path(tempfile.mkdtemp(prefix="chaos-")), 0
    for links in (("dask",), tuple(LINKS)):
        say(f"cut: {' and '.join(links)}")
        wrong = play(links, folder / "-".join(links), say)
        found += len(wrong)
        for each in wrong or ("  ok",):
            say(each)
    return int(bool(found))
