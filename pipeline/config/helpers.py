"""Credential helpers: programs named `docker-credential-SUFFIX` that keep or make secrets.

Source: the protocol of docker-credential-helpers. The registry goes in on standard input, JSON comes back on
standard output. A helper of a cloud asks its service and takes seconds, so that an answer is kept and shared;
it is kept for minutes only, since the token in it expires.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from time import monotonic

from pipeline.errors import MachineError
from pipeline.model.credential import Credential

HELPER_TIMEOUT = 30.0
"""Seconds that a helper program may take."""
ANSWER_LIFE = 300.0
"""Seconds for which a helper's answer is believed; the tokens in it live for an hour and more."""
FAILURE_LIFE = 20.0
"""Seconds for which a helper that failed is not run again."""

_NOT_FOUND = "credentials not found in native keychain"
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_WORDS = 300


class Helpers:
    """Runs helper programs: each question once at a time, its answer shared by all threads that ask."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._answers: dict[tuple[str, str], tuple[float, Credential | str | None]] = {}

    def ask(self, suffix: str, server: str, *, origin: str) -> Credential | None:
        """What `docker-credential-SUFFIX get` has for `server`; None: nothing.

        Args:
            suffix: names the program.
            server: the registry as the helper knows it.
            origin: the file that names the helper, for the error.

        Raises:
            MachineError: the program is missing, fails, or does not answer; never with its secret.
        """
        question = (suffix, server)
        with self._guard:
            lock = self._locks.setdefault(question, threading.Lock())
        with lock:
            until, answer = self._answers.get(question, (0.0, None))
            if question not in self._answers or until < monotonic():
                answer = _run_helper(suffix, server, origin)
                life = FAILURE_LIFE if isinstance(answer, str) else ANSWER_LIFE
                self._answers[question] = monotonic() + life, answer
        if isinstance(answer, str):
            raise MachineError(answer)
        return answer

    def forget(self, credential: Credential) -> None:
        """Believe this answer no longer; one that has taken its place since then stays."""
        for question, (_, answer) in tuple(self._answers.items()):
            if answer == credential:
                self._answers.pop(question, None)


def _run_helper(suffix: str, server: str, origin: str) -> Credential | str | None:
    """One answer of a helper program: a credential, None for nothing, or what went wrong in words."""
    program = f"docker-credential-{suffix}"
    if _SUFFIX.fullmatch(suffix) is None:
        return f"{origin} names the credential helper {suffix!r}, which is no name of a program"
    try:
        run = subprocess.run(  # noqa: S603 - the program is the user's own choice; the suffix holds no path
            [program, "get"],
            input=server.encode(),
            capture_output=True,
            timeout=HELPER_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        hint = f"install it, or write {server} into the credentials file"
        return f"{origin} names the credential helper {program}, which is not on the PATH ({hint})"
    except subprocess.TimeoutExpired:
        limit = f"{HELPER_TIMEOUT:.0f} s"
        return f"{program} has not answered for {server} within {limit} (run it by hand to see why)"
    except OSError as error:
        return f"{program}, named by {origin}, cannot be run: {error.strerror}"
    if run.returncode != 0:
        words = " ".join((run.stdout + b" " + run.stderr).decode("utf-8", "replace").split())
        if _NOT_FOUND in words:
            return None
        words = "it printed a secret, which is not shown" if '"Secret"' in words else words[:_MAX_WORDS]
        return f"{program} failed for {server} with exit status {run.returncode}: {words or 'no words'}"
    return _read_answer(run.stdout, program, server)


def _read_answer(content: bytes, program: str, server: str) -> Credential | str:
    try:
        answer = json.loads(content)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        return f"{program} answered for {server}, but not with JSON of Username and Secret"
    if username in {"<token>", ""} and secret:
        return Credential(origin=program, identity_token=secret)
    return Credential(origin=program, username=username, password=secret)
