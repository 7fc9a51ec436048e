"""Secrets are masked in any text: see pipeline/log/masking.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.log.masking import HIDDEN, mask


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://storage/x?X-Amz-Signature=hunter2&y=1", f"see https://storage/x?{HIDDEN}"),
        ("url: /v2/a?hunter2 (Caused by x)", f"url: /v2/a?{HIDDEN} (Caused by x)"),
        ("see https://user:hunter2@host/x", f"see https://{HIDDEN}@host/x"),
        ("socks5h://user:hunt@er2@proxy:1080", f"socks5h://{HIDDEN}@proxy:1080"),
        ("Authorization: Bearer hunter2.abcdef", f"Authorization: Bearer {HIDDEN}"),
        ("b'Basic dXNlcjpodW50ZXIy'", f"b'Basic {HIDDEN}'"),
        ("/v2/a/blobs/uploads/hunter2?_state=hunter2", f"/v2/a/blobs/uploads/{HIDDEN}?{HIDDEN}"),
        ("/v2/a/blobs/uploads/hunter2", f"/v2/a/blobs/uploads/{HIDDEN}"),
        ('{"token": "hunter2", "x": 1}', f'{{"token": {HIDDEN}, "x": 1}}'),
        ("{'identity_token': 'hunter2'}", f"{{'identity_token': {HIDDEN}}}"),
        ("Login(user='me', password='hunt, er2')", f"Login(user='me', password={HIDDEN})"),
        ("token=b'hunter2', b=1", f"token={HIDDEN}, b=1"),
        ("password=hunter2", f"password={HIDDEN}"),
        ('{"auth":"aHVudGVyMg=="}', f'{{"auth":{HIDDEN}}}'),
        ("got eyJhbGciOiJSUzI1NiJ9.hunter2.sig", f"got {HIDDEN}"),
    ],
)  # fmt: skip
def test_forms_of_secrets_are_masked(text: str, shown: str) -> None:
    """Secrets are masked and the rest stays."""
    assert mask(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "unauthorized: invalid token: expired",
        "did you mean a/b? Use --force",
        "https://docs.docker.com/go/rate-limit/",
        "GET /v2/team/app/blobs/uploads/ failed",
        "path='/v2/', author='me'",
        "mail me@example.org",
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    """A text without a secret is unchanged."""
    assert mask(text) == text


def test_known_secrets_are_masked() -> None:
    """Known secrets are masked wherever they occur, unless they are too short."""
    assert mask("a xyz b hunter2c", "hunter2", "xyz") == f"a xyz b {HIDDEN}c"


@given(st.text())
def test_masking_is_idempotent(text: str) -> None:
    """A masked text is not changed by masking it again."""
    assert mask(mask(text)) == mask(text)


@pytest.mark.parametrize("part", ["/", "http://", "a/b", "https://a@", "token=", "eyJ", "basic ", "?"])
def test_long_text_is_masked_in_linear_time(part: str) -> None:
    """A long hostile text is masked in linear time; quadratic, it would take hours."""
    assert HIDDEN not in mask(part * 100_000, "hunter2").replace(HIDDEN, "", 100_000)
