from __future__ import annotations

import base64
import json
import os
import pickle
import pwd
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pipeline.config import helpers
from pipeline.config.credentials import read_credentials
from pipeline.errors import LoginError
from pipeline.model.reference import parse_repository
from tests.unit.config.words import attempt

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config.keyring import Keyring
    from pipeline.log import Event
    from pipeline.model.credential import Credential

NOT_FOUND = "echo credentials not found in native keychain; exit 1"


def auth(username: str, password: str) -> dict[str, str]:
    """An entry as written by docker login."""
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def place(path: Path, content: object) -> Path:
    """Write a login file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(home: Path, **environ: str) -> tuple[Keyring, list[Event]]:
    """The keyring of a home folder without a credentials file; the warning about that is left out."""
    keyring, (_, *warnings) = read_credentials((), environ={"HOME": str(home), **environ})
    return keyring, warnings


def find(home: Path, repository: str, **environ: str) -> Credential:
    """The credential for a repository."""
    keyring, warnings = read(home, **environ)
    assert [] == warnings
    return keyring.find(parse_repository(repository))


class Programs:
    """A folder of helper programs, first on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked = folder / "asked"

    def add(self, suffix: str, script: str) -> None:
        """Add a helper that records its arguments and standard input, then runs `script`."""
        path = self.folder / f"docker-credential-{suffix}"
        path.write_text(f'#!/bin/sh\nserver=$(cat)\necho "$* $server" >> {self.asked}\n{script}\n')
        path.chmod(0o755)

    @property
    def questions(self) -> list[str]:
        """Each helper call, in order: arguments, then standard input."""
        return self.asked.read_text().splitlines() if self.asked.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """An empty folder of helper programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Programs(folder)


def answer(username: str, secret: str) -> str:
    """A helper script that prints this login."""
    reply = json.dumps({"ServerURL": "", "Username": username, "Secret": secret})
    return f"echo '{reply}'"


AUTHS = {
    "https://index.docker.io/v1/": auth("hub", "p:w"),
    "https://v2.corp/v2/": auth("v2", "x"),
    "plain.corp": auth("plain", ""),
    "port.corp:8443": auth("port", "x"),
    "quay.io": auth("all", "x"),
    "quay.io/team": auth("team", "x"),
    "quay.io/team/app": auth("app", "x"),
    "fields.corp": {"username": "fields", "password": "x", "email": "e"},
    "both.corp": {**auth("auth", "x"), "username": "fields", "password": "y"},
    "unpadded.corp": {"auth": auth("un", "padded")["auth"].rstrip("=")},
    "urlsafe.corp": {"auth": base64.urlsafe_b64encode("ü:ÿÿÿ>?".encode()).decode()},
    "null.corp": auth("nul", "x\0\0"),
    "marker.corp": {},
    "no reference": auth("no", "x"),
}


@pytest.mark.parametrize(
    ("repository", "username", "password"),
    [
        ("nginx", "hub", "p:w"),
        ("registry-1.docker.io/team/app", "hub", "p:w"),
        ("v2.corp/x", "v2", "x"),
        ("plain.corp/x", "plain", ""),
        ("plain.corp:443/x", "plain", ""),
        ("port.corp:8443/x", "port", "x"),
        ("port.corp/x", "", ""),
        ("quay.io/x", "all", "x"),
        ("quay.io/teams/x", "all", "x"),
        ("quay.io/team/x", "team", "x"),
        ("quay.io/team/app", "app", "x"),
        ("fields.corp/x", "fields", "x"),
        ("both.corp/x", "auth", "x"),
        ("unpadded.corp/x", "un", "padded"),
        ("urlsafe.corp/x", "ü", "ÿÿÿ>?"),
        ("null.corp/x", "nul", "x"),
        ("marker.corp/x", "", ""),
    ],
)
def test_every_form_of_login_is_read(tmp_path: Path, repository: str, username: str, password: str) -> None:
    """Every form of key and secret in `auths` is understood."""
    place(tmp_path / ".docker" / "config.json", {"auths": AUTHS})

    credential = find(tmp_path, repository)

    origin = "~/.docker/config.json" if username else "none"
    assert (origin, username, password) == (credential.origin, credential.username, credential.password)


def test_token_kinds_are_distinguished(tmp_path: Path) -> None:
    """Identity tokens, registry tokens and passwords are distinguished."""
    entries = {
        "a.io": {**auth("<token>", ""), "identitytoken": "refresh"},
        "b.io": {"registrytoken": "bearer"},
    }
    place(tmp_path / ".docker" / "config.json", {"auths": entries})

    assert "refresh" == find(tmp_path, "a.io/x").identity_token
    assert "bearer" == find(tmp_path, "b.io/x").registry_token


def test_login_files_are_used_in_order(tmp_path: Path) -> None:
    """Each file is used only for registries that the files before it do not cover."""
    order = [
        ("$DOCKER_AUTH_CONFIG", None),
        (str(tmp_path / "named.json"), tmp_path / "named.json"),
        (str(tmp_path / "run/containers/auth.json"), tmp_path / "run/containers/auth.json"),
        ("~/.config/containers/auth.json", tmp_path / "home/.config/containers/auth.json"),
        ("~/.docker/config.json", tmp_path / "home/.docker/config.json"),
        ("~/.dockercfg", tmp_path / "home/.dockercfg"),
    ]
    environ = {"REGISTRY_AUTH_FILE": str(order[1][1]), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    for number, (origin, path) in enumerate(order):
        auths = {f"r{known}.io": auth(f"from {number}", "x") for known in range(number, len(order))}
        content = auths if origin == "~/.dockercfg" else {"auths": auths}
        if path is None:
            environ["DOCKER_AUTH_CONFIG"] = json.dumps(content)
        else:
            place(path, content)

    found = [find(tmp_path / "home", f"r{number}.io/x", **environ) for number in range(len(order))]

    assert ["from 0"] * len(order) == [one.username for one in found]
    del environ["DOCKER_AUTH_CONFIG"]
    for number, (origin, path) in list(enumerate(order))[1:]:
        credential = find(tmp_path / "home", "r5.io/x", **environ)
        assert (origin, f"from {number}") == (credential.origin, credential.username)
        assert path is not None
        path.unlink()


def test_docker_config_variable_replaces_the_folder(tmp_path: Path) -> None:
    """$DOCKER_CONFIG is used instead of ~/.docker."""
    place(tmp_path / "home" / ".docker" / "config.json", {"auths": {"quay.io": auth("home", "x")}})
    place(tmp_path / "other" / "config.json", {"auths": {"quay.io": auth("other", "x")}})

    assert "other" == find(tmp_path / "home", "quay.io/x", DOCKER_CONFIG=str(tmp_path / "other")).username


def test_home_folder_of_the_account_without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without $HOME, logins are found by the account's home folder; without an account there are none."""
    place(tmp_path / ".docker" / "config.json", {"auths": {"quay.io": auth("home", "x")}})
    monkeypatch.setattr(pwd, "getpwuid", {os.getuid(): SimpleNamespace(pw_dir=str(tmp_path))}.__getitem__)

    assert "home" == find(tmp_path, "quay.io/x", HOME="").username
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert "none" == find(tmp_path, "quay.io/x", HOME="", DOCKER_CONFIG=str(tmp_path)).origin


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"auths": []}',
        '{"credsStore": {}}',
    ],
)
def test_broken_login_file_causes_a_warning(tmp_path: Path, content: str) -> None:
    """A login file that cannot be used is ignored with a warning that shows no secret."""
    place(tmp_path / ".docker" / "config.json", content)
    place(tmp_path / ".dockercfg", {"quay.io": auth("old", "x")})

    keyring, (warning,) = read(tmp_path)

    assert ("config.login_unreadable", "warning") == (warning.name, warning.level)
    assert warning.message.startswith("~/.docker/config.json is not used: ")
    assert "hunter2" not in warning.message
    assert "old" == keyring.find(parse_repository("quay.io/x")).username


