from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.credentials import read_credentials
from pipeline.config.keyring import Keyring
from pipeline.config.keys import split_key
from pipeline.errors import FileError, SyncError
from pipeline.model.credential import Credential
from pipeline.model.reference import parse_repository
from tests.unit.config.words import write

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.log import Event


def read(folder: Path, content: object, **environ: str) -> tuple[Keyring, tuple[Event, ...]]:
    """The keyring of a JSON file, without docker login files."""
    text = content if isinstance(content, str) else json.dumps(content)
    return read_credentials((write(folder, "auth.json", text),), environ={"HOME": str(folder), **environ})


def credential_for(folder: Path, content: object, repository: str, **environ: str) -> Credential:
    """The credential for a repository, with its origin shortened to the key."""
    keyring, _ = read(folder, content, **environ)
    return keyring.find(parse_repository(repository))


def user(name: str) -> dict[str, str]:
    """A login entry for the file."""
    return {"username": name, "password": f"secret of {name}"}


KEYS = {
    key: user(key)
    for key in (
        "quay.io",
        "quay.io/core",
        "quay.io/coreos/etcd",
        "harbor.corp:8443/team/",
        "docker.io",
        "docker.io/bitnami",
        "index.docker.io/library/redis",
        "docker.io/busybox",
        "plain.corp",
        "https://ghcr.io",
        "localhost:5000",
        "localhost",
    )
}


@pytest.mark.parametrize(
    ("repository", "key"),
    [
        ("quay.io/coreos/x", "quay.io"),
        ("quay.io/core/x", "quay.io/core"),
        ("quay.io/core", "quay.io/core"),
        ("quay.io/coreos/etcd", "quay.io/coreos/etcd"),
        ("quay.io/coreos/etcd/x", "quay.io/coreos/etcd"),
        ("quay.io/coreos/etcd-x", "quay.io"),
        ("Quay.io/x", "quay.io"),
        ("harbor.corp:8443/team/a/b", "harbor.corp:8443/team/"),
        ("harbor.corp:8443/teams/a", "none"),
        ("harbor.corp/team/a", "none"),
        ("nginx", "docker.io"),
        ("registry-1.docker.io/nginx", "docker.io"),
        ("bitnami/redis", "docker.io/bitnami"),
        ("redis", "index.docker.io/library/redis"),
        ("busybox", "docker.io/busybox"),
        ("plain.corp:443/x", "plain.corp"),
        ("plain.corp:5000/x", "none"),
        ("ghcr.io/a/b", "https://ghcr.io"),
        ("localhost:5000/x", "localhost:5000"),
        ("localhost/x", "localhost"),
        ("unknown.corp/x", "none"),
    ],
)
def test_longest_key_wins(tmp_path: Path, repository: str, key: str) -> None:
    """The longest key that is a prefix of the normalised repository in whole segments is used."""
    credential = credential_for(tmp_path, KEYS, repository)

    expected = ("none", "", "") if key == "none" else (f"{tmp_path}/auth.json key {key}", *user(key).values())
    assert expected == (credential.origin, credential.username, credential.password)


SEGMENT = st.sampled_from(["a", "ab", "b", "abc"])
PATHS = st.lists(SEGMENT, min_size=0, max_size=4).map("/".join)


@given(keys=st.sets(PATHS, max_size=8), path=st.lists(SEGMENT, min_size=1, max_size=5))
def test_any_keys_match_by_segments(keys: set[str], path: list[str]) -> None:
    """For any set of keys, the longest prefix in whole segments is used, or none."""
    keyring = Keyring({("quay.io", key): Credential(origin=f"key {key}") for key in keys})

    matching = [key for key in keys if key == "" or path[: key.count("/") + 1] == key.split("/")]
    expected = f"key {max(matching, key=len)}" if matching else "none"
    assert expected == keyring.find(parse_repository(f"quay.io/{'/'.join(path)}")).origin


@given(path=PATHS, tail=st.sampled_from(["", "/", "//"]))
def test_trailing_slash_of_a_key_is_ignored(path: str, tail: str) -> None:
    """Slashes at the end of a key do not matter."""
    key = f"quay.io/{path}".rstrip("/")

    assert ("quay.io", path) == split_key(key + tail)


@pytest.mark.parametrize("content", [[user("a")], user("a")])
def test_one_element_list_is_read_as_a_map(tmp_path: Path, content: object) -> None:
    """A one-element list, as in older documentation, is read like a plain map."""
    assert "a" == credential_for(tmp_path, {"quay.io": content}, "quay.io/x").username


