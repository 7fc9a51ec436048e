from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.log import Event
from pipeline.observe.display import Display
from pipeline.observe.history import RunHistory
from pipeline.observe.live_rows import LiveRows, terminal_size
from pipeline.scheduler.view import HostView
from tests.unit.observe.screen import Screen
from tests.unit.views import HARBOR, QUAY, view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.scheduler.view import RunView
    from pipeline.settings import Aim


class Terminal:
    """A display on a screen in memory, with a clock that the test sets."""

    def __init__(self, columns: int = 100, rows: int = 24, *, aim: Aim = "copy") -> None:
        self.columns, self.rows, self.now = columns, rows, 100.0
        self.screen = Screen(columns)
        self.writes = 0
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.history = RunHistory()
        self.live = LiveRows(self.writer, size=lambda _: (self.columns, self.rows), clock=lambda: self.now)
        self.display = Display(self.history, self.live, title="images.yaml", aim=aim)

    def tick(self, seen: RunView) -> None:
        """Let history and display observe."""
        self.history.tick(seen)
        self.display.tick(seen)

    def hear(self, event: Event) -> None:
        """Let history and display handle an event."""
        self.history.hear(event)
        self.display.hear(event)

    def read(self) -> list[str]:
        """The current screen."""
        try:
            while data := os.read(self.reader, 1 << 16):
                self.writes += 1
                self.screen.write(data)
        except BlockingIOError:
            pass
        return self.screen.text

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal of 100 columns and 24 rows."""
    made = Terminal()
    yield made
    made.close()


def test_frame_shows_progress_transfers_and_failures(terminal: Terminal) -> None:
    """A frame shows the progress of the run, each registry, running transfers and failures."""
    terminal.hear(
        Event(
            name="image.failed",
            message="",
            fields={"source": "quay.io/team/api:[v1]", "side": "source", "status": 404, "code": "X"},
        )
    )
    cooling = replace(QUAY, name="docker.io", pause=39.0, waiting=288)
    terminal.tick(view(271.0, registries=(cooling, HARBOR, replace(QUAY, unavailable="no answer"))))
    rows = terminal.read()

    assert rows[0].split("  ")[:2] == ["image-syncer", "images.yaml"]
    assert rows[0].endswith("4m31s elapsed, about 6m30s left")
    assert rows[1].endswith("41/100 41 %  40 copied  1 failed")
    assert rows[2].startswith("data    232.5MB sent  858kB/s  120 requests")
    assert rows[3] == "docker.io    paused, next request in 39s  288 waiting"
    assert rows[4] == "harbor.corp  no blobs now        8/24 requests  4/24 blobs in flight"
    assert rows[5] == "quay.io      given up: no answer"
    assert rows[6].split() == [
        "30MB",
        "50",
        "%",
        "1.5MB/s",
        "10s",
        "harbor.corp/ml/app30:v1",
        "sha256:000000000000",
    ]
    assert rows[13].strip() == "... and 23 smaller"
    assert rows[14] == "failed  quay.io/team/api:[v1]  source 404 X"
    assert rows[15].startswith("Ctrl-C: ")
    assert len(rows) == 16


@pytest.mark.parametrize("columns", [1, 10, 40, 59, 60, 80, 99, 200])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 9, 10, 16, 17, 50])
def test_frame_height_is_constant(columns: int, rows: int) -> None:
    """A frame has the same height for any view, is no higher than the screen less one, and never wraps."""
    terminal = Terminal(columns, rows)
    heights = set()
    few = view(20.0, registries=(), transfers=(), known=0, copied=0, failed=0)
    for each in (view(), few, view(30.0, transfers=()), view(40.0, registries=(HARBOR,) * 30)):
        terminal.now += 1
        terminal.tick(each)
        terminal.read()
        heights.add(len(terminal.screen.rows) - 1)
        assert all(len(row) < max(2, columns) for row in terminal.screen.rows)
    terminal.close()

    usual = max(16, 2 * rows // 3)
    assert heights == {0 if columns == 1 else min(usual, rows - 1) if rows > 9 else min(3, rows - 1)}


@pytest.mark.parametrize(
    ("columns", "count", "told"),
    [
        (100, 1, "workers 4 on node-1  12 tasks"),
        (
            100,
            3,
            "workers 12 on 3 hosts  36 tasks  node-1: 4, 12 tasks  node-2: 4, 12 tasks  node-3: 4, 12 tasks",
        ),
        (80, 3, "workers 12 on 3 hosts  36 tasks  node-1: 4, 12 tasks  node-2: 4, 12 tasks"),
        (80, 90, "workers 360 on 90 hosts  1,080 tasks  node-1: 4, 12 tasks  node-2: 4, 12 tasks"),
        (30, 3, "workers 12 on 3 hosts"),
    ],
)
def test_hosts_share_one_row(columns: int, count: int, told: str) -> None:
    """Workers of other machines have a row that names as many hosts as fit; the view keeps its height."""
    terminal = Terminal(columns)
    hosts = tuple(HostView(name=f"node-{n}", workers=4, tasks=12) for n in range(1, count + 1))
    terminal.tick(view(hosts=hosts))
    rows = terminal.read()
    terminal.close()

    assert (told, 16) == (rows[3], len(rows))


@pytest.mark.parametrize(
    ("unsent", "sized", "told"),
    [
        (767_500_000, True, "232.5MB of 1GB sent"),
        (767_500_000, False, "232.5MB of 1GB+ sent"),
        (0, True, "232.5MB sent"),
    ],
)
def test_total_of_bytes_is_shown_if_known(terminal: Terminal, *, unsent: int, sized: bool, told: str) -> None:
    """The total of bytes is shown if known, and marked if unread images may add to it."""
    terminal.tick(view(unsent=unsent, sized=sized))

    assert terminal.read()[2].startswith(f"data    {told}  ")


def test_small_transfer_has_no_row(terminal: Terminal) -> None:
    """A transfer of some bytes has no row of its own among the largest ones."""
    config = replace(view().transfers[0], size=700, sent=0, image="harbor.corp/ml/small:v1")
    terminal.tick(view(transfers=(view().transfers[0], config)))
    rows = terminal.read()

    assert not [row for row in rows if "ml/small" in row]
    assert "  ... and 1 smaller" in rows


@pytest.mark.parametrize(
    ("aim", "images", "data"),
    [
        ("plan", "41/100 41 %  40 to copy  1 would fail", "data    232.5MB to send  "),
        ("verify", "41/100 41 %  40 complete  1 incomplete", "data    120 requests"),
    ],
)
def test_plan_and_verification_views(aim: Aim, images: str, data: str) -> None:
    """The view of a plan shows what would be sent, that of a verification what was found."""
    terminal = Terminal(aim=aim)
    terminal.tick(view())
    rows = terminal.read()
    terminal.close()

    assert rows[1].endswith(images)
    assert rows[2].startswith(data)
    assert rows[-1] == "Ctrl-C: stop.  Nothing is changed."


@pytest.mark.parametrize("columns", [60, 66, 73, 80, 87, 96, 110, 129])
def test_narrow_frame_drops_whole_parts(columns: int) -> None:
    """What has no room is left out whole, and what failed stays longest."""
    terminal = Terminal(columns)
    figures = {"known": 3_000, "copied": 1_372, "unchanged": 459, "skipped": 2, "rules_failed": 1}
    busy = tuple(replace(each, waiting=1_288) for each in (HARBOR, QUAY))
    terminal.tick(view(failed=12, to_retry=3, mounted=1_200, saved=61_000, registries=busy, **figures))
    rows = terminal.read()
    terminal.close()
    last = {row.split()[-1] for row in rows[1:5]}

    assert "  12 failed" in rows[1]
    assert last <= {"failed", "requests", "saved", "mounted", "858kB/s", "blobs", "waiting", "flight"}


def test_free_height_shows_more_failures(terminal: Terminal) -> None:
    """Height that transfers leave free shows more of what failed."""
    terminal.rows = 45
    for number in range(20):
        name = "image.retry" if number % 2 else "image.failed"
        terminal.hear(Event(name=name, fields={"source": f"quay.io/team/a:v{number}", "status": 404}))
    terminal.tick(view(transfers=()))
    rows = [row.split()[:2] for row in terminal.read()[-11:-1]]

    assert rows == [[("failed", "retry")[n % 2], f"quay.io/team/a:v{n}"] for n in range(10, 20)]


def test_at_most_four_frames_a_second(terminal: Terminal) -> None:
    """At most four frames are drawn in a second, however often the display is called."""
    for _ in range(1_000):
        terminal.now += 0.001
        terminal.tick(view())
        terminal.read()

    assert terminal.writes == 5


@given(
    steps=st.lists(st.one_of(st.none(), st.text("ab", min_size=1, max_size=300)), max_size=40),
    pause=st.sampled_from([0.0, 0.01, 0.06, 0.3, 20.0]),
)
def test_lines_appear_above_the_view(steps: list[str | None], pause: float) -> None:
    """Lines appear above the view, complete and in order, and at the end alone."""
    terminal = Terminal()
    terminal.tick(view())
    for step in steps:
        terminal.now += pause if pause < 10 else 0.3
        if step is None:
            terminal.tick(view())
        else:
            terminal.live.above(f"{step}\n".encode())
        assert terminal.read()[-1].startswith("Ctrl-C: ")
    terminal.live.close()
    lines = [step for step in steps if step is not None]
    expected = [line[start : start + 100] for line in lines for start in range(0, len(line), 100)]
    found = terminal.read()
    terminal.close()

    assert expected == found


def test_narrowed_terminal_is_overwritten_completely(terminal: Terminal) -> None:
    """In a narrowed terminal, which wraps the rows of the view, the view is still overwritten completely."""
    terminal.live.above(b"a line\n")
    terminal.tick(view())
    terminal.read()
    broken = Screen(50)
    for row in terminal.screen.rows[:-1]:
        broken.write(f"{row}\n".encode())
    terminal.screen, terminal.columns = broken, 50
    terminal.now += 1
    terminal.tick(view())

    assert terminal.read()[0] == "a line"
    assert len(terminal.read()) == 17


@pytest.mark.parametrize(("expanded", "rest"), [(True, "left: ?"), (False, "listing tags")])
def test_forty_columns_show_the_rules_file(terminal: Terminal, *, expanded: bool, rest: str) -> None:
    """On forty columns the rules file is still shown beside the time."""
    terminal.columns = 40
    terminal.tick(view(6.0, expanded=expanded, copied=0))

    assert terminal.read()[0].split() == ["images.yaml", "6s,", *rest.split()]


def test_view_is_redrawn_after_a_long_pause(terminal: Terminal) -> None:
    """After a long pause the view is drawn again below, since others may have written to the terminal."""
    terminal.tick(view())
    terminal.read()
    terminal.screen.write(b"[1]+ Stopped\n")
    terminal.now += 60
    terminal.tick(view())

    assert terminal.read()[16] == "[1]+ Stopped"
    assert len(terminal.read()) == 16 + 1 + 16


def test_last_row_after_a_signal(terminal: Terminal) -> None:
    """After a signal the last row shows what happens now."""
    terminal.hear(Event(name="run.drain", message=""))
    terminal.tick(view())

    assert terminal.read()[-1].startswith("Stopping")


@pytest.mark.parametrize(("variable", "expected"), [("1", False), ("", True)])
def test_no_color_removes_only_colours(
    monkeypatch: pytest.MonkeyPatch, *, variable: str, expected: bool
) -> None:
    """NO_COLOR removes the colours, not the view; an empty value is ignored."""
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    terminal.tick(view())
    data = os.read(terminal.reader, 1 << 16)
    terminal.close()

    assert (b"\x1b[32m" in data) is expected


def test_hostile_text_is_escaped(terminal: Terminal) -> None:
    """Control characters are shown as escapes, and brackets are not markup."""
    terminal.hear(
        Event(
            name="image.failed",
            message="",
            fields={"source": "[red]q.io/a\x1b[2J\n\u202e", "side": "source", "code": "[/]"},
        )
    )
    terminal.tick(view())

    assert r"failed  [red]q.io/a\x1b[2J\n\u202e  source [/]" in terminal.read()


def test_vanished_terminal_does_not_end_the_run(terminal: Terminal) -> None:
    """A terminal that disappears does not end the run."""
    os.close(terminal.writer)
    terminal.tick(view())
    terminal.live.above(b"x\n")
    terminal.live.close()

    assert terminal.read() == terminal.screen.text  # nothing arrived, and nothing was raised
    terminal.writer = os.open(os.devnull, os.O_WRONLY)


def test_unknown_size_is_80_by_24(terminal: Terminal) -> None:
    """Without a terminal, 80 columns and 24 rows are assumed."""
    assert terminal_size(terminal.writer) == (80, 24)
