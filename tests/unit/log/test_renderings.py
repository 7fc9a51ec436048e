from __future__ import annotations

import json
import os
import shlex
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import __version__
from pipeline.errors import Fault
from pipeline.log import Event, fault_fields, open_log, printable
from pipeline.log.renderings import FORMATS, Renderings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.log.renderings import LogFormat

MOMENT = 1_764_000_673.104
RENDERINGS = Renderings(run="7f3a", pid=12)
FAILED = Event(
    name="image.failed",
    message="Failed to executed: 404",
    level="error",
    fields={
        "source": "quay.io:8443/a:1",
        "side": "source",
        "registry": "quay.io:8443",
        "status": 404,
        "code": "MANIFEST_UNKNOWN",
        "retryable": False,
        "how": None,
    },
    stage="resolve",
)
ANY = st.text(st.characters(exclude_categories=()))


def parse(event: Event) -> dict[str, Any]:
    """The JSON line of an event as a reader sees it."""
    found: dict[str, Any] = json.loads(RENDERINGS.json(event, MOMENT))
    return found


class TestJson:
    def test_line_has_opentelemetry_names(self) -> None:
        """A line has the names of OpenTelemetry's log data model and semantic conventions."""
        assert parse(FAILED) == {
            "timestamp": "2025-11-24T16:11:13.104Z",
            "severity_text": "ERROR",
            "severity_number": 17,
            "event_name": "imagesyncer.image.failed",
            "body": "Failed to executed: 404",
            "service.name": "image-syncer",
            "service.version": __version__,
            "service.instance.id": "7f3a",
            "process.pid": 12,
            "imagesyncer.stage": "resolve",
            "imagesyncer.source": "quay.io:8443/a:1",
            "imagesyncer.side": "source",
            "server.address": "quay.io",
            "server.port": 8443,
            "http.response.status_code": 404,
            "error.type": "MANIFEST_UNKNOWN",
            "imagesyncer.retryable": False,
        }

    @pytest.mark.parametrize(
        ("registry", "server"),
        [
            ("docker.io", {"server.address": "docker.io"}),
            ("[::1]:5000", {"server.address": "::1", "server.port": 5000}),
        ],
    )
    def test_registry_is_address_and_port(self, registry: str, server: dict[str, Any]) -> None:
        """A registry becomes an address, and a port if it has one."""
        event = Event(name="registry.recovered", message="", fields={"registry": registry})

        assert {key: value for key, value in parse(event).items() if key.startswith("server.")} == server

    @pytest.mark.parametrize(("status", "kind"), [(500, "500"), (None, "_OTHER")])
    def test_failure_without_code_has_an_error_type(self, status: int | None, kind: str) -> None:
        """A failure without a code still has an error.type."""
        fault = Fault(operation="read", words="", status=status)
        event = Event(name="image.failed", message="", fields=fault_fields(fault))

        assert parse(event)["error.type"] == kind

    @given(message=ANY, value=ANY)
    def test_any_text_is_one_ascii_line(self, message: str, value: str) -> None:
        """Whatever a registry sends becomes one line of ASCII that can be parsed."""
        line = RENDERINGS.json(Event(name="image.done", message=message, fields={"how": value}), MOMENT)
        found = json.loads(line)

        assert b"\n" not in line
        assert (found["body"], found["imagesyncer.how"]) == (message, value)

    def test_worker_event_has_its_process_id(self) -> None:
        """An event of a worker has the worker's process ID."""
        assert parse(Event(name="task.broken", message="", pid=99))["process.pid"] == 99


class TestText:
    def test_file_line_has_all_parts(self) -> None:
        """Text in a file has date, time with milliseconds and zone, run, process and stage."""
        line = RENDERINGS.text(FAILED, MOMENT).decode()

        assert datetime.fromisoformat(line[:29]).timestamp() == pytest.approx(MOMENT, abs=0.001)
        assert line[29:] == " error   Failed to executed: 404 [run=7f3a pid=12 stage=resolve]"

    def test_terminal_line_has_time_level_and_message(self) -> None:
        """Text on a terminal is the time, the level and the message."""
        line = RENDERINGS.short(FAILED, MOMENT).decode()

        assert line[8:] == " error   Failed to executed: 404"


class TestChoice:
    @pytest.mark.parametrize(
        ("form", "method"),
        [
            ("json", RENDERINGS.json),
            ("logfmt", RENDERINGS.logfmt),
            ("text", RENDERINGS.text),
        ],
    )
    def test_each_format_has_its_rendering(
        self, form: LogFormat, method: Callable[[Event, float], bytes]
    ) -> None:
        """Each format has its rendering."""
        assert RENDERINGS.choose(form, is_terminal=False) == method

    @pytest.mark.parametrize("form", FORMATS)
    def test_requested_format_is_used_on_a_terminal(
        self, form: LogFormat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A requested format is used on a terminal too, and only text counts as meant for people."""
        master, terminal = os.openpty()
        with os.fdopen(terminal, "w") as stream, os.fdopen(master, "rb", buffering=0):
            monkeypatch.setattr(sys, "stderr", stream)
            lines = open_log(None, level="info", run="7f3a", form=form)

            assert lines.is_terminal
            assert lines.is_for_people == (form == "text")

    @given(message=ANY, value=ANY)
    def test_text_and_logfmt_show_the_same_words(self, message: str, value: str) -> None:
        """Text and logfmt show the same words, on one printable line."""
        event = Event(name="image.done", message=message, fields={"how": value})
        text, pairs = (getattr(RENDERINGS, form)(event, MOMENT).decode() for form in ("text", "logfmt"))

        assert text.isprintable() and pairs.isprintable()  # noqa: PT018 - one sentence
        assert printable(message) in text
        assert dict(pair.split("=", 1) for pair in shlex.split(pairs))["event"] == "image.done"


def test_fault_fields_leave_out_what_is_unknown() -> None:
    """A fault's fields name its place, and leave out what is unknown."""
    fault = Fault(operation="read", words="no", side="source", registry="quay.io", retryable=True)

    assert fault_fields(fault) == {
        "side": "source",
        "registry": "quay.io",
        "status": None,
        "code": None,
        "retryable": True,
    }


def test_json_log_has_one_object_a_line(tmp_path: Path) -> None:
    """A log file in JSON holds one object a line."""
    path = tmp_path / "log"
    lines = open_log(path, level="info", run="7f3a", form="json")
    lines.write(FAILED)
    lines.write(FAILED)
    lines.close()

    assert [json.loads(line)["process.pid"] for line in path.read_text().splitlines()] == [os.getpid()] * 2
