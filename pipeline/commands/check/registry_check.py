"""Try many repositories at a time, without useless requests: bounded threads, and a gate for each login.

A thousand rules name a few registries and logins. An unreachable registry is asked once. A login is tried on
one repository at a time until it has worked, because sending a wrong password many times locks accounts.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from pipeline.commands.check.finding import Finding, describe, some_of
from pipeline.commands.check.trial import attempt, judge_probe, judge_silence
from pipeline.errors import MachineError, RegistryError
from pipeline.registry.client import Clients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pipeline.commands.check.targets import CheckTarget
    from pipeline.commands.check.trial import TrialOutcome
    from pipeline.config.credentials import Keyring
    from pipeline.model.credential import Credential
    from pipeline.settings import Settings

T = TypeVar("T")

_THREADS = 256
"""Maximum threads; those for unreachable registries only wait."""
_PER_REGISTRY = 8
_STRIKES = 3
"""Failures in a row after which a login is not used again; each of them is three attempts."""
_CLEANUP = 3.0
"""Seconds for running trials to cancel their uploads after an interrupt."""


def find_all(
    registries: Mapping[str, Sequence[CheckTarget]], settings: Settings, keyring: Keyring
) -> Iterator[Finding]:
    """Yield findings as they come, in the order of `registries`: each with its repositories.

    Args:
        registries: the targets, by registry.
        settings: the run's, so timeouts and attempts are the same.
        keyring: the credentials.
    """
    share = max(1, _THREADS // max(1, len(registries)))
    share = min(share, _PER_REGISTRY, settings.limits.proc or _PER_REGISTRY)
    checks = [
        RegistryCheck(name, targets, settings, keyring, threads=share) for name, targets in registries.items()
    ]
    waiting = deque(checks)

    def work() -> None:
        while (each := _next(waiting)) is not None:
            each.run()

    threads = [_start(work) for _ in range(min(len(checks), _THREADS))]
    try:
        for each in checks:
            yield from each.findings()
    finally:
        waiting.clear()
        for each in checks:
            each.stop()
        end = time.monotonic() + _CLEANUP
        for thread in (*threads, *(thread for each in checks for thread in each.threads)):
            thread.join(max(0.0, end - time.monotonic()))


def _next(waiting: deque[T]) -> T | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _start(work: Callable[[], None]) -> threading.Thread:
    """Start a thread that does not keep the program alive."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class LoginGate:
    """One login at one registry."""

    def __init__(self) -> None:
        """The login is not tried yet."""
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
    """One registry with its targets; one thread calls `run`, another `findings`."""

    def __init__(
        self,
        registry: str,
        targets: Sequence[CheckTarget],
        settings: Settings,
        keyring: Keyring,
        *,
        threads: int,
    ) -> None:
        """Send nothing yet; `threads`: repositories to try at a time."""
        self._registry, self._settings, self._keyring = registry, settings, keyring
        self._slots: list[tuple[CheckTarget, Future[TrialOutcome | None]]] = [
            (target, Future()) for target in targets
        ]
        self._waiting = deque(self._slots)
        self._credentials: dict[CheckTarget, Credential | None] = {}
        self._gates: dict[Credential | None, LoginGate] = {}
        self._most = min(threads, len(targets))
        self._found: SimpleQueue[Finding | BaseException | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []
        """The threads that try repositories."""

    def stop(self) -> None:
        """Start no further trials."""
        self._waiting.clear()
        for _, future in self._slots:
            future.cancel()

    def findings(self) -> Iterator[Finding]:
        """What `run` finds, as it comes."""
        while (found := self._found.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def run(self) -> None:
        """Probe the registry, then try its targets."""
        try:
            for finding in self._run():
                self._found.put(finding)
            self._found.put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the findings are read
            self._found.put(error)

    def _run(self) -> Iterator[Finding]:
        self._credentials = {target: self._credential(target) for target, _ in self._slots}
        self._gates = {credential: LoginGate() for credential in self._credentials.values()}
        clients = Clients(self._settings, self._keyring.find, self._keyring.forget)
        unreachable: set[bool] = set()
        for insecure in dict.fromkeys(map(self._is_insecure, self._credentials)):
            finding, reached = self._probe(clients, insecure=insecure)
            unreachable |= set() if reached else {insecure}
            yield finding
        self._waiting = deque(slot for slot in self._slots if self._is_insecure(slot[0]) not in unreachable)
        for _ in range(min(self._most, len(self._waiting))):
            self.threads.append(_start(lambda: self._work(clients)))
        untried: dict[Credential | None, list[str]] = {}
        for target, future in self._slots:
            if self._is_insecure(target) in unreachable:
                continue
            outcome = future.result()
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

    def _probe(self, clients: Clients, *, insecure: bool) -> tuple[Finding, bool]:
        """The finding about the registry itself, and whether it was reached."""
        targets = [target for target in self._credentials if self._is_insecure(target) == insecure]
        try:
            probe = clients.at(self._registry).probe(targets[0].repository, insecure=insecure)
        except RegistryError as error:
            untried = tuple(dict.fromkeys(str(target.repository) for target in targets))
            held = dict.fromkeys(self._credentials[target] for target in targets)
            credentials = tuple(credential for credential in held if credential is not None)
            return judge_silence(self._registry, error.fault, untried, credentials), False
        return judge_probe(self._registry, probe, dt.datetime.now(dt.UTC)), True

    def _work(self, clients: Clients) -> None:
        while (slot := _next(self._waiting)) is not None:
            target, future = slot
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._try(clients, target))
                except BaseException as error:  # noqa: BLE001 - raised where the result is read
                    future.set_exception(error)

    def _try(self, clients: Clients, target: CheckTarget) -> TrialOutcome | None:
        credential = self._credentials[target]
        client = clients.at(self._registry, push=target.side == "destination")
        patience = self._settings.patience
        outcome = self._gates[credential].enter(
            lambda: attempt(client, target, credential, patience=patience)
        )
        if outcome is not None and outcome.paused:
            for gate in self._gates.values():
                gate.closed_by = gate.closed_by or outcome.finding
        return outcome

    def _untried(self, credential: Credential | None, untried: tuple[str, ...]) -> Finding:
        """The finding about repositories behind a closed gate."""
        cause = self._gates[credential].closed_by
        assert cause is not None
        who = f" {describe(credential, self._registry)}" if credential else ""
        return Finding(
            state=cause.state,
            what="registry",
            place=self._registry,
            words=f"not tried{who}, after {cause.place}: {some_of(untried)}",
            advice=cause.advice,
            credential=credential,
            status=cause.status,
            code=cause.code,
            untried=untried,
        )
