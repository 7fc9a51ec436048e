"""--engine and the flags that go with it."""

from __future__ import annotations

import ipaddress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.cli.values import path, whole
from pipeline.errors import UsageError
from pipeline.settings import ClusterOptions

if TYPE_CHECKING:
    from argparse import Namespace, _ArgumentGroup

_OF_SCHEDULER = ("--scheduler-insecure", "--tls-ca", "--tls-cert", "--tls-key")
NAMES = ("--engine", "--scheduler", "--workers", "--worker-auth", *_OF_SCHEDULER)


def add_to(group: _ArgumentGroup) -> None:
    """Add the flags."""
    add = group.add_argument
    add("--engine", choices=("local", "dask"), metavar="NAME", help="who runs tasks: local, dask [local]")
    add("--scheduler", metavar="URL", help="dask: tls://host:8786 [a cluster of this machine]")
    add("--workers", type=whole(1), metavar="N", help="dask: workers on this machine [one a core]")
    add(
        "--worker-auth",
        type=path,
        action="append",
        metavar="FILE",
        help="dask: where workers have their --auth; repeatable",
    )
    add("--tls-ca", type=path, metavar="FILE", help="dask: the cluster's authority")
    add("--tls-cert", type=path, metavar="FILE", help="dask: the client certificate")
    add("--tls-key", type=path, metavar="FILE", help="dask: its private key")
    add("--scheduler-insecure", action="store_true", help="dask: allow tcp:// beyond this machine")


def chosen(found: Namespace) -> ClusterOptions | None:
    """The cluster; takes the flags out of what was found.

    Raises:
        UsageError: a flag is wrong, or goes with another one, or the extra is not installed.
    """
    values = vars(found)
    given = {name: values.pop(name[2:].replace("-", "_")) for name in NAMES}
    if given["--engine"] != "dask":
        for name, value in given.items():
            if value and name != "--engine":
                raise UsageError(f"{name} goes with --engine dask")
        return None
    for name in _OF_SCHEDULER:
        if given[name] and not given["--scheduler"]:
            raise UsageError(f"{name} goes with --scheduler URL")
    if given["--scheduler"] and given["--workers"]:
        raise UsageError("--workers starts workers on this machine: omit it, or --scheduler")
    _refuse_logins(found)
    if given["--scheduler"]:
        _check_address(given["--scheduler"], insecure=given["--scheduler-insecure"])
    if find_spec("distributed") is None:
        raise UsageError("--engine dask needs the extra: pip install 'image-syncer[dask]'")
    more: dict[str, Any] = {name: str(given[f"--tls-{name}"] or "") for name in ("ca", "cert", "key")}
    if given["--workers"]:
        more["workers"] = given["--workers"]
    return ClusterOptions(
        scheduler=given["--scheduler"] or "",
        worker_auth=tuple(each.absolute() for each in given["--worker-auth"] or ()),
        **more,
    )


def _refuse_logins(found: Namespace) -> None:
    """Refuse passwords that workers cannot read by themselves: no secret travels through Dask."""
    for flag, login in (("--src-creds", found.src_creds), ("--dest-creds", found.dest_creds)):
        if login is not None and not login.variable:
            raise UsageError(
                f"{flag}: with --engine dask each worker reads the password for itself: write USER:$NAME, and"
                " set the variable on the workers"
            )


def _check_address(address: str, *, insecure: bool) -> None:
    try:
        url = urlsplit(address)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if host is None or url.scheme not in ("tls", "tcp") or url.path or url.username:
        raise UsageError(f"--scheduler {address[:80]!r}: write tls://host:8786")
    if url.scheme == "tcp" and not insecure and not _is_loopback(host):
        raise UsageError(
            f"--scheduler {address}: anyone who reaches a tcp:// cluster can run programs on it; use tls://,"
            " or --scheduler-insecure"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
