from __future__ import annotations

from pipeline.model.platform import Filter, parse_platforms
from pipeline.model.rule_options import NO_OPTIONS, NOT_BUILT, RuleOptions, TagOptions, option_fields


def test_rule_options_win_over_the_files() -> None:
    """A rule's options win over the file's, field by field, including those of `tags`; lists are replaced."""
    near = RuleOptions(to=("a",), tags=TagOptions(include=("1.*",), newest=2), platforms=Filter())
    far = RuleOptions(
        to=("b", "c"),
        tags=TagOptions(include=("2.*",), exclude=("*-debug",)),
        platforms=parse_platforms(["linux/amd64"]),
        force=True,
    )

    expected = RuleOptions(
        to=("a",),
        tags=TagOptions(include=("1.*",), exclude=("*-debug",), newest=2),
        platforms=Filter(),
        force=True,
    )
    assert expected == near.over(far)
    assert far == NO_OPTIONS.over(far) == far.over(NO_OPTIONS)


def test_false_and_zero_are_explicit_values() -> None:
    """False and 0 are explicit values and win too."""
    near = RuleOptions(force=False, retries=0)

    assert near == near.over(RuleOptions(force=True, retries=3))


def test_every_option_is_described() -> None:
    """Each field has a kind and a description; a planned option is a known name."""
    known = {**option_fields(RuleOptions), **option_fields(TagOptions)}

    assert all(each.about.endswith(".") for each in known.values())
    assert {"delete", "every"} == NOT_BUILT.keys() - known.keys()