def test_directory_as_login_file_is_ignored(tmp_path: Path) -> None:
    """A path that is not a file is ignored with the operating system's message."""
    (tmp_path / ".docker" / "config.json").mkdir(parents=True)

    _, (warning,) = read(tmp_path)

    assert "~/.docker/config.json is not used: Is a directory" == warning.message


def test_helper_before_store_before_auths(tmp_path: Path, programs: Programs) -> None:
    """The registry's own helper answers first, then the store, then the file itself."""
    programs.add("own", answer("own", "x"))
    programs.add("all", f'case "$server" in a.io|b.io) {answer("all", "x")};; *) {NOT_FOUND};; esac')
    config = {
        "auths": {f"{name}.io": auth("file", "x") for name in "abc"},
        "credHelpers": {"a.io": "own"},
        "credsStore": "all",
    }
    place(tmp_path / ".docker" / "config.json", config)

    found = [find(tmp_path, f"{name}.io/x") for name in "abcd"]

    expected = [
        ("own", "docker-credential-own"),
        ("all", "docker-credential-all"),
        ("file", "~/.docker/config.json"),
        ("", "none"),
    ]
    assert expected == [(credential.username, credential.origin) for credential in found]
    assert ["get a.io", "get b.io", "get c.io", "get d.io"] == programs.questions


