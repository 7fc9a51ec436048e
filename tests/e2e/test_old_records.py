"""Records of a version without rule options are used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, index, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

DUMP = Path(__file__).parents[1] / "data" / "old-records.sql"
AMD, ARM = image(layer("amd")), image(layer("arm"), architecture="arm64")
FLAGS = ("--os=linux", "--arch=amd64")


@pytest.fixture
def both(command: Command, scripted: Scripted) -> tuple[Registry, Registry]:
    """An index at the source, the mirror as the old version left it, and its records."""
    source, mirror = scripted(), scripted()
    source.add("team/app", index(AMD, ARM), "v1")
    mirror.add("whole", index(AMD, ARM), "v1")
    mirror.add("part", index(AMD), "v1")
    command.insecure(source.address, mirror.address)
    store = command.folder / "records" / "store"
    store.mkdir(parents=True)
    text = DUMP.read_text().replace("SOURCE", source.address).replace("MIRROR", mirror.address)
    with closing(sqlite3.connect(store / "cache.db")) as database:
        database.executescript(text.replace("|", "\x1f"))
    return source, mirror


@pytest.mark.parametrize(("place", "flags"), [("whole", ()), ("part", FLAGS)])
def test_old_index_costs_two_requests(
    command: Command, both: tuple[Registry, Registry], place: str, flags: tuple[str, ...]
) -> None:
    """An index that an old version copied, whole or in part, costs two requests and is not read."""
    source, mirror = both
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/{place}"})

    result = command.run(*flags)

    assert (0, 1, 2) == (result.code, result.finish["unchanged"], result.finish["requests"]), result.text
    assert {"HEAD"} == {entry.method for entry in (*source.requests(), *mirror.requests())}


def test_filter_from_flags_and_rule_differ(command: Command, both: tuple[Registry, Registry]) -> None:
    """An image copied with a platform flag is compared again for a rule with the same platforms."""
    source, mirror = both
    target = {"to": f"{mirror.address}/part", "platforms": "linux/amd64"}
    command.write("images.json", {f"{source.address}/team/app:v1": target})

    result = command.run()

    assert (0, 1) == (result.code, result.finish["unchanged"]), result.text
    assert [] == mirror.requests(method="PUT")
    assert source.requests(method="GET", path="/manifests/")


def test_old_records_hold_new_images(command: Command, both: tuple[Registry, Registry]) -> None:
    """Old records do not say when a digest was first seen: new images are held, copied ones are not."""
    source, mirror = both
    source.add("team/app", ARM, "v2")
    target = {"to": f"{mirror.address}/whole", "min_age": "72h"}
    command.write("images.json", {f"{source.address}/team/app": target})

    result = command.run()

    assert (0, 1, 1) == (result.code, result.finish["unchanged"], result.finish["held"]), result.text
    assert {"v1"} == mirror.tags("whole").keys()


def test_status_shows_the_old_run(command: Command, both: tuple[Registry, Registry]) -> None:
    """The last run of the old version can be shown."""
    del both
    result = command.run("status")

    assert (0, True) == (result.code, "ab92b994" in result.output), result.text + result.output