def test_optional_fields(tmp_path: Path) -> None:
    """Username, password and insecure are read; each may be missing or null."""
    content = {
        "a.io": {"username": "u", "password": "p", "insecure": True},
        "b.io": {"username": None, "insecure": None},
        "c.io": {},
    }
    keyring, warnings = read(tmp_path, content)

    origin = f"{tmp_path}/auth.json key"
    expected = [
        Credential(origin=f"{origin} a.io", username="u", password="p", insecure=True),
        Credential(origin=f"{origin} b.io"),
        Credential(origin=f"{origin} c.io"),
    ]
    assert expected == [keyring.find(parse_repository(f"{name}.io/x")) for name in "abc"]
    assert () == warnings


def test_unquoted_password_stays_text(tmp_path: Path) -> None:
    """An unquoted password of digits stays text, and booleans follow YAML's spelling."""
    path = write(
        tmp_path,
        "auth.yaml",
        "a.io: {username: 007, password: 1e3, insecure: yes}\nb.io: {insecure: False}\n",
    )
    keyring, _ = read_credentials((path,), environ={"HOME": str(tmp_path)})

    credential = keyring.find(parse_repository("a.io/x"))
    assert ("007", "1e3", True) == (credential.username, credential.password, credential.insecure)
    assert keyring.find(parse_repository("b.io/x")).insecure is False


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("$PASS", "s3cret"),
        ("${PASS}", "s3cret"),
        ("a${PASS}b", "as3cretb"),
        ("robot$mgsc+ci", "robot$mgsc+ci"),
        ("$$PASS", "$PASS"),
        ("$$UNSET", "$UNSET"),
        ("x$", "x$"),
        ("$EMPTY", ""),
    ],
)
def test_set_variables_are_replaced(tmp_path: Path, written: str, expected: str) -> None:
    """A variable that is set is replaced; text with an unset variable is kept, including its dollars."""
    content = {"quay.io": {"username": written, "password": written}}

    credential = credential_for(tmp_path, content, "quay.io/x", PASS="s3cret", EMPTY="")

    assert (expected, expected) == (credential.username, credential.password)


@pytest.mark.parametrize("written", ["$NOT_SET", "${NOT_SET}"])
@pytest.mark.parametrize("field", ["username", "password"])
def test_unset_variable_as_whole_value_is_an_error(tmp_path: Path, written: str, field: str) -> None:
    """A value that is exactly one unset variable is an error for whoever needs it, and names the variable."""
    keyring, _ = read(tmp_path, {"quay.io": user("a") | {field: written}, "ghcr.io": user("b")})
    keyring.require([parse_repository("ghcr.io/x")])

    with pytest.raises(FileError) as caught:
        keyring.require([parse_repository("quay.io/x")])

    expected = f"{field} of 'quay.io' is the variable NOT_SET, which is not set"
    assert expected == caught.value.message
    assert 1 == caught.value.line


def test_variable_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    """A variable that is not UTF-8 is refused and not shown."""
    keyring, _ = read(tmp_path, {"quay.io": {"password": "$ODD"}}, ODD="hunter\udcff")

    with pytest.raises(FileError, match="has a variable that is not UTF-8"):
        keyring.require([parse_repository("quay.io/x")])


@pytest.mark.parametrize(("field", "lacking"), [("username", "password"), ("password", "username")])
def test_incomplete_login_fails_where_it_is_used(tmp_path: Path, field: str, lacking: str) -> None:
    """A username without a password, or the reverse, fails the repositories that use it."""
    keyring, _ = read(tmp_path, {"quay.io/team": {field: "hunter2"}})
    keyring.require([parse_repository("quay.io/other/x")])

    for use in (keyring.find, lambda repository: keyring.require([repository])):
        with pytest.raises(SyncError, match=f"has a {field} and no {lacking}") as caught:
            use(parse_repository("quay.io/team/x"))
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("registry", ["gcr.io", "eu.gcr.io", "europe-docker.pkg.dev"])
def test_google_oauth2_user_is_a_key_file(tmp_path: Path, registry: str) -> None:
    """On Google's registries the user `_oauth2_` is sent as the name for a base64 key file."""
    credential = credential_for(tmp_path, {f"{registry}/p": user("_oauth2_")}, f"{registry}/p/x")

    assert ("_json_key_base64", "secret of _oauth2_") == (credential.username, credential.password)


