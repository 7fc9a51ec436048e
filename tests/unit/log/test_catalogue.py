"""The catalogue against the program's events, and generated files against the catalogue."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from pipeline.log import Level
from pipeline.log.catalogue import EVENTS
from pipeline.log.fields import FIELDS
from pipeline.log.renderings import attribute
from scripts.docs import generated, schema

ROOT = Path(__file__).parents[3]


def strings(node: ast.AST) -> set[str]:
    """All string constants below a node."""
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def names_in_sources() -> set[str]:
    """The names of events in string constants of the program, except in the catalogue."""
    found = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        if path.name != "catalogue.py":
            found |= {text for text in strings(ast.parse(path.read_text())) if text in EVENTS}
    return found


def names_given() -> set[str]:
    """The names passed to Event and event_of as constants, in the catalogue or not."""
    found = set()
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="Event"), keywords=keywords):
                    for keyword in keywords:
                        found |= strings(keyword.value) if keyword.arg == "name" else set()
                case ast.Call(func=ast.Name(id="event_of"), args=[name, *_]):
                    found |= strings(name)
    return found


def test_every_emitted_event_is_in_the_catalogue() -> None:
    """Every event of the program is in the catalogue."""
    assert "records.trouble" in names_given()
    assert names_given() - EVENTS.keys() == set()


def test_every_observed_event_is_in_the_catalogue() -> None:
    """Every event that an observer handles is in the catalogue."""
    sources = {path: ast.parse(path.read_text()) for path in (ROOT / "pipeline/observe").rglob("*.py")}
    begins = {name.partition(".")[0] for name in EVENTS}
    words = {text for tree in sources.values() for text in strings(tree)}
    heard = {text for text in words if re.fullmatch(rf"({'|'.join(begins)})\.[a-z_]+", text)}

    assert "registry.cooldown" in heard
    assert heard - EVENTS.keys() == set()


def test_every_catalogue_event_is_emitted() -> None:
    """Every event of the catalogue is emitted somewhere."""
    assert EVENTS.keys() - names_in_sources() == set()


def test_fields_match_the_catalogue() -> None:
    """The events use all fields of the catalogue, and no others."""
    used = frozenset[str]().union(*(entry.always | entry.sometimes for entry in EVENTS.values()))

    assert used == FIELDS.keys()


def test_every_event_has_valid_levels() -> None:
    """Every event has valid levels."""
    assert {level for entry in EVENTS.values() for level in entry.levels} == set(get_args(Level))
    assert all(entry.levels for entry in EVENTS.values())


def test_json_names_are_unique() -> None:
    """No two fields have the same name in JSON."""
    assert len({attribute(name) for name in FIELDS}) == len(FIELDS)


def test_schema_rejects_other_lines() -> None:
    """The schema is valid, and rejects what is not a line of the log."""
    jsonschema.Draft202012Validator.check_schema(schema())

    assert not jsonschema.Draft202012Validator(schema()).is_valid({})


@pytest.mark.parametrize("name", generated())
def test_generated_files_are_up_to_date(name: str) -> None:
    """Generated files are up to date; otherwise run `make docs`."""
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name]
