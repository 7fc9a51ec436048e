"""The live view as lines of text, one statement each; what does not fit a narrow terminal is omitted.

Text from a registry is never taken for markup: only Text objects without control characters are made. Rows
are laid out by hand: rich's Table would cost more than all the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.dataclass import dataclass
from pipeline.log import printable
from pipeline.model.units import format_count, format_duration, format_size
from pipeline.observe.history import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.observe.history import RunHistory
    from pipeline.scheduler.view import HostView, RegistryView, RunView, TransferView
    from pipeline.settings import Aim

ROWS = 16
"""For a screen of usual height; a higher one gives two thirds of its rows."""
_MOST_ROWS = 40
_FEW_ROWS = 9
"""Below this, only figures are shown."""
_REGISTRIES = 12
FAILURES = 10
"""As many of these as fit."""
NARROW, _WIDE = 60, 96
"""Columns from which a row has more details."""
_HEAD = 8
"""Columns of the first word of a row."""
_FAILED: Mapping[Aim, str] = {"copy": "failed", "plan": "would fail", "verify": "incomplete"}
_SHORT = {"time left unknown": "left: ?", "still listing tags": "listing tags"}
_BLOCKS, _LETTERS = ("\u2588", "\u00b7"), ("#", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLine:
    """One of the last failures."""

    source: str
    cause: str
    again: bool
    """Whether it is retried in this run."""


@dataclass(frozen=True, slots=True)
class RowPart:
    """A part of a row."""

    rank: int
    """The lower, the more important."""
    text: str
    """Empty if there is nothing to show."""
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameInput:
    """What a frame shows."""

    history: RunHistory
    view: RunView
    aim: Aim
    title: str
    failures: Sequence[FailureLine]
    """Oldest first."""
    fancy: bool
    """Whether the terminal shows more than ASCII."""


def frame(scene: FrameInput, *, width: int, height: int) -> list[Text]:
    """The rows: at most one fewer than the screen has; for a run always as many on a screen of one size."""
    rows = min(max(ROWS, min(_MOST_ROWS, 2 * height // 3)), height - 1)
    if rows < 1 or width < _HEAD:
        return []
    lines = [_images(scene, width), _title(scene, width), _data(scene, width)]
    if rows >= 2:  # noqa: PLR2004 - title and images
        lines[:2] = lines[1::-1]
    lines = lines[:rows]
    if rows >= _FEW_ROWS:
        lines += _body(scene, width, rows - len(lines) - 1)
        lines.append(_foot(scene, width))
    for line in lines:
        line.truncate(width, overflow="crop" if not scene.fancy else "ellipsis")
    return lines


def _body(scene: FrameInput, width: int, rows: int) -> list[Text]:
    """Workers of other machines and registries first, failures last, transfers in the room between.

    Transfers come and go, so a run keeps its height; the other verbs have no transfers.
    """
    workers = [_workers(scene.view.hosts, width)] if scene.view.hosts else []
    rows -= len(workers)
    registries = _registries(scene, width, min(_REGISTRIES, rows // 3 + 1))
    rows -= len(registries)
    moves = _moves(scene, width, rows - min(len(scene.failures), rows // 3))
    failures = _failures(scene, width, min(FAILURES, rows - len(moves)))
    blank = rows - len(moves) - len(failures) if scene.aim == "copy" else 0
    return [*workers, *registries, *moves, *[Text()] * blank, *failures]


def _title(scene: FrameInput, width: int) -> Text:
    view = scene.view
    gone = format_duration(round(view.seconds))
    left = scene.history.left
    if view.expanded and view.figures.processed == view.figures.known:
        rest = "ending"
    elif left is not None:
        rest = f"about {format_duration(round(left))} left"
    else:
        rest = "time left unknown" if view.expanded else "still listing tags"
    times = f"{gone} elapsed, {rest}" if width >= NARROW else f"{gone}, {_SHORT.get(rest, rest)}"
    return heading(scene.title, times, width)


def heading(title: str, times: str, width: int) -> Text:
    """The title at the left, the times at the right."""
    line = Text("image-syncer  ", style="bold") if width >= _WIDE else Text()
    name = printable(title)
    room = width - len(line) - len(times) - 2
    line.append(name if len(name) <= room else name[: max(0, room)])
    return line.append(" " * max(2, width - line.cell_len - len(times)) + times)


def _images(scene: FrameInput, width: int) -> Text:
    figures = scene.view.figures
    line = Text("images".ljust(_HEAD))
    known = max(figures.known, 1)
    if width >= NARROW:
        line.append_text(bar(figures.processed / known, max(10, min(40, width - 80)), fancy=scene.fancy))
    line.append(f"{figures.processed:,}/{figures.known:,}{'' if scene.view.expanded else '+'}", style="bold")
    if scene.view.expanded and width >= NARROW:
        line.append(f" {100 * figures.processed // known} %")
    return with_parts(line, _results(scene), width)


def _results(scene: FrameInput) -> Iterator[RowPart]:
    """Images and rules by result; those that need a person are omitted last."""
    figures, failed = scene.view.figures, _FAILED[scene.aim]
    if scene.aim == "verify":
        yield RowPart(2, _count(figures.copied + figures.unchanged, "complete"))
    else:
        yield RowPart(2, _count(figures.copied, "to copy" if scene.aim == "plan" else "copied"))
        yield RowPart(3, _count(figures.unchanged, "up to date"))
    yield RowPart(5, _count(figures.kept, "kept"))
    yield RowPart(4, _count(figures.held, "held"))
    yield RowPart(6, _count(figures.skipped, "skipped"))
    yield RowPart(1, _count(figures.to_retry, "to retry"), "yellow")
    yield RowPart(0, _count(figures.failed, failed), "bold red")
    rules = "rule" if figures.rules_failed == 1 else "rules"
    yield RowPart(1, _count(figures.rules_failed, f"{rules} {failed}"), "bold red")


def _count(count: int, words: str) -> str:
    return f"{count:,} {words}" if count else ""


def with_parts(line: Text, parts: Iterable[RowPart], width: int) -> Text:
    """The line with the parts that fit completely, the most important ones first, in the given order."""
    told = [part for part in parts if part.text]
    room, fits = width - line.cell_len, set()
    for part in sorted(told, key=lambda each: each.rank):
        room -= len(part.text) + 2
        if room < 0:
            break
        fits.add(part)
    for part in told:
        line.append(f"  {part.text}" if part in fits else "", style=part.style)
    return line


def bar(part: float, width: int, *, fancy: bool) -> Text:
    """A bar of which a part is full, and two blanks."""
    full, empty = _BLOCKS if fancy else _LETTERS
    filled = int(width * min(1.0, part))
    return Text(full * filled, style="green").append(empty * (width - filled) + "  ", style="dim")


def _data(scene: FrameInput, width: int) -> Text:
    figures = scene.history.figures
    line = Text("data".ljust(_HEAD))
    if scene.aim == "plan":
        line.append(f"{format_size(figures.sent)} to send", style="bold")
    elif scene.aim == "copy":
        line.append(_sent(scene), style="bold").append(f"  {_rate(scene.history.rate)}")
    saved = f"{format_size(figures.saved)} saved" if figures.saved else ""
    mounted = _count(figures.mounted, "blobs to mount" if scene.aim == "plan" else "blobs mounted")
    if scene.aim == "verify":
        line = Text("data".ljust(_HEAD - 2))
        mounted, saved = _count(figures.present, "blobs found"), ""
    return with_parts(
        line,
        [RowPart(1, mounted), RowPart(2, saved), RowPart(3, _count(figures.requests, "requests"))],
        width,
    )


def _sent(scene: FrameInput) -> str:
    """Bytes sent, of how many: `+` means that unread images may add to them."""
    sent, view = scene.history.figures.sent, scene.view
    if not view.unsent:
        return f"{format_size(sent)} sent"
    return f"{format_size(sent)} of {format_size(sent + view.unsent)}{'' if view.sized else '+'} sent"


def _workers(hosts: Sequence[HostView], width: int) -> Text:
    """Workers and tasks, then those of each host that fits."""
    workers, tasks = sum(host.workers for host in hosts), sum(host.tasks for host in hosts)
    where = printable(hosts[0].name) if len(hosts) == 1 else f"{len(hosts):,} hosts"
    line = Text(f"{'workers'.ljust(_HEAD)}{workers:,} on {where}")
    each = (
        RowPart(rank, f"{printable(host.name)}: {host.workers}, {format_count(host.tasks, 'task')}", "dim")
        for rank, host in enumerate(hosts, 1)
    )
    return with_parts(
        line, [RowPart(0, format_count(tasks, "task")), *(each if len(hosts) > 1 else ())], width
    )


def _registries(scene: FrameInput, width: int, rows: int) -> list[Text]:
    """Unavailable and paused ones first, then the busiest."""

    def weight(registry: RegistryView) -> tuple[bool, bool, int]:
        return not registry.unavailable, registry.pause <= 0, -registry.in_flight

    ranked = sorted(scene.view.registries, key=weight)
    shown = ranked if len(ranked) <= rows else ranked[: rows - 1]
    room = max((len(each.name) for each in shown), default=0)
    room = min(room, width // 3)
    lines = [_registry(each, scene, width, room) for each in sorted(shown, key=lambda each: each.name)]
    if len(ranked) > len(shown):
        lines.append(Text(f"... and {len(ranked) - len(shown)} more registries", style="dim"))
    return lines


def _registry(registry: RegistryView, scene: FrameInput, width: int, room: int) -> Text:
    line = Text(shortened_end(registry.name, room).ljust(room))
    if registry.unavailable:
        return line.append(f"  given up: {printable(registry.unavailable)}", style="red")
    waiting = RowPart(1, _count(registry.waiting, "waiting"))
    if registry.pause > 0:
        left = format_duration(round(registry.pause))
        return with_parts(line.append(f"  paused, next request in {left}", style="yellow"), [waiting], width)
    read, written = scene.history.registry_rates(registry.name)
    way, rate = ("reading", read) if read > written else ("writing", written)
    moves = f"{way} {_rate(rate):>10}" if rate else "no blobs now".ljust(18)
    requests = f"{registry.in_flight - registry.blobs_in_flight}/{registry.limit} requests"
    blobs = f"{registry.blobs_in_flight}/{registry.blobs_limit} blobs"
    if scene.aim != "copy" and not (rate or registry.blobs_in_flight):
        return with_parts(line, [RowPart(0, f"{requests} in flight"), waiting], width)
    blobs += " in flight" if width >= _WIDE else ""
    return with_parts(line, [RowPart(0, moves), RowPart(0, requests), RowPart(2, blobs), waiting], width)


def _moves(scene: FrameInput, width: int, rows: int) -> list[Text]:
    """The largest transfers, and the number of smaller ones."""
    moving = scene.view.transfers
    large = [move for move in moving if not 0 <= move.size < SMALL]
    shown = large if len(moving) <= rows else large[: max(0, rows - 1)]
    lines = [_move(each, width) for each in shown]
    if len(moving) > len(shown) and rows > 0:
        lines.append(Text(f"  ... and {len(moving) - len(shown)} smaller", style="dim"))
    return lines


def _move(move: TransferView, width: int) -> Text:
    size = format_size(move.size) if move.size >= 0 else "?"
    part = f"{100 * move.sent // move.size:>3} %" if move.size > 0 else "     "
    rate = move.sent / move.seconds if move.seconds > 0 else 0.0
    line = Text(f"{size:>9}  {part}", style="cyan")
    speed = _rate(rate) if move.sent else ""
    if width >= NARROW:
        left = (move.size - move.sent) / rate if rate and move.size > 0 else None
        line.append(f"  {speed:>11}  {format_duration(round(left)) if left is not None else '':>6}")
    digest = f"  {move.digest[:19]}" if width >= _WIDE else ""
    room = width - line.cell_len - len(digest) - 2
    return line.append(f"  {shortened_end(move.image or move.destination, room)}").append(digest, style="dim")


def _failures(scene: FrameInput, width: int, rows: int) -> list[Text]:
    lines = []
    for failure in list(scene.failures)[-rows:] if rows > 0 else ():
        word, style = ("retry", "yellow") if failure.again else ("failed", "red")
        line = Text(word.ljust(_HEAD), style=style)
        source, cause = printable(failure.source), printable(failure.cause)
        room = width - _HEAD - 2 - len(cause)
        line.append(shortened_end(source, max(room, width // 3)), style="default")
        lines.append(line.append(f"  {cause}", style="default"))
    return lines


def _foot(scene: FrameInput, width: int) -> Text:
    if scene.aim != "copy":
        return Text("Ctrl-C: stop.  Nothing is changed.", style="dim")
    if scene.history.stopping:
        words = "Stopping: finishing current transfers.  Ctrl-C: stop now.  The next run resumes from there."
        return Text(words if width >= _WIDE else "Stopping.  Ctrl-C: stop now", style="bold yellow")
    words = "Ctrl-C: finish current transfers and stop.  Twice: stop now.  The next run resumes from there."
    return Text(words if width >= _WIDE else "Ctrl-C: stop; the next run resumes", style="dim")


def shortened_end(text: str, room: int) -> str:
    """The end of the text in that many columns, since it says more than the beginning."""
    text = printable(text)
    return text if len(text) <= room else f"..{text[len(text) - max(0, room - 2) :]}"


def _rate(rate: float) -> str:
    return f"{format_size(float(f'{rate:.3g}'))}/s"
