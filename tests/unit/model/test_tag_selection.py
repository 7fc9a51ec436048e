from __future__ import annotations

import tracemalloc
from collections import defaultdict
from itertools import product
from string import ascii_lowercase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.rule_options import TagOptions
from pipeline.model.series import series
from pipeline.model.tag_selection import TagSelection, TagTimes
from tests.unit.model.tags import EVERY, LISTS, REAL

PYTHON, NGINX = LISTS["docker.io/library/python"], LISTS["docker.io/library/nginx"]
SIGNATURE = f"sha256-{'0' * 64}.sig"


def chosen(tags: list[str], *, page: int = 7, **options: Any) -> list[str]:
    """The tags selected from a list that arrives in pages."""
    selection = TagSelection(TagOptions(**options))
    found = [tag for at in range(0, len(tags), page) for tag in selection.add(tags[at : at + page])]
    return [*found, *selection.end()]


class TestStages:
    def test_one_matching_include_suffices(self) -> None:
        """A tag needs to match only one pattern, and the order of the list is kept."""
        assert ["1.13.3", "main", "1.12.7"] == chosen(
            ["1.13.3", "1.13.3-chroot", "main", "1.12.7", "v2"], include=("1.??.?", "main")
        )

    def test_exclude_wins_over_include(self) -> None:
        """A tag that both include and exclude match is left out."""
        assert ["3.14"] == chosen(["3.14", "3.14-slim"], include=("3.*",), exclude=("/slim/",))

    def test_range_drops_prereleases(self) -> None:
        """With a range, prereleases are left out unless the rule asks for them."""
        tags = ["v3.6.5", "v3.6.0-rc.5", "v3.5.24", "latest", "5ca3b1a"]

        assert ["v3.6.5"] == chosen(tags, versions=(">=3.6",))
        assert ["v3.6.5", "v3.6.0-rc.5"] == chosen(tags, versions=(">=3.6",), prereleases=True)
        assert ["v3.6.5", "v3.5.24", "latest", "5ca3b1a"] == chosen(tags, prereleases=False)

    def test_short_version_is_padded_with_zeros(self) -> None:
        """1.2 counts as 1.2.0: it is below 1.2.5, and `always` still selects it."""
        tags = ["1.2", "1.2.4", "1.2.5", "1.3"]

        assert ["1.2.5", "1.3"] == chosen(tags, versions=(">=1.2.5",))
        assert {"1.2", "1.2.5", "1.3"} == set(chosen(tags, versions=(">=1.2.5",), always=("1.2",)))

    def test_always_overrules_other_stages(self) -> None:
        """`always` selects a tag that include leaves out, exclude matches, or newest does not reach."""
        found = chosen(PYTHON, include=("3.14.*",), exclude=("*",), newest=1, always=("latest", "3.11.14"))

        assert {"latest", "3.11.14"} == set(found)

    def test_missing_always_tag_is_reported(self) -> None:
        """A tag in `always` that the list lacks is reported, and does not count as selected."""
        selection = TagSelection(TagOptions(always=("gone", "latest")))

        assert ["latest"] == selection.add(["latest"])
        assert ([], ("gone",), 1) == (selection.end(), selection.missing, selection.selected)

    def test_signature_tags_are_left_out(self) -> None:
        """Signature tags are left out, unless the rule has no tag options."""
        tags = [SIGNATURE, "1.0"]
        plain = TagSelection(TagOptions(), plain=True)

        assert ["1.0"] == chosen(tags, exclude=("x",))
        assert ["1.0"] == chosen(tags, include=("*",))
        assert tags == plain.add(tags)


