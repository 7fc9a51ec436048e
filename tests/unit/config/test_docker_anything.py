"""Generated credentials, docker logins and helper answers: each is used or refused with a message."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.credentials import read_credentials
from pipeline.config.docker import read_logins
from pipeline.config.helpers import Helpers
from pipeline.config.keyring import Keyring
from pipeline.errors import FileError, MachineError
from pipeline.model.credential import Credential
from tests.unit.config.words import attempt

if TYPE_CHECKING:
    from pathlib import Path

ANY: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["quay.io", "https://index.docker.io/v1/", "quay.io/a", "a b", "", "[::1]:5", "http://x/v2/"]
)
FIELDS = st.sampled_from(["auth", "username", "password", "identitytoken", "registrytoken"])
WORDS = st.sampled_from(["dTpw", "dTpw=", "dQ", "-_-_", "\0"]) | st.text(max_size=6) | ANY
LOGINS = st.fixed_dictionaries(
    {},
    optional={
        "auths": ANY | st.dictionaries(NAMES | st.text(max_size=6), ANY | st.dictionaries(FIELDS, WORDS)),
        "credHelpers": ANY | st.dictionaries(NAMES | st.text(max_size=6), WORDS),
        "credsStore": WORDS,
    },
)


@given(LOGINS | ANY)
def test_any_json_login_file_is_used_or_warned_about(content: object) -> None:
    """Whatever JSON a login file holds, it is used or a warning says why not."""
    logins, warnings = read_logins({"HOME": "/nonexistent", "DOCKER_AUTH_CONFIG": json.dumps(content)})

    assert len(logins) <= 1
    assert logins or warnings


@given(st.text(max_size=40))
def test_any_text_login_file_is_used_or_warned_about(text: str) -> None:
    """The same is true for any text."""
    logins, warnings = read_logins({"HOME": "/nonexistent", "DOCKER_AUTH_CONFIG": text})

    assert len(logins) + len(warnings) <= 1


@given(
    st.binary(max_size=40)
    | st.fixed_dictionaries({}, optional={"Username": WORDS, "Secret": WORDS})
    .map(json.dumps)
    .map(str.encode),
    st.integers(0, 2),
)
def test_any_helper_output_is_handled(said: bytes, status: int) -> None:
    """Any output of a helper gives a credential, nothing, or an error."""
    program = SimpleNamespace(returncode=status, stdout=said, stderr=b"")
    asked = Helpers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *_, **__: program)
        found = attempt(lambda: asked.ask("x", "quay.io", origin="o"))

    assert found is None or isinstance(found, Credential | MachineError)


ENTRIES = ANY | st.dictionaries(st.sampled_from(["username", "password", "insecure", "x"]), WORDS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY | st.dictionaries(NAMES | st.text(max_size=6), ENTRIES, max_size=3))
def test_any_credentials_file_is_read_or_refused(tmp_path: Path, content: object) -> None:
    """Whatever JSON the credentials file holds gives a keyring or an error with its place."""
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(content))

    found = attempt(lambda: read_credentials((path,), environ={"HOME": "/nonexistent"}))

    assert isinstance(found, FileError) or (isinstance(found, tuple) and isinstance(found[0], Keyring))
