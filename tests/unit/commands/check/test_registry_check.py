"""Many trials at a time: limits, login gates, order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pipeline.commands.check import registry_check
from pipeline.commands.check.finding import Finding
from pipeline.commands.check.registry_check import find_all
from pipeline.commands.check.targets import CheckTarget
from pipeline.commands.check.trial import TrialOutcome
from pipeline.config.keyring import Keyring
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.settings import Limits, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.commands.check.trial import Effect
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BOB = Credential(origin="key bob", username="bob", password="word", insecure=True)
EVE = Credential(origin="key eve", username="eve", password="word", insecure=True)


class Trials:
    """Replaces trials: counts them, and answers by the repository's path."""

    def __init__(self, effect: Callable[[str], Effect] = lambda _: "works") -> None:
        """The result for a path."""
        self.effect = effect
        self.paths: list[str] = []
        self.paused = False
        self.most = self._now = 0
        """Trials that run at the same time."""
        self.meeting: threading.Barrier | None = None
        """All trials except the first wait here for each other."""
        self._lock = threading.Lock()

    def __call__(
        self,
        _client: object,
        target: CheckTarget,
        credential: Credential | None,
        *,
        catalogue: object,
        patience: float,
    ) -> TrialOutcome:
        """One trial."""
        assert catalogue is not None
        assert patience > 0
        with self._lock:
            self.paths.append(target.repository.path)
            is_first = len(self.paths) == 1
            self._now += 1
            self.most = max(self.most, self._now)
        if self.meeting is not None and not is_first:
            self.meeting.wait(30)
        with self._lock:
            self._now -= 1
        effect = self.effect(target.repository.path)
        finding = Finding(
            state="ok" if effect == "works" else "failed",
            what="source",
            place=str(target.repository),
            words="",
            credential=credential,
        )
        return TrialOutcome(finding=finding, effect=effect, paused=self.paused and effect == "stop")


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Fake trials instead of real ones."""
    made = Trials()
    monkeypatch.setattr(registry_check, "attempt", made)
    return made


def find(registry: Registry, paths: list[str], *, proc: int | None = None) -> list[Finding]:
    """The findings for these repositories; those below eve/ use eve's login."""
    targets = [
        CheckTarget(side="source", repository=Repository(registry.address, path), name="v1") for path in paths
    ]
    keyring = Keyring({(registry.address, ""): BOB, (registry.address, "eve"): EVE})
    settings = Settings(limits=Limits(proc=proc))
    return list(find_all({registry.address: targets}, settings, keyring))


@pytest.mark.parametrize(("proc", "most"), [(None, 8), (3, 3), (100, 8)])
def test_parallel_trials_are_reported_in_order(
    scripted: Scripted, trials: Trials, proc: int | None, most: int
) -> None:
    """Repositories of one registry are tried in parallel up to the limit, and reported in order."""
    trials.meeting = threading.Barrier(most)
    paths = [f"team/{number}" for number in range(1 + 5 * most)]

    found = find(scripted(), paths, proc=proc)

    assert trials.most == most
    assert [finding.place.partition("/")[2] for finding in found[1:]] == paths


def test_rejected_login_is_not_used_again(scripted: Scripted, trials: Trials) -> None:
    """A login that is rejected once is not used again, while another login continues."""
    trials.effect = lambda path: "works" if path.startswith("eve/") else "stop"
    registry = scripted()

    _, *found, left = find(registry, ["team/1", "eve/1", "team/2", "eve/2", "team/3"])

    assert sorted(trials.paths) == ["eve/1", "eve/2", "team/1"]
    assert [finding.state for finding in found] == ["failed", "ok", "ok"]
    assert left.untried == (f"{registry.address}/team/2", f"{registry.address}/team/3")
    assert (left.state, left.credential) == ("failed", BOB)
    assert f"after {registry.address}/team/1" in left.words


def test_rate_limit_stops_all_logins(scripted: Scripted, trials: Trials) -> None:
    """After a rate limit no login sends further requests to the registry."""
    trials.effect, trials.paused = lambda _: "stop", True

    found = find(scripted(), ["team/1", "eve/1", "team/2", "eve/2"], proc=1)

    assert trials.paths == ["team/1"]
    assert [len(finding.untried) for finding in found] == [0, 0, 2, 1]


def test_three_failures_in_a_row_stop_a_login(scripted: Scripted, trials: Trials) -> None:
    """Three failures in a row stop a login, and a success resets the count."""
    trials.effect = lambda path: "works" if path == "team/2" else "failed"

    find(scripted(), [f"team/{number}" for number in range(20)], proc=1)

    assert trials.paths == [f"team/{number}" for number in range(6)]


def test_unreachable_registry_gives_one_finding(scripted: Scripted, trials: Trials) -> None:
    """If a registry is unreachable, nothing is tried, and one finding names all its repositories."""
    registry = scripted()
    registry.stop()

    (finding,) = find(registry, ["team/1", "eve/1"])

    assert (finding.state, finding.code, trials.paths) == ("failed", "UNREACHABLE", [])
    assert finding.untried == (f"{registry.address}/team/1", f"{registry.address}/eve/1")
    assert 'as "bob" (key bob), as "eve" (key eve)' in finding.words


def test_unexpected_exception_is_raised_to_the_reader(scripted: Scripted, trials: Trials) -> None:
    """An unexpected exception is raised where the findings are read."""

    def fail(_: str) -> Effect:
        raise ZeroDivisionError

    trials.effect = fail

    with pytest.raises(ZeroDivisionError):
        find(scripted(), ["team/1"])
