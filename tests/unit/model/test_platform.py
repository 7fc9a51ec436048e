"""Platforms: normal forms and the filter."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.model.platform import Filter, Platform, normalise, parse_filter

systems = st.sampled_from(["", "linux", "Linux", "windows", "macos", "darwin", "freebsd", "unknown"])
versions = st.sampled_from(["", "10.0", "10.0.17763", "10.0.17763.1397", "10.01"])
machines = st.sampled_from(
    ["", "amd64", "x86_64", "i386", "386", "arm", "armhf", "armel", "arm64", "aarch64", "s390x"]
)
variants = st.sampled_from(["", "v1", "v2", "v3", "5", "6", "7", "8", "v6", "v7", "v8", "v8.0", "9", "v9.0"])
platforms = st.builds(normalise, os=systems, os_version=versions, architecture=machines, variant=variants)


def clauses(names: st.SearchStrategy[str], parts: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Values of a flag, as users write them."""
    texts = st.builds(lambda name, part: ":".join(filter(None, (name, part))), names.filter(bool), parts)
    return st.lists(texts, max_size=4)


filters = st.builds(parse_filter, clauses(systems, versions), clauses(machines, variants))


class TestNormalise:
    @pytest.mark.parametrize(
        ("architecture", "variant", "expected"),
        [
            ("AMD64", "", ("amd64", "")),
            ("x86_64", "v1", ("amd64", "")),
            ("x86-64", "V2", ("amd64", "v2")),
            ("i386", "", ("386", "")),
            ("aarch64", "", ("arm64", "")),
            ("arm64", "8", ("arm64", "")),
            ("arm64", "v8", ("arm64", "")),
            ("arm64", "v8.0", ("arm64", "")),
            ("arm64", "9", ("arm64", "v9")),
            ("arm64", "9.0", ("arm64", "v9")),
            ("arm64", "v9.0", ("arm64", "v9")),
            ("arm64", "v8.1", ("arm64", "v8.1")),
            ("armhf", "", ("arm", "v7")),
            ("armel", "", ("arm", "v6")),
            ("arm", "", ("arm", "v7")),
            ("arm", "7", ("arm", "v7")),
            ("arm", "5", ("arm", "v5")),
            ("arm", "6", ("arm", "v6")),
            ("arm", "8", ("arm", "v8")),
            ("arm", "v6", ("arm", "v6")),
            ("s390x", "", ("s390x", "")),
            ("", "", ("", "")),
        ],
    )
    def test_architectures_are_normalised(
        self, architecture: str, variant: str, expected: tuple[str, str]
    ) -> None:
        """Architectures and variants are normalised as in containerd."""
        platform = normalise(architecture=architecture, variant=variant)
        assert expected == (platform.architecture, platform.variant)

    def test_systems_are_normalised(self) -> None:
        """An operating system is lower case, and macos means darwin."""
        names = ["Linux", " macOS ", "windows", ""]
        assert [normalise(os=name).os for name in names] == ["linux", "darwin", "windows", ""]

    @given(platforms)
    def test_is_idempotent(self, platform: Platform) -> None:
        """Normalising twice changes nothing."""
        again = normalise(
            os=platform.os,
            os_version=platform.os_version,
            architecture=platform.architecture,
            variant=platform.variant,
        )
        assert platform == again

    def test_text_of_a_platform(self) -> None:
        """A platform is written as in containerd, with a question mark for an unstated part."""
        windows = normalise(os="windows", os_version="10.0", architecture="amd64")
        assert [
            str(windows),
            str(normalise(os="linux", architecture="armel")),
            str(normalise(architecture="arm64")),
            str(normalise(os="linux")),
        ] == ["windows(10.0)/amd64", "linux/arm/v6", "?/arm64", "linux/?"]


