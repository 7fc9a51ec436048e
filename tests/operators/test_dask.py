"""The files of a Dask cluster, checked with the tools of their formats and against the command's flags."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from distributed.cli.dask_scheduler import main as scheduler
from distributed.cli.dask_worker import main as worker

from pipeline.cli.arguments import parse
from tests.operators.queries import EXAMPLE
from tests.operators.test_systemd import needs_systemd

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = EXAMPLE / "dask"
UNITS = sorted(FOLDER.glob("*.service"))
COMMANDS = {"scheduler": scheduler, "worker": worker}


def documents() -> list[dict[str, Any]]:
    """The Kubernetes objects."""
    return list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


def containers() -> dict[str, dict[str, Any]]:
    """Containers by name."""
    specs = (document["spec"].get("template", {}).get("spec", {}) for document in documents())
    return {each["name"]: each for spec in specs for each in spec.get("containers", ())}


def known(role: str) -> set[str]:
    """The flags of Dask's command."""
    shown = CliRunner().invoke(COMMANDS[role], ["--help"]).output
    return set(re.findall(r"--[a-z][a-z-]+", shown))


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_manifests_match_kubernetes_schemas(version: str) -> None:
    """Every object is valid in the schemas of Kubernetes."""
    for document in documents():
        kubernetes_validate.validate(document, version, strict=True)

    assert {each["kind"] for each in documents()} == {"Job", "Deployment", "Service", "NetworkPolicy"}


def test_run_connects_over_tls() -> None:
    """The run's flags are accepted, and it connects to the cluster over TLS."""
    cluster = parse(containers()["image-syncer"]["args"], {}).cluster
    [service] = [document for document in documents() if document["kind"] == "Service"]
    host, [port] = service["metadata"]["name"], service["spec"]["ports"]

    assert cluster is not None
    assert cluster.scheduler == f"tls://{host}:{port['port']}"
    assert all((cluster.ca, cluster.cert, cluster.key))


def test_workers_have_the_credentials() -> None:
    """The workers, but not Dask's scheduler, mount the run's credentials file at the same path."""
    run = parse(containers()["image-syncer"]["args"], {})
    mounts = {
        name: {mount["mountPath"] for mount in container["volumeMounts"]}
        for name, container in containers().items()
    }

    assert str(run.auth[0].parent) in mounts["worker"]
    assert str(run.auth[0].parent) not in mounts["scheduler"]


@pytest.mark.parametrize("role", COMMANDS)
def test_dask_commands_know_the_flags(role: str) -> None:
    """Dask's commands know the flags in the manifests and the units."""
    [unit] = [path for path in UNITS if role in path.name]
    [line] = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    words = [*containers()[role]["args"], *shlex.split(line)]
    given = {word.partition("=")[0] for word in words if word.startswith("--")}

    assert {"--tls-ca-file", "--tls-cert", "--tls-key"} <= given
    assert given <= known(role)


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path) -> None:
    """Systemd accepts the units without a warning."""
    command = tmp_path / "dask"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/image-syncer/bin/dask", str(command)))
    asked = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
