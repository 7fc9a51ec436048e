"""Shared by the tests of config: files written in one line, and nodes as plain Python values."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pipeline.config.nodes import Mapping, Scalar, Sequence
from pipeline.errors import SyncError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.config.nodes import Node

T = TypeVar("T")
WORDS = {"true": True, "false": False, "null": None}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file into `folder`."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def attempt(call: Callable[[], T]) -> T | SyncError:
    """The result of a call or the error of ours that it raises; any other error fails the test."""
    try:
        return call()
    except SyncError as error:
        return error


def plain(node: Node) -> object:
    """The Python value that the standard library's JSON parser would give for `node`."""
    if isinstance(node, Mapping):
        return {key.text: plain(value) for key, value in node.entries}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    if node.kind in {"boolean", "null"}:
        return WORDS[node.text]
    if node.kind == "number":
        return float(node.text) if set(node.text) & set(".eE") else int(node.text)
    return node.text
