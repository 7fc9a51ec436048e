from __future__ import annotations

from dataclasses import replace

from pipeline.errors import Fault
from pipeline.model.facts import ImageRow
from pipeline.model.reference import Repository
from pipeline.model.remedies import RULE_INVALID
from pipeline.model.selection import AllTags, Rule
from pipeline.outputs.image_lists import ListEntry, rules_text
from pipeline.report.causes import EXAMPLES, Failure, entries, from_row, from_rule, group

ROW = ImageRow(
    source="quay.io/team/api:v3.1",
    destination="harbor.corp/team/api:v3.1",
    filter="",
    run="one",
    rule=0,
    result="failed",
    fault="source: cannot read: 404 MANIFEST_UNKNOWN: no such tag",
    side="source",
    registry="quay.io",
    status=404,
    code="MANIFEST_UNKNOWN",
)
DENIED = replace(
    ROW,
    fault="destination: cannot push: 403 DENIED: no (ask for rights)",
    side="destination",
    registry="harbor.corp",
    status=403,
    code="DENIED",
    hint="ask for rights",
)


def test_equal_failures_are_one_cause() -> None:
    """Failures with the same side, registry, status and code are one cause; the largest is first."""
    other = replace(ROW, registry="ghcr.io", fault="other words")
    found = group(
        map(from_row, [other, ROW, replace(ROW, source="quay.io/b:1", fault="other words"), DENIED])
    )

    assert [(each.title, each.images, each.advice) for each in found] == [
        (
            "source quay.io: 404 MANIFEST_UNKNOWN, no such tag or digest",
            2,
            "correct the tag in the rule, or remove the rule",
        ),
        (
            "source ghcr.io: 404 MANIFEST_UNKNOWN, no such tag or digest",
            1,
            "correct the tag in the rule, or remove the rule",
        ),
        ("destination harbor.corp: 403 DENIED, not allowed", 1, "ask for rights"),
    ]
    assert found[2].examples[0].words == "destination: cannot push: 403 DENIED: no"


def test_different_remedies_are_different_causes() -> None:
    """Failures with different remedies are different causes, even if all else is equal."""
    other = replace(DENIED, hint="create the repository first")
    found = group(map(from_row, [DENIED, other, DENIED]))

    assert [(each.images, each.advice) for each in found] == [
        (2, "ask for rights"),
        (1, "create the repository first"),
    ]


def test_failed_rule_counts_as_a_rule() -> None:
    """A rule that failed as a whole counts as a rule."""
    repository = Repository("quay.io", "team/api")
    rule = Rule(number=3, line=7, text="quay.io/team/api", source=repository, selection=AllTags(), targets=())
    fault = Fault(operation="list the tags", words="no", registry="quay.io", status=502, retryable=True)
    (found,) = group([from_rule(rule, ("harbor.corp/team/api",), fault)])

    assert (found.images, found.rules, found.side) == (0, 1, "source")
    assert found.title == "source quay.io: 502, server error"
    assert found.advice == "repeat the command: the problem may be temporary"
    assert list(entries(found)) == [ListEntry("quay.io/team/api", ("harbor.corp/team/api",))]


def test_number_of_causes_is_bounded() -> None:
    """However many codes a registry invents, there are few causes, each with few examples."""
    rows = (replace(ROW, code=f"CODE{number % 1_000}") for number in range(10_000))
    found = group(map(from_row, rows))

    assert len(found) == 41
    assert found[-1].title == "OTHER, other causes"
    assert sum(each.images for each in found) == 10_000
    assert {len(each.examples) for each in found} <= set(range(EXAMPLES + 1))


def test_failures_of_a_source_share_an_entry() -> None:
    """Failures of one source share an entry in the rules that repeat them."""
    (found,) = group(map(from_row, [ROW, replace(ROW, destination="r.io/api:1"), ROW]))

    text = rules_text(entries(found))

    assert text == f"{ROW.source}:\n- {ROW.destination}\n- r.io/api:1\n"


def test_invalid_rules_are_one_cause() -> None:
    """All invalid rules are one cause, whatever is wrong with each of them."""
    failures = [
        Failure(
            source=f"a{n}", destinations=(), words=f"images.yaml:{n}: no", hint=f"mend {n}", code=RULE_INVALID
        )
        for n in range(3)
    ]

    (found,) = group([replace(each, is_rule=True) for each in failures])

    assert (found.title, found.rules) == ("RULE_INVALID, the rule is invalid", 3)
    assert [each.hint for each in found.examples] == ["mend 0", "mend 1", "mend 2"]


def test_permanent_failures_come_first() -> None:
    """Failures that a person has to fix come before temporary ones, however many."""
    busy = replace(ROW, status=503, code="", retryable=True)

    found = group(map(from_row, [busy, busy, busy, DENIED]))

    assert [each.status for each in found] == [403, 503]
