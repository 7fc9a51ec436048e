"""`image-syncer check` with rules whose repositories a listing names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_check import SECRET, fill, states

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted

LOGINS = [({"password": SECRET}, "ok"), ({"password": "wrong"}, "failed"), ({}, "warning")]


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize(("account", "state"), LOGINS)
def test_destination_login_is_tried(
    command: Command, scripted: Scripted, auth: str, account: dict[str, str], state: str
) -> None:
    """The destination's login is tried, and nothing is pushed; without a login there is a warning."""
    source, mirror = scripted(catalogue="v2"), scripted(auth=auth, password=SECRET)
    fill(source)
    command.rules({f"{source.address}/team/*": f"{mirror.address}/copy/"})
    login = {"username": "user", **account} if account else {}
    files = {source.address: {"insecure": True}, mirror.address: {"insecure": True, **login}}
    command.write("auth.json", files)

    result = command.run("check", "--json")

    assert (result.code, states(result, "destination")) == (int(state == "failed"), [state]), result.output
    assert {each.method for each in mirror.requests(path="^/v2/copy")} <= {"HEAD"}
    assert not [each for each in mirror.requests(path="^/token") if "push" in each.target]
