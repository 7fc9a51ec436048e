"""Metrics of a run, as Prometheus itself reads them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.command import wait_for
from tests.e2e.lines import read_logfmt
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply, Stall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="prometheus and promtool judge the metrics: apt-get install prometheus",
)


def prepare(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """Three images that are copied, one that may not be pushed, one request that fails once."""
    source, mirror = scripted(), scripted()
    for number in range(4):
        source.add(f"team/app{number}", image(layer("base", size=5_000), layer(f"own{number}")), "v1")
    mirror.fault(Fault(action=Reply(status=500), method="PUT", path="copy/app0/manifests"))
    mirror.fault(Fault(action=Reply(status=403), method="PUT", path="copy/app3/manifests", times=None))
    command.rules({f"{source.address}/team/app{n}:v1": f"{mirror.address}/copy/app{n}" for n in range(4)})
    command.insecure(source.address, mirror.address)
    return source, mirror


def read(path: Path) -> dict[str, float]:
    """The value of each series."""
    lines = (line.rpartition(" ") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def total(found: dict[str, float], start: str, *parts: str) -> float:
    """The sum of all series that start with the name and contain the parts."""
    return sum(
        value
        for series, value in found.items()
        if series.startswith(start) and all(part in series for part in parts)
    )


def test_file_matches_the_run(command: Command, scripted: Scripted) -> None:
    """The file of a run matches its last line and the registries' logs, and names no image."""
    source, mirror = prepare(command, scripted)
    result = command.run("--metrics-file", "run.prom", "--retries", "0")
    found = read(command.folder / "run.prom")

    assert result.code == 1, result.text
    assert found['imagesyncer_images_finished_total{outcome="copied"}'] == 3
    assert found["imagesyncer_run_failed_images"] == 1
    assert total(found, "imagesyncer_requests_total") == result.finish["requests"]
    assert total(found, "imagesyncer_request_duration_seconds_count") == result.finish["requests"]
    assert total(found, "imagesyncer_spared_bytes_total") == result.finish["spared"]
    for registry in (source, mirror):
        asked = total(found, "imagesyncer_requests_total", registry.address, 'code="none"')
        answered = total(found, "imagesyncer_requests_total", registry.address) - asked
        assert answered == len(registry.requests())
    assert total(found, "imagesyncer_retries_total", mirror.address, 'reason="500"') == 1
    assert "imagesyncer_run_last_success_timestamp_seconds" not in found
    assert not any("team/" in series or "sha256" in series for series in found)


@needs_prometheus
def test_promtool_accepts_the_page(command: Command, scripted: Scripted) -> None:
    """Prometheus' own check accepts the page."""
    prepare(command, scripted)
    command.run("--metrics-file", "run.prom", "--retries", "0")
    page = (command.folder / "run.prom").read_text()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@needs_prometheus
def test_prometheus_scrapes_a_run(command: Command, scripted: Scripted) -> None:
    """A real Prometheus scrapes a running run, and has its requests by registry, method and code."""
    source, _ = prepare(command, scripted)
    source.fault(Fault(action=Stall(seconds=60.0), method="HEAD", path="team/app1/manifests"))
    process = command.start("--metrics-listen", "127.0.0.1:0", "--log", "log", "--retries", "0")
    log = command.folder / "log"
    wait_for(lambda: log.exists() and "event=image.done" in log.read_text())
    [listening] = [line for line in read_logfmt(log.read_text()) if line["event"] == "metrics.listening"]
    with prometheus(command.folder, listening["address"]) as ask:
        query = 'imagesyncer_images_finished_total{outcome="copied"}'
        wait_for(lambda: [each["value"][1] for each in ask(query)] == ["2"])
        codes = ask("sum by (method, code) (imagesyncer_requests_total)")
        slowest = ask("histogram_quantile(1, sum by (le) (imagesyncer_request_duration_seconds_bucket))")
    source.release()

    assert command.end(process).code == 1
    assert {"method": "HEAD", "code": "200"} in [each["metric"] for each in codes]
    assert float(slowest[0]["value"][1]) > 0


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Any]:
    """A Prometheus that scrapes `target`; yields a function from a query to its result."""
    config = folder / "prometheus.json"  # JSON is YAML
    jobs = [{"job_name": "run", "scrape_interval": "200ms", "static_configs": [{"targets": [target]}]}]
    config.write_text(json.dumps({"scrape_configs": jobs}))
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ],
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip

    def ask(query: str) -> Any:
        parameters = urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/v1/query?{parameters}", timeout=10
            ) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    try:
        yield ask
    finally:
        server.terminate()
        server.wait(timeout=30.0)


class TestWrongUse:
    def test_port_in_use_exits_2(self, command: Command, scripted: Scripted) -> None:
        """A port in use is one line and exit 2, before any request."""
        source, _ = prepare(command, scripted)
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            result = command.run("--metrics-listen", f"127.0.0.1:{port}")

        expected = f"image-syncer: error: --metrics-listen 127.0.0.1:{port}: Address already in use\n"
        assert (result.code, result.text) == (2, expected)
        assert source.requests() == []

    @pytest.mark.parametrize(
        ("flag", "value", "words"),
        [
            ("--metrics-file", "none/run.prom", "none/run.prom: it cannot be written: No such file"),
            ("--metrics-file", "run.txt", "run.txt: the textfile collector reads only files"),
            ("--metrics-listen", "localhost", "'localhost' is not an address: write 127.0.0.1:9090"),
            ("--metrics-listen", "127.0.0.1:70000", "'127.0.0.1:70000' is not an address"),
            ("--log-format", "xml", "invalid choice: 'xml'"),
            ("--progress-interval", "often", "'often' is not a time"),
        ],
    )
    def test_invalid_value_exits_2(
        self, command: Command, scripted: Scripted, flag: str, value: str, words: str
    ) -> None:
        """An invalid value is one line and exit 2."""
        prepare(command, scripted)
        result = command.run(flag, value)

        assert (result.code, result.text.count("\n")) == (2, 1)
        assert words in result.text