@pytest.mark.parametrize(
    ("repository", "server"),
    [
        ("nginx", "https://index.docker.io/v1/"),
        ("marked.io/x", "https://marked.io/v1/"),
        ("other.io:5000/x", "other.io:5000"),
    ],
)
def test_helper_gets_the_server_as_stored(
    tmp_path: Path, programs: Programs, repository: str, server: str
) -> None:
    """The server is passed on standard input, as `docker login` stored it, and never as an argument."""
    programs.add("all", answer("u", "p"))
    place(tmp_path / ".docker/config.json", {"auths": {"https://marked.io/v1/": {}}, "credsStore": "all"})

    assert "u" == find(tmp_path, repository).username
    assert [f"get {server}"] == programs.questions


def test_helper_runs_again_after_refusal(tmp_path: Path, programs: Programs) -> None:
    """A helper runs again after its answer was refused; a newer answer is kept."""
    programs.add("all", 'printf \'{"Username":"u","Secret":"%s"}\' $$')
    place(tmp_path / ".docker/config.json", {"credsStore": "all"})
    keyring, _ = read(tmp_path)
    where = parse_repository("quay.io/x")

    old = keyring.find(where)
    keyring.forget(old)
    new = keyring.find(where)
    keyring.forget(old)
    assert (old.password != new.password, keyring.find(where)) == (True, new)


@pytest.mark.parametrize("username", ["<token>", ""])
def test_helper_answers_with_a_token(tmp_path: Path, programs: Programs, username: str) -> None:
    """A secret without a username is a refresh token."""
    programs.add("all", answer(username, "refresh"))
    place(tmp_path / ".docker/config.json", {"credsStore": "all"})

    credential = find(tmp_path, "quay.io/x")
    assert ("refresh", "", "") == (credential.identity_token, credential.username, credential.password)


