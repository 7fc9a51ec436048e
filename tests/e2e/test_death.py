"""Kills, signals and second runs: however a run ends, the next one copies the rest and nothing twice."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.command import Result, children, wait_for, workers
from tests.registry.content import image, index, layer
from tests.registry.faults import Fault, Stall

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

UPLOADED = r"/blobs/uploads/.*digest="


def fill(source: Registry, *, repositories: int = 4, tags: int = 4) -> int:
    """Images that share layers within and across repositories; returns how many."""
    base = layer("common to all", size=50_000)
    for number in range(repositories):
        own = layer(f"of repository {number}", size=30_000)
        for tag in range(tags):
            parts = [
                image(base, own, layer(f"{number} {tag}", size=20_000), architecture=arch)
                for arch in ("amd64", "arm64")
            ]
            source.add(f"team/app{number}", index(*parts), f"v{tag}")
    return repositories * tags


def uploads(mirror: Registry) -> Counter[str]:
    """Confirmed uploads by repository and digest."""
    entries = mirror.requests(method="PUT", path=UPLOADED, status=201)
    return Counter(
        f"{entry.path.split('/blobs/')[0]} {re.sub('.*digest=', '', entry.query)}" for entry in entries
    )


def prepare(command: Command, source: Registry, mirror: Registry, *, repositories: int = 4) -> None:
    """Rules for all repositories."""
    command.rules(
        {f"{source.address}/team/app{n}": f"{mirror.address}/copy/app{n}" for n in range(repositories)}
    )
    command.insecure(source.address, mirror.address)


def complete(source: Registry, mirror: Registry, *, repositories: int = 4) -> bool:
    """Whether every tag of the source is at the mirror, with the same digest."""
    return all(source.tags(f"team/app{n}") == mirror.tags(f"copy/app{n}") != {} for n in range(repositories))


@pytest.mark.parametrize("seed", range(6))
def test_resume_after_whole_run_was_killed(command: Command, scripted: Scripted, seed: int) -> None:
    """After SIGKILL of the whole run, a reported image costs two HEADs, and no blob is sent again."""
    source, mirror = scripted(), scripted()
    total = fill(source)
    prepare(command, source, mirror)
    process = command.start()
    mirror.wait_for(random.Random(seed).randint(1, 60), method="PUT")
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    _, said = process.communicate()
    done = {event["destination"] for event in Result(1, said).events("image.done")}

    result = command.run()

    assert result.code == 0, result.text
    assert complete(source, mirror)
    assert result.finish["copied"] + result.finish["unchanged"] == total
    asked = {event["destination"]: event["requests"] for event in result.events("image.unchanged")}
    assert {destination: asked.get(destination) for destination in done} == dict.fromkeys(done, "2")
    assert max(uploads(mirror).values()) == 1


def test_killed_supervisor_leaves_no_process(command: Command, scripted: Scripted) -> None:
    """After SIGKILL of the supervisor alone, its workers and the fork server are gone too."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(), method="GET", path="/blobs/", times=None))
    process = command.start()
    source.wait_for(3, method="GET", path="/blobs/")
    mine = list(children(process.pid))
    assert len(mine) > 2

    process.kill()
    process.communicate()

    wait_for(lambda: not any(Path(f"/proc/{pid}/stat").exists() for pid in mine))
    source.release()


def test_killed_worker_is_replaced(command: Command, scripted: Scripted) -> None:
    """A killed worker is replaced, another one does its tasks, and the run is complete."""
    source, mirror = scripted(), scripted()
    total = fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(), method="GET", path="/blobs/", times=4))
    process = command.start()
    source.wait_for(4, method="GET", path="/blobs/")
    for pid in workers(process.pid):
        os.kill(pid, signal.SIGKILL)
    source.release()

    result = command.end(process)

    assert (result.code, result.finish["copied"]) == (0, total), result.text
    assert complete(source, mirror)
    assert all("SIGKILL" in event["reason"] for event in result.events("worker.lost"))
    assert result.events("worker.lost")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_first_signal_drains(command: Command, scripted: Scripted, number: signal.Signals, code: int) -> None:
    """The first signal lets current transfers finish and ends with 128 + its number; the next run resumes."""
    source, mirror = scripted(), scripted()
    total = fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(), method="GET", path="/blobs/", times=3))
    process = command.start()
    source.wait_for(3, method="GET", path="/blobs/")
    process.send_signal(number)
    assert process.stderr
    said = ""
    while "run.drain" not in said:
        said = process.stderr.readline()
    source.release()

    result = command.end(process)

    assert result.code == code, result.text
    assert "Traceback" not in result.text
    again = command.run()
    assert again.code == 0, again.text
    assert again.finish["copied"] + again.finish["unchanged"] == total
    assert complete(source, mirror)
    assert max(uploads(mirror).values()) == 1


