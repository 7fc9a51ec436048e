"""A cluster of Dask: the one of an address, or a scheduler and workers of our own on this machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import dask
from distributed import LocalCluster, Security

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from contextlib import AsyncExitStack

    from pipeline.settings import ClusterOptions

_VISITS_THREADS = 4
"""Threads for visits in a worker of our own; the tasks run on threads of the guest."""


def quiet(loop: AbstractEventLoop) -> None:
    """Keep Dask's own log out of ours, and have it do nothing that visits do not need.

    Nor is it written what its client leaves behind in the loop when nobody waits for a result any more.

    Of a cluster of our own, the pages of scheduler and workers would be open to all users of this machine.
    """
    loop.set_exception_handler(lambda *_: None)
    for name in ("distributed", *logging.root.manager.loggerDict):
        # Dask has given some of them levels and handlers of their own.
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    dask.config.set(
        {
            "distributed.admin.large-graph-warning-threshold": "1GiB",
            "distributed.worker.profile.enabled": False,
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            # After this time LocalCluster ends a nanny whose restarted worker happens to be dead again.
            "distributed.deploy.lost-worker-timeout": "30 days",
        }
    )


def security_of(options: ClusterOptions) -> Security:
    """Certificates: those of the flags, else of Dask's configuration; our own cluster makes its own."""
    if not options.scheduler:
        return Security.temporary()
    given = {
        "tls_ca_file": options.ca,
        "tls_client_cert": options.cert,
        "tls_client_key": options.key,
    }
    return Security(**{name: value for name, value in given.items() if value})


async def enter_cluster(
    stack: AsyncExitStack, options: ClusterOptions, security: Security
) -> tuple[str, Security]:
    """The address of a scheduler; of our own one the end is pushed on the stack."""
    if options.scheduler:
        return options.scheduler, security
    cluster = await LocalCluster(
        n_workers=0,
        threads_per_worker=_VISITS_THREADS,
        processes=True,
        dashboard_address=None,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        asynchronous=True,
        security=security,
        silence_logs=logging.CRITICAL + 1,
        memory_limit=0,
    )
    stack.push_async_callback(_end, cluster)
    cluster.scale(options.workers)
    return str(cluster.scheduler_address), security


async def _end(cluster: LocalCluster) -> None:
    """End our own cluster at once: its workers have nothing to say any more."""
    cluster.scale(0)
    for nanny in list(cluster.workers.values()):
        await nanny.close(timeout=0.1)
    await cluster.close(timeout=2)
