"""Shards: each target is in exactly one, together with the rules that it depends on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.model.chains import links
from pipeline.model.sharding import rules_of_shard
from pipeline.settings import Shard
from tests.unit.scheduler.world import rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.model.selection import Rule

PLACES = st.builds(
    "{}/{}/{}".format, st.sampled_from(["a.io", "b.io"]), st.sampled_from("xyz"), st.sampled_from("pqr")
)
NAMES = st.sampled_from(["", ":v1", ":v2", ":v1,v2"])
RULES = st.lists(
    st.tuples(st.tuples(PLACES, NAMES).map("".join), st.lists(PLACES, min_size=1, max_size=3, unique=True)),
    max_size=8,
)
BY = st.sampled_from(["repository", "namespace"])


def rules_of(written: Sequence[tuple[str, Sequence[str]]]) -> list[Rule]:
    """Rules in file order."""
    return [rule(source, *to, number=number) for number, (source, to) in enumerate(written)]


def split(
    rules: Sequence[Rule], count: int, by: Literal["repository", "namespace"] = "repository"
) -> list[tuple[Rule, ...]]:
    """The rules of each shard."""
    return [rules_of_shard(rules, Shard(index=index, count=count, by=by)) for index in range(count)]


def where(
    rules: Sequence[Rule], count: int, by: Literal["repository", "namespace"] = "repository"
) -> dict[str, int]:
    """The shard of each destination."""
    return {
        str(target.repository): index
        for index, part in enumerate(split(rules, count, by))
        for each in part
        for target in each.targets
    }


@given(RULES, st.integers(1, 7), BY)
def test_each_target_is_in_exactly_one_shard(
    written: list[tuple[str, list[str]]], count: int, by: Literal["repository", "namespace"]
) -> None:
    """Each target of each rule is in one shard, as is each repository, and rules keep their order."""
    rules = rules_of(written)
    try:
        shards = split(rules, count, by)
    except UsageError:
        return
    found = [(each.number, target) for part in shards for each in part for target in each.targets]
    numbers = [[each.number for each in part] for part in shards]
    homes: dict[str, set[int]] = {}
    for index, part in enumerate(shards):
        for each in part:
            assert each.targets
            assert replace(each, targets=()) == replace(rules[each.number], targets=())
            for target in each.targets:
                homes.setdefault(str(target.repository), set()).add(index)

    assert sorted(found, key=str) == sorted(
        ((each.number, to) for each in rules for to in each.targets), key=str
    )
    assert numbers == [sorted(each) for each in numbers]
    assert all(len(indexes) == 1 for indexes in homes.values())


@given(RULES, st.integers(1, 7), BY)
def test_dependent_rules_share_a_shard(
    written: list[tuple[str, list[str]]], count: int, by: Literal["repository", "namespace"]
) -> None:
    """A rule in a shard waits for the same rules as it does in the whole file."""
    rules = rules_of(written)
    try:
        shards = split(rules, count, by)
    except UsageError:
        return
    whole = {each.rule.number: each.writers for each in links(rules) if each.writers}
    parts = [(each.rule.number, each.writers) for part in shards for each in links(part) if each.writers]

    assert dict(parts) == whole
    assert len(parts) == len(whole)


def test_shard_number_is_stable() -> None:
    """The shard of a repository is a stable number that other programs can compute."""
    expected = int(hashlib.sha256(b"r.io/team/app").hexdigest()[:16], 16) % 200

    assert where([rule("quay.io/a/b", "r.io/team/app")], 200) == {"r.io/team/app": expected}
    assert expected == 6


def test_namespace_stays_in_one_shard() -> None:
    """With --shard-by namespace all repositories of a namespace are in one shard."""
    rules = [rule("quay.io/a/b", *(f"r.io/team/app{number}" for number in range(20)))]

    assert len(set(where(rules, 50).values())) > 1
    assert len(set(where(rules, 50, "namespace").values())) == 1


@pytest.mark.parametrize("count", [2, 3, 50])
def test_chain_is_in_the_shard_of_its_first_destination(count: int) -> None:
    """A chain is in the shard of its first destination, whatever else its rules write."""
    rules = rules_of(
        [
            ("quay.io/a/a", ["r.io/b/b", "r.io/x/x"]),
            ("r.io/b/b", ["s.io/c/c"]),
            ("s.io/c/c:v1", ["t.io/d/d", "t.io/e/e"]),
            ("quay.io/z/z", ["t.io/d/d"]),
        ]
    )
    found = where(rules, count)

    alone = where([rule("quay.io/a/a", "r.io/b/b")], count)["r.io/b/b"]
    assert {found[each] for each in ("r.io/b/b", "s.io/c/c", "t.io/d/d", "t.io/e/e")} == {alone}
    assert found["r.io/x/x"] == where([rule("quay.io/a/a", "r.io/x/x")], count)["r.io/x/x"]


def test_circular_rules_are_in_one_shard() -> None:
    """Rules that form a circle are in one shard."""
    rules = rules_of(
        [("a.io/p/p", ["a.io/q/q"]), ("a.io/q/q", ["a.io/r/r"]), ("a.io/r/r", ["a.io/q/q", "a.io/p/p"])]
    )

    assert len(set(where(rules, 50).values())) == 1


def test_destination_in_two_shards_is_refused() -> None:
    """A destination whose two rules depend on different shards is refused with both lines."""
    rules = rules_of(
        [
            ("quay.io/a/a", ["r.io/s/a"]),
            ("quay.io/b/b", ["r.io/s/b"]),
            ("r.io/s/a:v1", ["t.io/d/d"]),
            ("r.io/s/b:v2", ["t.io/d/d"]),
        ]
    )
    for index in range(3):
        with pytest.raises(
            UsageError, match=r"line 3 \(r.io/s/a:v1\) and line 4 \(r.io/s/b:v2\) both write t.io/d/d"
        ):
            rules_of_shard(rules, Shard(index=index, count=3))

    assert len(set(where(rules, 3, "namespace").values())) == 1
