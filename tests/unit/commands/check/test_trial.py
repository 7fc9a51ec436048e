"""What a registry reveals about itself, and how logins are described."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.commands.check.finding import Finding, as_object, describe, exit_code, last_line
from pipeline.commands.check.targets import CheckTarget
from pipeline.commands.check.trial import attempt, judge_probe, judge_silence
from pipeline.errors import Fault, ThrottledError
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.model.registry_settings import RegistrySettings
from pipeline.registry.probe import Probe

if TYPE_CHECKING:
    from pipeline.commands.check.finding import FindingState
    from pipeline.model.messages import ManifestHead
    from pipeline.model.reference import Reference

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(("days", "state"), [(1, "warning"), (13, "warning"), (15, "ok"), (400, "ok")])
def test_expiring_certificate_is_a_warning(days: int, state: FindingState) -> None:
    """A certificate that expires within two weeks causes a warning with the time left."""
    ends = NOW + dt.timedelta(days=days)

    found = judge_probe("r.io", Probe(scheme="https", expires=ends), NOW)

    assert (found.state, f"expires in {days} day" in found.advice) == (state, state == "warning")
    assert f"{ends:%Y-%m-%d}" in found.words


@pytest.mark.parametrize(
    ("ahead", "state"), [(59.0, "ok"), (-59.0, "ok"), (61.0, "warning"), (-61.0, "warning")]
)
def test_clock_difference_is_a_warning(ahead: float, state: FindingState) -> None:
    """A clock difference of more than a minute causes a warning, in both directions."""
    found = judge_probe("r.io", Probe(scheme="http", ahead=ahead), NOW)

    assert (found.state, "clock" in found.words) == (state, state == "warning")


def test_proxy_is_named() -> None:
    """The finding names the proxy."""
    found = judge_probe("r.io", Probe(scheme="https", expires=NOW, proxy="proxy:3128"), NOW)

    assert "through the proxy proxy:3128" in found.words


def test_unreachable_docker_hub_names_hosts_to_allow() -> None:
    """If Docker Hub is unreachable, the advice names the hosts that a firewall must allow."""
    fault = Fault(operation="reach the registry", words="no connection", registry="docker.io")

    found = judge_silence("docker.io", fault, ("docker.io/a/b",), (Credential(origin="none"),))

    assert "registry-1.docker.io" in found.advice
    assert found.words == "no connection; not tried anonymously (no credentials for docker.io): docker.io/a/b"


class Throttled:
    """A client of a registry that limits the rate."""

    def __init__(self, *, asked: float, delay: float) -> None:
        """Args: asked: the registry's delay; delay: the one that is used."""
        fault = Fault(operation="look", words="slow down", status=429, hint="remaining 0")
        self.error = ThrottledError(fault, delay=delay, asked=asked)

    def head_manifest(self, _: Reference, *, sure: bool = False) -> ManifestHead | None:
        """Raise a rate limit."""
        raise self.error


PAUSES = [
    (30.0, 37.0, "warning", r"next try at \d\d:\d\d:\d\d"),
    (7200.0, 900.0, "failed", r"next try at \d\d:\d\d:\d\d"),
    (1e12, 900.0, "failed", r"next try at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"),
    (0.0, 5.0, "warning", r"it does not state for how long"),
]


@pytest.mark.parametrize(("asked", "delay", "state", "words"), PAUSES)
def test_rate_limit_is_reported_with_its_end(
    asked: float, delay: float, state: FindingState, words: str
) -> None:
    """A rate limit is reported with its end, and is a failure if a run would not wait that long."""
    target = CheckTarget(side="source", repository=Repository("r.io", "a"), name="v1")
    client: Any = Throttled(asked=asked, delay=delay)

    outcome = attempt(client, target, Credential(origin="none"), patience=3600)

    assert (outcome.finding.state, outcome.effect, outcome.paused) == (state, "stop", True)
    assert re.search(rf"429: slow down \(remaining 0\); {words}$", outcome.finding.words)


WHO = [
    (Credential(origin="none"), "anonymously (no credentials for r.io)"),
    (Credential(origin="a.json key r.io", insecure=True), "anonymously (a.json key r.io names no user)"),
    (Credential(origin="a.json key r.io", username="bob", password="pw-word"), 'as "bob" (a.json key r.io)'),
    (Credential(origin="helper", identity_token="pw-word"), "by a token (helper)"),
    (Credential(origin="login", username="pw-word"), "by a token (login)"),
    (Credential(origin="login", username="pw-word", password="x-oauth-basic"), "by a token (login)"),
]


@pytest.mark.parametrize(("credential", "words"), WHO)
def test_login_is_described_without_its_secret(credential: Credential, words: str) -> None:
    """A login is described by its username and origin, unless the username may be the secret."""
    finding = Finding(state="ok", what="source", place="r.io/a", words=words, credential=credential)

    assert describe(credential, "r.io") == words
    assert "pw-word" not in json.dumps(finding.as_object())


def test_finding_is_one_printable_line() -> None:
    """A finding is printed as one line, whatever the registry's message, and ends with what to do."""
    words = "failed: 500: \x1b[2Jlook\nhere"
    finding = Finding(state="failed", what="source", place="r.io/a", words=words, advice="call them")

    assert finding.line(8) == (
        "FAIL  source       r.io/a    failed: 500: \\x1b[2Jlook\\nhere; what to do: call them"
    )


def test_failures_prevent_a_run_and_warnings_do_not() -> None:
    """A run could start with warnings but not with failures, and both are counted."""
    ok = Finding(state="ok", what="source", place="r.io/a", words="")
    warning = replace(ok, state="warning", untried=("a",))
    failed = replace(ok, state="failed", untried=("b", "c"))

    assert (exit_code([]), exit_code([ok, warning]), exit_code([ok, failed])) == (0, 0, 1)
    assert last_line([ok, warning], seconds=1) == (
        "ready: a run could start (1 ok, 1 warning, 1 repository not tried; 1s)"
    )
    assert last_line([failed, ok], seconds=1) == (
        "not ready: fix what FAILED (1 ok, 1 FAILED, 2 repositories not tried; 1s)"
    )
    whole = as_object([ok, warning, failed], warnings=["a note"], seconds=1.0)
    assert (whole["ok"], whole["warnings"], whole["failed"], whole["notes"]) == (1, 1, 1, ["a note"])


def test_finding_names_the_users_settings() -> None:
    """The finding about a registry names the user's settings for it."""
    settings = RegistrySettings(ca="/corp.pem", rate=50.0, bandwidth=20e6, requests=8, patience=900.0)
    found = judge_probe("r.io", Probe(scheme="https", expires=NOW), NOW, settings)

    limits = "at most 8 requests at a time, at most 50 requests/s, at most 20MB/s in each direction"
    assert f"ca /corp.pem, {limits}, patience 15m" in found.words
