"""Output files: written under a temporary name and renamed when complete; devices and pipes are written
directly.

So a reader never sees half a file, and a killed run leaves the old one. A rename replaces anything with that
name: also /dev/null, and a link instead of its target. So links are resolved first, and a path that is not a
regular file is opened and written.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import FileError, MachineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_STANDARD = (1, 2)
_PAGES = (".html", ".htm")


def is_stream(path: Path) -> bool:
    """Whether the path is a device, a pipe, or our standard output or error: these are not replaced."""
    try:
        found = path.stat()
    except OSError:
        return False
    if stat.S_ISDIR(found.st_mode):
        return False
    return not stat.S_ISREG(found.st_mode) or _own_output(found) is not None


def check_writable(path: Path) -> None:
    """Check at the start that the file can be written at the end.

    A pipe is not opened: closing it again would end its reader.

    Raises:
        FileError: its folder is missing or not writable, or the path is a folder.
    """
    try:
        if path.is_dir():
            raise FileError(str(path), "it is a folder; name a file")
        if is_stream(path):
            if not os.access(path, os.W_OK):
                raise FileError(str(path), "it cannot be written: check its owner and mode")
            return
        temporary = _temporary(_target(path))
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise FileError(str(path), f"it cannot be written: {error.strerror}") from error


def check_page(path: Path) -> None:
    """Check that a report has the name of an HTML page.

    Raises:
        FileError: it has not.
    """
    if path.suffix.lower() not in _PAGES and not is_stream(path):
        raise FileError(str(path), f"a report is an HTML page: its name must end in {_PAGES[0]}")


def refuse_shared(read: Iterable[tuple[str, Path]], written: Iterable[tuple[str, Path]]) -> None:
    """Check that no output file is also read, or written twice.

    Args:
        read: files with their flags.
        written: likewise; a stream may be written by several flags.

    Raises:
        UsageError: two are the same file.
    """
    places = {_identity(path): flag for flag, path in read}
    for flag, path in written:
        other = places.setdefault(_identity(path), flag)
        if other != flag and not is_stream(path):
            raise UsageError(f"{other} and {flag} are the same file, {path}: name different files")


def _identity(path: Path) -> tuple[int, int] | Path:
    """The identity of the file, for all paths to it."""
    try:
        found = path.stat()
    except OSError:
        return _target(path)
    return found.st_dev, found.st_ino


def write_text(path: Path, pieces: Iterable[str]) -> None:
    """Write a file; the old one is replaced when the new one is complete and on disk.

    Raises:
        MachineError: it cannot be written.
    """
    try:
        if is_stream(path):
            with os.fdopen(_open_stream(path), "w", encoding="utf-8", newline="\n") as stream:
                stream.writelines(pieces)
        else:
            _replace(_target(path), pieces)
    except OSError as error:
        unread = error.errno == errno.ENXIO
        words = "no process reads from it" if unread else error.strerror or str(error)
        raise MachineError(f"{path} cannot be written: {words}") from error


def _replace(target: Path, pieces: Iterable[str]) -> None:
    temporary = _temporary(target)
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _target(path: Path) -> Path:
    """The path with links resolved; the file need not exist."""
    return Path(os.path.realpath(path))


def _temporary(target: Path) -> Path:
    """The temporary name: hidden, and unique to this process."""
    return target.with_name(f".{target.name}.{os.getpid()}")


def _open_stream(path: Path) -> int:
    """A descriptor for writing; a duplicate for our own output, so lines keep their order.

    Without O_NONBLOCK, opening a named pipe without a reader would block forever (fifo(7)).
    """
    standard = _own_output(path.stat())
    if standard is not None:
        return os.dup(standard)
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(descriptor, True)
    return descriptor


def _own_output(found: os.stat_result) -> int | None:
    """The descriptor of our standard output or error if it is that file; None: neither."""
    for descriptor in _STANDARD:
        with suppress(OSError):
            here = os.fstat(descriptor)
            if (here.st_dev, here.st_ino) == (found.st_dev, found.st_ino):
                return descriptor
    return None