def test_second_signal_ends_at_once(command: Command, scripted: Scripted) -> None:
    """The second signal does not wait for tasks that hang."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(seconds=60), method="GET", path="/blobs/", times=None))
    process = command.start("--drain", "60s")
    source.wait_for(1, method="GET", path="/blobs/")
    process.send_signal(signal.SIGINT)
    assert process.stderr
    said = ""
    while "run.drain" not in said:
        said = process.stderr.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.4)
    process.send_signal(signal.SIGINT)

    result = command.end(process)

    source.release()
    assert result.code == 130
    assert "Traceback" not in result.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_late_signal_changes_no_result(command: Command, scripted: Scripted, number: signal.Signals) -> None:
    """A signal after the last image, while results are written, changes none of them."""
    source, mirror = scripted(), scripted()
    fill(source, repositories=1)
    prepare(command, source, mirror, repositories=1)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b" " * 4096)
    os.set_blocking(writer, True)
    command.stdout = writer
    process = command.start("--json", "--output-success-images", "done.yaml")
    os.close(writer)
    assert process.stderr
    while "run.finish" not in process.stderr.readline():
        pass

    process.send_signal(number)

    with process, os.fdopen(reader) as output:
        said = output.read()
    assert (0, 0) == (process.returncode, json.loads(said)["exit_code"])
    assert "v0" in (command.folder / "done.yaml").read_text()


def test_hangup_reopens_the_log(command: Command, scripted: Scripted) -> None:
    """With --log, SIGHUP reopens the file by its name, and the run continues."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(), method="GET", path="/blobs/", times=3))
    process = command.start("--log", "run.log")
    source.wait_for(3, method="GET", path="/blobs/")
    log = command.folder / "run.log"
    log.rename(command.folder / "run.log.1")
    process.send_signal(signal.SIGHUP)
    wait_for(log.exists)
    source.release()

    result = command.end(process)

    assert result.code == 0
    assert "run.start" in (command.folder / "run.log.1").read_text()
    assert "run.finish" in log.read_text()


@pytest.mark.parametrize("seed", range(4))
def test_ctrl_c_at_any_moment(command: Command, scripted: Scripted, seed: int) -> None:
    """Ctrl-C to the whole group at a moment of start-up ends the run soon and without a traceback."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    process = command.start()
    moments = [
        (command.folder / "records" / "lock").exists,
        lambda: len(list(children(process.pid))) >= 2,
        lambda: source.count() >= 1,
        lambda: mirror.count(method="POST") >= 1,
    ]
    wait_for(moments[seed])
    os.killpg(process.pid, signal.SIGINT)

    result = command.end(process)

    assert "Traceback" not in result.text
    assert result.code in (0, 130), result.text


def test_second_run_on_the_same_records_exits_3(command: Command, scripted: Scripted) -> None:
    """A second run on records in use ends with 3 and one line that names the process."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    source.fault(Fault(action=Stall(), method="GET", path="/blobs/", times=1))
    process = command.start()
    source.wait_for(1, method="GET", path="/blobs/")

    second = command.run()

    source.release()
    assert command.end(process).code == 0
    assert second.code == 3
    assert str(process.pid) in second.text
    assert len(second.text.splitlines()) == 1


def test_damaged_records_lose_no_image(command: Command, scripted: Scripted) -> None:
    """Damaged records are renamed and reported, and no image is lost."""
    source, mirror = scripted(), scripted()
    total = fill(source)
    prepare(command, source, mirror)
    assert command.run().code == 0
    for file in (command.folder / "records" / "store").iterdir():
        file.write_bytes(b"garbage" * 1_000)

    result = command.run()

    assert (result.code, result.finish["unchanged"]) == (0, total), result.text
    assert result.events("records.trouble")


def test_unwritable_records_exit_3(command: Command, scripted: Scripted) -> None:
    """Records that cannot be written end the run with 3 and one clear line, before any request."""
    source, mirror = scripted(), scripted()
    fill(source)
    prepare(command, source, mirror)
    (command.folder / "records").mkdir(mode=0o500)
    caps = "-dac_override,-dac_read_search"
    run = subprocess.run(
        ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", *command.words()],
        cwd=command.folder,
        env=command.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 3
    assert len(run.stderr.splitlines()) == 1
    assert "--records" in run.stderr
    assert source.count() == 0
