"""The queries of dashboard and alerts, run by a real Prometheus that has scraped a real run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.command import wait_for
from tests.e2e.lines import read_logfmt
from tests.e2e.test_metrics import needs_prometheus, prepare, prometheus
from tests.operators.test_monitoring import alerts, targets
from tests.registry.faults import Fault, Stall

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted

RARE = (
    "imagesyncer_run_last_success_timestamp_seconds",
    "imagesyncer_run_last_completion_timestamp_seconds",
    "imagesyncer_ratelimit_remaining",
    "imagesyncer_worker_deaths_total",
)
"""Figures that a first run does not have while its registries state no limits and its workers live."""


@needs_prometheus
def test_queries_have_results_during_a_run(command: Command, scripted: Scripted) -> None:
    """During a run every query has a result, except for events that did not happen, and no alert fires."""
    source, _ = prepare(command, scripted)
    source.fault(Fault(action=Stall(seconds=60.0), method="HEAD", path="team/app1/manifests"))
    process = command.start("--metrics-listen", "127.0.0.1:0", "--log", "log", "--retries", "0")
    log = command.folder / "log"
    wait_for(lambda: log.exists() and "event=image.done" in log.read_text())
    [listening] = [line for line in read_logfmt(log.read_text()) if line["event"] == "metrics.listening"]
    with prometheus(command.folder, listening["address"]) as ask:
        wait_for(lambda: ask('rate(imagesyncer_requests_total{method="PUT"}[1m])'))
        silent = [query for query, _ in targets() if not ask(filled(query))]
        firing = [alert["alert"] for alert in alerts() if "for" not in alert and ask(alert["expr"])]
        versions = ask("imagesyncer_build_info")
    source.release()

    assert command.end(process).code == 1
    assert [query for query in silent if not any(name in query for name in RARE)] == []
    assert len(silent) < len(list(targets())) / 2
    assert firing == []
    assert len(versions) == 1


def filled(query: str) -> str:
    """The query as the dashboard sends it, with the first value of each variable."""
    values = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*", "$registry": ".*"}
    for name, value in values.items():
        query = query.replace(name, value)
    return query
