"""A plain list: one image reference on each line, as users extract it from charts and manifests.

A line is read as docker reads it, so a reference without a tag means `latest`. All images go to one
destination, which may be a template.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.config.nodes import Scalar
from pipeline.config.rules import BadRule, RulesFile, rule_from_words
from pipeline.errors import FileError, RuleError
from pipeline.model.selection import Named, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.config.rule_text import Defaults

_COMMENT = re.compile(r"(?:^|\s)#.*")


def parse_list(path: str, text: str, *, to: str, defaults: Defaults, environ: Mapping[str, str]) -> RulesFile:
    """Read the list of the file at `path`; a repeated reference is one rule.

    Args:
        path: as the user named it.
        text: its content.
        to: the destination of every image; empty: that of `defaults`.
        defaults: the meaning of an empty destination.
        environ: the variables of a destination.

    Raises:
        FileError: it names no image.
    """
    read: dict[str, Rule | BadRule] = {}
    for written in _references(text):
        if written.text not in read:
            read[written.text] = _rule(
                len(read), written, path=path, to=to, defaults=defaults, environ=environ
            )
    if not read:
        raise FileError(path, "the list names no image", hint="write one reference on each line")
    return RulesFile(
        path=path,
        rules=tuple(rule for rule in read.values() if isinstance(rule, Rule)),
        bad=tuple(rule for rule in read.values() if isinstance(rule, BadRule)),
    )


def _references(text: str) -> Iterator[Scalar]:
    """Every line without its comment, except empty ones."""
    for number, line in enumerate(text.split("\n"), 1):
        content = _COMMENT.sub("", line)
        if content.strip():
            column = len(content) - len(content.lstrip()) + 1
            yield Scalar(number, column, content.strip(), "text")


def _rule(
    number: int, written: Scalar, *, path: str, to: str, defaults: Defaults, environ: Mapping[str, str]
) -> Rule | BadRule:
    try:
        hint = "rules and selections go into a .yaml file"
        if any(map(str.isspace, written.text)):
            raise RuleError("a line of a list is one image", hint=hint)
        rule = rule_from_words(written.text, [to], defaults=defaults, environ=environ)
        is_one = isinstance(rule.selection, Named) and len(rule.selection.names) == 1
        if not is_one:
            raise RuleError("a line of a list is one image", hint=hint)
    except RuleError as error:
        return BadRule(
            number=number,
            path=path,
            line=written.line,
            column=written.column,
            text=written.text,
            destinations=(to,),
            reason=error.message,
            hint=error.hint,
        )
    return replace(rule, number=number, line=written.line)
