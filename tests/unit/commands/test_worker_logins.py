"""The credentials of workers on other machines."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from pipeline.cli.arguments import parse
from pipeline.commands.job import prepare
from pipeline.commands.worker_logins import WorkerLogins, logins_of
from pipeline.model.reference import Repository

if TYPE_CHECKING:
    from pathlib import Path

RULES = "a.test/b:1: c.test/d\n"
PLACE = Repository("a.test", "b")


def recipe(folder: Path, *flags: str, auth: str = "{}", **environ: str) -> WorkerLogins:
    """The recipe that a run in `folder` sends to its workers, as it arrives there."""
    (folder / "images.yaml").write_text(RULES)
    (folder / "auth.yaml").write_text(auth)
    rules = () if "copy" in flags else (f"--images={folder}/images.yaml",)
    options = parse((*flags, f"--auth={folder}/auth.yaml", "--engine=dask", *rules), {})
    sent = pickle.dumps(logins_of(prepare(options, environ), options))
    assert b"hunter2" not in sent
    found: WorkerLogins = pickle.loads(sent)
    return found


def test_worker_reads_its_own_files_and_variables(tmp_path: Path) -> None:
    """A worker reads the files of its own machine at the run's paths, and its own variables."""
    there = tmp_path / "there.yaml"
    auth = "a.test: {{username: me, password: '{}'}}\n"
    there.write_text(auth.format("${SECRET}"))

    made = recipe(tmp_path, f"--worker-auth={there}", auth=auth.format("${SECRET}"), SECRET="hunter2")

    assert made.misfit({"SECRET": "of the worker"}) == ""
    assert made.open({"SECRET": "of the worker"}).find(PLACE).password == "of the worker"


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("a.test: {username: you, password: x}", "it has the user 'you', this run has the user 'me'"),
        ("{}", "for the login of a.test it has nothing, this run has the user 'me'"),
        ("a.test: {username: me, password: '${LACKING}'}", "an invalid entry"),
        ("a.test: {username: me, password: x, requests: 5}", "at most 5 requests at a time, this run"),
    ],
)  # fmt: skip
def test_different_credentials_are_detected(tmp_path: Path, there: str, words: str) -> None:
    """A worker with other credentials is detected by usernames and settings of registries."""
    path = tmp_path / "there.yaml"
    path.write_text(there)

    made = recipe(tmp_path, f"--worker-auth={path}", auth="a.test: {username: me, password: hunter2}\n")

    assert words in made.misfit({})
    assert "hunter2" not in made.misfit({})


def test_worker_reads_the_login_variable_itself(tmp_path: Path) -> None:
    """A login of the command line names a variable, which each worker reads itself."""
    made = recipe(tmp_path, "copy", "a.test/b:1", "c.test/d", "--src-creds=me:$SECRET", SECRET="hunter2")

    assert made.open({"SECRET": "of the worker"}).find(PLACE).password == "of the worker"


def test_default_paths_are_made_absolute(tmp_path: Path) -> None:
    """Without --worker-auth, workers read the run's paths, made absolute."""
    made = recipe(tmp_path)

    assert made.auth == (tmp_path / "auth.yaml",)
