from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.registry.responses import (
    MAX_WORDS,
    clean,
    next_link,
    parse_challenges,
    parse_complaint,
    parse_retry_after,
    parse_uploaded,
)

HEADERISH = st.text(alphabet=st.sampled_from('abcXYZ012 ,;="<>\\/?:&\t-_~%é'), max_size=200)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0-0", 1),
        ("0--1", 0),
        ("bytes=0--1", 0),
        ("0-16777215", 16_777_216),
        ("bytes=0-9", 10),
        ("bytes 0-9", 10),
        (" 0-9 ", 10),
        ("1-9", None),
        ("0-", None),
        ("0--2", None),
        ("", None),
        ("0-9/10", None),
        ("0-" + "9" * 19, None),
        ("0-\u0669", None),
    ],
)
def test_forms_of_upload_ranges(text: str, count: int | None) -> None:
    """The Range of an upload gives the number of bytes, in the forms that registries use."""
    assert count == parse_uploaded(text)


class TestChallenges:
    def test_comma_within_quotes(self) -> None:
        """A comma within quotes is part of the value."""
        (challenge,) = parse_challenges(
            'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"'
        )

        assert challenge.scheme == "bearer"
        assert challenge.parameters == {
            "realm": "https://a/t",
            "service": "s",
            "scope": "repository:a/b:pull,push",
        }

    @pytest.mark.parametrize(
        "header",
        [
            'Basic realm="x", Bearer realm="https://a/t",service="s"',
            'Negotiate, basic realm="x",BEARER REALM="https://a/t" , service=s',
            'Negotiate abc==, Bearer realm = "https://a/t", service="s", Basic realm=x',
            'Bearer realm=https://a/t,service="s"',
        ],
    )
    def test_several_challenges_in_one_line(self, header: str) -> None:
        """Several challenges in one line are separated, whatever their order and spelling."""
        bearer = [each for each in parse_challenges(header) if each.scheme == "bearer"]

        assert [{"realm": "https://a/t", "service": "s"}] == [dict(each.parameters) for each in bearer]

    def test_backslash_within_quotes(self) -> None:
        """A backslash within quotes escapes the next character."""
        (challenge,) = parse_challenges(r'Basic realm="a \"b\" \\c"')

        assert challenge.parameters["realm"] == r'a "b" \c'

    @given(HEADERISH)
    def test_any_challenge_header(self, header: str) -> None:
        """Any header gives challenges with lower-case schemes and names, or none."""
        for challenge in parse_challenges(header):
            words = [challenge.scheme, *challenge.parameters]
            assert words == [word.lower() for word in words]


class TestLinks:
    @pytest.mark.parametrize(
        ("header", "target"),
        [
            ('</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"),
            ("</v2/a?last=b>;rel=next", "/v2/a?last=b"),
            ("/v2/a/tags/list?n=50&last=b; rel=next", "/v2/a/tags/list?n=50&last=b"),
            ('<https://h/x>; rel="first", <https://h/y>; title="a, b"; rel="prev next"', "https://h/y"),
            ('</x?last=a,b;c>; rel="next"', "/x?last=a,b;c"),
            ('</x>; REL="NEXT"', "/x"),
            ('</x>; rel="prev"', None),
            ('</x?last=b>; rel="prev"', None),
            ("</x?last=b>", "/x?last=b"),
            ("</x?last=b>; rel='next'", "/x?last=b"),
            ("</x?last=b>; rel='prev next'; title='a, b'", "/x?last=b"),
            ('<https://docs/?about=us>, </x?last=b>; rel="next"', "/x?last=b"),
            ("<https://docs/>", None),
            ('<>; rel="next"', ""),
            ("", None),
        ],
    )
    def test_forms_of_next_links(self, header: str, target: str | None) -> None:
        """The link with the relation `next` is found in every form in use."""
        assert target == next_link(header)

    @given(HEADERISH)
    def test_any_link_header(self, header: str) -> None:
        """Any header gives a link that it contains, or none."""
        target = next_link(header)
        assert target is None or target in re.sub(r"\s+", " ", header)


class TestPauses:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("7", 7.0),
            ("1.5", 1.5),
            ("-5", -5.0),
            ("soon", None),
            ("", None),
            ("99999999999999", 99999999999999.0),
        ],
    )
    def test_seconds_are_parsed(self, value: str, seconds: float | None) -> None:
        """Seconds are parsed; anything else is None."""
        assert seconds == parse_retry_after(value)

    def test_date_counts_from_the_peers_clock(self) -> None:
        """A date counts from the peer's own clock."""
        date = "Wed, 21 Oct 2015 07:28:00 GMT"

        assert parse_retry_after("Wed, 21 Oct 2015 07:28:30 GMT", date=date) == 30.0

    @given(HEADERISH, HEADERISH)
    def test_any_retry_after_header(self, value: str, date: str) -> None:
        """Any header gives a finite number of seconds, or none."""
        seconds = parse_retry_after(value, date=date)
        assert seconds is None or math.isfinite(seconds)


