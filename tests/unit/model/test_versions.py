from __future__ import annotations

import contextlib
from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RuleError
from pipeline.model.versions import admits, is_prerelease, parse_range, version
from tests.unit.model.tags import EVERY

NUMBERS = st.lists(st.integers(0, 3), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("1.25.3", (1, 25, 3)),
        ("v1.25.0-alpine", (1, 25)),
        ("18.0.2.1-slim", (18, 0, 2, 1)),
        ("11.0.29_7-jdk", (11, 0, 29)),
        ("8u472-b08", (8,)),
        ("3.15.0a2", (3, 15)),
        ("20251020", (20251020,)),
        ("0.0", ()),
        ("latest", None),
        ("bookworm-20251020", None),
        ("5ca3b1a", None),
        ("5ca3b1a-alpine", None),
        ("RELEASE.2023-07-07T07-13-57Z", None),
    ],
)
def test_version_is_the_leading_numbers(tag: str, expected: tuple[int, ...] | None) -> None:
    """A version is the leading numbers without trailing zeros; a hash is not a version."""
    assert expected == version(tag)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.25 <2", ["1.25", "1.25.0", "v1.99.9", "1.25-alpine"], ["1.24.9", "2", "2.0.0", "latest"]),
        (">=1.25,<2", ["1.30"], ["2.1"]),
        (">= 1.25", ["1.25.0.1"], ["1"]),
        (">=1.25<2", ["1.26"], ["2"]),
        (">=1.2.5", ["1.2.5", "1.3"], ["1.2", "1.2.4"]),
        ("1.25.x", ["1.25", "1.25.9"], ["1.26", "1.24.9"]),
        ("1.x", ["1", "1.99"], ["2", "0.9"]),
        ("1.25.*", ["1.25.3"], ["1.26"]),
        ("~1.25", ["1.25.0", "1.25.99"], ["1.26", "1.24"]),
        ("~1", ["1.0", "1.99"], ["2.0"]),
        ("~1.25.3", ["1.25.3", "1.25.9"], ["1.25.2", "1.26"]),
        ("^1.25", ["1.25", "1.99"], ["2.0", "1.24"]),
        ("^0.3", ["0.3", "0.3.9"], ["0.4", "0.2"]),
        ("^0.0.3", ["0.0.3", "0.0.3.1"], ["0.0.4"]),
        ("^4", ["4", "4.99"], ["5"]),
        ("1.25", ["1.25", "1.25.0", "v1.25.0-alpine"], ["1.25.1"]),
        ("==1.25.3", ["1.25.3"], ["1.25"]),
        ("!=1.25 >1", ["1.26", "1.1"], ["1.25.0", "1.0"]),
        ("<=1.25", ["1.25.0"], ["1.25.1"]),
        ("v1.2.x", ["1.2.3"], ["1.3"]),
    ],
)
def test_range_compares_padded_numbers(text: str, inside: list[str], outside: list[str]) -> None:
    """A range compares numbers, padded with zeros; any suffix is a variant."""
    ranges = [parse_range(text)]

    found = {
        tag: (numbers := version(tag)) is not None and admits(ranges, numbers) for tag in inside + outside
    }
    assert {**dict.fromkeys(inside, True), **dict.fromkeys(outside, False)} == found


def test_any_one_of_several_ranges_suffices() -> None:
    """A version has to be within only one of several ranges."""
    ranges = [parse_range("~1.25"), parse_range(">=2 <3")]

    assert [True, False, True] == [admits(ranges, numbers) for numbers in ((1, 25, 3), (1, 26), (2, 1))]


@pytest.mark.parametrize(
    "text", ["", " , ", "latest", ">=", ">=1.0-rc1", ">=x", "1.2 || 2", "1.2 - 1.4", ">1.x", "=>1", "9" * 19]
)
def test_invalid_range_is_refused(text: str) -> None:
    """A range that is not understood is refused."""
    with pytest.raises(RuleError):
        parse_range(text)


@given(NUMBERS, NUMBERS)
def test_shorter_version_is_padded_with_zeros(left: list[int], right: list[int]) -> None:
    """Versions of different length compare as if the shorter one ended in zeros."""
    found = version(".".join(map(str, left)))
    assert found is not None

    padded = [pair for pair in zip_longest(left, right, fillvalue=0) if pair[0] != pair[1]]
    bound = ".".join(map(str, right))
    assert (not padded or padded[0][0] > padded[0][1]) == admits([parse_range(f">={bound}")], found)
    assert (bool(padded) and padded[0][0] < padded[0][1]) == admits([parse_range(f"<{bound}")], found)


@given(st.text(st.sampled_from("0123456789.x*vV <>=~^!,-")))
def test_any_text_is_a_range_or_a_rule_error(text: str) -> None:
    """Any text is either a range or a RuleError."""
    with contextlib.suppress(RuleError):
        assert parse_range(text)


def test_prerelease_words_anywhere_in_a_tag() -> None:
    """Prerelease words are found anywhere in a tag; variants and hashes do not count."""
    expected = {
        *("3.15.0a1", "3.15.0a1-alpine", "3.15-rc", "3.15-rc-alpine", "3.14.0rc3", "3.14.0rc3-slim"),
        *("1.26rc1", "1.26rc1-alpine", "1.25rc3", "18beta3", "18rc1", "18rc1-alpine", "8.0.0-beta1"),
        *("21-ea-35", "21-ea-35-slim", "22-ea-36-jdk-slim-bookworm", "27-ea-1-jdk", "27-ea-jdk"),
        *("v2.12.0-rc1", "v2.12.0-alpha8", "v1.34.1-rc1-k3s1", "v3.6.0-rc.5", "v3.6.0-alpha.0"),
        *("v3.7.0-rc.0", "v2.55.0-rc.0", "v1.34.0-rc.2", "v1.34.0-beta.0", "v1.35.0-alpha.1", "v1.0.0-rc.5"),
        *("rc-4a82dea2", "preview-0c5a9d2", "2025.11.0b2", "2025.11.0b1", "beta", "rc", "nightly", "canary"),
        *(
            "10.0.100-rc.2-noble",
            "10.0-preview-alpine",
            "10.0.100-preview.7",
            "11.0.0-M26",
            "11.0.0-M26-jdk21",
        ),
        *("29.0.0-rc.1", "29-rc-dind", "1.28.0-beta.1", "1.27-alpha.0ff2f1b5c8a4d3e7"),
    }
    assert expected == {tag for tag in EVERY if is_prerelease(tag)}


@pytest.mark.parametrize("tag", ["1.2-dev", "edge", "1.2-1", "1.2-eap", "1.2-m1x", "1-alpine", "arc", "1.2b"])
def test_variants_are_not_prereleases(tag: str) -> None:
    """A word that only contains a prerelease word's letters does not count."""
    assert not is_prerelease(tag)
