"""The alert rules and the dashboard, checked against the catalogue of metrics and with promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.operators.queries import EXAMPLE, complaints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONITORING = EXAMPLE / "monitoring"
VARIABLES = {"$__rate_interval": "5m", "$job": "a", "$instance": "b", "$registry": "c"}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool judges the rules: apt-get install prometheus"
)


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    [group] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return found


def targets() -> Iterator[tuple[str, str]]:
    """Each query of the dashboard, and its legend."""
    board = dashboard()
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for note in board["annotations"]["list"]:
        yield note["expr"], ""


def promtool(*words: str, folder: Path = MONITORING) -> str:
    """The output of promtool, which must succeed."""
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_rules_fire_when_they_should() -> None:
    """Prometheus accepts the rules, and they fire when they should and not earlier."""
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", "alerts.yaml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_is_tested() -> None:
    """Each alert fires in one test and stays silent in another."""
    cases = [
        case
        for test in yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    names = {alert["alert"] for alert in alerts()}

    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert quiet == names


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_alert_has_metrics_severity_and_remedy(alert: dict[str, Any]) -> None:
    """An alert uses existing metrics and labels, and has a severity, a summary and a remedy."""
    assert list(complaints(alert["expr"])) == []
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    assert set(alert["annotations"]) == {"summary", "what_to_do"}


def test_dashboard_queries_use_existing_metrics() -> None:
    """The dashboard uses existing metrics and labels, and legends use labels that the query keeps."""
    wrong = [words for query, _ in targets() for words in complaints(query)]
    for query, legend in targets():
        kept = {label for names in re.findall(r"by \(([^)]*)\)", query) for label in names.split(", ")}
        wrong += [f"{legend}: {query}" for label in re.findall(r"{{(\w+)}}", legend) if label not in kept]

    assert wrong == []


@needs_promtool
def test_prometheus_parses_dashboard_queries(tmp_path: Path) -> None:
    """Prometheus can parse every query of the dashboard."""
    rules = []
    for number, (query, _) in enumerate(targets()):
        text = query
        for name, value in VARIABLES.items():
            text = text.replace(name, value)
        rules.append({"record": f"query:{number}", "expr": text})
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))

    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", "rules.json", folder=tmp_path)


def test_dashboard_panels_do_not_overlap() -> None:
    """Panels have unique IDs and do not overlap, and all use the selected data source."""
    board = dashboard()
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    sources = {
        each["datasource"]["uid"]
        for panel in board["panels"]
        for each in (panel, *panel["targets"])
    }  # fmt: skip

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert sources == {"${datasource}"}
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert {f"${name}" for name in names - {"datasource"}} == set(VARIABLES) - {"$__rate_interval"}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("up == 0", "asks for no metric of ours"),
        ("imagesyncer_nothing > 0", "no metric imagesyncer_nothing"),
        ("imagesyncer_request_duration_seconds > 0", "no metric imagesyncer_request_duration_seconds"),
        ('imagesyncer_images{registry="a"}', "imagesyncer_images has no label registry"),
        ("sum by (digest) (imagesyncer_images)", "no metric here has the label digest"),
        ("imagesyncer_retries_total > 5", "is a counter, and is neither summed nor a rate"),
    ],
)
def test_wrong_queries_are_found(query: str, words: str) -> None:
    """The check finds unknown metrics and labels, and counters without rate or increase."""
    assert words in " ".join(complaints(query))
