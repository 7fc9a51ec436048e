"""Output files: written beside their name and renamed when complete; what is no file is written through.

So a reader never sees half a file, and a run that is killed leaves the old one. A rename puts a file in the
place of whatever has the name: of /dev/null too, for everybody on this machine, and of a link instead of the
file that it leads to. Hence links are followed first, and what is no file is opened and written to.
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
    """Whether the path leads to a device, a pipe, or where standard output or error go: none is replaced."""
    try:
        found = path.stat()
    except OSError:
        return False
    if stat.S_ISDIR(found.st_mode):
        return False
    return not stat.S_ISREG(found.st_mode) or _standard(found) is not None


def check_writable(path: Path) -> None:
    """Make sure, before anything begins, that the file can be written when all is over.

    A pipe is not opened: to close it again would be the end for who reads it.

    Raises:
        FileError: its folder is missing or not writable, or the path is a folder.
    """
    try:
        if path.is_dir():
            raise FileError(str(path), "it is a folder; name a file")
        if is_stream(path):
            if not os.access(path, os.W_OK):
                raise FileError(str(path), "it cannot be written: see its owner and mode")
            return
        beside = _beside(_target(path))
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise FileError(str(path), f"it cannot be written: {error.strerror}") from error


def check_page(path: Path) -> None:
    """Make sure that a report goes where one looks for a page.

    Raises:
        FileError: its name ends otherwise.
    """
    if path.suffix.lower() not in _PAGES and not is_stream(path):
        raise FileError(str(path), f"a report is a page: its name ends in {_PAGES[0]}")


def refuse_shared(read: Iterable[tuple[str, Path]], written: Iterable[tuple[str, Path]]) -> None:
    """Make sure that what is written is neither read, nor written twice: the last one would be what is left.

    Args:
        read: files with the flags that name them.
        written: likewise; streams take what comes from several.

    Raises:
        UsageError: two are the same file.
    """
    places = {_place(path): flag for flag, path in read}
    for flag, path in written:
        other = places.setdefault(_place(path), flag)
        if other != flag and not is_stream(path):
            raise UsageError(f"{other} and {flag} are the same file, {path}: give each its own")


def _place(path: Path) -> tuple[int, int] | Path:
    """What tells the file from others, whatever leads to it."""
    try:
        found = path.stat()
    except OSError:
        return _target(path)
    return found.st_dev, found.st_ino


def write_text(path: Path, pieces: Iterable[str]) -> None:
    """Write a file; an old one is replaced when the new one is complete and on disk.

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
        words = "nobody reads from it" if unread else error.strerror or str(error)
        raise MachineError(f"{path} cannot be written: {words}") from error


def _replace(target: Path, pieces: Iterable[str]) -> None:
    beside = _beside(target)
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        with suppress(OSError):
            beside.unlink()


def _target(path: Path) -> Path:
    """What the path leads to, links followed; it need not be there."""
    return Path(os.path.realpath(path))


def _beside(target: Path) -> Path:
    """The name under which the file is written: hidden, and this process's own."""
    return target.with_name(f".{target.name}.{os.getpid()}")


def _open_stream(path: Path) -> int:
    """A descriptor to write to; of our own output a copy, so that lines before and after it keep their place.

    Without O_NONBLOCK, opening a named pipe that nobody reads would never end (fifo(7)).
    """
    standard = _standard(path.stat())
    if standard is not None:
        return os.dup(standard)
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    os.set_blocking(descriptor, True)
    return descriptor


def _standard(found: os.stat_result) -> int | None:
    """The descriptor of standard output or error that writes to what was found; None: neither does."""
    for descriptor in _STANDARD:
        with suppress(OSError):
            here = os.fstat(descriptor)
            if (here.st_dev, here.st_ino) == (found.st_dev, found.st_ino):
                return descriptor
    return None
