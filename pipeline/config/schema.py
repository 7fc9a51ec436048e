"""JSON Schemas of the files that users write, made from the types that their readers use.

Editors complete and check with them. A schema knows nothing of references and patterns: what it accepts, the
reader may still refuse, with its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.config.registry_fields import FIELDS
from pipeline.model.catalogue import KINDS
from pipeline.model.rule_options import NOT_BUILT, RepositoryOptions, RuleOptions, TagOptions, option_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.config.registry_fields import FieldInfo
    from pipeline.model.rule_options import OptionField

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Mapping[str, Any] = {"type": ["string", "number"]}
"""A tag such as 1.10 needs no quotes: the file's own text counts."""
_DESTINATION = {"type": ["string", "number", "boolean", "null"]}
"""Unquoted words of YAML are text here."""
_TIME = {"type": "string", "pattern": "^[0-9]{1,9}[smhd]$"}
_MAPS: Mapping[type, str] = {TagOptions: "tags", RepositoryOptions: "repositories"}
"""Names of the definitions of options that are maps."""


def rules_schema() -> dict[str, Any]:
    """The schema of a rules file."""
    options = {"$ref": "#/$defs/options"}
    forms = [
        {"$ref": "#/$defs/destination"},
        {"type": "array", "items": {"$ref": "#/$defs/destination"}},
        options,
        {"type": "array", "minItems": 1, "items": options},
    ]
    return {
        "$schema": _DRAFT,
        "title": "image-syncer: rules",
        "description": "Sources with their destinations.",
        "type": "object",
        "properties": {
            ".defaults": {"description": "Options for all rules of this file.", **options},
            ".anchors": {"description": "Ignored: a place for YAML anchors."},
        },
        "propertyNames": {"pattern": r"^(\.defaults|\.anchors|[^.].*)$"},
        "additionalProperties": {"anyOf": forms},
        "$defs": {
            "destination": {
                "description": "registry/repository[:tag]; {path} and others are replaced by the source's.",
                **_DESTINATION,
            },
            "options": _of_options(RuleOptions),
            **{name: _of_options(owner) for owner, name in _MAPS.items()},
        },
    }


def credentials_schema() -> dict[str, Any]:
    """The schema of a credentials file."""
    entry = {"$ref": "#/$defs/entry"}
    return {
        "$schema": _DRAFT,
        "title": "image-syncer: credentials",
        "description": "Registries, or registries with a namespace, with logins and settings.",
        "type": "object",
        "additionalProperties": {
            "anyOf": [
                entry,
                {"type": "null"},
                {"type": "array", "minItems": 1, "maxItems": 1, "items": entry},
            ]
        },
        "$defs": {
            "entry": {
                "type": "object",
                "properties": {name: _of_field(info) for name, info in FIELDS.items()},
            }
        },
    }


def _of_options(owner: type) -> dict[str, Any]:
    """An object with the options of a class that this version has."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"description": field.about, **_of_option(field, NOT_BUILT.get(name, frozenset()))}
            for name, field in option_fields(owner).items()
            if NOT_BUILT.get(name) != frozenset()
        },
    }


def _of_option(field: OptionField, refused: frozenset[str]) -> Mapping[str, Any]:
    match field.kind:
        case "text":
            return _TEXT
        case "count":
            return {"type": "integer", "minimum": field.least}
        case "switch":
            return {"type": "boolean"}
        case "choice":
            return {"enum": [choice for choice in field.choices if choice not in refused]}
        case "moment":
            return {"type": "string", "pattern": r"^([0-9]{1,9}[smhd]|[0-9]{4}-[0-9]{2}-[0-9]{2})$"}
        case "time":
            return _TIME
        case "map":
            assert field.owner is not None
            owner: Mapping[str, Any] = {"$ref": f"#/$defs/{_MAPS[field.owner]}"}
            return {"anyOf": [owner, *_list_forms(1)]} if field.owner is TagOptions else owner
        case "referrers":
            both = {"when": {"enum": [*field.choices]}, "types": {"anyOf": _list_forms(field.least)}}
            whole = {"type": "object", "additionalProperties": False, "properties": both}
            return {"anyOf": [*_list_forms(field.least), whole]}
        case "texts" | "literals" | "patterns" | "versions" | "platforms":
            return {"anyOf": _list_forms(field.least)}


def _list_forms(least: int) -> list[dict[str, Any]]:
    """One text, or a list of texts."""
    return [{**_TEXT}, {"type": "array", "minItems": least, "items": {**_TEXT}}]


def _of_field(info: FieldInfo) -> dict[str, Any]:
    text = {"type": ["string", "number", "null"]}
    forms: Mapping[str, dict[str, Any]] = {
        "text": text,
        "flag": {"type": ["boolean", "null"]},
        "texts": {"anyOf": [text, {"type": "array", "items": {"type": "string"}}]},
        "count": {"type": ["integer", "string", "null"], "pattern": "^[0-9]+$"},
        "catalog": {
            "anyOf": [
                {"enum": [*KINDS, None]},
                {
                    "type": "object",
                    "required": ["kind"],
                    "additionalProperties": False,
                    "properties": {"kind": {"enum": list(KINDS)}, "url": {"type": "string"}},
                },
            ]
        },
    }
    return {"description": info.description, "examples": [info.example], **forms[info.type]}
