"""Requests after a redirect, and the headers that they keep."""

from __future__ import annotations

from pipeline.model.reference import Repository
from pipeline.registry.request import Request
from pipeline.registry.request_info import RequestInfo


def test_redirect_keeps_accept_but_not_login() -> None:
    """Accept is sent to another origin, but a login is not."""
    info = RequestInfo(kind="read", operation="read", repository=Repository("r.test", "a"))
    headers = {"Accept": "application/json", "Content-Type": "text/plain", "X-Own": "1"}
    call = Request(info=info, method="GET", url="/", headers=headers, authorization=b"Basic x")

    moved = call.redirected(307, leaves=True)

    assert {"Accept": "application/json", "Content-Type": "text/plain"} == moved.headers
    assert b"" == moved.authorization
