from __future__ import annotations

import http.client
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import FileError, UsageError
from pipeline.observe.metrics.export import Exporter
from tests.unit.views import QUAY, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.log import Event

ANY_PORT = ("127.0.0.1", 0)


@pytest.fixture
def exporter_events() -> list[Event]:
    """The exporter's events."""
    return []


@pytest.fixture
def serving(exporter_events: list[Event]) -> Iterator[Exporter]:
    """A running exporter whose run has begun."""
    with closing(Exporter(listen=ANY_PORT, path=None)) as exporter:
        exporter.begin(exporter_events.append)
        yield exporter


def ask(exporter: Exporter, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of the page."""
    assert exporter._server is not None
    host, port = exporter._server.server_address[:2]
    with closing(http.client.HTTPConnection(str(host), int(port), timeout=10.0)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


class TestPage:
    def test_page_shows_the_last_state(self, serving: Exporter, exporter_events: list[Event]) -> None:
        """The page shows the last state, and the log says where it is."""
        serving.tick(view(registries=(QUAY,)))
        status, body = ask(serving, "/metrics")

        assert status == 200
        assert 'imagesyncer_requests_limit{registry="quay.io"} 16.0' in body.splitlines()
        assert [(event.name, event.message.split("/")[2]) for event in exporter_events] == [
            ("metrics.listening", exporter_events[0].fields["address"])
        ]

    @pytest.mark.parametrize("path", ["/", "/metrics/x", "/health", "/%2e%2e/etc/passwd"])
    def test_other_path_is_404(self, serving: Exporter, path: str) -> None:
        """Any other path is 404."""
        assert ask(serving, path)[0] == 404

    def test_head_has_no_body(self, serving: Exporter) -> None:
        """HEAD gets no body."""
        assert ask(serving, "/metrics", "HEAD") == (200, "")

    def test_post_is_refused(self, serving: Exporter) -> None:
        """POST is refused."""
        assert ask(serving, "/metrics", "POST")[0] == 501

    def test_ready_when_all_files_are_read(self, exporter_events: list[Event]) -> None:
        """Readiness begins when all files have been read."""
        with closing(Exporter(listen=ANY_PORT, path=None)) as exporter:
            before = ask(exporter, "/readyz")[0]
            exporter.begin(exporter_events.append)

            assert (before, ask(exporter, "/readyz")[0]) == (503, 200)

    def test_unhealthy_after_a_minute_without_update(
        self, serving: Exporter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Health ends after a minute without an update, and returns with the next one."""
        begun = ask(serving, "/healthz")[0]
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 61.0)
        stuck = ask(serving, "/healthz")[0]
        monkeypatch.undo()
        serving.tick(view())

        assert (begun, stuck, ask(serving, "/healthz")[0]) == (200, 503, 200)

    def test_silent_client_does_not_block_others(self, serving: Exporter) -> None:
        """A silent client does not block others."""
        assert serving._server is not None
        with socket.create_connection(ANY_PORT[:1] + serving._server.server_address[1:2]):
            assert ask(serving, "/healthz")[0] == 200

    def test_port_in_use_is_an_error(self, serving: Exporter) -> None:
        """A port in use is an error that names it, before the run begins."""
        assert serving._server is not None
        taken = int(serving._server.server_address[1])
        with pytest.raises(UsageError, match=f"--metrics-listen 127.0.0.1:{taken}: Address already in use"):
            Exporter(listen=("127.0.0.1", taken), path=None)

    def test_address_of_another_machine_is_an_error(self) -> None:
        """An address of another machine is an error."""
        with pytest.raises(UsageError, match=r"--metrics-listen 192\.0\.2\.1:0: "):
            Exporter(listen=("192.0.2.1", 0), path=None)

    def test_ipv6_address_is_in_brackets(self, exporter_events: list[Event]) -> None:
        """An IPv6 address is shown in brackets."""
        with closing(Exporter(listen=("::1", 0), path=None)) as exporter:
            exporter.begin(exporter_events.append)

        assert str(exporter_events[0].fields["address"]).startswith("[::1]:")


class TestFile:
    def test_ignored_file_name_is_refused(self, tmp_path: Path) -> None:
        """A file name that the collector ignores is refused."""
        with pytest.raises(FileError, match=r"\.prom"):
            Exporter(listen=None, path=tmp_path / "metrics.txt")

    def test_file_is_complete_at_the_end(self, tmp_path: Path) -> None:
        """The file is complete at the end of the run, without temporary files beside it."""
        path = tmp_path / "run.prom"
        exporter = Exporter(listen=None, path=path)
        exporter.tick(view(registries=(QUAY,)))
        early = path.exists()
        exporter.end(succeeded=True)

        assert not early
        assert "imagesyncer_run_last_success_timestamp_seconds " in path.read_text()
        assert [each.name for each in tmp_path.iterdir()] == ["run.prom"]

    def test_file_is_written_every_half_minute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is written every half minute during the run."""
        path = tmp_path / "run.prom"
        exporter = Exporter(listen=None, path=path)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 31.0)
        exporter.tick(view())

        assert "imagesyncer_workers 5.0" in path.read_text()

    def test_failed_run_keeps_last_success(self, tmp_path: Path) -> None:
        """A failed run does not change the time of the last success."""
        path = tmp_path / "run.prom"
        for succeeded in (True, False):
            exporter = Exporter(listen=None, path=path)
            exporter.tick(view())
            exporter.end(succeeded=succeeded)
            lines = dict(line.split(" ") for line in path.read_text().splitlines() if line[0] != "#")
            if succeeded:
                first = lines["imagesyncer_run_last_success_timestamp_seconds"]

        assert lines["imagesyncer_run_last_success_timestamp_seconds"] == first
        assert lines["imagesyncer_run_last_completion_timestamp_seconds"] > first

    @pytest.mark.parametrize("content", [b"\xff\x00", b"imagesyncer_run_last_success_timestamp_seconds 1e\n"])
    def test_unreadable_old_file_is_ignored(self, tmp_path: Path, content: bytes) -> None:
        """An unreadable old file is ignored."""
        path = tmp_path / "run.prom"
        path.write_bytes(content)

        assert Exporter(listen=None, path=path)._gauge._last_success is None

    def test_unwritable_file_is_reported_once(self, tmp_path: Path, exporter_events: list[Event]) -> None:
        """A file that becomes unwritable is reported once, and the run continues."""
        folder = tmp_path / "folder"
        folder.mkdir()
        exporter = Exporter(listen=None, path=folder / "run.prom")
        exporter.begin(exporter_events.append)
        folder.rmdir()
        exporter.end(succeeded=True)
        exporter.end(succeeded=True)

        assert [event.name for event in exporter_events] == ["metrics.trouble"]
        assert "No such file" in exporter_events[0].message
