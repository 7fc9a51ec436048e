"""Secrets are masked here, for every text that reaches a log, an error or a record.

The texts come from registries, helper programs and exceptions, so a secret is known by its form: what
authorizes in a URL or a header, a JSON web token, the value of a name such as `password`. Secrets that the
caller knows are masked wherever they occur.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
_SHORTEST_SECRET = 4
"""Characters: a shorter text would be found in every word, so it is not masked."""
_URL = r"[^\s?\"'<>]"
_FORMS = (
    (re.compile(r"(?i)(?<=[a-z0-9]://)[^\s/?#\"'<>]+@"), f"{HIDDEN}@"),
    (re.compile(rf"(?<![^\s\"'<>])((?={_URL}*/){_URL}++\?)[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    # Anyone with the URL of an upload session may write to it.
    (re.compile(r"(/blobs/uploads/)[^\s?\"'<>]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic) +[a-z0-9._~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9._-]*"), HIDDEN),
    (
        re.compile(
            r"(?i)((?:_state|token|password|passwd|secret|signature|credential|authorization|\bauth)"
            r"(?:=|[\"'] ?: ?))(?:b?\"[^\"]*\"?|b?'[^']*'?|[^\s&\"',;]+)"
        ),
        rf"\1{HIDDEN}",
    ),
)


def mask(text: str, *secrets: str) -> str:
    """The text without anything that authorizes.

    Args:
        text: any number of lines.
        secrets: known ones: some servers and debugging proxies repeat what they were sent.
    """
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN)
    for form, replacement in _FORMS:
        text = form.sub(replacement, text)
    return text