@pytest.mark.parametrize("registry", ["quay.io", "notgcr.io", "gcr.io.evil.example"])
def test_oauth2_user_is_ordinary_elsewhere(tmp_path: Path, registry: str) -> None:
    """Other registries get the user as written."""
    assert "_oauth2_" == credential_for(tmp_path, {registry: user("_oauth2_")}, f"{registry}/x").username


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", ":1:1: the credentials must be a map, not a list"),
        ('{"quay.io": "x"}', ":1:13: the value of 'quay.io' must be a map, not text (write registry:"),
        ('{"quay.io": []}', ":1:13: the value of 'quay.io' must be one map, not a list of 0"),
        ('{"quay.io": [{}, {}]}', ":1:13: the value of 'quay.io' must be one map, not a list of 2"),
        ('{"quay.io": [[]]}', ":1:14: the value of 'quay.io' must be a map, not a list"),
        ('{"quay.io": {"password": 5}}', ":1:26: password of 'quay.io' must be text, not a number"),
        ('{"quay.io": {"username": ["a"]}}', ":1:26: username of 'quay.io' must be text, not a list"),
        ('{"quay.io": {"insecure": "true"}}', ":1:26: insecure of 'quay.io' must be true or false, not text"),
        ('{"quay.io": {"insecure": 1}}', ":1:26: insecure of 'quay.io' must be true or false, not a number"),
        ('{"": {}}', ":1:2: the key '' is not a registry or namespace"),
        ('{"quay.io/Team": {}}', ":1:2: the key 'quay.io/Team' is not a registry or namespace"),
        ('{"quay.io/a:v1": {}}', ":1:2: the key 'quay.io/a:v1' is not a registry or namespace"),
    ],
)
def test_invalid_file_gets_one_clear_error(tmp_path: Path, content: str, words: str) -> None:
    """The error names file, line, column, key and what to write instead."""
    with pytest.raises(FileError) as caught:
        read(tmp_path, content)

    assert str(caught.value).startswith(f"{tmp_path}/auth.json{words}")


@pytest.mark.parametrize("field", ["username", "password", "insecure"])
@pytest.mark.parametrize("value", [["hunter2"], {"hunter2": "x"}, {"x": ["hunter2"]}])
def test_error_never_shows_a_value(tmp_path: Path, field: str, value: object) -> None:
    """The error describes a misplaced value instead of showing it, since it may be a secret."""
    with pytest.raises(FileError) as caught:
        read(tmp_path, {"quay.io": {field: value}})

    assert "hunter2" not in str(caught.value)


def test_equivalent_keys_cause_a_warning(tmp_path: Path) -> None:
    """Keys for the same place are duplicates: the last one wins, with a warning that names both lines."""
    content = '{"docker.io":\n{},\n"index.docker.io/":\n{"username": "b", "password": "b"}}'

    keyring, (warning,) = read(tmp_path, content)

    assert "b" == keyring.find(parse_repository("nginx")).username
    expected = ("config.duplicate_key", "index.docker.io/", 3, 1)
    assert expected == (warning.name, *(warning.fields[name] for name in ("key", "line", "first_line")))


def test_duplicate_field_causes_a_warning(tmp_path: Path) -> None:
    """The last of two equal fields wins, and the warning shows no value."""
    keyring, (warning,) = read(
        tmp_path, '{"quay.io": {"username": "u", "password": "hunter1", "password": "hunter2"}}'
    )

    assert "hunter2" == keyring.find(parse_repository("quay.io/x")).password
    assert "config.duplicate_key" == warning.name
    assert "hunter" not in f"{warning.message}{dict(warning.fields)}"


def test_missing_file_causes_a_warning(tmp_path: Path) -> None:
    """Without a credentials file everything is anonymous, with a warning."""
    keyring, (warning,) = read_credentials((), environ={"HOME": str(tmp_path)})

    assert ("config.no_credentials", "warning") == (warning.name, warning.level)
    assert Credential(origin="none") == keyring.find(parse_repository("quay.io/x"))


@pytest.mark.parametrize("login", [{}, {"username": "", "password": ""}])
def test_entry_without_login_uses_docker_login(tmp_path: Path, login: dict[str, str]) -> None:
    """An entry with only `insecure` keeps that setting, and docker's login is used."""
    write(tmp_path, ".dockercfg", json.dumps({"quay.io": user("docker")}))

    keyring, _ = read(tmp_path, {"quay.io": {"insecure": True, **login}, "ghcr.io": {"insecure": True}})

    credential = keyring.find(parse_repository("quay.io/x"))
    assert ("docker", True) == (credential.username, credential.insecure)
    nobody = keyring.find(parse_repository("ghcr.io/x"))
    assert (True, True) == (nobody.anonymous, nobody.insecure)


