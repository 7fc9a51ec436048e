"""--engine dask and the flags that go with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.cli.arguments import parse
from pipeline.errors import UsageError
from pipeline.settings import ClusterOptions

DASK = "--engine=dask"
COPY = ("copy", "a.test/b:1", "c.test/d")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--scheduler=tls://dask:8786",), "--scheduler goes with --engine dask"),
        (("--engine=local", "--workers=3"), "--workers goes with --engine dask"),
        ((DASK, "--workers=0"), "--workers"),
        ((DASK, "--tls-ca=ca.pem"), "--tls-ca goes with --scheduler URL"),
        ((DASK, "--scheduler=tls://dask:8786", "--workers=3"), "omit it, or --scheduler"),
        ((DASK, "--scheduler=dask:8786"), "write tls://host:8786"),
        ((DASK, "--scheduler=tls://dask:port"), "write tls://host:8786"),
        ((DASK, "--scheduler=tcp://dask:8786"), "anyone who reaches a tcp:// cluster can run programs on it"),
        ((DASK, "--scheduler=tcp://10.0.0.1:8786"), "--scheduler-insecure"),
        ((*COPY, DASK, "--src-creds=me:hunter2"), "write USER:$NAME"),
        ((*COPY, DASK, "--dest-creds=me:-"), "--dest-creds: with --engine dask each worker reads"),
    ],
)
def test_unusable_or_unsafe_flags_are_refused(flags: tuple[str, ...], words: str) -> None:
    """Flags that cannot work, or would show secrets to a network, are refused in one line."""
    with pytest.raises(UsageError) as error:
        parse(flags, {})

    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["tls://dask:8786", "tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:1"]
)
def test_tls_and_local_clusters_need_no_permission(address: str) -> None:
    """A cluster with TLS, and one on this machine, need no permission."""
    cluster = parse((DASK, f"--scheduler={address}"), {}).cluster

    assert cluster is not None
    assert address == cluster.scheduler


def test_all_flags_are_parsed() -> None:
    """Each flag is parsed; a path of the workers is absolute, since their working directory may differ."""
    flags = (
        "--scheduler=tcp://dask:1",
        "--scheduler-insecure",
        "--tls-ca=ca",
        "--tls-cert=cert",
        "--tls-key=key",
    )

    found = parse((DASK, *flags, "--worker-auth=/etc/a.yaml", "--worker-auth=b.yaml"), {}).cluster

    assert found == ClusterOptions(
        scheduler="tcp://dask:1",
        worker_auth=(Path("/etc/a.yaml"), Path("b.yaml").absolute()),
        ca="ca",
        cert="cert",
        key="key",
    )
    assert parse((), {}).cluster is None


def test_missing_dask_extra_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, --engine dask ends with one line that says what to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(UsageError, match=r"pip install 'image-syncer\[dask\]'$"):
        parse((DASK,), {})