class TestComplaints:
    @pytest.mark.parametrize(
        ("body", "code", "words"),
        [
            ('{"errors":[{"code":"DENIED","message":"no"}]}', "DENIED", "no"),
            ('{"code":"DENIED","message":"no"}', "DENIED", "no"),
            ('{"errors":"text"}', "", "text"),
            ('{"message":"no"}', "", "no"),
            ('{"error":"invalid_grant","error_description":"no"}', "invalid_grant", "no"),
            ('{"error":{"code":"X1","message":"no"}}', "X1", "no"),
            ('{"details":"incorrect username or password"}', "", "incorrect username or password"),
            ("<Error><Code>AccessDenied</Code><Message>Expired</Message></Error>", "AccessDenied", "Expired"),
            ("<html><head><title>Sign in</title></head></html>", "", "Sign in"),
            ("404 page not found\n", "", "404 page not found"),
            (
                '{"errors":[{"code":"DIGEST_INVALID","message":"it is \\"xxxxxxx',
                "DIGEST_INVALID",
                'it is \\"xxxxxxx',
            ),
            ('{"errors":[{"code":"no code","mess', "", '{"errors":[{"code":"no code","mess'),
            ("", "", ""),
        ],
    )
    def test_forms_of_error_bodies(self, body: str, code: str, words: str) -> None:
        """Code and words are found in every known form of error body."""
        complaint = parse_complaint(body.encode())

        assert (code, words) == (complaint.code, complaint.words)

    @given(
        st.binary(max_size=300)
        | st.recursive(
            st.none() | st.text(max_size=10) | st.integers(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["errors", "error", "code", "message", "detail"]), inner)
            ),
        ).map(lambda value: json.dumps(value).encode())
    )
    def test_any_error_body(self, body: bytes) -> None:
        """The parser never raises, and its words are one bounded line."""
        complaint = parse_complaint(body)

        assert len(complaint.words) <= MAX_WORDS
        assert "\n" not in complaint.words

    def test_deeply_nested_error_body(self) -> None:
        """An endlessly nested body does not raise."""
        assert parse_complaint(b'{"errors":' * 50_000).code == ""


class TestClean:
    @pytest.mark.parametrize(
        "text",
        [
            "see https://storage/x?X-Amz-Signature=hunter2&y=1",
            "see https://user:hunter2@host/x",
            "Authorization: Bearer hunter2.abcdef",
            "/v2/a/blobs/uploads/1?_state=hunter2",
            '{"token": "hunter2"}',
            "password=hunter2",
            "eyJhbGciOiJSUzI1NiJ9.hunter2.sig",
        ],
    )
    def test_secrets_are_removed(self, text: str) -> None:
        """Tokens, passwords and the queries of URLs do not reach a log."""
        assert "hunter2" not in clean(text)

    @given(st.text())
    def test_control_characters_are_removed(self, text: str) -> None:
        """Control characters, line ends and direction marks are gone."""
        assert not set(clean(text)) & set("\x00\x07\x1b\r\n\u2028\u202e")
