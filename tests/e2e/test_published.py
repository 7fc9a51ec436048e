"""Published command lines and files of image-syncer (Go) users run unchanged, between stand-ins."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.public_names import certify, serve
from tests.registry.content import image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.command import Command
    from tests.e2e.public_names import Names

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parents[1] / "data/published.yaml").read_text())
EVERY_TAG = ["v1.0.0", "latest"]
"""The tags of a repository of which no tag is named."""
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case["source"])


def rules_of(case: dict[str, Any]) -> dict[str, Any]:
    """The rules, whatever file they are in; both formats are YAML."""
    found = [yaml.safe_load(text) for text in case["files"].values()]
    (rules,) = [file.get("images", file) for file in found if "username" not in str(file.get("images", file))]
    return dict(rules)


def split(reference: str) -> tuple[str, str, list[str]]:
    """Registry, repository and tags of a reference."""
    first, _, rest = reference.partition("/")
    host, path = (first, rest) if re.search(r"[.:]", first) else ("docker.io", reference)
    path, _, tags = path.partition(":")
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return host, path, tags.split(",") if tags else []


def hosts_of(case: dict[str, Any]) -> set[str]:
    """All registries that a case names."""
    text = "\n".join([case["command"], *case["files"].values()])
    return set(re.findall(r"[a-z][a-z0-9.-]*\.(?:io|com|co|local)(?=[:/\s'\"]|$)", text)) | {"docker.io"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for all names."""
    return certify(tmp_path_factory.mktemp("names"), {host for case in CASES for host in hosts_of(case)})


@pytest.fixture
def names(case: dict[str, Any], certificates: Path) -> Iterator[Names]:
    """The registries of a case, which require the login of its files, with everything that its rules read."""
    options = {"auth": "token", "username": "user", "password": "pass", "anonymous": True}
    with serve(certificates, hosts_of(case), **options) as served:
        for number, source in enumerate(rules_of(case)):
            host, path, tags = split(source)
            for tag in tags or EVERY_TAG:
                served[host].add(path, image(layer(f"{number} {tag}")), tag)
        yield served


def test_there_are_twenty_cases() -> None:
    """There are twenty cases of as many authors or more."""
    assert len({case["source"] for case in CASES}) >= 20
    assert len({case["source"].partition("/")[0] for case in CASES}) >= 18


@each
def test_published_job_copies_the_same(case: dict[str, Any], command: Command, names: Names) -> None:
    """A published job copies what it copied with the original, and its mistakes are named."""
    for name, text in case["files"].items():
        (command.folder / name).parent.mkdir(parents=True, exist_ok=True)
        command.write(name, text)
    variables = re.findall(r"\$\{?([A-Z_]+)", str(case["files"]))
    command.environ |= {name: "user" if "USER" in name else "pass" for name in variables} | names.environ

    result = command.run(*shlex.split(case["command"]))

    log = command.folder / "log"
    text = result.text + (log.read_text() if log.exists() else "")
    failed = case.get("failed", 0)
    assert result.code == (1 if failed else 0), text
    (finish,) = [line for line in text.splitlines() if "event=run.finish" in line]
    figures = {key: int(value) for key, value in re.findall(r" (\w+)=(\d+)(?= |$)", finish)}
    assert (figures["copied"], figures["failed"] + figures["rules_failed"]) == (case["copied"], failed), text
    assert case.get("says", "") in text
    for reference in case.get("there", ()):
        host, path, (tag,) = split(reference)
        assert tag in names[host].tags(path), reference
