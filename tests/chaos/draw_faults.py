"""Draws what goes wrong: faults of single requests, kills and signals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tests.registry.faults import Corrupt, Drip, Drop, Extra, Fault, Reply, Stall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from tests.registry.faults import Action, Closing

    Framing = Literal["length", "chunked", "none"]

REQUESTS = {
    "token": ("", r"^/token"),
    "tags": ("GET", r"/tags/list"),
    "head-manifest": ("HEAD", r"/manifests/"),
    "get-manifest": ("GET", r"/manifests/"),
    "head-blob": ("HEAD", r"/blobs/sha"),
    "get-blob": ("GET", r"/(blobs|storage)/.*sha"),
    "post": ("POST", r"/blobs/uploads/"),
    "mount": ("POST", r"mount="),
    "patch": ("PATCH", r"/blobs/uploads/"),
    "put-blob": ("PUT", r"/blobs/uploads/"),
    "put-manifest": ("PUT", r"/manifests/sha"),
    "put-tag": ("PUT", r"/manifests/(?!sha)"),
    "any": ("", r"/v2/"),
}
"""Method and path of each kind of request."""
_OF_SOURCE = ("token", "tags", "head-manifest", "get-manifest", "get-blob", "get-blob", "any")
_OF_DESTINATION = (
    "token", "tags", "head-manifest", "head-blob", "post", "mount", "patch", "put-blob", "put-blob",
    "put-manifest", "put-tag", "any",
)  # fmt: skip
_STATUSES = (400, 401, 403, 404, 408, 409, 416, 425, 429, 429, 500, 500, 502, 503, 503, 504, 520)
_PUSH_BACK: tuple[dict[str, str], ...] = (
    *({}, {}, {}, {"Retry-After": "1"}, {"Retry-After": "0"}, {"Retry-After": "-5"}, {"Retry-After": "soon"}),
    {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"},
    {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600"},
)
_PATIENT = 1.0
"""Seconds; a longer stall happens only a few times."""
_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in</body></html>"
BLOWS = (
    "worker", "worker", "worker", "workers", "fork server", "supervisor", "everything",
    "INT", "TERM", "HUP", "INT twice", "INT to all",
    "STOP worker", "STOP worker for good", "STOP all",
    "expire", "expire", "down", "down", "password", "lose",
    "records removed", "records damaged",
)  # fmt: skip
CLUSTER_BLOWS = (
    "worker leaves", "worker leaves", "worker joins", "worker joins", "machine", "machine",
    "scheduler", "scheduler", "scheduler for good", "workers for good",
)  # fmt: skip
"""Of a Dask cluster: SIGTERM of a worker's nanny, a further worker, and SIGKILL of the others."""
_BETWEEN = ("records removed", "records damaged", "pickle", "tag lost", "tag lost", "lose", "source moved")
FORGETFUL = frozenset({"pickle", "records removed", "records damaged"})
"""Blows after which the records no longer say what was seen."""


@dataclass(frozen=True, slots=True)
class Blow:
    """A kill, a signal or another event at a moment: see `Victim.strike` and `Mishaps`."""

    registry: int
    """The registry whose requests are counted."""
    request: int
    """The number of the request at which it happens."""
    kind: str
    choice: float
    """Selects one of several targets, from 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The faults of one run and after it."""

    faults: tuple[tuple[int, Fault], ...]
    """By registry."""
    blows: tuple[Blow, ...]
    after: tuple[Blow, ...]
    """What happens before the next run; `request` is unused."""

    def remembering(self) -> Trouble:
        """The same without events that lose the records."""
        blows, after = (
            tuple(each for each in some if each.kind not in FORGETFUL) for some in (self.blows, self.after)
        )
        return replace(self, blows=blows, after=after)


def draw_fault(random: Random, *, is_source: bool) -> Fault:
    """One fault for one kind of request."""
    kind = random.choice(_OF_SOURCE if is_source else _OF_DESTINATION)
    method, path = REQUESTS[kind]
    action = _draw_action(random, kind)
    often = random.random() < 0.12 and getattr(action, "seconds", 0) < _PATIENT
    return Fault(
        action=action,
        method=method,
        path=path,
        skip=random.choice((0, 0, 1, 2, random.randint(0, 20))),
        times=random.randint(5, 60) if often else random.randint(1, 3),
    )


