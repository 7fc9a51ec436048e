from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.cli.arguments import parse
from pipeline.config.credentials import read_credentials
from pipeline.config.nodes import plain
from pipeline.config.rules import Defaults, read_rules
from pipeline.config.schema import credentials_schema, rules_schema
from pipeline.config.text import read_document
from pipeline.errors import SyncError
from tests.unit.config.words import write

ROOT = Path(__file__).parents[3]
RULES = jsonschema.Draft202012Validator(rules_schema())
CREDENTIALS = jsonschema.Draft202012Validator(credentials_schema())
DEFAULTS = Defaults(registry="mirror.example.org", namespace="team")
FENCED = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples(page: str) -> list[Any]:
    """The YAML examples of a page."""
    text = (ROOT / "docs" / page).read_text()
    return [pytest.param(found[1], id=f"{page}-{place}") for place, found in enumerate(FENCED.finditer(text))]


def is_read(path: Path) -> bool:
    """Whether the reader accepts all rules of a file."""
    try:
        found = read_rules(path, defaults=DEFAULTS, environ={"MIRROR": "mirror.io", "TAG": "x"})
    except SyncError:
        return False
    return not found.bad


@pytest.mark.parametrize(
    ("kind", "schema"), [("rules", rules_schema()), ("credentials", credentials_schema())]
)
def test_schema_flag_prints_a_valid_schema(
    kind: str, schema: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """--schema prints the schema of the types, and it is valid."""
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(SystemExit) as end:
        parse(["--schema", kind], {})

    assert not end.value.code
    assert schema == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("path", sorted((ROOT / "example").glob("*.*")), ids=lambda path: path.name)
def test_example_files_are_valid(path: Path, tmp_path: Path) -> None:
    """Every file of example/ is valid under its schema, and is read without warnings."""
    value = plain(read_document(path).root)
    if path.stem == "config":
        RULES.validate(value["images"])
        CREDENTIALS.validate(value["auth"])
    elif path.stem == "auth":
        CREDENTIALS.validate(value)
        assert () == read_credentials([path], environ={"HOME": str(tmp_path)})[1]
    else:
        RULES.validate(value)
        assert is_read(path)


@pytest.mark.parametrize("text", examples("rules.md"))
def test_examples_of_the_rules_page_are_valid(text: str, tmp_path: Path) -> None:
    """Every example of the page is valid under the schema, and is read."""
    path = write(tmp_path, "images.yaml", text)

    RULES.validate(plain(read_document(path).root))
    assert is_read(path)


@pytest.mark.parametrize("text", examples("credentials.md"))
def test_examples_of_the_credentials_page_are_valid(text: str, tmp_path: Path) -> None:
    """Every example of the page is valid under the schema."""
    CREDENTIALS.validate(plain(read_document(write(tmp_path, "auth.yaml", text)).root))


@pytest.mark.parametrize(
    "value",
    [
        {"a/b": {"to": "r.io/b", "tag": "x"}},
        {"a/b": {"to": "r.io/b", "tags": {"newest": 0}}},
        {"a/b": {"to": "r.io/b", "tags": {"newest": "3"}}},
        {"a/b": {"to": "r.io/b", "tags": {"per": "day"}}},
        {"a/b": {"to": "r.io/b", "tags": {"include": []}}},
        {"a/b": {"to": "r.io/b", "force": "maybe"}},
        {"a/b": {"to": "r.io/b", "index": "flat"}},
        {"a/b": {"to": "r.io/b", "delete": True}},
        {"a/b": ["r.io/b", {"to": "r.io/b"}]},
        {".default": {"to": "r.io/b"}},
        {".defaults": {"nothing": 1}},
        ["a/b"],
    ],
    ids=json.dumps,
)
def test_reader_refuses_rules_that_the_schema_refuses(value: Any, tmp_path: Path) -> None:
    """Rules that the schema refuses, the reader refuses too."""
    assert not RULES.is_valid(value)
    assert not is_read(write(tmp_path, "images.json", json.dumps(value)))


@pytest.mark.parametrize(
    "value",
    [
        {"r.io": {"username": ["x"], "password": "y"}},
        {"r.io": {"insecure": "perhaps"}},
        {"r.io": {"requests": "many"}},
        {"r.io": [{}, {}]},
        {"r.io": "secret"},
        [],
    ],
    ids=json.dumps,
)
def test_reader_refuses_credentials_that_the_schema_refuses(value: Any, tmp_path: Path) -> None:
    """Credentials that the schema refuses, the reader refuses too."""
    assert not CREDENTIALS.is_valid(value)
    with pytest.raises(SyncError):
        read_credentials([write(tmp_path, "auth.json", json.dumps(value))], environ={"HOME": str(tmp_path)})
