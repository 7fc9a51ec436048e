"""A Dask cluster: the one at an address, or our own scheduler and workers on this machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import dask
import distributed.client
from distributed import LocalCluster, Security

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from contextlib import AsyncExitStack

    from pipeline.settings import ClusterOptions

_VISITS_THREADS = 4
"""Threads for visits in one of our own workers; the tasks run on threads of the guest."""


def quiet(loop: AbstractEventLoop) -> None:
    """Keep Dask's own log out of ours, and switch off everything that visits do not need.

    Unretrieved results that its client leaves behind in the loop are not logged either.

    The pages of our own scheduler and workers would be open to all users of this machine.
    """
    loop.set_exception_handler(lambda *_: None)
    for name in ("distributed", *logging.root.manager.loggerDict):
        # Dask has given some of them their own levels and handlers.
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # Its scheduler would keep these words of each visit as long as it runs.
    distributed.client.SpanMetadata = lambda **_: {"collections": []}  # type: ignore[attr-defined,assignment] # Dask's own
    dask.config.set(
        {
            "distributed.admin.large-graph-warning-threshold": "1GiB",
            "distributed.worker.profile.enabled": False,
            # Connections keep their last 1,000 messages for developers: with tasks, these may be gigabytes.
            "distributed.admin.low-level-log-length": 10,
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            # After this time LocalCluster ends a nanny whose restarted worker happens to be dead again.
            "distributed.deploy.lost-worker-timeout": "30 days",
        }
    )


def security_of(options: ClusterOptions) -> Security:
    """Certificates from the flags, else from Dask's configuration; our own cluster makes its own."""
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
    """The address of a scheduler; the end of our own one is pushed on the stack."""
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
    """End our own cluster at once, since its workers have nothing more to send."""
    cluster.scale(0)
    for nanny in list(cluster.workers.values()):
        await nanny.close(timeout=0.1)
    await cluster.close(timeout=2)
