"""Many repositories tried at a time, and none that need not be: bounded threads, and doors that fall shut.

A thousand rules name a handful of registries and logins. A registry that cannot be reached is asked once; a
login is tried on one repository until it has opened one, so that a wrong password is not sent a thousand
times, which locks accounts.
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
from pipeline.commands.check.trial import attempt, judge_greeting, judge_silence
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
"""At work in all; those for registries that cannot be reached only wait."""
_PER_REGISTRY = 8
_STRIKES = 3
"""Troubles in a row after which a login is left alone: each of them is three tries already."""
_AFTERWARDS = 3.0
"""Seconds in which trials that have begun may cancel their uploads when the user has enough."""


def find_all(
    registries: Mapping[str, Sequence[CheckTarget]], settings: Settings, keyring: Keyring
) -> Iterator[Finding]:
    """What is found out, as it comes, in the order of `registries`: each with its repositories.

    Args:
        registries: what is wanted, by registry.
        settings: the run's: timeouts and tries are the same.
        keyring: who we are at each registry.
    """
    share = max(1, _THREADS // max(1, len(registries)))
    share = min(share, _PER_REGISTRY, settings.limits.proc or _PER_REGISTRY)
    rounds = [
        RegistryCheck(name, aims, settings, keyring, threads=share) for name, aims in registries.items()
    ]
    waiting = deque(rounds)

    def work() -> None:
        while (each := _next(waiting)) is not None:
            each.run()

    threads = [_start(work) for _ in range(min(len(rounds), _THREADS))]
    try:
        for each in rounds:
            yield from each.findings()
    finally:
        waiting.clear()
        for each in rounds:
            each.stop()
        end = time.monotonic() + _AFTERWARDS
        for thread in (*threads, *(thread for each in rounds for thread in each.threads)):
            thread.join(max(0.0, end - time.monotonic()))


def _next(waiting: deque[T]) -> T | None:
    try:
        return waiting.popleft()
    except IndexError:
        return None


def _start(work: Callable[[], None]) -> threading.Thread:
    """A thread that does not keep the program alive."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class LoginGate:
    """One login at one registry."""

    def __init__(self) -> None:
        """Not tried yet."""
        self._lock = threading.Lock()
        self._proved = False
        self._strikes = 0
        self.shut: Finding | None = None
        """What shut it."""

    def enter(self, trial: Callable[[], TrialOutcome]) -> TrialOutcome | None:
        """Try, one at a time until it is known to open; None: it is shut."""
        with self._lock:
            if self.shut is not None:
                return None
            if not self._proved:
                return self._judge(trial())
        return self._judge(trial())

    def _judge(self, outcome: TrialOutcome) -> TrialOutcome:
        self._strikes = self._strikes + 1 if outcome.effect == "trouble" else 0
        self._proved = self._proved or outcome.effect == "open"
        if outcome.effect == "shut" or self._strikes >= _STRIKES:
            self.shut = self.shut or outcome.finding
        return outcome


class RegistryCheck:
    """One registry, with all that is wanted there; `run` is for one thread, `findings` for another."""

    def __init__(
        self,
        registry: str,
        aims: Sequence[CheckTarget],
        settings: Settings,
        keyring: Keyring,
        *,
        threads: int,
    ) -> None:
        """Ask nothing yet; `threads`: repositories that are tried at a time."""
        self._registry, self._settings, self._keyring = registry, settings, keyring
        self._slots: list[tuple[CheckTarget, Future[TrialOutcome | None]]] = [(aim, Future()) for aim in aims]
        self._waiting = deque(self._slots)
        self._credentials: dict[CheckTarget, Credential | None] = {}
        self._doors: dict[Credential | None, LoginGate] = {}
        self._most = min(threads, len(aims))
        self._found: SimpleQueue[Finding | BaseException | None] = SimpleQueue()
        self.threads: list[threading.Thread] = []
        """Those that try repositories."""

    def stop(self) -> None:
        """Begin nothing more."""
        self._waiting.clear()
        for _, future in self._slots:
            future.cancel()

    def findings(self) -> Iterator[Finding]:
        """What `run` finds out, as it comes."""
        while (found := self._found.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def run(self) -> None:
        """Reach the registry, then try everything."""
        try:
            for finding in self._run():
                self._found.put(finding)
            self._found.put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the findings are read
            self._found.put(error)

    def _run(self) -> Iterator[Finding]:
        self._credentials = {aim: self._credential(aim) for aim, _ in self._slots}
        self._doors = {credential: LoginGate() for credential in self._credentials.values()}
        clients = Clients(self._settings, self._keyring.find, self._keyring.forget)
        silent: set[bool] = set()
        for insecure in dict.fromkeys(map(self._is_insecure, self._credentials)):
            finding, reached = self._greet(clients, insecure=insecure)
            silent |= set() if reached else {insecure}
            yield finding
        self._waiting = deque(slot for slot in self._slots if self._is_insecure(slot[0]) not in silent)
        for _ in range(min(self._most, len(self._waiting))):
            self.threads.append(_start(lambda: self._work(clients)))
        untried: dict[Credential | None, list[str]] = {}
        for aim, future in self._slots:
            if self._is_insecure(aim) in silent:
                continue
            outcome = future.result()
            if outcome is not None:
                yield outcome.finding
            else:
                untried.setdefault(self._credentials[aim], []).append(str(aim.repository))
        for credential, places in untried.items():
            yield self._leave(credential, tuple(places))

    def _credential(self, aim: CheckTarget) -> Credential | None:
        try:
            return self._keyring.find(aim.repository)
        except MachineError:
            return None  # the trial meets it again, and says it

    def _is_insecure(self, aim: CheckTarget) -> bool:
        credential = self._credentials[aim]
        return credential is not None and credential.insecure

    def _greet(self, clients: Clients, *, insecure: bool) -> tuple[Finding, bool]:
        """What is to be said of the registry itself, and whether it was reached."""
        aims = [aim for aim in self._credentials if self._is_insecure(aim) == insecure]
        try:
            greeting = clients.at(self._registry).probe(aims[0].repository, insecure=insecure)
        except RegistryError as error:
            untried = tuple(dict.fromkeys(str(aim.repository) for aim in aims))
            held = dict.fromkeys(self._credentials[aim] for aim in aims)
            credentials = tuple(credential for credential in held if credential is not None)
            return judge_silence(self._registry, error.fault, untried, credentials), False
        return judge_greeting(self._registry, greeting, dt.datetime.now(dt.UTC)), True

    def _work(self, clients: Clients) -> None:
        while (slot := _next(self._waiting)) is not None:
            aim, future = slot
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._try(clients, aim))
                except BaseException as error:  # noqa: BLE001 - raised where the result is read
                    future.set_exception(error)

    def _try(self, clients: Clients, aim: CheckTarget) -> TrialOutcome | None:
        credential = self._credentials[aim]
        client = clients.at(self._registry, push=aim.side == "destination")
        patience = self._settings.patience
        outcome = self._doors[credential].enter(lambda: attempt(client, aim, credential, patience=patience))
        if outcome is not None and outcome.paused:
            for door in self._doors.values():
                door.shut = door.shut or outcome.finding
        return outcome

    def _leave(self, credential: Credential | None, untried: tuple[str, ...]) -> Finding:
        """What is to be said of repositories that a shut door stands before."""
        cause = self._doors[credential].shut
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
