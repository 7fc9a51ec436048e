"""The manifests, checked against the schemas of Kubernetes and the command's flags and exit codes."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline import __version__
from pipeline.cli.arguments import parse
from pipeline.errors import FileError, MachineError, UsageError
from tests.operators.queries import EXAMPLE

FOLDER = EXAMPLE / "kubernetes"


def documents(name: str) -> list[dict[str, Any]]:
    """The objects of a file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def job(name: str) -> dict[str, Any]:
    """The specification of the job in a file, directly or in a template."""
    [found] = documents(name)
    spec: dict[str, Any] = found["spec"]
    return spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec


NAMES = ("job.yaml", "cronjob.yaml", "indexed-job.yaml")
JOBS = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize("version", ["1.31", "1.34", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir()))
def test_manifests_match_schemas(name: str, version: str) -> None:
    """Every object is valid in the schemas of Kubernetes."""
    found = documents(name)
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)

    assert found


def test_schema_check_finds_errors() -> None:
    """An invalid field and an invalid value are found."""
    [wrong] = documents("job.yaml")
    wrong["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] = ["2"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)
    [wrong] = documents("job.yaml")
    wrong["spec"]["template"]["spec"]["containers"][0]["arguments"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


@JOBS
def test_exit_code_decides_about_retry(name: str) -> None:
    """An error that no retry can fix fails the job or index, a stop does not count, others are retried."""
    rules = job(name)["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    fail = "FailIndex" if "backoffLimitPerIndex" in job(name) else "FailJob"

    assert codes == {fail: [UsageError.exit_code], "Ignore": [129, 130, 143]}
    assert FileError.exit_code in codes[fail]
    assert MachineError.exit_code not in codes[fail]
    assert job(name)["template"]["spec"]["restartPolicy"] == "Never"


@JOBS
def test_container_has_flags_files_and_time(name: str) -> None:
    """The container's flags are accepted, its files are mounted, and it has enough time to stop."""
    pod = job(name)["template"]["spec"]
    [container] = pod["containers"]
    options = parse(container["args"], {"JOB_COMPLETION_INDEX": "17"})
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}

    read_only = {str(path.parent) for path in (*options.images, *options.auth)}
    assert {path for path, mount in mounts.items() if mount.get("readOnly")} == read_only
    assert str(options.records if options.shard is None else options.records.parent) in mounts
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in pod["volumes"]}
    assert options.metrics_listen == ("0.0.0.0", container["ports"][0]["containerPort"])
    assert pod["terminationGracePeriodSeconds"] > options.drain + 5
    assert container["image"].endswith(f":{__version__}")


def test_volumes_are_created_with_the_jobs() -> None:
    """All volumes of the jobs are among the objects that are created with them."""
    made = {(each["kind"], each["metadata"]["name"]) for each in documents("storage.yaml")}
    for name in NAMES:
        for volume in job(name)["template"]["spec"]["volumes"]:
            match volume:
                case {"configMap": {"name": wanted}}:
                    assert ("ConfigMap", wanted) in made
                case {"secret": {"secretName": wanted}}:
                    assert ("Secret", wanted) in made
                case {"persistentVolumeClaim": {"claimName": wanted}}:
                    assert ("PersistentVolumeClaim", wanted) in made
                case _:
                    assert "emptyDir" in volume


def test_each_index_is_its_own_shard() -> None:
    """Every index of the job is its own shard, and limits are divided by the number of parallel ones."""
    spec = job("indexed-job.yaml")
    [container] = spec["template"]["spec"]["containers"]
    shards = [
        parse(container["args"], {"JOB_COMPLETION_INDEX": str(index)}).shard
        for index in range(spec["completions"])
    ]

    assert spec["completionMode"] == "Indexed"
    assert [str(each) for each in shards] == [
        f"{index}/{spec['completions']}" for index in range(len(shards))
    ]
    assert {each.parallelism for each in shards if each} == {spec["parallelism"]}


def test_nightly_job_never_overlaps() -> None:
    """The nightly job never runs beside itself: two runs cannot share records."""
    [cronjob] = documents("cronjob.yaml")

    assert cronjob["spec"]["concurrencyPolicy"] == "Forbid"
