"""Selection: RE2 expressions, tags of a page, destinations of a tag."""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import RuleError
from pipeline.model.patterns import compile_pattern
from pipeline.model.reference import Reference, Repository, is_tag
from pipeline.model.selection import (
    AllTags,
    Matching,
    Named,
    Rule,
    Selection,
    Target,
    pairs,
    select,
)

SOURCE = Repository("quay.io", "team/app")
ONE, TWO = Repository("harbor.corp", "mirror/app"), Repository("ghcr.io", "acme/app")
DIGEST = f"sha256:{'0' * 64}"


def rule(selection: Selection, *targets: Target) -> Rule:
    """A rule with one source."""
    return Rule(number=0, line=1, text=str(SOURCE), source=SOURCE, selection=selection, targets=targets)


class TestCompilePattern:
    @pytest.mark.parametrize(
        ("pattern", "tag", "expected"),
        [
            ("1", "v1.2", True),
            ("^v1", "xv1", False),
            (r"^v\d+$", "v12", True),
            (r"^v\d+$", "v12-rc", False),
            ("", "anything", True),
            (r"^\pL+$", "latest", True),
            ("^[[:alpha:]]+$", "latest", True),
            ("^[[:alpha:]]+$", "v1", False),
            (r"\Av1\z", "v1", True),
            ("v(?i)ABC", "vabc", True),
            ("(?<major>[0-9]+)", "v1", True),
            (r"^\Qa.b\E$", "a.b", True),
            (r"^\Qa.b\E$", "axb", False),
            (r"^\Q\C\E$", "C", False),
            (r"\\C|v", "v", True),
        ],
    )
    def test_expression_matches_anywhere(self, pattern: str, tag: str, expected: object) -> None:
        """An expression matches anywhere, and means the same as in Go."""
        assert expected == compile_pattern(pattern)(tag)

    @pytest.mark.parametrize(
        ("pattern", "words"),
        [
            ("(a", "missing \\): \\(a"),
            ("(?=a)", "invalid perl operator"),
            (r"(a)\1", "invalid escape sequence"),
            (r"a\Z", "invalid escape sequence"),
            (r"a{1001}", "invalid repetition size"),
            (r"v\C", "single byte"),
            (r"\QC\E\C", "single byte"),
            (r"[\C]", "invalid escape sequence"),
            ("a**", "bad repetition operator"),
            ("\ud800", "surrogate"),
        ],
    )
    def test_invalid_expression_fails_with_re2_message(
        self, pattern: str, words: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """An invalid expression fails its rule with RE2's message, and nothing goes to standard error."""
        with pytest.raises(RuleError, match=words) as raised:
            compile_pattern(pattern)
        assert str(raised.value).isprintable()
        assert capfd.readouterr() == ("", "")

    @pytest.mark.timeout(10)
    def test_nested_quantifiers_are_matched_quickly(self) -> None:
        """Nested quantifiers, which take exponential time with backtracking, are matched quickly."""
        assert not compile_pattern("(a+)+$")("a" * 127 + "!")

    def test_missing_re2_package_fails_the_rule(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without google-re2 the rule fails and names the missing package; Python's re never replaces it."""
        monkeypatch.setitem(sys.modules, "re2", None)
        with pytest.raises(RuleError, match="google-re2, which is not installed"):
            compile_pattern("without the package")

    def test_pyre2_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The package pyre2, which has the same module name and falls back to Python's re, is refused."""
        monkeypatch.setitem(sys.modules, "re2", ModuleType("re2"))
        with pytest.raises(RuleError, match="another package"):
            compile_pattern("with another package")

    @given(st.text(st.sampled_from(r"ab1.*+?()[]{}|^$\QECpLz:<>P-") | st.characters()), st.text())
    @example("\ud800\\C", "")
    def test_any_text_is_an_expression_or_a_rule_error(self, pattern: str, tag: str) -> None:
        """Any text is either an expression or a RuleError."""
        with contextlib.suppress(RuleError):
            assert compile_pattern(pattern)(tag) in {True, False}


class TestSelect:
    def test_all_tags_are_selected_once(self) -> None:
        """All tags of a page are selected once, in its order; names that are not tags are left out."""
        tags = ["b", "a", "b", "", "-x", "a b", "sha256-1.sig", "é", "\ud800", "0" * 129, "latest\n"]
        assert select(rule(AllTags())).add(tags) == ["b", "a", "sha256-1.sig"]

    def test_matching_tags_are_selected(self) -> None:
        """The tags of a page that match are selected, and names that are not tags are left out."""
        tags = ["v2", "1", "v1", "v2", "v 3", "\ud800v"]
        assert select(rule(Matching(pattern="v"))).add(tags) == ["v2", "v1"]

    def test_invalid_expression_is_reported_at_once(self) -> None:
        """An invalid expression is reported at once, not when the first tag is matched."""
        with pytest.raises(RuleError):
            select(rule(Matching(pattern="(wrong")))

    @given(st.lists(st.text(max_size=3) | st.sampled_from(["v1", "v2", "latest"])))
    def test_each_tag_is_selected_once(self, tags: list[str]) -> None:
        """Whatever a registry sends, each of its tags is selected once, in order."""
        found = select(rule(AllTags())).add(tags)
        assert set(filter(is_tag, tags)) == set(found)
        assert sorted(found, key=tags.index) == found
        assert len(set(found)) == len(found)


class TestPairs:
    def test_destination_without_names_keeps_the_sources(self) -> None:
        """A destination without names keeps the source's tag or digest."""
        wanted = rule(AllTags(), Target(repository=ONE), Target(repository=TWO))
        assert (Reference(ONE, "v1"), Reference(TWO, "v1")) == pairs(wanted, "v1", None)
        assert (Reference(ONE, DIGEST), Reference(TWO, DIGEST)) == pairs(wanted, DIGEST, 0)

    def test_destination_names_match_by_position(self) -> None:
        """A destination with names uses the one at the source's position."""
        wanted = rule(
            Named(names=("a", DIGEST)), Target(repository=ONE, names=("x", "y")), Target(repository=TWO)
        )
        assert (Reference(ONE, "x"), Reference(TWO, "a")) == pairs(wanted, "a", 0)
        assert (Reference(ONE, "y"), Reference(TWO, DIGEST)) == pairs(wanted, DIGEST, 1)

    def test_equal_targets_are_one_destination(self) -> None:
        """Two targets that resolve to the same reference are one destination."""
        wanted = rule(Named(names=("a",)), Target(repository=ONE, names=("a",)), Target(repository=ONE))
        assert (Reference(ONE, "a"),) == pairs(wanted, "a", 0)
