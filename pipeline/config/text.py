"""Read a user's file, JSON or YAML by its extension, into nodes with positions.

Every problem with the file raises one FileError with its position and a hint; no other exception leaves this
module.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from itertools import islice
from typing import IO, TYPE_CHECKING

from pipeline.config.json_text import read_json
from pipeline.config.nodes import Document, is_null
from pipeline.errors import FileError
from pipeline.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.config.nodes import Node
    from pipeline.log import Event

MAX_FILE = 64 * MIB
"""Bytes of one file; a million rules need less."""
MAX_INPUT = 32 * MIB
"""Bytes of standard input, which stay in memory until the records keep a copy."""
INPUT_NAME = "standard input"

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_EMPTY_HINT = "write {} if it should be empty"


def read_document(path: Path) -> Document:
    """Read the file at `path`, whose name ends in .json, .yaml or .yml.

    Raises:
        FileError: it cannot be read, is empty, too large, not UTF-8, or invalid.
    """
    name = str(path)
    if path.suffix.lower() not in {".json", ".yaml", ".yml"}:
        raise FileError(
            name, "the name must end in .json, .yaml or .yml", hint="the extension selects the format"
        )
    text = text_of(name, read_bytes(path))
    return parse_document(name, text, is_json=path.suffix.lower() == ".json")


def parse_document(name: str, text: str, *, is_json: bool = False) -> Document:
    """Parse YAML, or JSON.

    Raises:
        FileError: it has no content, or is invalid.
    """
    if not text.strip():
        raise FileError(name, "the file is empty", hint=_EMPTY_HINT)
    root, warnings = (read_json if is_json else _yaml_reader())(name, text)
    if root is None or is_null(root):
        raise FileError(name, "the file has no content", hint=_EMPTY_HINT)
    return Document(path=name, root=root, warnings=tuple(warnings))


def text_of(name: str, content: bytes) -> str:
    """The bytes of a file as text.

    Raises:
        FileError: it is not UTF-8, or has control characters.
    """
    text = _decode(name, content)
    control = _CONTROL.search(text)
    if control is not None:
        line, column = _place(text[: control.start()])
        message = f"a control character, U+{ord(control[0]):04X}"
        raise FileError(name, message, line=line, column=column, hint="is this a text file?")
    return text


def _yaml_reader() -> Callable[[str, str], tuple[Node | None, list[Event]]]:
    from pipeline.config.yaml_text import read_yaml  # noqa: PLC0415 - takes 8 ms, not needed for JSON

    return read_yaml


def read_input() -> bytes:
    """All of standard input.

    Raises:
        FileError: it cannot be read, or is too large.
    """
    if sys.stdin is None:
        raise FileError(INPUT_NAME, "it is closed", hint="pipe the rules in, or name a file")
    try:
        return _limited(INPUT_NAME, sys.stdin.buffer, MAX_INPUT)
    except OSError as error:
        raise FileError(INPUT_NAME, f"it cannot be read: {error.strerror}") from None


def read_bytes(path: Path) -> bytes:
    """The content of the file at `path`.

    Raises:
        FileError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            return _limited(str(path), file, MAX_FILE)
    except FileNotFoundError:
        raise FileError(str(path), "the file does not exist", hint="check the path") from None
    except PermissionError:
        raise FileError(
            str(path), "no permission to read the file", hint="check its owner and mode"
        ) from None
    except IsADirectoryError:
        raise FileError(str(path), "this is a directory, not a file", hint="name a file in it") from None
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise FileError(str(path), f"the file cannot be read: {words}", hint="check the path") from None


def _limited(name: str, file: IO[bytes], limit: int) -> bytes:
    # In pieces: read(limit) would allocate that many bytes for any file.
    content = b"".join(islice(iter(partial(file.read, MIB), b""), limit // MIB + 1))
    if len(content) > limit:
        raise FileError(name, f"the file is larger than {limit // MIB} MiB", hint="split it")
    return content


def _decode(name: str, content: bytes) -> str:
    if content.startswith(_UTF16):
        raise FileError(name, "the file is UTF-16", hint="save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _place(error.object[: error.start].decode("utf-8", "replace"))
        message = f"the byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise FileError(name, message, line=line, column=column, hint="save the file as UTF-8") from None


def _place(before: str) -> tuple[int, int]:
    """The line and column after `before`."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")
