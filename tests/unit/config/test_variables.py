from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.variables import expand, sole_variable

ENVIRON = {"A": "1", "B_2": "$A", "E": ""}


@pytest.mark.parametrize(
    ("text", "expected", "unset"),
    [
        ("x$A", "x1", ()),
        ("${A}x", "1x", ()),
        ("$A$A", "11", ()),
        ("$B_2", "$A", ()),
        ("$E", "", ()),
        ("$Ax", "$Ax", ("Ax",)),
        ("robot$name", "robot$name", ("name",)),
        ("robot$mgsc+ci", "robot$mgsc+ci", ("mgsc",)),
        ("${C}$D", "${C}$D", ("C", "D")),
        ("$$A", "$A", ()),
        ("$$$A", "$1", ()),
        ("pa$", "pa$", ()),
        ("$1 ${} ${1} $-x ${A", "$1 ${} ${1} $-x ${A", ()),
        ("$É", "$É", ()),
    ],
)
def test_set_variables_are_replaced_once(text: str, expected: str, unset: tuple[str, ...]) -> None:
    """Variables that are set are replaced once; all other text is kept."""
    assert (expected, unset) == expand(text, ENVIRON)


@pytest.mark.parametrize(
    ("text", "name"),
    [("$A", "A"), ("${A}", "A"), ("$$", ""), ("$A$A", ""), ("x$A", ""), ("$A\n", ""), ("", "")],
)
def test_sole_variable_is_recognised(text: str, name: str) -> None:
    """A sole variable is text that is exactly one variable."""
    assert name == sole_variable(text)


@given(st.text())
def test_doubled_dollars_expand_to_any_text(text: str) -> None:
    """Any text with doubled dollars expands to itself."""
    assert (text, ()) == expand(text.replace("$", "$$"), ENVIRON)
