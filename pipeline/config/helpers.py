"""Credential helpers: programs named `docker-credential-SUFFIX` that store or create secrets.

Source: the protocol of docker-credential-helpers. The program reads the registry from standard input and
writes JSON to standard output. A cloud's helper takes seconds, so answers are shared and cached, but only for
minutes, because their tokens expire.
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from time import monotonic

from pipeline.dataclass import dataclass
from pipeline.errors import LoginError
from pipeline.log import mask
from pipeline.model.credential import Credential
from pipeline.settings import KIB

HELPER_TIMEOUT = 30.0
"""Seconds that a helper program may take."""
ANSWER_LIFE = 300.0
"""Seconds for which a helper's answer is cached; the tokens in it are valid for an hour or more."""
FAILURE_LIFE = 20.0
"""Seconds for which a failed helper is not run again."""

_NOT_FOUND = "credentials not found in native keychain"
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_WORDS = 300
_MAX_ANSWER = 256 * KIB
"""Bytes; tokens of clouds have a few thousand."""
_LASTING = frozenset({errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.ENOTDIR})


@dataclass(frozen=True, slots=True, kw_only=True)
class _HelperFailure:
    """A failure instead of an answer; see LoginError."""

    message: str
    hint: str = ""
    transient: bool = True


class Helpers:
    """Runs helper programs, one at a time for each registry; all threads share the cached answers."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._answers: dict[tuple[str, str], tuple[float, Credential | _HelperFailure | None]] = {}

    def ask(self, suffix: str, server: str, *, origin: str) -> Credential | None:
        """The result of `docker-credential-SUFFIX get` for `server`; None: it has none.

        Args:
            suffix: of the program's name.
            server: the registry's name for the helper.
            origin: the file that names the helper, for the error.

        Raises:
            LoginError: the program is missing, fails, or does not answer; without its secret.
        """
        question = (suffix, server)
        with self._guard:
            lock = self._locks.setdefault(question, threading.Lock())
        with lock:
            until, answer = self._answers.get(question, (0.0, None))
            if question not in self._answers or until < monotonic():
                answer = _run_helper(suffix, server, origin)
                life = FAILURE_LIFE if isinstance(answer, _HelperFailure) else ANSWER_LIFE
                self._answers[question] = monotonic() + life, answer
        if isinstance(answer, _HelperFailure):
            raise LoginError(answer.message, hint=answer.hint, transient=answer.transient)
        return answer

    def forget(self, credential: Credential) -> None:
        """Remove this answer from the cache, but not a newer one."""
        for question, (_, answer) in tuple(self._answers.items()):
            if answer == credential:
                self._answers.pop(question, None)


def _run_helper(suffix: str, server: str, origin: str) -> Credential | _HelperFailure | None:
    """Run a helper program: a credential, None if it has none, or the failure."""
    program = f"docker-credential-{suffix}"
    instead = f"or write {server} into the credentials file"
    if _SUFFIX.fullmatch(suffix) is None:
        message = f"{origin} names the credential helper {suffix!r}, which is not a program name"
        return _HelperFailure(message=message, hint=f"correct {origin}, {instead}", transient=False)
    try:
        status, output, errors = _answer_of(program, server.encode())
    except FileNotFoundError:
        message = f"{origin} names the credential helper {program}, which is not on the PATH"
        return _HelperFailure(message=message, hint=f"install it, {instead}", transient=False)
    except TimeoutError:
        limit = f"{HELPER_TIMEOUT:.0f} s"
        message = f"{program} did not answer for {server} within {limit}"
        return _HelperFailure(message=message, hint="run it by hand to see why")
    except OverflowError:
        message = (
            f"{program} answered for {server} with more than {_MAX_ANSWER // KIB} KiB, which is not a login"
        )
        return _HelperFailure(message=message, hint="run it by hand to see why")
    except OSError as error:
        message = f"{program}, named by {origin}, cannot be run: {error.strerror}"
        lasts = error.errno in _LASTING
        return _HelperFailure(
            message=message, hint=f"check its permissions and format, {instead}" * lasts, transient=not lasts
        )
    if status != 0:
        words = " ".join((output + b" " + errors).decode("utf-8", "replace").split())
        if _NOT_FOUND in words:
            return None
        words = "it printed a secret, which is not shown" if '"Secret"' in words else mask(words)[:_MAX_WORDS]
        message = f"{program} failed for {server} with exit status {status}: {words or 'no output'}"
        return _HelperFailure(message=message)
    return _read_answer(output, program, server)


def _answer_of(program: str, question: bytes) -> tuple[int, bytes, bytes]:
    """Exit status, standard output and standard error of a helper, limited in size.

    Raises:
        OverflowError: the output is too large.
        TimeoutError: it takes too long.
        OSError: it cannot be run.
    """
    import subprocess  # noqa: PLC0415 - most runs have no helper

    until, pipe = monotonic() + HELPER_TIMEOUT, subprocess.PIPE
    with (
        subprocess.Popen([program, "get"], stdin=pipe, stdout=pipe, stderr=pipe) as process,  # noqa: S603 - the program is the user's own choice; the suffix holds no path
        DefaultSelector() as selector,
    ):
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(question)
            said = {"output": b"", "errors": b""}
            for name, stream in zip(said, (process.stdout, process.stderr), strict=True):
                assert stream is not None
                selector.register(stream, EVENT_READ, name)
            while selector.get_map():
                ready = selector.select(max(0.0, until - monotonic()))
                if not ready:
                    raise TimeoutError
                for key, _ in ready:
                    piece = os.read(key.fd, 64 * KIB)
                    said[key.data] += piece
                    if not piece:
                        selector.unregister(key.fileobj)
                    if len(said[key.data]) > _MAX_ANSWER:
                        raise OverflowError
            status = process.wait(max(0.0, until - monotonic()))
        except BaseException:
            process.kill()
            raise
    return status, said["output"], said["errors"]


def _read_answer(content: bytes, program: str, server: str) -> Credential | _HelperFailure:
    try:
        answer = json.loads(content)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        username = secret = None
    if not isinstance(username, str) or not isinstance(secret, str):
        return _HelperFailure(
            message=f"{program} answered for {server}, but not with JSON of Username and Secret"
        )
    if username in {"<token>", ""} and secret:
        return Credential(origin=program, identity_token=secret)
    return Credential(origin=program, username=username, password=secret)
