"""Who runs the tasks of a round: processes of the command, or workers of a Dask cluster."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from tests.chaos.draw_faults import BLOWS, CLUSTER_BLOWS, Blow
from tests.e2e.cluster import Cluster
from tests.e2e.command import children, wait_for, workers

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

_LOCAL_CLUSTER = 0.3
"""Share of the rounds with Dask in which the command starts its cluster."""
_STORMS, _KILLS = 0.12, 16
"""Share of the rounds with Dask in which workers die so often in the first run."""
_AGAIN = 0.3
"""Seconds after which an ended process of the cluster is started again, as by systemd."""


class Crew:
    """The command's own processes."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags for the command."""
        return ()

    patience = 5
    """For --patience, in seconds."""
    longest = 90.0
    """Maximum seconds of one run; a longer one hangs."""
    brief = ""
    blows: tuple[str, ...] = BLOWS
    """The kinds of blows that it can take."""
    has_storm = False
    """Whether workers keep dying."""
    last_words: tuple[str, ...] = ()
    """Allowed output on standard error when the command was killed."""

    def workers(self, pid: int) -> list[int]:
        """The workers of the run with this pid."""
        return workers(pid)

    def strike(self, kind: str, choice: float) -> bool:
        """Strike the cluster as `kind` says, if there is one."""
        del kind, choice
        return False

    def settle(self) -> None:
        """Restart everything after a run."""

    def close(self) -> None:
        """End everything that was started."""


class OwnCluster(Crew):
    """A cluster that the command starts for itself."""

    patience = 90
    longest = 300.0
    brief = "own-cluster"
    last_words = ("leaked ",)  # Python's tracker says this about the locks of workers

    @property
    def flags(self) -> tuple[str, ...]:
        """See Crew."""
        return "--engine=dask", "--workers=2"

    def workers(self, pid: int) -> list[int]:
        """See Crew."""
        return sorted(_spawned(pid))


class KeptCluster(Cluster, Crew):
    """A scheduler and two workers; each is started again when it ends, until the run is over."""

    patience = 90
    longest = 300.0
    blows = (*BLOWS, *CLUSTER_BLOWS)

    def __init__(self, folder: Path, *, debug: bool) -> None:
        """Start all, and wait until both workers have joined."""
        more = {"DASK_LOGGING__DISTRIBUTED": "debug"} if debug else {}
        super().__init__(folder, {"PATH": os.environ["PATH"], "HOME": str(folder)} | more)
        self.brief = "cluster" + " debug" * debug
        self._roles: dict[str, subprocess.Popen[bytes] | None] = dict.fromkeys(
            ("scheduler", "worker 1", "worker 2")
        )
        self._unwanted: set[str] = set()
        """Roles that stay vacant until the run is over."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        wait_for(lambda: self.log.count("Registered to:") > 1, seconds=60)

    def _keep(self) -> None:
        while not self._over.wait(_AGAIN):
            with self._lock:
                for role, process in self._roles.items():
                    if role not in self._unwanted and (process is None or process.poll() is not None):
                        self._roles[role] = self.scheduler() if role == "scheduler" else self.worker()

    def workers(self, pid: int) -> list[int]:
        """See Crew."""
        del pid
        return sorted(
            each for role in self._roles if role != "scheduler" for each in _spawned(self._pid(role))
        )

    def _pid(self, role: str) -> int:
        process = self._roles[role]
        return process.pid if process is not None and process.poll() is None else 0

    def strike(self, kind: str, choice: float) -> bool:
        """See Crew."""
        if kind not in CLUSTER_BLOWS:
            return False
        with self._lock:
            running = [role for role in self._roles if role != "scheduler" and self._pid(role)]
            match kind:
                case "worker joins":
                    self._roles.setdefault(f"worker {len(self._roles)}", None)
                    return True
                case "scheduler" | "scheduler for good":
                    whom = ["scheduler"]
                case "workers for good":
                    whom = running
                case _:
                    whom = running[int(choice * len(running)) :][:1]
            if kind.endswith("for good"):
                self._unwanted.update(
                    role for role in self._roles if role in whom or kind[0] == "w" == role[0]
                )
            number = signal.SIGTERM if kind == "worker leaves" else signal.SIGKILL
            struck = [self._end(role, number) for role in whom]
            return any(struck)

    def _end(self, role: str, number: signal.Signals) -> bool:
        """End a running process; with a nanny its worker is killed too, since a machine dies as a whole."""
        pid = self._pid(role)
        below = [*_spawned(pid)] if number == signal.SIGKILL else []
        for each in (pid, *below) if pid else ():
            with suppress(ProcessLookupError):
                os.kill(each, number)
        return bool(pid)

    def settle(self) -> None:
        """See Crew."""
        with self._lock:
            self._unwanted.clear()
            for pid in self.workers(0):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """See Crew."""
        self._over.set()
        self._keeper.join()
        for role in self._roles:
            self._end(role, signal.SIGKILL)
        self.stop()


def _spawned(pid: int) -> Iterator[int]:
    """The workers that a nanny in this process has started."""
    for child in children(pid) if pid else ():
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield child


def assemble(engine: str, seed: int, folder: Path) -> Crew:
    """The crew of a round."""
    random = Random(f"{seed} crew")
    if engine == "local":
        return Crew()
    is_own, debug, has_storm = (random.random() < share for share in (_LOCAL_CLUSTER, 0.4, _STORMS))
    crew = OwnCluster() if is_own else KeptCluster(folder / "cluster", debug=debug)
    crew.has_storm = has_storm
    return crew


def storm(registry: int) -> tuple[Blow, ...]:
    """Kills of one worker after another, every few requests to a registry."""
    return tuple(Blow(registry, 6 * number, "worker", number * 0.6 % 1) for number in range(1, _KILLS + 1))
