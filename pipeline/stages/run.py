"""From any task to its outcome: picks the stage's function, and adds what it cost and what to log."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.messages import Cost, Expand, Failed, Look, Move, Put, Read, Throttled
from pipeline.registry.client import Clients
from pipeline.registry.meter import metering
from pipeline.stages import foresee, prove, transfer
from pipeline.stages.context import Context
from pipeline.stages.expand import expand
from pipeline.stages.resolve import look, read
from pipeline.stages.together import Together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.config.credentials import Keyring
    from pipeline.model.messages import Outcome, Session, Task

    Runner = Callable[[Task, Callable[[int], None], Callable[[Session | None], None]], Outcome]
    from pipeline.settings import Aim, Settings

    Mover = Callable[[Move, Context], Outcome]
    Putter = Callable[[Put, Context], Outcome]

_TRANSFER: Mapping[Aim, tuple[Mover, Putter]] = {
    "copy": (transfer.move, transfer.put),
    "plan": (foresee.move, foresee.put),
    "verify": (prove.move, prove.put),
}
"""What is done with blobs and manifests: nothing else differs between a run, its plan and its proof."""


def make_runner(settings: Settings, keyring: Keyring) -> Runner:
    """Build a worker's connections, and the function that runs its tasks, on any of its threads.

    Args:
        settings: the run's.
        keyring: who we are at each registry.

    Returns:
        A function of a task, of a callback that is told the bytes moved so far, and of one that is told what
        a registry has confirmed of an upload.
    """
    clients = Clients(settings, keyring.find, keyring.forget)
    together = Together()

    def run(task: Task, moved: Callable[[int], None], kept: Callable[[Session | None], None]) -> Outcome:
        began = time.monotonic()
        with metering(timed=settings.timed, debug=settings.debug) as meter:
            context = Context(clients=clients, settings=settings, together=together, moved=moved, kept=kept)
            outcome = _answer(task, context)
        cost = Cost(
            requests=tuple(meter.requests.items()),
            waited=tuple(meter.waited.items()),
            read=meter.read,
            written=meter.written,
            seconds=time.monotonic() - began,
            retries=tuple(meter.retries),
            asked=tuple(meter.asked),
            foreseen=meter.foreseen,
        )
        return replace(outcome, cost=cost, events=(*meter.events, *outcome.events))

    return run


def _answer(task: Task, context: Context) -> Outcome:
    move, put = _TRANSFER[context.settings.aim]
    try:
        match task:
            case Expand():
                return expand(task, context)
            case Look():
                return look(task, context)
            case Read():
                return read(task, context)
            case Move():
                return move(task, context)
            case Put():
                return put(task, context)
    except ThrottledError as error:
        return Throttled(key=task.key, fault=error.fault, delay=error.delay, asked=error.asked)
    except RegistryError as error:
        return Failed(key=task.key, fault=error.fault, refused=error.refused)
