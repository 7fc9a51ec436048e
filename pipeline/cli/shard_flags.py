"""--shard and the flags that go with it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.cli.values import whole
from pipeline.config.variables import sole_variable
from pipeline.errors import UsageError
from pipeline.settings import Shard

if TYPE_CHECKING:
    from argparse import Namespace, _ArgumentGroup
    from collections.abc import Mapping, Sequence

NAMES = ("--shard", "--shard-by", "--shard-parallelism")


def add_to(group: _ArgumentGroup) -> None:
    """Add the flags."""
    add = group.add_argument
    add("--shard", metavar="I/N", help="only part I of N, from 0; I may be $NAME")
    add(
        "--shard-by",
        choices=("repository", "namespace"),
        metavar="WHAT",
        help="destinations that stay together: repository, namespace [repository]",
    )
    add(
        "--shard-parallelism",
        type=whole(1),
        metavar="N",
        help="shards at a time: each takes its part of the limits that you give [1]",
    )


def with_index(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Replace the variable in `--shard $NAME/N` by its value, so that a repeated command means the same.

    Raises:
        UsageError: the variable is not set.
    """
    kept: list[str] = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if kept and kept[-1] == "--shard":
            flag, equals, value = "", "", argument
        index, slash, count = value.partition("/")
        name = sole_variable(index) if flag in ("", "--shard") and slash else ""
        if name and not environ.get(name):
            raise UsageError(f"--shard {value}: the variable {name} is not set")
        kept.append(f"{flag}{equals}{environ[name]}/{count}" if name else argument)
    return kept


def _shard(given: str) -> Shard:
    """`17/200`: the first is 0/200, the last 199/200."""
    index, _, count = given.partition("/")
    if not index:
        raise ArgumentTypeError(f"{given!r} has no index (is a variable not set?): write I/N, as 0/4")
    try:
        found = Shard(index=whole(0)(index), count=whole(1)(count))
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{given[:40]!r} is not I/N, as 0/4, 1/4, 2/4, 3/4") from None
    if found.index >= found.count:
        last = f"{found.count - 1}/{found.count}"
        raise ArgumentTypeError(f"{given!r}: shards are counted from 0, the last one is {last}")
    return found


def chosen(found: Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """The options that --shard sets; takes the flags that go with it out of what was found.

    Raises:
        UsageError: --shard is wrong, or a flag needs it, or contradicts it.
    """
    values = vars(found)
    by, parallelism = values.pop("shard_by"), values.pop("shard_parallelism")
    if found.shard is None:
        for flag, given in zip(NAMES[1:], (by, parallelism), strict=True):
            if given is not None:
                raise UsageError(f"{flag} goes with --shard I/N")
        return {}
    if found.explain is not None:
        raise UsageError("--explain looks at all rules: omit --shard")
    (given,) = with_index([f"--shard={found.shard}"], environ)
    try:
        parsed = _shard(given.removeprefix("--shard="))
    except ArgumentTypeError as error:
        raise UsageError(f"argument --shard: {error}") from None
    shard = replace(parsed, by=by or "repository", parallelism=parallelism or 1)
    return {"shard": shard, "records": found.records / shard.folder}
