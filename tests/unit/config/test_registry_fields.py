"""Settings of registries in the credentials file: values, errors, and several files together."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import pytest

from pipeline.config.credentials import read_credentials
from pipeline.config.registry_fields import FIELDS
from pipeline.errors import FileError, LoginError
from pipeline.model.catalogue import CatalogueSetting
from pipeline.model.reference import Repository, parse_repository
from pipeline.model.registry_settings import NO_SETTINGS, Mirror, RegistrySettings
from tests.unit.config.words import write

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config.keyring import Keyring


def keyring_of(folder: Path, *contents: object, **environ: str) -> Keyring:
    """The keyring of files with these contents, named one.json, two.json and so on."""
    names = ("one.json", "two.json", "three.json")
    paths = [write(folder, name, json.dumps(content)) for name, content in zip(names, contents, strict=False)]
    return read_credentials(paths, environ={"HOME": str(folder), **environ})[0]


def settings_of(folder: Path, entry: object, **environ: str) -> RegistrySettings:
    """The settings of quay.io from one entry."""
    return keyring_of(folder, {"quay.io": entry}, **environ).settings("quay.io")


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("rate", "50/s", 50.0),
        ("rate", 50, 50.0),
        ("rate", "120/m", 2.0),
        ("rate", "3600/h", 1.0),
        ("rate", "0.5/s", 0.5),
        ("bandwidth", "20MB/s", 20e6),
        ("bandwidth", "20M", 20e6),
        ("bandwidth", "1.5 GiB/s", 1.5 * 1024**3),
        ("bandwidth", "512KiB", 512 * 1024.0),
        ("requests", 32, 32),
        ("requests", "1", 1),
        ("reserve", 0, 0),
        ("patience", "15m", 900.0),
        ("patience", 90, 90.0),
        ("proxy", "none", ""),
        ("proxy", "http://bob:hunter2@proxy.corp:3128/", "http://bob:hunter2@proxy.corp:3128"),
        ("proxy", "proxy.corp:3128", "http://proxy.corp:3128"),
        ("proxy", "socks5h://proxy.corp:1080", "socks5h://proxy.corp:1080"),
        ("mirrors", "Cache.corp/hub/", (Mirror(registry="cache.corp", prefix="hub"),)),
        ("mirrors", ["c.corp:5000", "c.corp:5000/"], (Mirror(registry="c.corp:5000"),)),
        ("mirrors", [], ()),
        ("catalog", "harbor", CatalogueSetting(kind="harbor")),
        (
            "catalog",
            {"kind": "gitlab", "url": "https://Git.corp:8443/gitlab/"},
            CatalogueSetting(kind="gitlab", host="git.corp:8443", prefix="/gitlab"),
        ),
        *(
            (name, None, getattr(NO_SETTINGS, name))
            for name in ("rate", "requests", "proxy", "mirrors", "ca", "catalog")
        ),
    ],
)
def test_valid_values(tmp_path: Path, name: str, written: object, read: object) -> None:
    """A setting is a number or text with a unit; null means that it is not set."""
    assert getattr(settings_of(tmp_path, {name: written}), name) == read


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("rate", "0/s"),
        ("rate", 0),
        ("rate", "fast"),
        ("rate", "-1/s"),
        ("rate", "50/d"),
        ("rate", ["50/s"]),
        ("bandwidth", "20"),
        ("bandwidth", "0MB/s"),
        ("bandwidth", "20Mbit"),
        ("requests", 0),
        ("requests", "1.5"),
        ("requests", True),
        ("reserve", -1),
        ("patience", "soon"),
        ("proxy", "ftp://proxy.corp"),
        ("proxy", "http://"),
        ("proxy", "http://proxy.corp:0x50"),
        ("proxy", "http://proxy.corp/path"),
        ("mirrors", "https://"),
        ("mirrors", ["quay.io/cache"]),
        ("mirrors", [["cache.corp"]]),
        ("catalog", "docker"),
        ("catalog", ["v2"]),
        ("catalog", {"url": "https://git.corp"}),
        ("catalog", {"kind": "gitlab", "url": "git.corp"}),
        ("catalog", {"kind": "gitlab", "url": "https://bob@git.corp"}),
        ("catalog", {"kind": "gitlab", "url": "https://git.corp/?x=1"}),
        ("catalog", {"kind": "gitlab", "host": "git.corp"}),
    ],
)
def test_invalid_value_is_an_error_at_its_place(tmp_path: Path, name: str, written: object) -> None:
    """An invalid setting is an error at its place that names the field and the expected form."""
    with pytest.raises(FileError, match=name) as caught:
        settings_of(tmp_path, {name: written})

    assert (caught.value.line, caught.value.exit_code) == (1, 2)
    assert FIELDS[name].example in caught.value.hint


def test_proxy_password_stays_hidden(tmp_path: Path) -> None:
    """A proxy's password comes from a variable and does not appear in a repr, error or warning."""
    entry = {"proxy": "http://bob:${SECRET}@proxy.corp:3128"}
    settings = settings_of(tmp_path, entry, SECRET="hunter2")

    assert settings.proxy == "http://bob:hunter2@proxy.corp:3128"
    assert "hunter2" not in repr(settings)
    with pytest.raises(FileError) as caught:
        settings_of(tmp_path, {"proxy": "http://bob:hunter2@proxy.corp:x"})
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"ca": "missing.pem"}, "ca of 'quay.io': .*missing.pem cannot be read: No such file"),
        ({"ca": "text.pem"}, "ca of 'quay.io' cannot be used: .*text.pem holds no CA certificate"),
        ({"cert": "text.pem"}, "cert of 'quay.io' cannot be used: .*text.pem hold no certificate"),
        ({"key": "text.pem"}, "there is no cert for it"),
        ({"proxy": "$NOWHERE"}, "the variable NOWHERE, which is not set"),
    ],
)
def test_locally_unusable_setting_fails_only_its_registry(tmp_path: Path, entry: object, words: str) -> None:
    """Something that this machine lacks is an error only for those who need the registry."""
    write(tmp_path, "text.pem", "hello")
    keyring = keyring_of(tmp_path, {"quay.io": entry, "ghcr.io": {}})

    keyring.require([parse_repository("ghcr.io/x/y")])
    with pytest.raises(FileError, match=words) as caught:
        keyring.require([parse_repository("quay.io/x/y")])
    assert caught.value.line == 1
    with pytest.raises(LoginError):
        pickle.loads(pickle.dumps(keyring)).find(parse_repository("quay.io/x/y"))


