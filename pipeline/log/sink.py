"""The log's sink: standard error or a file, one write for each line, by one process.

Only the supervisor writes: several writers would tear lines longer than 4 KiB on a pipe, and a process that
dies with a shared lock would block the others. Lines are not buffered, so a killed run loses none.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.errors import FileError, UsageError
from pipeline.log.event import printable
from pipeline.log.once import Once
from pipeline.log.renderings import Renderings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from pathlib import Path
    from typing import Any

    from pipeline.log.event import Event, Level
    from pipeline.log.renderings import LogFormat

_SEVERITY: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""The numbers of structlog and logging."""


def _structlog() -> ModuleType:
    """Import structlog without modules that take longer than itself, for tracebacks and asynchronous loggers.

    Imported with the first Log: --help does not need it.
    """
    unused = {"rich": None, "asyncio": ModuleType("asyncio")}
    hidden: Mapping[str, Any] = {name: each for name, each in unused.items() if name not in sys.modules}
    sys.modules.update(hidden)  # None marks a module as missing
    try:
        import structlog  # noqa: PLC0415 - see above
    finally:
        for name in hidden:
            del sys.modules[name]
    return structlog


class Log:
    """Writes events as lines in one of three formats.

    A line that cannot be written is lost and the run continues; standard error reports that once.
    """

    def __init__(
        self, sink: int, *, path: Path | None, severity: int, run: str, form: LogFormat | None
    ) -> None:
        """Write to the descriptor `sink`; `open_log` makes one."""
        structlog = _structlog()
        self._sink = sink
        self._path = path
        self._once = Once()
        self._severity = severity
        self._descriptor = _Descriptor(sink)
        on_terminal = os.isatty(sink)
        self._form: LogFormat = form or ("text" if on_terminal else "logfmt")
        self._render = Renderings(run=run, pid=os.getpid()).choose(self._form, is_terminal=on_terminal)
        self._logger: Any = structlog.wrap_logger(
            structlog.BytesLogger(self._descriptor),  # only its write and flush are called
            processors=[self._line],
            wrapper_class=structlog.make_filtering_bound_logger(severity),
        )

    @property
    def is_terminal(self) -> bool:
        """Whether lines go to a terminal, which a display may share."""
        return self._path is None and os.isatty(self._sink)

    @property
    def is_for_people(self) -> bool:
        """Whether lines are text on a terminal."""
        return self.is_terminal and self._form == "text"

    def write(self, event: Event) -> None:
        """Write one line; never raises OSError."""
        try:
            self._logger.log(_SEVERITY[event.level], event.name, happened=event)
        except OSError as error:
            self._report_loss(error)

    def takes(self, level: Level) -> bool:
        """Whether events of that level are written."""
        return _SEVERITY[level] >= self._severity

    def share(self, above: Callable[[bytes], None] | None) -> None:
        """Pass each line to the display on the same terminal; None: write directly again."""
        self._descriptor.above = above

    def reopen(self) -> None:
        """Reopen the file by name, after SIGHUP from log rotation.

        If that fails, the old file stays open and standard error reports it.
        """
        if self._path is None:
            return
        try:
            fresh = _opened(self._path)
        except OSError as error:
            self._report_loss(error)
            return
        os.dup2(fresh, self._sink, inheritable=False)
        os.close(fresh)
        self._once = Once()

    def close(self) -> None:
        """Close the file, but not standard error."""
        if self._path is not None:
            os.close(self._sink)

    def _line(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> bytes:
        """The last processor in structlog's chain: render the line."""
        return self._render(line["happened"], time.time())

    def _report_loss(self, error: OSError) -> None:
        """Report once, on standard error, that lines are lost."""
        if self._path is not None and sys.stderr is not None and self._once.first():
            words = f"image-syncer: the log {self._path} cannot be written: {error.strerror or error}"
            with suppress(OSError):
                print(printable(f"{words}; the run continues"), file=sys.stderr, flush=True)  # noqa: T201 - the log itself is what fails


class _Descriptor:
    """An unbuffered file for structlog: writes whole lines or raises OSError."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.above: Callable[[bytes], None] | None = None

    def write(self, line: bytes) -> None:
        """Write the whole line, in several writes if necessary."""
        if self.above is not None:
            self.above(line)
            return
        while line:
            line = line[os.write(self._number, line) :]

    def flush(self) -> None:
        """Do nothing: there is no buffer."""


def open_log(path: Path | None, *, level: str, run: str, form: LogFormat | None = None) -> Log:
    """Open the log.

    Args:
        path: the file; None: standard error.
        level: the lowest level that is written.
        run: the run's name.
        form: None: text on a terminal, logfmt elsewhere.

    Raises:
        UsageError: the level is unknown, or standard error is closed.
        FileError: the file cannot be written.
    """
    severity = _SEVERITY.get(level)
    if severity is None:
        raise UsageError(f"--log-level {level}: unknown level; use one of {', '.join(_SEVERITY)}")
    if path is None:
        if sys.stderr is None:
            raise UsageError("standard error is closed; name a file with --log")
        sink = sys.stderr.fileno()
    else:
        try:
            sink = _opened(path)
        except OSError as error:
            words = "no process reads from this pipe" if error.errno == errno.ENXIO else error.strerror
            raise FileError(str(path), f"the log cannot be written: {words}") from error
    return Log(sink, path=path, severity=severity, run=run, form=form)


def _opened(path: Path) -> int:
    # A pipe without a reader is an error at once: to open it would wait for one.
    sink = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
    os.set_blocking(sink, True)
    return sink