def _draw_action(random: Random, kind: str) -> Action:
    makers: list[Callable[[Random], Action]] = [_reply, _reply, _reply, _drop, _drop, _stall, _page]
    if kind in ("tags", "get-manifest", "get-blob", "token"):
        makers += [_cut, _cut, _cut, _corrupt, _drip, _extra]
    if kind in ("put-blob", "patch", "put-manifest", "put-tag", "post"):
        makers += [_early, _early, _lie, _accepted]
    if kind == "tags":
        makers += [_no_list, _no_list]
    if kind == "head-blob":
        makers += [_length, _length]
    return random.choice(makers)(random)


def _reply(random: Random) -> Action:
    status = random.choice(_STATUSES)
    headers = random.choice(_PUSH_BACK) if status in (429, 503) else {}
    body = random.choice(("", '{"errors":[{"code":"UNKNOWN","message":"chaos"}]}', _PAGE))
    return Reply(status=status, headers=headers, body=body, closing=random.choice(("keep", "keep", "close")))


def _early(random: Random) -> Action:
    status = random.choice((401, 403, 413, 429, 500, 503))
    closing: Closing = random.choice(("close", "drain", "reset"))
    return Reply(status=status, early=True, read=random.choice((0, 1, 5_000)), closing=closing)


def _lie(random: Random) -> Action:
    return Reply(status=201, body=random.choice(("", "created")))


def _accepted(random: Random) -> Action:
    return Reply(status=random.choice((202, 204, 200)))


def _page(random: Random) -> Action:
    return Reply(status=200, headers={"Content-Type": "text/html"}, body=_PAGE)


def _no_list(random: Random) -> Action:
    bodies = ("{}", '{"errors":[{"code":"UNKNOWN","message":"chaos"}]}', '{"tags":{}}', '{"tags":[1]}', "[]")
    return Reply(status=random.choice((200, 200, 202, 206)), body=random.choice(bodies))


def _length(random: Random) -> Action:
    return Reply(status=200, headers={"Content-Length": random.choice(("0", "7"))})


def _drop(random: Random) -> Action:
    how = random.randrange(3)
    reset = random.random() < 0.4
    if how == 0:
        return Drop(perform=True, reset=reset)
    return Drop(read=None if how == 1 else random.choice((0, 1, 3_000)), reset=reset)


def _cut(random: Random) -> Action:
    framing: Framing = random.choice(("length", "length", "chunked", "none"))
    after = random.choice((0, 1, 40, 500, 10_000, 1 << 20))
    return Drop(after=after, framing=framing, reset=random.random() < 0.3)


def _corrupt(random: Random) -> Action:
    return Corrupt(offset=random.choice((0, -1)))


def _drip(random: Random) -> Action:
    return Drip(size=random.choice((300, 2_000)), pause=0.001)


def _extra(random: Random) -> Action:
    return Extra(body="surplus")


def _stall(random: Random) -> Action:
    seconds = 30.0 if random.random() < 0.15 else random.uniform(0.05, 0.5)
    return Stall(seconds=seconds)


def draw_blow(random: Random, registries: int, kinds: Sequence[str]) -> Blow:
    """One kill or signal; half of them early, during the start of the run."""
    request = random.randint(1, random.choice((4, 40, 120)))
    return Blow(random.randrange(registries), request, random.choice(kinds), random.random())


def draw_trouble(random: Random, *, sources: int, registries: int, kinds: Sequence[str] = BLOWS) -> Trouble:
    """The faults of one run."""
    faults = tuple(
        (number, draw_fault(random, is_source=number < sources and random.random() < 0.9))
        for number in random.choices(range(registries), k=random.choice((0, 1, 2, 3, 5, 8)))
    )
    blows = tuple(draw_blow(random, registries, kinds) for _ in range(random.choice((0, 0, 1, 1, 2))))
    after = tuple(
        Blow(random.randrange(registries), 0, random.choice(_BETWEEN), random.random())
        for _ in range(random.random() < 0.25)
    )
    return Trouble(faults=faults, blows=blows, after=after)