def test_certificate_paths_are_relative_to_the_file(tmp_path: Path, ca: Path, certificates: Path) -> None:
    """Relative paths start at the folder of the file, not at the working directory."""
    (tmp_path / "tls").mkdir()
    for path in (ca, certificates / "server.crt", certificates / "server.key"):
        write(tmp_path / "tls", path.name, path.read_bytes())
    entry = {"ca": "tls/ca.crt", "cert": "tls/server.crt", "key": str(tmp_path / "tls/server.key")}

    settings = settings_of(tmp_path, entry)

    assert settings.ca == str(tmp_path / "tls/ca.crt")
    assert settings.cert == str(tmp_path / "tls/server.crt")


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("passwrod", "password"),
        ("pass", "password"),
        ("user", "username"),
        ("mirror", "mirrors"),
        ("band_width", "bandwidth"),
        ("certs", "cert"),
    ],
)
def test_misspelled_field_is_an_error(tmp_path: Path, name: str, close: str) -> None:
    """A field that is close to a known one is refused, since otherwise a push would be anonymous."""
    with pytest.raises(FileError, match=f"did you mean {close}"):
        settings_of(tmp_path, {name: "x"})


@pytest.mark.parametrize("name", ["email", "auth", "comment", "serveraddress"])
def test_other_unknown_fields_cause_a_warning(tmp_path: Path, name: str) -> None:
    """Fields of other tools are ignored with a warning."""
    path = write(tmp_path, "one.json", json.dumps({"quay.io": {name: "x"}}))
    _, (warning,) = read_credentials([path], environ={"HOME": str(tmp_path)})

    assert warning.name == "config.unknown_key"


