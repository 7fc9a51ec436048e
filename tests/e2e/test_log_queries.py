"""The questions that operators ask about a log, answered from a real run's log by example/'s one-liners."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.log.catalogue import EVENTS
from pipeline.log.fields import FIELDS, PREFIX
from pipeline.log.renderings import attribute
from tests.e2e.lines import wrong_json
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

PAGE = (Path(__file__).parents[2] / "example/monitoring/log-queries.md").read_text()
NAMES = [PREFIX + name for name in EVENTS]
OF_JSON = {
    *map(attribute, FIELDS), "timestamp", "event_name", "body", "service.instance.id", "server.address",
}  # fmt: skip


def queries(language: str) -> list[str]:
    """The blocks of the page in that language, by the number of their question."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def log(command: Command, scripted: Scripted) -> tuple[Path, Registry, Registry]:
    """The log of six images: one may not be pushed, one request fails once, a registry pauses once."""
    source, mirror = scripted(), scripted()
    for number in range(6):
        source.add(f"team/app{number}", image(layer("base", size=5_000), layer(f"own{number}")), "v1")
    mirror.fault(Fault(action=Reply(status=500), method="PUT", path="copy/app0/manifests"))
    mirror.fault(Fault(action=Reply(status=403), method="PUT", path="copy/app3/manifests", times=None))
    mirror.fault(
        Fault(action=Reply(status=429, headers={"Retry-After": "1"}), method="POST", path="copy/app4/")
    )
    command.rules({f"{source.address}/team/app{n}:v1": f"{mirror.address}/copy/app{n}" for n in range(6)})
    command.insecure(source.address, mirror.address)
    flags = ("--log", "run.json", "--log-format", "json", "--log-level", "debug")
    result = command.run(*flags, "--progress-interval", "0.2s", "--retries", "1")
    assert result.code == 1, result.text
    path = command.folder / "run.json"
    assert wrong_json(path.read_text()) == []
    return path, source, mirror


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq answers the questions: apt-get install jq")
def test_jq_queries_give_right_answers(log: tuple[Path, Registry, Registry]) -> None:
    """Each one-liner gives the right answer about the run."""
    path, source, mirror = log
    answers = [
        subprocess.run(
            ["sh", "-c", query], cwd=path.parent, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for query in queries("jq")
    ]
    ended, far, failed, causes, pauses, again, slowest, story, logins, minutes = answers
    source3, mirror3 = f"{source.address}/team/app3:v1", f"{mirror.address}/copy/app3:v1"

    assert [line.split("\t")[1:] for line in ended] == [["1", ended[0].split("\t")[2]]]
    assert "1 tasks failed" in ended[0]
    assert re.match(r"\d+/6 images, ", far[0])
    assert [line.split("\t") for line in failed] == [
        [source3, mirror3, "destination", mirror.address.partition(":")[0], failed[0].split("\t")[4]]
    ]
    assert causes[0].startswith(f"1\tdestination {mirror.address}: 403")
    assert [line.split("\t")[1] for line in pauses] == ["1"]
    assert any(line.startswith("1 imagesyncer.request.retry 127.0.0.1 ") for line in again)
    durations = [float(line.split("\t")[0]) for line in slowest]
    assert (len(durations), durations) == (5, sorted(durations, reverse=True))
    assert story[-1].split("\t")[1] == "imagesyncer.image.done"
    assert all("team/app1" in line or "copy/app1" in line for line in story)
    assert {line.split("\t")[0] for line in logins} == {"127.0.0.1"}
    assert sum(int(line.split(" ")[1]) for line in minutes) == 5


def test_every_question_has_both_answers() -> None:
    """There are ten questions, each with an answer in jq and one in LogQL."""
    headings = re.findall(r"^## (\d+)\. .*\?$", PAGE, re.MULTILINE)

    assert headings == [str(number) for number in range(1, 11)]
    assert (len(queries("jq")), len(queries("logql"))) == (10, 10)


@pytest.mark.parametrize("query", queries("jq"))
def test_jq_queries_use_existing_names(query: str) -> None:
    """The jq queries use existing fields and events."""
    words = set(re.findall(r'\."([a-z_.]+)"', query)) | set(
        re.findall(r"\.(timestamp|event_name|body)\b", query)
    )
    events = set(re.findall(rf'"({re.escape(PREFIX)}(?:run|image|registry|credentials)\.[a-z_]+)"', query))

    assert words - OF_JSON == set()
    assert events - set(NAMES) - words == set()


@pytest.mark.parametrize("query", queries("logql"))
def test_logql_queries_use_existing_names(query: str) -> None:
    """The Loki queries use existing fields, with underscores for dots, and existing events."""
    known = {re.sub(r"\W", "_", name) for name in OF_JSON}
    used = set(re.findall(r"{{\.(\w+)}}|unwrap (\w+)|by \(([\w, ]+)\)", query))
    labels = {label for found in used for part in found for label in part.split(", ") if label}
    matched = re.findall(r'event_name (=~?) "([^"]+)"', query)

    assert labels - known == set()
    for operator, text in matched:
        assert [name for name in NAMES if re.fullmatch(text if operator == "=~" else re.escape(text), name)]
    assert json.dumps(query).count("{app=") == 1
    assert query.count("(") == query.count(")")
