"""The demo and the benchmark succeed, and their own checks can be trusted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.bench.counting import kind_of, least
from scripts.corpus import Corpus, Filler
from tests.real.servers import Request
from tests.real.witness import flaws

if TYPE_CHECKING:
    from tests.real.fixtures import StartRegistry

ROOT = Path(__file__).resolve().parents[2]
DIGEST = f"sha256:{'0' * 64}"


def run(*arguments: str, path: str = os.environ["PATH"]) -> str:
    """Run Python in the project's root; returns its output, and a failure fails the test."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo_copies_the_example(needs_real: None) -> None:
    """The demo copies the images of the example between two real registries, and its own checks succeed."""
    printed = run("-m", "scripts.demo")

    assert "docker-registry of Debian" in printed
    assert "17 copied, 0 up to date" in printed
    assert "0 copied, 17 up to date" in printed
    assert "Every manifest is byte for byte that of its source" in printed


def test_demo_without_debian_programs(tmp_path: Path) -> None:
    """Without Debian's programs the demo says what is missing and uses the tests' own registry."""
    printed = run("-m", "scripts.demo", path=str(tmp_path))

    assert "docker-registry, skopeo, umoci, busybox, htpasswd, openssl missing" in printed
    assert "the registry of our tests" in printed
    assert "Every manifest is byte for byte that of its source" in printed


def bench(*arguments: str, figures: Path) -> list[dict[str, Any]]:
    """Run a benchmark of image-syncer and skopeo; the figures of all its runs."""
    path = ":".join(
        str(Path(tool).parent) for tool in map(shutil.which, ("skopeo", "docker-registry")) if tool
    )
    run("-m", "scripts.bench", *arguments, "--rounds", "1", "--json", str(figures), path=path)
    runs: list[dict[str, Any]] = json.loads(figures.read_text())["runs"]
    return runs


def test_benchmark_writes_all_figures(needs_real: None, tmp_path: Path) -> None:
    """A small benchmark writes the figures of all clients and states, each with its costs."""
    sizes = ("--repos", "2", "--tags", "1", "--layer-kb", "1")

    runs = bench("many", *sizes, figures=tmp_path / "figures.json")

    states = ("cold", "unchanged", "changed")
    expected = {(client, state) for client in ("image-syncer", "skopeo") for state in states}
    assert expected <= {(each["client"], each["state"]) for each in runs}
    assert [] == [each for each in runs if each["figures"]["cpu"] <= 0 or each["status"] != 0]


def test_corpus_is_complete(docker_registry: StartRegistry) -> None:
    """A corpus has as many blobs and manifests as its formulas say, and every tag of it is complete."""
    registry = docker_registry(memory=True)
    corpus = Corpus(repos=3, tags=2, layer_kb=1)
    filler = Filler(corpus=corpus, endpoint=registry.endpoint)

    filler.fill()

    counts = [kind_of(request) for request in registry.requests()]
    assert corpus.images == len(filler.digests)
    assert corpus.manifests == counts.count("PUT manifest")
    assert corpus.blobs == counts.count("end upload")
    assert corpus.shared == counts.count("mount blob")
    assert [] == [flaw for image in filler.digests for flaw in flaws(registry.endpoint, image)]


def test_size_of_the_benchmark_corpus() -> None:
    """The corpus with the sizes of the benchmark has 643 blobs and needs 3,626 requests, then 420."""
    corpus = Corpus()

    assert (200, 600, 643) == (corpus.images, corpus.manifests, corpus.blobs)
    assert 3626 == sum(least(corpus, "cold").values())
    assert 420 == sum(least(corpus, "unchanged").values())


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/v2/", 200, "ping"),
        ("GET", "/v2/a/b/tags/list?n=1000", 200, "list tags"),
        ("HEAD", "/v2/a/manifests/v1", 200, "HEAD manifest"),
        ("GET", f"/v2/a/manifests/{DIGEST}", 404, "GET manifest"),
        ("PUT", f"/v2/a/manifests/{DIGEST}", 201, "PUT manifest"),
        ("HEAD", f"/v2/a/b/blobs/{DIGEST}", 404, "HEAD blob"),
        ("GET", f"/v2/a/b/blobs/{DIGEST}", 200, "GET blob"),
        ("POST", f"/v2/a/blobs/uploads/?from=b&mount={DIGEST}", 201, "mount blob"),
        ("POST", f"/v2/a/blobs/uploads/?mount={DIGEST}&from=b", 202, "mount refused"),
        ("POST", "/v2/a/blobs/uploads/", 202, "begin upload"),
        ("PATCH", "/v2/a/blobs/uploads/0-0?_state=x", 202, "send a piece"),
        ("PUT", f"/v2/a/blobs/uploads/0-0?_state=x&digest={DIGEST}", 201, "end upload"),
        ("DELETE", f"/v2/a/blobs/{DIGEST}", 405, "other"),
    ],
)
def test_request_is_counted_by_purpose(method: str, path: str, status: int, expected: str) -> None:
    """A request is counted under its purpose."""
    assert expected == kind_of(Request(method=method, path=path, status=status, agent=""))


def test_orphaned_process_is_measured(tmp_path: Path) -> None:
    """The CPU time and memory of a process that outlives its parent are counted, and it is waited for."""
    burn = "import time\nx = bytearray(80_000_000)\nwhile time.process_time() < 0.5: pass"
    start = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}])"
    lines = (
        "import json, pathlib, sys",
        "from scripts.measure import measure",
        f"cost = measure([sys.executable, '-c', {start!r}], output=pathlib.Path({str(tmp_path / 'log')!r}))",
        "print(json.dumps([cost.status, cost.cpu, cost.peaks]))",
    )

    status, cpu, peaks = json.loads(run("-c", "\n".join(lines)))

    assert status == 0
    assert cpu >= 0.5
    assert max(peak for _, peak in peaks) > 80_000_000
