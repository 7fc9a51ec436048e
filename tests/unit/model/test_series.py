from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.reference import is_tag
from pipeline.model.series import series
from tests.unit.model.tags import EVERY, LISTS

GIT = "5ca3b1a0e2f49d87c6b5a4f3e2d1c0b9a8f7e6d5"


@pytest.mark.parametrize(
    ("tag", "text", "numbers"),
    [
        ("3.14.0-alpine3.22", "#.#.#-alpine#.#", (3, 14, 0, 3, 22)),
        ("RELEASE.2023-07-07T07-13-57Z", "RELEASE.#-#-#T#-#-#Z", (2023, 7, 7, 7, 13, 57)),
        ("v1.7.1-flannel2", "v#.#.#-flannel#", (1, 7, 1, 2)),
        ("18.0.2.1-slim", "#.#.#.#-slim", (18, 0, 2, 1)),
        ("11.0.29_7-jdk", "#.#.#_#-jdk", (11, 0, 29, 7)),
        ("8u472-b08-jre", "#u#-b#-jre", (8, 472, 8)),
        ("bookworm-20251020", "bookworm-#", (20251020,)),
        ("1.2.3-5ca3b1a", "#.#.#-@", (1, 2, 3)),
        (f"1.2-{GIT}-head", "#.#-@-head", (1, 2)),
        ("v1.2.3-5-g5ca3b1a", "v#.#.#-#-g@", (1, 2, 3, 5)),
        ("main-5ca3b1a", "main-@", ()),
        ("0" * 63 + "f", "@", ()),
        ("f" * 127 + "0", "@", ()),
        ("5ca3b1", "#ca#b#", (5, 3, 1)),
        ("deadbeef", "deadbeef", ()),
        ("20251020", "#", (20251020,)),
        ("f" * 40 + "1", "f" * 40 + "#", (1,)),
        ("1.5ca3b1ax", "#.#ca#b#ax", (1, 5, 3, 1)),
        ("latest", "latest", ()),
    ],
)
def test_numbers_and_hashes_become_placeholders(tag: str, text: str, numbers: tuple[int, ...]) -> None:
    """Each number becomes #, wherever it is, and a hash becomes @ and is not ordered."""
    assert (text, numbers) == series(tag)


@pytest.mark.parametrize(
    ("repository", "count"),
    [
        ("docker.io/rancher/hyperkube", 1),
        ("docker.io/rancher/mirrored-flannel-cni-flannel", 1),
        ("docker.io/rancher/mirrored-coredns-coredns", 2),
        ("registry.k8s.io/ingress-nginx/controller", 2),
        ("docker.io/kindest/node", 1),
    ],
)
def test_releases_and_variants_are_separate_series(repository: str, count: int) -> None:
    """The releases of a repository are one series, and each variant is another."""
    assert count == len({series(tag)[0] for tag in LISTS[repository]})


@given(st.sampled_from(EVERY), st.data())
def test_tags_of_a_series_are_ordered_by_number(tag: str, data: st.DataObject) -> None:
    """Tags that differ only in numbers are in one series, ordered by the first number that differs."""
    text, numbers = series(tag)
    if "@" in text or not numbers:
        return
    others = data.draw(st.tuples(*[st.integers(0, 99)] * len(numbers)))
    pieces = text.split("#")
    other = "".join(f"{piece}{number}" for piece, number in zip(pieces, [*others, ""], strict=True))
    if is_tag(other) and "@" not in series(other)[0]:
        assert (text, others) == series(other)
