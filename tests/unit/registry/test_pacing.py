"""Shares of rates within a worker."""

from __future__ import annotations

import threading

from pipeline.model.budget import Account, Grant, Share
from pipeline.model.registry_settings import RegistrySettings
from pipeline.registry.pacing import SMALL_PIECE, Pacer

REQUESTS: Account = ("r.test", "requests")
READ: Account = ("r.test", "read")


def grant(requests: int) -> Grant:
    """A grant of requests at r.test."""
    return Grant(shares=(Share(REQUESTS, requests=requests),))


def test_nothing_waits_without_scheduler_or_limit() -> None:
    """Without a scheduler, as in `check`, and without a limit nothing waits."""
    pacer = Pacer()
    pacer.restrict("r.test", RegistrySettings(rate=0.001, bandwidth=1000.0))
    pacer.request("r.test")
    pacer.moved("r.test", "read", 1 << 30)

    served = Pacer()
    served.serve(lambda: None)
    served.request("r.test")
    assert (served.is_active, served.report()) == (False, None)


def test_first_request_waits_for_its_share() -> None:
    """With a rate from the user, the first request reports that it waits, and is sent once it is granted."""
    pacer, needs = Pacer(), threading.Event()
    pacer.serve(needs.set)
    pacer.restrict("r.test", RegistrySettings(rate=50.0))
    thread = threading.Thread(target=pacer.request, args=("r.test",))
    thread.start()

    assert needs.wait(10)
    report = pacer.report()
    assert report is not None
    assert report.uses[0].waiting == 1
    pacer.grant(grant(1))
    thread.join(10)
    assert not thread.is_alive()


def test_report_covers_use_since_the_last() -> None:
    """A report covers the use since the one before; another registry is not limited."""
    pacer = Pacer()
    pacer.serve(lambda: pacer.grant(grant(1)))
    pacer.grant(grant(0))
    for _ in range(5):
        pacer.request("r.test")
    pacer.request("other.test")

    report = pacer.report()
    assert report is not None
    assert [(use.account, use.used) for use in report.uses] == [(REQUESTS, 5.0)]


def test_limited_bandwidth_splits_pieces() -> None:
    """A piece is split if bytes are limited, and left as it is otherwise."""
    pacer = Pacer()
    pacer.serve(lambda: None)
    pacer.grant(Grant(shares=(Share(READ, 1e9),)))
    piece = bytes(3 * SMALL_PIECE + 1)

    assert [len(part) for part in pacer.parts("r.test", "read", piece)] == [SMALL_PIECE] * 3 + [1]
    assert list(pacer.parts("r.test", "written", piece)) == [piece]


def test_small_shares_are_saved_up_for_a_piece() -> None:
    """A share that needs several grants for one piece is saved up, without loss."""
    pacer, needs = Pacer(), threading.Event()
    pacer.serve(needs.set)
    share = Grant(shares=(Share(READ, SMALL_PIECE * 2.0),))
    pacer.restrict("r.test", RegistrySettings(bandwidth=SMALL_PIECE * 2.0))
    thread = threading.Thread(target=pacer.moved, args=("r.test", "read", SMALL_PIECE), daemon=True)
    thread.start()
    for _ in range(200):
        pacer.grant(share)
        thread.join(0.05)

    assert not thread.is_alive()
