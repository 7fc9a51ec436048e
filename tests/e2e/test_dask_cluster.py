"""Runs on an operator's cluster: certificates, the workers' own credentials, and deaths."""

from __future__ import annotations

import os
import signal
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.command import children, wait_for
from tests.e2e.test_death import complete, fill, prepare
from tests.engine.harness import wait_until_gone
from tests.registry.faults import Fault, Stall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def cluster(tmp_path: Path, command: Command) -> Iterator[Cluster]:
    """A cluster without running processes."""
    made = Cluster(tmp_path / "cluster", command.environ)
    yield made
    made.stop()


@pytest.fixture
def both(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """A source, and a slow mirror, so that a run lasts seconds."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    mirror.fault(Fault(method="PUT", times=None, action=Stall(seconds=0.3)))
    return source, mirror


PAGES = ("/info/main/workers.html", "/info/main/logs.html", "/json/identity.json", "/metrics")
"""Of Dask's scheduler."""


def test_workers_use_their_own_credentials(command: Command, cluster: Cluster, scripted: Scripted) -> None:
    """Workers take the password from their own environment; nothing of Dask shows it, or an upload's URL."""
    source, mirror = scripted(), scripted(auth="basic", username="me", password="hunter2")
    fill(source, repositories=1)
    prepare(command, source, mirror, repositories=1)
    command.write(
        "auth.json",
        {
            source.address: {"insecure": True},
            mirror.address: {"insecure": True, "username": "me", "password": "${SECRET}"},
        },
    )
    debug = {"DASK_LOGGING__DISTRIBUTED": "debug"}
    cluster.scheduler()
    cluster.worker(SECRET="hunter2", **debug)

    mirror.fault(Fault(method="PUT", times=None, action=Stall(seconds=0.3)))
    process = command.start(*cluster.flags, "--log-level=debug", SECRET="hunter2")
    mirror.wait_for(method="PUT", count=1, seconds=90)
    shown = cluster.state() + "".join(map(cluster.page, PAGES))
    result = command.end(process)

    assert result.code == 0, result.text
    assert complete(source, mirror, repositories=1)
    uploads = {each.path for each in mirror.requests(method="PUT", path="/blobs/uploads/")}
    assert uploads
    assert "visit-" in shown
    shown += result.text + cluster.files
    secrets = {"hunter2", b64encode(b"me:hunter2").decode(), *uploads}
    assert [] == [secret for secret in secrets if secret in shown]


MISFITS = {
    "old": ("import pipeline\npipeline.__version__ = '1.0'\n", "it has image-syncer 1.0, Python 3."),
    "without": (
        "import sys\nsys.modules['pipeline'] = None\n",
        "image-syncer is not installed there",
    ),
}
"""What a worker does before it starts, and what is said of it."""


def test_unsuitable_worker_gets_no_task(
    command: Command, cluster: Cluster, both: tuple[Registry, Registry], tmp_path: Path
) -> None:
    """A worker without threads, the version or the package gets one line and no task; others do the work."""
    cluster.scheduler()
    for name, (code, _) in MISFITS.items():
        (tmp_path / f"{name}.py").write_text(code)
        cluster.worker("--preload", str(tmp_path / f"{name}.py"))
    cluster.worker("--nthreads", "1")
    cluster.worker()
    wait_for(lambda: cluster.log.count("Registered to:") >= 4, seconds=90)

    result = command.run(*cluster.flags)

    assert result.code == 0, result.text
    lines = result.events("worker.unfit")
    expected = ("start it with --nthreads 2 or more", *(words for _, words in MISFITS.values()))
    assert [1, 1, 1] == [sum(words in line["msg"] for line in lines) for words in expected], result.text
    assert len(lines) == 3
    assert complete(*both)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_tasks_of_lost_worker_go_to_others(
    command: Command, cluster: Cluster, both: tuple[Registry, Registry], number: signal.Signals
) -> None:
    """When a worker is killed or its host drained, others do its tasks, and no blob is sent twice."""
    cluster.scheduler()
    first, _ = cluster.worker(), cluster.worker()
    process = command.start(*cluster.flags)
    both[1].wait_for(method="PUT", count=1)
    if number == signal.SIGKILL:
        os.kill(next(children(first.pid)), number)
    else:
        first.send_signal(number)

    result = command.end(process)

    assert result.code == 0, result.text
    assert complete(*both)
    assert len(result.events("worker.lost")) <= 1


def test_run_survives_replaced_scheduler(
    command: Command, cluster: Cluster, both: tuple[Registry, Registry]
) -> None:
    """A run survives Dask's scheduler if another one with workers replaces it within a minute."""
    scheduler, _ = cluster.scheduler(), cluster.worker()
    process = command.start(*cluster.flags)
    both[1].wait_for(method="PUT", count=1)
    assert f"is running: process {process.pid} on " in command.run("status").output
    scheduler.kill()
    scheduler.wait()
    cluster.scheduler()
    cluster.worker()

    result = command.end(process)

    assert result.code == 0, result.text
    assert complete(*both)


def test_run_without_workers_exits_3(
    command: Command, cluster: Cluster, both: tuple[Registry, Registry]
) -> None:
    """Without any worker for --patience the run ends with exit code 3 and says where it looked for one."""
    cluster.scheduler()

    result = command.run(*cluster.flags, "--patience=2s")

    assert result.code == 3
    assert f"no worker at {cluster.address}" in result.text


def test_ctrl_c_leaves_no_process(command: Command, both: tuple[Registry, Registry]) -> None:
    """Ctrl-C on a terminal drains a run with workers on this machine, and no process is left behind."""
    process = command.start("--engine=dask", "--workers=2")
    both[1].wait_for(method="PUT", count=1)
    started = list(children(process.pid))
    os.killpg(process.pid, signal.SIGINT)

    result = command.end(process)

    assert result.code == 130, result.text
    assert result.events("worker.lost") == []
    assert wait_until_gone(started) == []
    assert command.run().code == 0
    assert complete(*both)