@pytest.mark.parametrize(
    ("suffix", "script", "words"),
    [
        ("missing", None, "docker-credential-missing, which is not on the PATH (install it"),
        ("../evil", None, "which is not a program name"),
        ("all", "echo no session; echo token=hunter2 >&2; exit 3", "status 3: no session token=[hidden]"),
        ("all", "exit 3", "with exit status 3: no output"),
        ("all", f"{answer('u', 'hunter2')}; exit 1", "it printed a secret, which is not shown"),
        ("all", "echo hunter2", "but not with JSON of Username and Secret"),
        ("all", 'echo \'{"Username": "hunter2"}\'', "but not with JSON of Username and Secret"),
        ("all", "echo '[\"hunter2\"]'", "but not with JSON of Username and Secret"),
        ("all", "kill -9 $$", "with exit status -9"),
    ],
)
def test_failed_helper_is_an_error(
    tmp_path: Path, programs: Programs, suffix: str, script: str | None, words: str
) -> None:
    """The error names a helper that gives no login and its message, without secrets."""
    if script is not None:
        programs.add(suffix, script)
    place(tmp_path / ".docker/config.json", {"credHelpers": {"quay.io": suffix}})

    with pytest.raises(LoginError) as caught:
        find(tmp_path, "quay.io/x")

    assert words in str(caught.value)
    assert (script is not None) == caught.value.transient
    assert "hunter2" not in str(caught.value)


def test_unrunnable_helper_is_an_error(tmp_path: Path, programs: Programs) -> None:
    """A helper without permission to run, or that is not a program, is an error."""
    programs.add("all", "")
    (programs.folder / "docker-credential-all").chmod(0o644)
    place(tmp_path / ".docker/config.json", {"credsStore": "all"})

    with pytest.raises(LoginError, match="cannot be run: Permission denied"):
        find(tmp_path, "quay.io/x")


@pytest.mark.parametrize(
    ("script", "words"),
    [("sleep 100", "did not answer for"), ("yes", "more than 256 KiB"), ("yes >&2", "more than 256 KiB")],
)
def test_endless_helper_is_killed(
    tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    """A helper that never answers, or prints too much, is killed."""
    monkeypatch.setattr(helpers, "HELPER_TIMEOUT", 0.2 if "sleep" in script else 30.0)
    programs.add("all", f"exec {script}")
    place(tmp_path / ".docker/config.json", {"credsStore": "all"})

    with pytest.raises(LoginError, match=words):
        find(tmp_path, "quay.io/x")


def test_helper_runs_once_for_all_threads(tmp_path: Path, programs: Programs) -> None:
    """Threads that need the same login at once share one run of the helper."""
    programs.add("all", answer("u", "p"))
    place(tmp_path / ".docker/config.json", {"credsStore": "all"})
    keyring, _ = read(tmp_path)
    keyring = pickle.loads(pickle.dumps(keyring))
    barrier, found = threading.Barrier(8), []

    def ask(number: int) -> None:
        barrier.wait()
        found.append(keyring.find(parse_repository(f"quay.io/x{number}")).username)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ["u"] * 8 == found
    assert ["get quay.io"] == programs.questions


@pytest.mark.parametrize(("script", "life"), [(answer("u", "p"), 300.0), ("exit 1", 20.0)])
def test_helper_answer_is_cached_for_a_limited_time(
    tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch, script: str, life: float
) -> None:
    """Answers and failures are cached for a limited time, since tokens expire; then the helper runs again."""
    now = [1000.0]
    monkeypatch.setattr("pipeline.config.helpers.monotonic", lambda: now[0])
    programs.add("all", script)
    place(tmp_path / ".docker/config.json", {"credsStore": "all"})
    keyring, _ = read(tmp_path)
    counts = []
    for passed in (0.0, life - 1, 2.0):
        now[0] += passed
        attempt(lambda: keyring.find(parse_repository("quay.io/x")))
        counts.append(len(programs.questions))

    assert [1, 1, 2] == counts


def test_helpers_run_only_when_needed(tmp_path: Path, programs: Programs) -> None:
    """Reading login files does not run any helper."""
    programs.add("all", answer("u", "p"))
    place(tmp_path / ".docker/config.json", {"credsStore": "all", "credHelpers": {"quay.io": "all"}})

    read(tmp_path)
    assert [] == programs.questions