def test_unknown_field_causes_a_warning(tmp_path: Path) -> None:
    """An unknown field is a warning that lists the known fields."""
    keyring, (warning,) = read(tmp_path, {"quay.io": user("a") | {"ispublic": ["hunter2"]}})

    assert "a" == keyring.find(parse_repository("quay.io/x")).username
    assert ("config.unknown_key", "ispublic") == (warning.name, warning.fields["key"])
    assert "username, password, insecure" in warning.message
    assert "hunter2" not in warning.message


def test_field_case_is_ignored_in_json_only(tmp_path: Path) -> None:
    """In JSON, field names match in any letter case and may repeat; in YAML another case is an error."""
    entry = '{"quay.io": {"UserName": "a", "PASSWORD": "b", "password": "c", "Insecure": true}}'
    keyring, (duplicate,) = read(tmp_path, entry)
    credential = keyring.find(parse_repository("quay.io/x"))
    assert ("a", "c", True) == (credential.username, credential.password, credential.insecure)
    assert "config.duplicate_key" == duplicate.name
    with pytest.raises(FileError, match="did you mean username"):
        read_credentials((write(tmp_path, "auth.yaml", entry),), environ={"HOME": str(tmp_path)})


def test_merge_keys_fill_missing_fields(tmp_path: Path) -> None:
    """`<<` merges fields of other entries; the entry's own fields win, then those of the first in a list."""
    text = (
        "one.example: &one {username: a, password: b}\n"
        "two.example: &two {username: c, password: d, insecure: true}\n"
        "quay.io: {<<: [*one, *two], username: own}\n"
    )

    keyring, warnings = read_credentials(
        (write(tmp_path, "auth.yaml", text),), environ={"HOME": str(tmp_path)}
    )

    credential = keyring.find(parse_repository("quay.io/x"))
    assert ("own", "b", True) == (credential.username, credential.password, credential.insecure)
    assert () == warnings


def test_command_line_login_is_only_for_its_repositories(tmp_path: Path) -> None:
    """A login from the command line wins over the file, only for the given repositories, also in a worker."""
    keyring, _ = read(tmp_path, {"quay.io": user("file"), "ghcr.io": {"username": "half"}})
    given = {
        parse_repository("quay.io/a"): Credential(origin="--src-creds", username="u", password="p"),
        parse_repository("quay.io/b"): Credential(origin="none", insecure=True),
        parse_repository("ghcr.io/c"): Credential(origin="--dest-creds", username="u", password="p"),
    }
    lent = pickle.loads(pickle.dumps(keyring.with_logins(given)))

    lent.require(given)
    credentials = [lent.find(parse_repository(f"quay.io/{name}")) for name in ("a", "b", "a/b")]
    assert ["u", "file", "file"] == [credential.username for credential in credentials]
    assert [False, True, False] == [credential.insecure for credential in credentials]


@pytest.mark.parametrize(
    ("written", "realms"),
    [
        ("auth.corp", ("auth.corp",)),
        (["10.0.0.5:8443", "[fd12::1]:443", " Auth.Corp "], ("10.0.0.5:8443", "[fd12::1]:443", "auth.corp")),
        (None, ()),
        ([], ()),
    ],
)
def test_realms_are_hosts_with_or_without_port(
    tmp_path: Path, written: object, realms: tuple[str, ...]
) -> None:
    """Allowed token servers are one host or a list, each with a port or for all ports."""
    assert realms == credential_for(tmp_path, {"quay.io": {"realm": written}}, "quay.io/x").realms


@pytest.mark.parametrize(
    "written", ["https://auth.corp/token", "auth.corp/token", "user@auth.corp", "", ["a b"]]
)
def test_url_as_realm_is_an_error(tmp_path: Path, written: object) -> None:
    """A URL instead of a host is an error that shows how to write it."""
    with pytest.raises(FileError, match="realm") as caught:
        read(tmp_path, {"quay.io": {"realm": written}})

    assert '"10.0.0.5:8443"' in str(caught.value) + caught.value.hint


def test_pickled_keyring_shows_no_secret(tmp_path: Path) -> None:
    """A keyring gives the same answers in a worker, and its repr shows no secret."""
    keyring, _ = read(tmp_path, KEYS)

    copy = pickle.loads(pickle.dumps(keyring))

    repository = parse_repository("quay.io/core/x")
    assert keyring.find(repository) == copy.find(repository)
    assert "secret" not in f"{keyring!r}{keyring.find(repository)!r}"