class TestFilter:
    @pytest.mark.parametrize(
        ("arch", "matching"),
        [
            ("amd64", ["amd64", "amd64/v1", "amd64/v3", ""]),
            ("amd64:v1", ["amd64", "amd64/v1", ""]),
            ("amd64:v3", ["amd64/v3", ""]),
            ("arm64", ["arm64", "arm64/v8", "arm64/v9", ""]),
            ("arm64:v8", ["arm64", "arm64/v8", ""]),
            ("aarch64:8", ["arm64", "arm64/v8", ""]),
            ("arm64:v9", ["arm64/v9", ""]),
            ("arm", ["arm", "arm/v5", "arm/v6", "arm/v7", ""]),
            ("arm:v7", ["arm", "arm/v7", ""]),
            ("armhf", ["arm", "arm/v7", ""]),
            ("armel", ["arm/v6", ""]),
            ("i386", ["386", ""]),
            ("s390x", ["s390x", ""]),
            ("s390x,386", ["386", "s390x", ""]),
        ],
    )
    def test_architectures_and_variants_match(self, arch: str, matching: list[str]) -> None:
        """A filter without a variant matches all variants; a filter with one matches all its spellings."""
        machines = ["amd64", "amd64/v1", "amd64/v3", "arm64", "arm64/v8", "arm64/v9"]
        machines += ["arm", "arm/v5", "arm/v6", "arm/v7", "386", "s390x", ""]
        wanted = parse_filter([], [arch])
        found = [
            machine
            for machine in machines
            if wanted.matches(
                normalise(
                    os="linux", architecture=machine.partition("/")[0], variant=machine.partition("/")[2]
                )
            )
        ]
        assert matching == found

    @pytest.mark.parametrize(
        ("os", "matching"),
        [
            ("linux", ["linux", ""]),
            ("macos", ["darwin", ""]),
            ("windows", ["windows", "windows 10.0.17763.1397", "windows 10.0.177631", ""]),
            ("windows:10.0.17763", ["windows", "windows 10.0.17763.1397", ""]),
            ("windows:10.0.17763.1397", ["windows", "windows 10.0.17763.1397", ""]),
            ("windows:10.0.17763.1", ["windows", ""]),
        ],
    )
    def test_os_versions_match(self, os: str, matching: list[str]) -> None:
        """An OS version matches if it is equal, extends the wanted one after a dot, or is not stated."""
        systems = ["linux", "darwin", "windows", "windows 10.0.17763.1397", "windows 10.0.177631", ""]
        wanted = parse_filter([os], [])
        split = [(system, *system.partition(" ")) for system in systems]
        found = [
            system
            for system, name, _, version in split
            if wanted.matches(normalise(os=name, os_version=version, architecture="amd64"))
        ]
        assert matching == found

    def test_os_and_arch_both_have_to_match(self) -> None:
        """A platform has to match one of --os and one of --arch."""
        wanted = parse_filter(["linux", "windows"], ["amd64,arm64"])
        pairs = itertools.product(["linux", "windows", "darwin"], ["amd64", "arm64", "386"])
        found = [(os, arch) for os, arch in pairs if wanted.matches(normalise(os=os, architecture=arch))]
        assert [*itertools.product(["linux", "windows"], ["amd64", "arm64"])] == found

    @given(filters)
    def test_unstated_platform_is_never_filtered(self, wanted: Filter) -> None:
        """An entry that states no platform is never filtered out."""
        assert wanted.matches(None)
        assert wanted.matches(Platform())

    @given(platforms)
    def test_empty_filter_matches_everything(self, platform: Platform) -> None:
        """An empty filter matches everything and has an empty text."""
        wanted = parse_filter([], [])
        assert (wanted.matches(platform), wanted.active, str(wanted)) == (True, False, "")

    @given(clauses(systems, versions), clauses(machines, variants), st.randoms())
    def test_text_is_canonical(self, os: list[str], arch: list[str], random: object) -> None:
        """Order, repetition, case and comma lists change neither the filter nor its text."""
        one = parse_filter(os, arch)
        lists = ([",".join(reversed(values))] if values else [] for values in (os, arch))
        other = parse_filter(*([text.upper() for text in texts] + texts for texts in lists))
        assert (one, str(one)) == (other, str(other))

    @given(filters)
    def test_text_consists_of_its_flags(self, wanted: Filter) -> None:
        """The text of a filter consists of the flags that produce it."""
        words = str(wanted).split()
        flags = dict(zip(words[::2], words[1::2], strict=True))
        assert wanted == parse_filter(
            *([flags[flag]] if flag in flags else [] for flag in ("--os", "--arch"))
        )

    def test_text_is_sorted_and_normalised(self) -> None:
        """The text is sorted and in normal form."""
        wanted = parse_filter(["windows:10.0.17763, Linux"], ["x86_64", "armhf,arm64:8"])
        assert str(wanted) == "--os linux,windows:10.0.17763 --arch amd64,arm:v7,arm64:v8"

    @pytest.mark.parametrize(
        "value",
        ["", " ", ",", "linux,", "linux:", ":v8", "a:b:c", "linux/amd64", "a b", "*", "linux:10.", "é"],
    )
    def test_invalid_value_is_a_usage_error(self, value: str) -> None:
        """A value that is not a name, optionally with one more part, is a UsageError that names the flag."""
        with pytest.raises(UsageError, match="--os"):
            parse_filter([value], [])
        with pytest.raises(UsageError, match="--arch"):
            parse_filter([], [value])

    def test_slash_error_shows_the_flags(self) -> None:
        """The error for docker's os/arch form shows the flags to use instead."""
        with pytest.raises(UsageError, match="--os linux --arch amd64"):
            parse_filter(["linux/amd64"], [])

    @given(st.text(), st.text())
    def test_any_text_is_a_filter_or_a_usage_error(self, os: str, arch: str) -> None:
        """Any text is either a filter or a UsageError."""
        with contextlib.suppress(UsageError):
            wanted = parse_filter([os], [arch])
            assert wanted.os
            assert wanted.arch
