"""Where events become lines: standard error or a file, one write a line, by one process.

Only the supervisor writes: several writers tear lines longer than 4 KiB on a pipe, and a lock that they share
is lost with whoever dies holding it. Lines go to the descriptor unbuffered, so that a killed run has said all
that it said. structlog is imported with the first Log: --help needs none of it.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.errors import FileError, UsageError
from pipeline.log.event import printable
from pipeline.log.renderings import Renderings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from pathlib import Path
    from types import ModuleType
    from typing import Any

    from pipeline.log.event import Event, Level
    from pipeline.log.renderings import LogFormat

_SEVERITY: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""As structlog and logging count."""


def _structlog() -> ModuleType:
    """structlog, without rich: it would draw tracebacks with it, of which there are none, and takes as long.

    It is imported with the first Log: --help does not need it.
    """
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment] # Python's own sign that there is no such module
    try:
        import structlog  # noqa: PLC0415 - see above
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog


class Log:
    """Events as lines, in one of three formats.

    A line that cannot be written is lost and the run goes on; standard error says so once.
    """

    def __init__(
        self, sink: int, *, path: Path | None, severity: int, run: str, form: LogFormat | None
    ) -> None:
        """Write to the descriptor `sink`; `open_log` makes one."""
        structlog = _structlog()
        self._sink = sink
        self._path = path
        self._told = False
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
        """Whether lines go to the terminal on which a display may be drawn."""
        return self._path is None and os.isatty(self._sink)

    @property
    def is_for_people(self) -> bool:
        """Whether a person looks at the lines as they come."""
        return self.is_terminal and self._form == "text"

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

    def _line(self, _logger: object, _method: str, line: MutableMapping[str, Any]) -> bytes:
        """The last processor of structlog's chain: the event's line."""
        return self._render(line["happened"], time.time())

    def _tell(self, error: OSError) -> None:
        """Say once, on standard error, that lines are lost."""
        if not self._told and self._path is not None and sys.stderr is not None:
            words = f"image-syncer: the log {self._path} cannot be written: {error.strerror or error}"
            with suppress(OSError):
                print(printable(f"{words}; the run goes on"), file=sys.stderr, flush=True)  # noqa: T201 - the log itself is what fails
        self._told = True


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


def open_log(path: Path | None, *, level: str, run: str, form: LogFormat | None = None) -> Log:
    """Open the log.

    Args:
        path: the file; None: standard error.
        level: the least that is written.
        run: the run's name.
        form: None: text on a terminal, logfmt elsewhere.

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
    return Log(sink, path=path, severity=severity, run=run, form=form)


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
