from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from pipeline.report.page import page
from pipeline.report.summary import Summary
from pipeline.report.survey_page import survey_page
from pipeline.report.survey_result import SurveyResult
from tests.unit.report.pages import EVIL, report

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.settings import Aim

CHROMIUM = shutil.which("chromium")
ALONE = {"meta", "br", "line", "rect", "polygon", "polyline"}
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
SILENT = ("--disable-background-networking", "--disable-component-update", "--disable-sync")


class Reader(HTMLParser):
    """Collects the parts that matter to a browser."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.links: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name == "href"}
        if tag not in ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ALONE:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def found() -> Reader:
    """The hostile report, parsed."""
    return Reader(report())


def test_page_has_no_scripts_or_external_links(found: Reader) -> None:
    """Whatever registries send, the page has no script, handler or external link, and each tag is closed."""
    assert found.tags & {"script", "img", "iframe", "link", "object", "form"} == set()
    assert all(re.fullmatch(r"#cause-\d+", link) for link in found.links)
    assert not {name for name in found.attributes if name.startswith("on")}
    assert found.attributes & {"src", "action", "style"} == set()
    assert found.open == []


def test_hostile_text_is_shown_escaped(found: Reader) -> None:
    """Hostile text is shown as it is, with invisible characters and direction marks as escapes."""
    shown = EVIL.replace("\x1b", r"\x1b").replace("\x00", r"\x00").replace("\u202e", r"\u202e")
    text = "".join(found.texts)

    assert text.count(shown) >= 12
    assert not re.search("[\x00\x1b\u202e]", text)


def test_page_loads_nothing() -> None:
    """The page loads nothing: it names no other host, and its own policy forbids it."""
    text = report()

    assert not re.search(r"https?:|url\(|@import|//[a-z]", text)
    assert "default-src 'none'; style-src 'unsafe-inline'" in text


def test_failures_come_first(found: Reader) -> None:
    """Failures come before everything else, with remedies and the rules that repeat them."""
    text = "".join(found.texts)
    heads = ["FAILED", "Failures", "What to do:", "as rules", "Over time", "Where the time went"]
    heads += [
        "Registries",
        "Largest transfers",
        "Slowest images",
        "What was saved",
        "Rules",
        "Warnings",
        "Settings",
    ]
    places = [text.index(head) for head in heads]

    assert places == sorted(places)
    assert "The first 20 of 40 as rules" in text
    assert "and 100 rules more" in " ".join(text.split())


def test_empty_run_has_a_page() -> None:
    """A run in which nothing happened has a page, too."""
    pieces = page(Summary(version="2"), rules=[], settings=[], ended="now")
    text = "".join(Reader("".join(pieces)).texts)

    assert "0 images in 0s" in text
    assert "What failed" not in text
    assert "Over time" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="chromium (apt-get install chromium) opens the report")
class TestBrowser:
    @pytest.mark.parametrize("width", [1280, 768, 375])
    def test_nothing_overflows_horizontally(self, tmp_path: Path, width: int) -> None:
        """On a wide, a medium and a narrow screen nothing overflows horizontally."""
        assert CHROMIUM
        probe = (
            f"<iframe id=f width={width} height=900 src=report.html></iframe><p id=out></p><script>"
            "onload = () => { const d = document.getElementById('f').contentDocument.documentElement;"
            " document.getElementById('out').textContent = d.scrollWidth + ' of ' + d.clientWidth; }</script>"
        )
        (tmp_path / "report.html").write_text(report())
        (tmp_path / "probe.html").write_text(probe)
        dom = self.run(tmp_path, "--allow-file-access-from-files", "--dump-dom", "probe.html")
        widths = re.search(r'id="out">(\d+) of (\d+)<', dom)
        assert widths, dom[-500:]

        assert int(widths[2]) in range(width - 20, width + 1)  # less a scroll bar
        assert widths[1] == widths[2]

    @pytest.mark.parametrize(("scheme", "expected"), [("0", "dark"), ("1", "light")])
    def test_page_follows_the_system_colours(self, tmp_path: Path, scheme: str, expected: str) -> None:
        """The page is drawn, dark or light as the system is set."""
        (tmp_path / "report.html").write_text(report())
        flags = (f"--blink-settings=preferredColorScheme={scheme}", "--window-size=800,600")
        self.run(tmp_path, *flags, "--screenshot=shot.png", "report.html")
        size, dark = self.corner(tmp_path / "shot.png")

        assert size == (800, 600)
        assert dark == (expected == "dark")

    @staticmethod
    def run(folder: Path, *arguments: str) -> str:
        """The output of the browser, with a new profile."""
        assert CHROMIUM
        *flags, file = arguments
        command = [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={folder / 'profile'}",
            *flags,
            f"file://{folder / file}",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90, check=True)
        return done.stdout

    @staticmethod
    def corner(path: Path) -> tuple[tuple[int, int], bool]:
        """Width and height of a PNG, and whether its first pixel is dark."""
        data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        at, pixels = 8, b""
        while at < len(data):
            length, kind = struct.unpack(">I4s", data[at : at + 8])
            pixels += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
            at += length + 12
        return (width, height), zlib.decompress(pixels)[1] < 128


@pytest.mark.parametrize("aim", ["plan", "verify"])
def test_empty_plan_has_no_tables(aim: Aim) -> None:
    """A plan of no images has no empty tables."""
    found = SurveyResult(aim=aim, deep=False, summary=Summary(), began="", ended="", own=0)

    assert "<table>" not in "".join(survey_page(found, (), command=("plan",)))
