"""Events as data; the catalogue of their names, and (Log) their renderings.

Workers put events into their outcomes; only the supervisor writes lines: several writers tear lines longer
than 4 KiB on a pipe, and a lock that they share is lost with whoever dies holding it. Lines go to the
descriptor unbuffered, so that a killed run has said all that it said. structlog is imported with the first
Log: this module is imported everywhere, and --help needs none of it.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.errors import FileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from pathlib import Path
    from typing import Any

Level = Literal["debug", "info", "warning", "error"]
Value = str | int | float | bool | None

EVENTS: Mapping[str, str] = {
    "run.start": "a run begins: its rules and settings",
    "run.finish": "a run is over: what became of its images",
    "run.cause": "failures that have one cause: how many, an example, what to do",
    "run.progress": "how far the run is, now and then",
    "run.broken": "a defect of this program ended the run: its traceback",
    "run.drain": "a signal came: what is under way is finished",
    "config.duplicate_key": "a key stands twice in a file; the last one wins",
    "config.rule_invalid": "a rule is wrong and fails; the others go on",
    "config.warning": "something in flags or files may not be what was meant",
    "config.file_ignored": "a file is not read, since another one wins",
    "config.second_document": "a YAML file holds more than one document; only the first is read",
    "config.unknown_key": "a file has a key that means nothing",
    "config.login_unreadable": "a file of docker logins cannot be read and is left out",
    "config.no_credentials": "there is no credentials file",
    "credentials.chosen": "which key of which file opens a registry",
    "credentials.none": "a registry is asked without credentials",
    "rule.expanded": "the images that a rule stands for are known",
    "rule.retry": "a rule could not be expanded and will be tried again",
    "rule.failed": "a rule cannot be expanded; the others go on",
    "image.done": "an image was copied",
    "image.unchanged": "an image was found at its destination",
    "image.skipped": "nothing of an image is left by the platform filter",
    "image.rewritten": "an index was cut by the platform filter and has a new digest",
    "image.retry": "an image failed and will be tried again",
    "image.failed": "an image is not at its destination",
    "blob.retry": "a blob broke off and goes on where it stopped",
    "blob.left": "a layer with urls of its own is left to them",
    "blob.done": "a blob is in its repository",
    "registry.cooldown": "a registry asks for a pause",
    "registry.mount_refused": "a registry does not mount blobs; they are sent",
    "task.broken": "a task met an error that nobody foresaw: its traceback",
    "worker.lost": "a worker process died; its tasks are given out again",
    "records.trouble": "the records are not what they should be",
}
"""Every name that an event may have, and when it is written."""

_SEVERITY: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_BARE = re.compile(r"[A-Za-z0-9_./:@+,-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened; `name` is stable, `message` is for people."""

    name: str
    """One of EVENTS: `image.done`, `blob.left`, `credentials.chosen`."""
    message: str
    level: Level = "info"
    fields: Mapping[str, Value] = field(default_factory=dict)


class Log:
    """Where events become lines: short ones for a terminal, `key=value` for files and pipes.

    A line that cannot be written is lost and the run goes on; standard error says so once.
    """

    def __init__(self, sink: int, *, path: Path | None, severity: int, run: str) -> None:
        """Write to the descriptor `sink`; `open_log` makes one."""
        import structlog  # noqa: PLC0415 - 75 ms that --help does not need

        self._sink = sink
        self._path = path
        self._run = run
        self._told = False
        self._severity = severity
        self._descriptor = _Descriptor(sink)
        stamp = "%H:%M:%S" if os.isatty(sink) else "%Y-%m-%d %H:%M:%S"
        self._logger: Any = structlog.wrap_logger(
            structlog.BytesLogger(self._descriptor),  # type: ignore[arg-type] # only write and flush are called
            processors=[
                structlog.processors.TimeStamper(fmt=stamp, utc=False, key="time"),
                _short if os.isatty(sink) else self._pairs,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(severity),
        )

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at the lines as they come."""
        return self._path is None and os.isatty(self._sink)

    def write(self, event: Event) -> None:
        """Write one line; never raises for what becomes of it."""
        try:
            self._logger.log(_SEVERITY[event.level], event.name, happened=event)
        except OSError as error:
            self._tell(error)

    def takes(self, level: Level) -> bool:
        """Whether events of that level become lines."""
        return _SEVERITY[level] >= self._severity

    def share(self, above: Callable[[bytes], None] | None) -> None:
        """Hand each line to whoever draws on the same terminal; None: write lines here again."""
        self._descriptor.above = above

    def reopen(self) -> None:
        """Open the file anew under its name, as whoever rotates logs asks for (SIGHUP).

        The old file is kept where that fails, and standard error says so.
        """
        if self._path is None:
            return
        try:
            fresh = _opened(self._path)
        except OSError as error:
            self._tell(error)
            return
        os.dup2(fresh, self._sink, inheritable=False)
        os.close(fresh)
        self._told = False

    def close(self) -> None:
        """Close the file; standard error stays open."""
        if self._path is not None:
            os.close(self._sink)

    def _tell(self, error: OSError) -> None:
        """Say once, on standard error, that lines are lost."""
        if not self._told and self._path is not None and sys.stderr is not None:
            words = f"image-syncer: the log {self._path} cannot be written: {error.strerror or error}"
            with suppress(OSError):
                print(printable(f"{words}; the run goes on"), file=sys.stderr, flush=True)  # noqa: T201 - the log itself is what fails
        self._told = True

    def _pairs(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> bytes:
        """`time="..." level=info msg="..." event=image.done key=value ... run=...`."""
        event: Event = line["happened"]
        head = f"time={_quoted(line['time'])} level={event.level} msg={_quoted(event.message)}"
        pairs = {"event": event.name, "run": self._run, **event.fields}
        tail = " ".join(f"{key}={_value(value)}" for key, value in pairs.items() if value is not None)
        return f"{head} {tail}".encode()


class _Descriptor:
    """A file for structlog: whole lines or an OSError, and nothing is kept back."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.above: Callable[[bytes], None] | None = None

    def write(self, line: bytes) -> None:
        """All of the line, in as many writes as it takes."""
        if self.above is not None:
            self.above(line)
            return
        while line:
            line = line[os.write(self._number, line) :]

    def flush(self) -> None:
        """Nothing is kept back."""


def open_log(path: Path | None, *, level: str, run: str) -> Log:
    """Open the log; None: standard error.

    Raises:
        UsageError: there is no such level, or standard error is closed.
        FileError: the file cannot be written.
    """
    severity = _SEVERITY.get(level)
    if severity is None:
        raise UsageError(f"--log-level {level}: there are {', '.join(_SEVERITY)}")
    if path is None:
        if sys.stderr is None:
            raise UsageError("standard error is closed; name a file with --log")
        sink = sys.stderr.fileno()
    else:
        try:
            sink = _opened(path)
        except OSError as error:
            raise FileError(str(path), f"the log cannot be written: {error.strerror}") from error
    return Log(sink, path=path, severity=severity, run=run)


def printable(text: str) -> str:
    """The text on one line, what steers a terminal as escapes: registries choose most of our words."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def _short(_logger: object, _method: str, line: MutableMapping[str, Any]) -> bytes:
    """`14:21:10 warning message`."""
    event: Event = line["happened"]
    return f"{line['time']} {event.level:7} {printable(event.message)}".encode()


def _quoted(text: str) -> str:
    """The text in double quotes, as logfmt readers and Go's %q have it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if _BARE.fullmatch(text) else _quoted(text)
