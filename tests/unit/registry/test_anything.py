"""What peers say in headers and answers, drawn by hypothesis: it is read as something, or as nothing.

`HYPOTHESIS_PROFILE=long pytest --timeout 3600 tests/unit` draws thousands of each instead of a hundred.
"""

from __future__ import annotations

import base64
import json
import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.model.credential import Credential
from pipeline.model.reference import parse_repository
from pipeline.registry.blobs import BlobBody
from pipeline.registry.faults import STACK_ERRORS
from pipeline.registry.request_info import RequestInfo
from pipeline.registry.responses import (
    parse_challenges,
    parse_complaint,
    parse_date,
    parse_json,
    parse_pulls,
    parse_retry_after,
    parse_size,
    parse_uploaded,
)
from pipeline.registry.session import RegistrySession
from pipeline.registry.tokens import TokenServer
from tests.unit.http.sending import Sender, sending
from tests.unit.registry.asking import QUICK
from tests.unit.registry.peers import Teller, peer

if TYPE_CHECKING:
    from collections.abc import Iterator

PURPOSE = RequestInfo(operation="o", kind="read", repository=parse_repository("localhost:1/a/b"))
DIGITS = st.text("0123456789", max_size=30) | st.integers(-(10**25), 10**25).map(str)
DATES = st.datetimes(timezones=st.sampled_from([UTC])).map(
    lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
)
SPOILT = st.tuples(DATES, st.integers(0, 40), st.sampled_from(["", "-", "99999", " +9999", "\0", "é"])).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.text(max_size=30) | DIGITS)
@example("0\x1f")
def test_sizes(text: str) -> None:
    """A size is the number in the text, or -1."""
    found = parse_size(text)

    assert found == -1 or (found >= 0 and found == int(text.strip()))


@given(st.text(max_size=30) | st.from_regex(r"\A(bytes=)?0-[0-9]{0,25}\Z") | DIGITS.map("0-{}".format))
def test_uploaded(text: str) -> None:
    """The size of an upload is a number of bytes, or unknown."""
    found = parse_uploaded(text)

    assert found is None or 0 <= found <= 10**18


@given(DATES | SPOILT | st.text(max_size=40))
def test_dates(text: str) -> None:
    """A date has a time zone, or is None."""
    found = parse_date(text)

    assert found is None or found.tzinfo is not None


@given(DATES | SPOILT | DIGITS | st.text(max_size=40), DATES | SPOILT | st.just(""))
def test_pauses(value: str, date: str) -> None:
    """A pause is a finite number of seconds, or None."""
    found = parse_retry_after(value, date=date)

    assert found is None or math.isfinite(found)


@given(st.text(max_size=20) | DIGITS, st.tuples(DIGITS, DIGITS).map(lambda two: f"{two[0]};w={two[1]}"))
def test_pulls(remaining: str, limit: str) -> None:
    """A rate limit is three numbers; -1: not stated."""
    found = parse_pulls({"RateLimit-Remaining": remaining, "RateLimit-Limit": limit})

    assert all(number >= -1 for number in found)


@dataclass(frozen=True)
class Told:
    """A scripted peer, and its client."""

    teller: Teller
    address: str
    sender: Sender
    session: RegistrySession


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    """One for all that is drawn."""
    teller = Teller()
    with peer(teller) as address, sending() as sender:
        yield Told(teller, address, sender, RegistrySession(address, QUICK.timeouts))


LINE = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)


@given(
    st.sampled_from([200, 206]),
    LINE | st.tuples(DIGITS, DIGITS, DIGITS | st.just("*")).map("bytes {0[0]}-{0[1]}/{0[2]}".format),
    LINE | DIGITS,
)
def test_ranges(told: Told, status: int, content_range: str, length: str) -> None:
    """A body begins at or after 0, and its whole size is known or not, whatever range and length say."""
    fields = {"Content-Range": content_range, "Content-Length": length}
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    told.teller.say("\r\n".join(lines).encode("latin-1"), ends=True)
    with suppress(*STACK_ERRORS):
        answer = told.sender.ask(f"http://{told.address}/v2/")
        with BlobBody(PURPOSE, answer, stall=1.0, host="") as body:
            assert body.offset >= 0
            assert body.total >= -1


@given(
    st.sampled_from(["Bearer", "Basic", "basic", "Negotiate", ""]),
    st.dictionaries(st.text('realm service=",\\ ', max_size=9), st.text(max_size=20), max_size=4),
)
def test_challenges(scheme: str, parameters: dict[str, str]) -> None:
    """A challenge that is written as the RFC says is read back; any other one is left out or read in part."""
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    header = f"{scheme} " + ", ".join(f'{name}="{value}"' for name, value in quoted.items())

    for challenge in parse_challenges(header):
        assert challenge.scheme


@given(JSON | st.fixed_dictionaries({"errors": JSON}), st.sampled_from(["", "application/json", "text/html"]))
def test_complaints(value: Any, content_type: str) -> None:
    """Whatever the JSON of an error, its code and words are short and on one line."""
    found = parse_complaint(json.dumps(value).encode(), content_type=content_type)

    assert "\n" not in found.words + found.code
    assert len(found.words) <= 1_000


@given(st.binary(max_size=60))
def test_json(body: bytes) -> None:
    """Bytes are JSON or nothing."""
    try:
        expected = json.loads(body)
    except ValueError:
        expected = None
    assert repr(parse_json(body)) == repr(expected)  # NaN is not equal to itself


def claims(value: Any) -> str:
    """A JWT with these claims, unsigned."""
    part = base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    return f"x.{part}.y"


@given(
    st.fixed_dictionaries(
        {"token": st.text(max_size=8) | JSON.map(claims) | st.just("a.b.c") | JSON},
        optional={
            "expires_in": JSON,
            "issued_at": JSON | DATES | st.datetimes().map(datetime.isoformat),
            "access_token": JSON,
        },
    )
)
def test_tokens(told: Told, answer: dict[str, Any]) -> None:
    """A token lives for a minute to a day, whatever its server says; an answer without one is an error."""
    value = answer["token"] or answer.get("access_token")
    if not value or not isinstance(value, str):
        return
    body = json.dumps(answer).encode()
    told.teller.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), ends=False)
    realm = f"http://{told.address}/token"
    server = TokenServer(told.session, PURPOSE, Credential(origin="o"), realm=realm, service="s")

    token = server.fetch(())

    assert 60.0 <= token.life <= 86_400.0