class TestNewest:
    def test_newest_of_each_series(self) -> None:
        """Newest counts per series: moving tags and variants do not take places of releases."""
        found = chosen(PYTHON, include=("*.*.*", "?.??"), exclude=("*-*",), versions=(">=3.12",), newest=3)

        assert ["3.14.0", "3.13.9", "3.13.8", "3.14", "3.13", "3.12"] == found

    def test_newest_per_minor_version(self) -> None:
        """`per: minor` counts within each minor version of a series."""
        found = chosen(PYTHON, include=("*.*.*-alpine",), versions=(">=3.12",), newest=1, per="minor")

        assert ["3.14.0-alpine", "3.13.9-alpine", "3.12.12-alpine"] == found

    def test_newest_per_major_version(self) -> None:
        """`per: major` counts within each major version of a series."""
        tags = LISTS["quay.io/prometheus/prometheus"]

        assert ["v3.7.3", "v3.7.2", "v2.55.1", "v2.53.5"] == chosen(tags, newest=2, per="major")

    def test_newest_of_the_repository(self) -> None:
        """`per: repository` counts across all series."""
        tags = LISTS["docker.io/rancher/mirrored-coredns-coredns"]

        assert {"1.12.3", "v1.12.3"} == set(chosen(tags, newest=2, per="repository"))

    def test_dates_are_numbers_and_suffixes_make_series(self) -> None:
        """Dates are ordered like other numbers, and a suffix makes another series."""
        found = chosen(LISTS["docker.io/minio/minio"], include=("RELEASE.*Z", "RELEASE.*-cpuv1"), newest=2)

        assert [
            "RELEASE.2025-09-07T16-13-09Z",
            "RELEASE.2025-07-23T15-54-02Z",
            "RELEASE.2025-09-07T16-13-09Z-cpuv1",
            "RELEASE.2024-12-18T13-15-44Z-cpuv1",
        ] == found

    def test_tags_with_equal_numbers_are_all_kept(self) -> None:
        """Tags with equal numbers are all among the newest, whatever their hashes."""
        tags = ["1.2-5ca3b1a", "1.1-5ca3b1a", "1.2-0ff1ce5", "1.2-5ca3b1a", "1.0-0ff1ce5"]

        assert {"1.2-5ca3b1a", "1.2-0ff1ce5"} == set(chosen(tags, newest=1, page=2))

    def test_tags_without_numbers_are_left_out(self) -> None:
        """Tags without digits, or with digits only in hashes, cannot be ordered; they are counted."""
        selection = TagSelection(TagOptions(newest=3))
        selection.add(["latest", "main-5ca3b1a", "1.0"])

        assert (["1.0"], 2) == (selection.end(), selection.unordered)

    def test_newest_by_push_time(self) -> None:
        """Tags pushed later are newer; of tags pushed at the same time, those with greater numbers are."""
        pushed = {"v1": 30.0, "v2": 10.0, "v3": 20.0, "v4": 20.0}
        times = TagTimes(pushed=pushed.__getitem__)
        selection = TagSelection(TagOptions(newest=2, by="pushed"), times=times)
        assert selection.add(pushed) == []
        assert selection.end() == ["v1", "v4"]

    def test_older_pushes_are_left_out(self) -> None:
        """Tags pushed before a date or an age are left out, and no tag is returned before the end."""
        day = 86_400.0
        pushed = {"old": 9 * day, "edge": 10 * day, "new": 11 * day}
        for since in ("1970-01-11", "90d"):
            times = TagTimes(now=100 * day, pushed=pushed.__getitem__)
            selection = TagSelection(TagOptions(since=since, always=("old",)), times=times)
            assert selection.add(("edge", "new")) == []
            assert selection.end() == ["edge", "new"]
            assert selection.explain("new", pushed)[-1].passed
        assert TagSelection(TagOptions(since="89d"), times=times).explain("edge", pushed)[-1].reason == (
            "it was not pushed since 89d"
        )

    def test_newest_by_time_seen(self) -> None:
        """With `by: seen` the tag seen later is newer, even without a number."""
        seen = {"main-5ca3b1a": 3.0, "main-0ff1ce5": 1.0, "main-c0ffee1": 2.0}
        selection = TagSelection(TagOptions(newest=2, by="seen"), times=TagTimes(seen=seen.__getitem__))
        selection.add(list(seen))

        assert ["main-5ca3b1a", "main-c0ffee1"] == selection.end()

    @pytest.mark.parametrize(
        ("form", "most"), [("{0}.{1}-x{2}", 4_000_000), ("branch-{3}-{0}", 10_000_000)], ids=["few", "many"]
    )
    def test_long_list_uses_little_memory(self, form: str, most: int) -> None:
        """30,000 tags of few series take under 4 MB; with a series for each tag, 300 bytes per tag."""
        words = ["".join(each) for each in product(ascii_lowercase, repeat=4)]
        selection = TagSelection(TagOptions(newest=3))
        tracemalloc.start()
        for page in range(30):
            names = range(1000 * page, 1000 * (page + 1))
            selection.add([form.format(page, name, name % 7, words[name]) for name in names])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak < most

    @given(st.lists(st.sampled_from(EVERY), max_size=60), st.integers(1, 4), st.integers(1, 20))
    def test_newest_agrees_with_sorting(self, tags: list[str], count: int, page: int) -> None:
        """For any order and page size, the newest are the tags that fewer than `count` others surpass."""
        groups = defaultdict(set)
        for tag in tags:
            if series(tag)[1]:
                groups[series(tag)[0]].add(tag)
        expected = {
            tag
            for group in groups.values()
            for tag in group
            if sum(series(other)[1] > series(tag)[1] for other in group) < count
        }

        found = chosen(tags, newest=count, prereleases=True, page=page)

        assert expected == set(found)
        assert len(found) == len(set(found))


