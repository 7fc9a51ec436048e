"""Records for tests, and ways to change them behind their back."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.model.facts import ImageRow
from pipeline.model.reference import Repository
from pipeline.records import store
from pipeline.records.store import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = Repository("harbor.corp", "team/app")
BASE = Repository("harbor.corp", "team/base")
DIGEST = "sha256:" + "a" * 64
NO_OVERRIDE = "-dac_override,-dac_read_search"
"""Capabilities that let root write despite file modes."""


@contextmanager
def opened(path: Path, *, run: str = "one") -> Iterator[Records]:
    """Opened records without any renamed part."""
    store, events = Records.open(path, run=run)
    assert events == ()
    with closing(store):
        yield store


def image(
    source: str = "quay.io/team/app:v1", *, to: str = "harbor.corp/team/app:v1", **fields: object
) -> ImageRow:
    """A copied image of run `one`."""
    row = ImageRow(source=source, destination=to, filter="", run="one", rule=0, result="copied")
    return replace(row, **fields)  # type: ignore[arg-type] # the fields of ImageRow


def failed(source: str) -> ImageRow:
    """An image of run `one` that failed and may succeed."""
    return image(source, result="failed", fault="source: 503", retryable=True)


def database(path: Path) -> Path:
    """The SQLite file of records."""
    return path / "store" / "cache.db"


def alter(path: Path, statement: str, *values: object) -> None:
    """Change closed records with plain SQLite."""
    with closing(sqlite3.connect(database(path))) as connection, connection:
        connection.execute(statement, values)


def python(script: str, *arguments: object, without_override: bool = False) -> subprocess.Popen[str]:
    """A Python process of the project, without root's right to ignore file modes if requested."""
    limits = (
        ["setpriv", f"--bounding-set={NO_OVERRIDE}", f"--inh-caps={NO_OVERRIDE}"] if without_override else []
    )
    command = [*limits, sys.executable, "-c", script, *map(str, arguments)]
    root = Path(store.__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
