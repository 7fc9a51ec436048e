"""The single file with the keys `auth` and `images`, as in older set-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.credentials import keyring_from_nodes
from pipeline.config.nodes import Mapping as MappingNode
from pipeline.config.nodes import is_null, warn_of_unknown
from pipeline.config.rules import rules_from_node
from pipeline.config.text import read_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.config.keyring import Keyring
    from pipeline.config.nodes import Node
    from pipeline.config.rules import Defaults, RulesFile
    from pipeline.log import Event

_SHAPE = "write auth: {...} and images: {...}"


def read_legacy(
    path: Path,
    *,
    defaults: Defaults,
    environ: Mapping[str, str],
) -> tuple[Keyring, RulesFile, tuple[Event, ...]]:
    """Read the file at `path`, JSON or YAML; a key that is null counts as an empty map.

    Returns:
        The keyring, the rules, and all warnings (with those of the rules).

    Raises:
        FileError: it cannot be read or parsed, has the wrong shape, or has no images.
    """
    document = read_document(path)
    parts: dict[str, Node] = {}
    warnings = list(document.warnings)
    fields, duplicates = document.fields(document.mapping(document.root, "the file", hint=_SHAPE))
    warnings += duplicates
    for name, (key, value) in fields.items():
        if name in {"auth", "images"}:
            parts[name] = MappingNode(value.line, value.column, ()) if is_null(value) else value
        else:
            hint = "the file's keys are auth and images"
            warnings.append(warn_of_unknown(document.path, key.text, line=key.line, hint=hint))
    if fields and "images" not in parts:
        raise document.error(document.root, "the key images is missing", hint=_SHAPE)
    maps = [(document, parts["auth"])] if "auth" in parts else []
    keyring, more = keyring_from_nodes(maps, environ=environ)
    images = parts.get("images", document.root)
    rules = rules_from_node(document, images, defaults=defaults, environ=environ)
    return keyring, rules, (*warnings, *more)
