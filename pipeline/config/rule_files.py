"""All rules of a run: one file or several, rules or plain lists, standard input."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from pipeline.config.files import STANDARD_INPUT
from pipeline.config.plain_list import parse_list
from pipeline.config.rule_text import parse_source, parse_target
from pipeline.config.rules import RulesFile, read_rules, rules_from_node
from pipeline.config.text import INPUT_NAME, parse_document, read_bytes, read_input, text_of
from pipeline.dataclass import dataclass
from pipeline.errors import RuleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.config.rule_text import Defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenRules:
    """Rules from standard input, which cannot be read again."""

    ending: str
    """The file extension for this content."""
    text: str


def read_rule_files(
    paths: Sequence[Path], *, to: str | None, defaults: Defaults, environ: Mapping[str, str]
) -> tuple[RulesFile, GivenRules | None]:
    """Read the rules of all files, in order.

    Args:
        paths: rules files, plain lists (.txt), or `STANDARD_INPUT`.
        to: the destination of plain lists; None: the default one.
        defaults: the meaning of an empty destination.
        environ: the variables of destinations.

    Returns:
        The rules, and those that came from standard input as text.

    Raises:
        UsageError: a list has no destination, or the given destination is invalid or not needed.
        FileError: a file cannot be read or parsed, or has the wrong shape.
    """
    lists = [path for path in paths if _is_list(path, to)]
    if lists and to is None and not (defaults.registry and defaults.namespace):
        raise UsageError(
            f"{lists[0]} is a list: give its destination, --to TEMPLATE or --registry and --namespace"
        )
    if to is not None:
        _check_destination(to, defaults=defaults, environ=environ)
    if to is not None and not lists:
        raise UsageError("--to is for plain lists (.txt, or - for standard input): rules have destinations")
    files, given = [], None
    for path in paths:
        is_list = path in lists
        file, text = _read(path, to or "" if is_list else None, defaults=defaults, environ=environ)
        files.append(file)
        if path == STANDARD_INPUT:
            given = GivenRules(ending=".txt" if is_list else ".yaml", text=text)
    return _joined(files), given


def _read(
    path: Path, to: str | None, *, defaults: Defaults, environ: Mapping[str, str]
) -> tuple[RulesFile, str]:
    """The rules of one file (a list if `to` is given), and its text if it is known."""
    is_input = path == STANDARD_INPUT
    if to is None and not is_input:
        return read_rules(path, defaults=defaults, environ=environ), ""
    name = INPUT_NAME if is_input else str(path)
    text = text_of(name, read_input() if is_input else read_bytes(path))
    if to is not None:
        return parse_list(name, text, to=to, defaults=defaults, environ=environ), text
    document = parse_document(name, text)
    return rules_from_node(document, document.root, defaults=defaults, environ=environ), text


def _check_destination(to: str, *, defaults: Defaults, environ: Mapping[str, str]) -> None:
    """Check the destination of lists once, not for each line."""
    source, selection = parse_source("registry.example.com/namespace/name:tag")
    try:
        parse_target(to, source=source, selection=selection, defaults=defaults, environ=environ)
    except RuleError as error:
        raise UsageError(f"--to {to}: {error}") from None


def _is_list(path: Path, to: str | None) -> bool:
    return to is not None if path == STANDARD_INPUT else path.suffix.lower() == ".txt"


def _joined(files: Sequence[RulesFile]) -> RulesFile:
    """All files as one: rules are numbered across files, and know their file."""
    if len(files) == 1:
        return files[0]
    before = accumulate((len(file.rules) + len(file.bad) for file in files), initial=0)
    numbered = list(zip(files, before, strict=False))
    return RulesFile(
        path=", ".join(file.path for file in files),
        rules=tuple(
            replace(rule, number=rule.number + first, file=file.path)
            for file, first in numbered
            for rule in file.rules
        ),
        bad=tuple(replace(bad, number=bad.number + first) for file, first in numbered for bad in file.bad),
        warnings=tuple(warning for file in files for warning in file.warnings),
    )