class TestRealList:
    """The tags of docker's python image, as published on one day."""

    def test_each_variant_is_a_series(self) -> None:
        """Each variant is a series of its own, and moving tags are separate from the releases."""
        names = {series(tag)[0] for tag in REAL if series(tag)[1]}
        suffixes = ("", "-trixie", "-slim", "-slim-bookworm", "-alpine", "-alpine#.#", "-windowsservercore")

        assert {f"{front}{each}" for front in ("#.#.#", "#.#") for each in suffixes} <= names

    def test_newest_of_a_variant_are_releases(self) -> None:
        """The newest of a variant are releases: moving tags and prereleases do not take their places."""
        options: dict[str, Any] = {"versions": (">=3.12",), "newest": 3}

        assert ["3.14.0", "3.13.9", "3.12.12"] == chosen(
            REAL, include=("*.*.*",), exclude=("*-*",), **options
        )
        assert ["3.14.0-alpine", "3.13.9-alpine", "3.12.12-alpine"] == chosen(
            REAL, include=("*.*.*-alpine",), **options
        )

    def test_range_drops_prereleases_of_every_variant(self) -> None:
        """With a range, prereleases of every variant are left out."""
        found = chosen(REAL, versions=(">=3.12",), page=50)

        assert [tag for tag in REAL if tag.startswith(("3.12", "3.13", "3.14"))] == found


class TestWhole:
    def test_tags_are_returned_page_by_page(self) -> None:
        """Stages that judge each tag by itself return results page by page."""
        selection = TagSelection(TagOptions(include=("1.*",), versions=("^1",)))

        assert ["1.1"] == selection.add(["1.1", "2.0"])
        assert not selection.whole

    @pytest.mark.parametrize("options", [{"newest": 1}, {"at_least": 1}])
    def test_newest_returns_nothing_before_the_end(self, options: dict[str, Any]) -> None:
        """`newest` and `at_least` return nothing before the end of the list."""
        selection = TagSelection(TagOptions(**options))

        assert [] == selection.add(["1.1", "1.0"])
        assert selection.end()
        assert selection.whole

    @pytest.mark.parametrize(
        ("options", "least"),
        [
            ({}, 0),
            ({"exclude": ("x",)}, 0),
            ({"include": ("x",)}, 1),
            ({"versions": (">1",)}, 1),
            ({"newest": 2}, 1),
            ({"include": ("x",), "at_least": 0}, 0),
            ({"at_least": 5}, 5),
        ],
    )
    def test_include_has_to_find_a_tag(self, options: dict[str, Any], least: int) -> None:
        """A selection that includes something has to find at least one tag by default."""
        assert least == TagSelection(TagOptions(**options)).least


class TestExplain:
    OPTIONS = TagOptions(
        include=("*.*.*", "latest"), exclude=("*-perl",), versions=(">=1.28",), newest=1, always=("alpine",)
    )

    @pytest.mark.parametrize(
        ("tag", "stages"),
        [
            ("1.29.3", "list+ tags+ include+ exclude+ versions+ prereleases+ newest+"),
            ("1.29.2", "list+ tags+ include+ exclude+ versions+ prereleases+ newest-"),
            ("1.27.5", "list+ tags+ include+ exclude+ versions-"),
            ("latest", "list+ tags+ include+ exclude+ versions-"),
            ("1.29.3-perl", "list+ tags+ include+ exclude-"),
            ("stable", "list+ tags+ include-"),
            ("alpine", "list+ tags+ include- always+"),
            ("9.9.9", "list-"),
        ],
    )
    def test_stages_up_to_the_deciding_one(self, tag: str, stages: str) -> None:
        """The stages are listed in order, up to the one that drops the tag."""
        found = TagSelection(self.OPTIONS).explain(tag, NGINX)

        assert stages == " ".join(f"{each.stage}{'+' if each.passed else '-'}" for each in found)
        assert all(each.reason for each in found)

    def test_newest_names_the_newer_tags(self) -> None:
        """The reason of newest names the tags that take the places."""
        found = TagSelection(self.OPTIONS).explain("1.29.2", NGINX)

        assert found[-1].reason == "newer ones of #.#.#: 1.29.3"

    @given(st.sampled_from(NGINX))
    def test_explanation_agrees_with_the_selection(self, tag: str) -> None:
        """A tag is explained as selected if and only if it is selected."""
        selection = TagSelection(self.OPTIONS)
        selection.add(NGINX)

        assert (tag in selection.end()) == selection.explain(tag, NGINX)[-1].passed