def test_setting_under_a_namespace_is_refused(tmp_path: Path) -> None:
    """A registry setting under a namespace is refused."""
    with pytest.raises(FileError, match=r"rate of 'quay\.io/team' is a setting of the whole registry"):
        keyring_of(tmp_path, {"quay.io/team": {"rate": "5/s"}})


@pytest.mark.parametrize("spelling", ["docker.io", "index.docker.io/", "https://index.docker.io/v1/"])
def test_keys_are_normalised(tmp_path: Path, spelling: str) -> None:
    """Docker Hub is one registry under all its names, and a trailing slash does not matter."""
    keyring = keyring_of(tmp_path, {spelling: {"rate": 5}})

    assert keyring.settings("docker.io").rate == 5
    assert keyring.settings("quay.io") == NO_SETTINGS


def test_longer_key_gives_only_the_login(tmp_path: Path) -> None:
    """Settings and `insecure` come from the registry's key, unless the longer key has its own `insecure`."""
    login = {"username": "a", "password": "b"}
    keyring = keyring_of(
        tmp_path,
        {
            "r.corp": {"insecure": True, "realm": "10.0.0.1", "rate": 5},
            "r.corp/team": login,
            "r.corp/safe": {**login, "insecure": False, "realm": []},
        },
    )

    team, safe = (keyring.find(Repository("r.corp", f"{name}/x")) for name in ("team", "safe"))
    assert (team.username, team.insecure, team.realms) == ("a", True, ("10.0.0.1",))
    assert (safe.username, safe.insecure, safe.realms) == ("a", False, ())
    assert keyring.settings("r.corp").rate == 5


def test_default_port_is_the_same_registry(tmp_path: Path) -> None:
    """The key `r.corp` also covers `r.corp:443`, unless that has its own key."""
    keyring = keyring_of(tmp_path, {"r.corp": {"rate": 5}, "s.corp": {"rate": 6}, "s.corp:443": {}})

    assert keyring.settings("r.corp:443").rate == 5
    assert keyring.settings("s.corp:443").rate is None


def test_fields_of_two_files_are_merged(tmp_path: Path) -> None:
    """A login in one file and settings in another are merged, and the origin names both."""
    keyring = keyring_of(
        tmp_path,
        {"docker.io": {"username": "bob", "password": "secret"}, "ghcr.io": {"rate": 1}},
        {"index.docker.io": {"rate": "2/s"}},
    )

    credential = keyring.find(parse_repository("nginx"))
    assert (credential.username, keyring.settings("docker.io").rate) == ("bob", 2)
    assert credential.origin == (
        f"{tmp_path}/one.json key docker.io and {tmp_path}/two.json key index.docker.io"
    )
    assert keyring.settings("ghcr.io").rate == 1


def test_same_field_in_two_files_is_an_error(tmp_path: Path) -> None:
    """The same field in two files is an error that names both places."""
    with pytest.raises(FileError, match=r"rate of 'quay\.io/' is also in .*one.json, line 1") as caught:
        keyring_of(tmp_path, {"quay.io": {"rate": 1}}, {"quay.io/": {"rate": 1}})

    assert caught.value.path.endswith("two.json")


@pytest.mark.parametrize(
    ("mirror", "repository", "covers"),
    [
        ("cache.corp", "cache.corp/any", True),
        ("cache.corp/hub", "cache.corp/hub/nginx", True),
        ("cache.corp/hub", "cache.corp/hubs/nginx", False),
        ("cache.corp/hub", "other.corp/hub/nginx", False),
    ],
)
def test_mirror_covers_whole_segments(tmp_path: Path, mirror: str, repository: str, covers: bool) -> None:  # noqa: FBT001 - a column
    """A mirror covers the repositories below its prefix, by whole segments."""
    (found,) = settings_of(tmp_path, {"mirrors": mirror}).mirrors

    assert found.covers(parse_repository(repository)) is covers
    assert found.repository(Repository("quay.io", "a/b")).path.endswith("a/b")
