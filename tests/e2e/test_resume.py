"""Large layers over breaks and kills: confirmed bytes are not sent again."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline.settings import Uploads
from tests.e2e.command import children, wait_for, workers
from tests.e2e.proxy import Proxy
from tests.e2e.small import CHUNK
from tests.real.wire import OCI_MANIFEST, Wire
from tests.real.witness import flaws
from tests.registry.content import digest_of, image, layer
from tests.registry.faults import Drop, Fault, Reply

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.real.fixtures import StartRegistry
    from tests.real.wire import Endpoint
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

MIB = 1 << 20
LARGE = 340 * MIB
OTHERS = 100_000
"""Bytes of everything but layers, at most."""


def push_large(registry: Endpoint) -> None:
    """An image with one layer of 340 MiB."""
    data = random.Random(7).randbytes(MIB)
    content = b"".join(number.to_bytes(4) + data[4:] for number in range(LARGE // MIB))
    with Wire(registry) as wire:
        parts = []
        for blob, kind in ((b"{}", "config.v1+json"), (content, "layer.v1.tar")):
            digest = wire.send_blob("team/large", blob)
            media_type = f"application/vnd.oci.image.{kind}"
            parts.append({"mediaType": media_type, "digest": digest, "size": len(blob)})
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": parts[0],
            "layers": [parts[1]],
        }
        wire.send_manifest("team/large", "v1", json.dumps(manifest).encode())


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL for the supervisor and everything below it."""
    for pid in children(process.pid):
        os.kill(pid, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("buffers", [True, False])
def test_killed_in_a_large_layer(command: Command, docker_registry: StartRegistry, *, buffers: bool) -> None:
    """After SIGKILL in the middle of 340 MiB, at most one chunk is sent twice if the upload still exists."""
    source, mirror = docker_registry(), docker_registry()
    push_large(source.endpoint)
    with Proxy(mirror.address, buffers=buffers) as proxy:
        command.rules({f"{source.address}/team/large:v1": f"{proxy.address}/copy/large:v1"})
        command.insecure(source.address, proxy.address)
        proxy.halt_at = LARGE // 2 + MIB
        process = command.start()
        assert proxy.halted.wait(60)
        kill(process)
        proxy.go.set()
        asked = len(proxy.asked)

        result = command.run()

    twice = proxy.received - LARGE
    assert result.code == 0, result.text
    assert flaws(mirror.endpoint, "copy/large:v1") == []
    if buffers:
        assert proxy.asked[asked:].count("GET") == 1
        assert "POST" not in proxy.asked[asked:]
        assert twice <= Uploads().chunk + OTHERS
        assert [event["offset"] for event in result.events("blob.resumed")] == [str(160 * MIB)]
    else:  # distribution ends a session whose body broke off
        assert twice <= LARGE // 2 + Uploads().chunk
        assert result.events("blob.resumed") == []


def small(command: Command, source: Registry, destination: str) -> bytes:
    """Let the command use small chunks, on an image with a layer of eight of them."""
    blob = layer("large", size=8 * CHUNK)
    source.add("team/app", image(blob), "v1")
    command.words = lambda *words: [sys.executable, "-m", "tests.e2e.small", *words]  # type: ignore[method-assign]  # another program
    command.rules({f"{source.address}/team/app": f"{destination}/copy/app"})
    command.insecure(source.address, destination)
    return blob


def stored(folder: Path) -> bytes:
    """All files of the records."""
    return b"".join(path.read_bytes() for path in (folder / "records").rglob("*") if path.is_file())


def wait_until_recorded(command: Command, mirror: Registry) -> None:
    """Wait until the records have the newest URL of the layer's upload: an older one is not valid."""
    upload = max(mirror.store.create("copy/app").uploads.values(), key=lambda each: each.size)
    wait_for(lambda: f"_state={upload.state}".encode() in stored(command.folder))


@pytest.mark.parametrize("victims", ["worker", "everything"])
def test_killed(command: Command, scripted: Scripted, victims: str) -> None:
    """Whichever process is killed, the upload resumes after the confirmed bytes, and its URL is removed."""
    source, mirror = scripted(), scripted()
    with Proxy(mirror.address, buffers=True) as proxy:
        blob = small(command, source, proxy.address)
        proxy.halt_at = 5 * CHUNK + CHUNK // 2
        process = command.start()
        assert proxy.halted.wait(30)
        wait_until_recorded(command, mirror)
        if victims == "worker":
            for pid in workers(process.pid):
                os.kill(pid, signal.SIGKILL)
            proxy.go.set()
            result = command.end(process)
        else:
            kill(process)
            proxy.go.set()
            store = command.folder / "records" / "store"
            assert b"/blobs/uploads/" in stored(command.folder)
            assert {path.stat().st_mode & 0o777 for path in store.iterdir()} == {0o600}
            result = command.run()

    assert result.code == 0, result.text
    assert source.tags("team/app") == mirror.tags("copy/app")
    assert [event["offset"] for event in result.events("blob.resumed")] == [str(5 * CHUNK)]
    assert 0 < proxy.received - len(blob) < CHUNK + OTHERS
    assert b"/blobs/uploads/" not in stored(command.folder)
    assert "/blobs/uploads/" not in result.text


def test_later_round(command: Command, scripted: Scripted) -> None:
    """A layer that used all its attempts resumes in the next pass of the same run."""
    source, mirror = scripted(), scripted(broken_bodies=False)
    blob = small(command, source, mirror.address)
    mirror.fault(Fault(action=Reply(status=502), method="PATCH", skip=4, times=1))
    mirror.fault(Fault(action=Reply(status=502), method="GET", path="/uploads/", times=2))

    result = command.run("--retries", "1")

    assert result.code == 0, result.text
    assert source.tags("team/app") == mirror.tags("copy/app")
    assert len(result.events("image.retry")) == 1
    taken = [entry for entry in mirror.requests(method="PATCH") if entry.status == 202]
    assert sum(entry.length for entry in taken) == len(blob)


def test_source_breaks(command: Command, scripted: Scripted) -> None:
    """A source that breaks five times within one layer costs one more GET each time, and no byte twice."""
    source, mirror = scripted(), scripted()
    blob = small(command, source, mirror.address)
    digest = digest_of(blob)
    for _ in range(5):
        source.fault(Fault(action=Drop(after=150_000), method="GET", path=digest))

    result = command.run()

    assert result.code == 0, result.text
    asked = [entry.headers.get("range") for entry in source.requests(method="GET", path=digest)]
    assert asked == [None, *(f"bytes={number * 150_000}-" for number in range(1, 6))]
    assert sum(entry.length for entry in mirror.requests(method="PATCH")) == len(blob)


def killed_in_a_chunk(command: Command, proxy: Proxy) -> None:
    """Kill the run and its supervisor in the middle of the sixth of eight chunks."""
    proxy.halt_at = 5 * CHUNK + CHUNK // 2
    process = command.start()
    assert proxy.halted.wait(30)
    kill(process)
    proxy.go.set()


def test_partial_chunk(command: Command, scripted: Scripted) -> None:
    """The part of a chunk that a registry kept before a kill is not sent again."""
    source, mirror = scripted(), scripted(session_dies=False, session_state=False, check_content_range=True)
    with Proxy(mirror.address, buffers=False) as proxy:
        blob = small(command, source, proxy.address)
        killed_in_a_chunk(command, proxy)
        uploads = mirror.store.create("copy/app").uploads
        wait_for(lambda: any(each.size > 5 * CHUNK for each in uploads.values()))

        result = command.run()

    assert result.code == 0, result.text
    assert source.tags("team/app") == mirror.tags("copy/app")
    (event,) = result.events("blob.resumed")
    assert 5 * CHUNK < int(event["offset"]) < 6 * CHUNK
    assert proxy.received - len(blob) < OTHERS


def test_dead_session(command: Command, scripted: Scripted) -> None:
    """An upload that always answers 500 is not resumed: the next run starts the layer from zero."""
    source, mirror = scripted(), scripted()
    with Proxy(mirror.address, buffers=True) as proxy:
        small(command, source, proxy.address)
        killed_in_a_chunk(command, proxy)
        mirror.fault(Fault(action=Reply(status=500), method="GET", path="/uploads/", times=None))

        result = command.run("--retries", "0")

    assert result.code == 0, result.text
    assert source.tags("team/app") == mirror.tags("copy/app")
    assert len(mirror.requests(method="GET", path="/uploads/")) == 3


def test_forced(command: Command, scripted: Scripted) -> None:
    """A run with --force ignores an earlier upload and starts the layer from zero."""
    source, mirror = scripted(), scripted()
    with Proxy(mirror.address, buffers=True) as proxy:
        small(command, source, proxy.address)
        killed_in_a_chunk(command, proxy)

        result = command.run("--force")

    assert result.code == 0, result.text
    assert source.tags("team/app") == mirror.tags("copy/app")
    assert not mirror.requests(method="GET", path="/uploads/")
    assert b"/blobs/uploads/" not in stored(command.folder)
