"""Messages as bytes, and how large one may be."""

from __future__ import annotations

import pickle

from pipeline.settings import MAX_TAG_PAGE, MIB

MAX_MESSAGE = MAX_TAG_PAGE + 8 * MIB
"""Bytes of one pickled message: a page of tags takes at most 2 % more than in JSON."""


def pack(message: object) -> bytes:
    """The pickled message.

    Raises:
        ValueError: it is larger than MAX_MESSAGE.
        Exception: of pickle, for an object that it does not support.
    """
    body = pickle.dumps(message, protocol=5)
    if len(body) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(body)} bytes, the limit is {MAX_MESSAGE}")
    return body
