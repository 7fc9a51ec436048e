"""Try many repositories at a time, without useless requests: a bounded number of threads, a gate per login.

A thousand rules name a few registries and logins. An unreachable registry is tried once. A login is tried
on one repository at a time until it has worked, because sending a wrong password many times locks accounts.
"""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import Future, wait
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.commands.check.finding import Finding, describe, some_of
from pipeline.commands.check.trial import attempt, judge_probe, judge_silence
from pipeline.errors import MachineError, OperationError
from pipeline.registry.clients import Clients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline.commands.check.live import CheckView
    from pipeline.commands.check.targets import CheckTarget
    from pipeline.commands.check.trial import TrialOutcome
    from pipeline.config.keyring import Keyring
    from pipeline.model.credential import Credential
    from pipeline.settings import Settings

T = TypeVar("T")

_REGISTRIES = 256
"""Registries at a time; unreachable ones only wait."""
_PER_REGISTRY = 8
"""Repositories at a time."""
_LOOK = 0.25
"""Seconds between two updates of the progress."""
_STRIKES = 3
"""Failures in a row after which a login is not used again; each of them is three attempts."""


def find_all(
    registries: Mapping[str, Sequence[CheckTarget]],
    settings: Settings,
    keyring: Keyring,
    *,
    view: CheckView | None = None,
) -> Iterator[Finding]:
    """Yield findings as they arrive, in the order of `registries`: each with its repositories.

    Args:
        registries: the targets, by registry.
        settings: the run's, so timeouts and attempts are the same.
        keyring: the credentials.
        view: drawn whenever this waits.
    """
    share = max(1, _REGISTRIES // max(1, len(registries)))
    share = min(share, _PER_REGISTRY, settings.limits.proc or _PER_REGISTRY)
    checks = [
        RegistryCheck(name, targets, settings, keyring, threads=share) for name, targets in registries.items()
    ]
    pool = DaemonPool(_REGISTRIES)

    def draw_until(future: Future[Any]) -> None:
        while view is not None and not wait((future,), _LOOK).done:
            view.tick(checks)

    try:
        for check, probe in [(check, pool.submit(check.probe)) for check in checks]:
            draw_until(probe)
            yield from probe.result()
            yield from check.results(draw_until)
    finally:
        for each in (pool, *(check.pool for check in checks)):
            each.stop()


class DaemonPool:
    """Runs functions in threads that do not keep an interrupted program alive, unlike an Executor's."""

    def __init__(self, most: int) -> None:
        """`most`: threads."""
        self._most = most
        self._threads = 0
        self._stopped = False
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` in a thread; its result or exception is in the future."""
        future: Future[T] = Future()

        def run() -> None:
            if self._stopped:
                future.cancel()
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised where the result is read
                future.set_exception(error)

        self._tasks.put(run)
        if self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._work, daemon=True).start()
        return future

    def stop(self) -> None:
        """Start nothing more, and end the threads."""
        self._stopped = True
        for _ in range(self._threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()


class LoginGate:
    """One login at one registry."""

    def __init__(self) -> None:
        """Start with an untried login."""
        self._lock = threading.Lock()
        self._works = False
        self._strikes = 0
        self.closed_by: Finding | None = None
        """The finding that closed the gate."""

    def enter(self, trial: Callable[[], TrialOutcome]) -> TrialOutcome | None:
        """Try, one at a time until the login has worked; None: the gate is closed."""
        with self._lock:
            if self.closed_by is not None:
                return None
            if not self._works:
                return self._judge(trial())
        return self._judge(trial())

    def _judge(self, outcome: TrialOutcome) -> TrialOutcome:
        self._strikes = self._strikes + 1 if outcome.effect == "failed" else 0
        self._works = self._works or outcome.effect == "works"
        if outcome.effect == "stop" or self._strikes >= _STRIKES:
            self.closed_by = self.closed_by or outcome.finding
        return outcome


class RegistryCheck:
    """One registry with its targets: `probe` in any thread, then `results`."""

    def __init__(
        self,
        registry: str,
        targets: Sequence[CheckTarget],
        settings: Settings,
        keyring: Keyring,
        *,
        threads: int,
    ) -> None:
        """Start without requests; `threads`: repositories to try at a time."""
        self.name, self.probed = registry, False
        self._targets, self._settings = targets, settings
        self._keyring = keyring
        self._clients = Clients(settings, keyring.find, keyring.forget, keyring.settings)
        self._credentials: dict[CheckTarget, Credential | None] = {}
        self._gates: dict[Credential | None, LoginGate] = {}
        self._trials: list[tuple[CheckTarget, Future[TrialOutcome | None]]] = []
        self.pool = DaemonPool(threads)

    def probe(self) -> list[Finding]:
        """Probe the registry and start to try its targets; returns the findings about the registry."""
        self._credentials = {target: self._credential(target) for target in self._targets}
        self._gates = {credential: LoginGate() for credential in self._credentials.values()}
        findings, reached = [], set()
        for insecure in dict.fromkeys(map(self._is_insecure, self._targets)):
            finding, answers = self._probe(insecure=insecure)
            findings.append(finding)
            reached |= {insecure} if answers else set()
        self._trials = [
            (target, self.pool.submit(partial(self._try, target)))
            for target in self._targets
            if self._is_insecure(target) in reached
        ]
        self.probed = True
        return findings

    @property
    def total(self) -> int:
        """Targets."""
        return len(self._targets)

    @property
    def done(self) -> int:
        """Targets that were tried, or will not be."""
        tried = sum(trial.done() for _, trial in self._trials)
        return self.total - len(self._trials) + tried if self.probed else tried

    def results(self, before: Callable[[Future[Any]], None]) -> Iterator[Finding]:
        """The findings about the targets, as they arrive; `before` gets each trial before it is awaited."""
        untried: dict[Credential | None, list[str]] = {}
        for target, trial in self._trials:
            before(trial)
            outcome = trial.result()
            if outcome is not None:
                yield outcome.finding
            else:
                untried.setdefault(self._credentials[target], []).append(str(target.repository))
        for credential, places in untried.items():
            yield self._untried(credential, tuple(places))

    def _credential(self, target: CheckTarget) -> Credential | None:
        try:
            return self._keyring.find(target.repository)
        except MachineError:
            return None  # the trial fails with the same error and reports it

    def _is_insecure(self, target: CheckTarget) -> bool:
        credential = self._credentials[target]
        return credential is not None and credential.insecure

    def _probe(self, *, insecure: bool) -> tuple[Finding, bool]:
        """The finding about the registry itself, and whether it was reached."""
        targets = [target for target in self._credentials if self._is_insecure(target) == insecure]
        try:
            probe = self._clients.at(self.name).probe(targets[0].repository, insecure=insecure)
        except OperationError as error:
            untried = tuple(dict.fromkeys(str(target.repository) for target in targets))
            held = dict.fromkeys(self._credentials[target] for target in targets)
            credentials = tuple(credential for credential in held if credential is not None)
            finding = judge_silence(self.name, error.fault, untried, credentials)
            return finding.of_mirror() if all(each.is_mirror for each in targets) else finding, False
        settings = self._keyring.settings(self.name)
        return judge_probe(self.name, probe, dt.datetime.now(dt.UTC), settings), True

    def _try(self, target: CheckTarget) -> TrialOutcome | None:
        credential = self._credentials[target]
        push = target.side == "destination" and not target.is_namespace
        client = self._clients.at(self.name, push=push)
        catalogue, patience = self._clients.catalogue(self.name), self._settings.patience
        outcome = self._gates[credential].enter(
            lambda: attempt(client, target, credential, catalogue=catalogue, patience=patience)
        )
        if outcome is not None and outcome.paused:
            for gate in self._gates.values():
                gate.closed_by = gate.closed_by or outcome.finding
        return outcome

    def _untried(self, credential: Credential | None, untried: tuple[str, ...]) -> Finding:
        """The finding about repositories behind a closed gate."""
        cause = self._gates[credential].closed_by
        assert cause is not None
        who = f" {describe(credential, self.name)}" if credential else ""
        return Finding(
            state=cause.state,
            what="registry",
            place=self.name,
            words=f"not tried{who}, after {cause.place}: {some_of(untried)}",
            advice=cause.advice,
            credential=credential,
            status=cause.status,
            code=cause.code,
            untried=untried,
        )
