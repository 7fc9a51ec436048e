"""Every file that these tests read is also checked against the schema that editors use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from pipeline.config import rules
from pipeline.config.nodes import plain
from pipeline.config.schema import rules_schema

if TYPE_CHECKING:
    from pipeline.config.nodes import Document, Node
    from pipeline.config.rules import RulesFile

_SCHEMA = jsonschema.Draft202012Validator(rules_schema())


@pytest.fixture(autouse=True)
def _schema_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the reader accepts is valid under the schema."""
    read = rules.rules_from_node

    def checked(document: Document, node: Node, **more: Any) -> RulesFile:
        found = read(document, node, **more)
        if not found.bad:
            _SCHEMA.validate(plain(node))
        return found

    monkeypatch.setattr(rules, "rules_from_node", checked)
