from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import FileError, UsageError
from pipeline.log import Event, Level, Value, open_log, printable

ROOT = Path(__file__).parents[3]
RUN = f"run=7f3a pid={os.getpid()}"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
FULL = Path("/dev/full")


def event(message: str = "done", *, level: Level = "info", **fields: Value) -> Event:
    """An event of an image."""
    return Event(name="image.done", message=message, level=level, fields=fields)


def written(path: Path, *events: Event, level: str = "info") -> list[str]:
    """The lines of a log file, without their times."""
    with closing(open_log(path, level=level, run="7f3a")) as lines:
        for happened in events:
            lines.write(happened)
    return [re.sub(rf'^time="{STAMP}" ', "", line) for line in path.read_text().splitlines()]


class TestPairs:
    def test_parts_of_a_line(self, tmp_path: Path) -> None:
        """A line in a file is time, level, message, event, run, process and fields."""
        path = tmp_path / "log"
        found = written(path, event("Finish. Now 1/2.", source="q.io/a:1", bytes=48213771))

        assert re.match(rf'time="{STAMP}" level=', path.read_text())
        assert found == [
            f'level=info msg="Finish. Now 1/2." event=image.done {RUN} source=q.io/a:1 bytes=48213771'
        ]

    def test_forms_of_values(self, tmp_path: Path) -> None:
        """Booleans are words, floats are short, None is left out, spaces and signs are quoted."""
        happened = event("m", a=True, b=False, c=None, d=1 / 3, e=2.0, f="", g="x y", h='a="\\', i="é")
        [line] = written(tmp_path / "log", happened)

        tail = r'a=true b=false d=0.333 e=2 f="" g="x y" h="a=\"\\" i="é"'
        assert line == f'level=info msg="m" event=image.done {RUN} {tail}'

    @given(
        message=st.text(st.characters(exclude_categories=())),
        value=st.text(st.characters(exclude_categories=())),
    )
    def test_any_text_is_one_printable_line(
        self, tmp_path_factory: pytest.TempPathFactory, message: str, value: str
    ) -> None:
        """Whatever a registry sends becomes one printable line that can be parsed."""
        path = tmp_path_factory.mktemp("log") / "log"
        [line] = written(path, event(message, words=value))
        pairs = dict(pair.split("=", 1) for pair in shlex.split(line))

        assert line.isprintable()
        assert list(pairs) == ["level", "msg", "event", "run", "pid", "words"]
        assert pairs["msg"] == printable(message.replace("\\", "\\\\")).replace("\\\\", "\\")

    def test_unprintable_characters_are_escaped(self, tmp_path: Path) -> None:
        """Line breaks, terminal escapes, text direction marks and lone surrogates are shown as escapes."""
        [line] = written(tmp_path / "log", event("a\nb\x1b[2J\x9b\u202e\u2028\ud800\\n"))

        assert line.startswith(r'level=info msg="a\nb\x1b[2J\x9b\u202e\u2028\ud800\\n" ')

    @pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
    def test_events_below_the_level_are_dropped(self, tmp_path: Path, level: str, count: int) -> None:
        """Events below the level leave no line."""
        levels: tuple[Level, ...] = ("debug", "info", "warning", "error")
        found = written(tmp_path / "log", *(event(level=each) for each in levels), level=level)

        assert [line.split()[0] for line in found] == [f"level={each}" for each in levels[-count:]]

    def test_message_is_not_a_format_string(self, tmp_path: Path) -> None:
        """A message is not used as a format string."""
        [line] = written(tmp_path / "log", event("50% of %s"))

        assert 'msg="50% of %s"' in line

    def test_piped_standard_error_gets_logfmt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Standard error that is a pipe gets logfmt."""
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as stream, os.fdopen(reader) as lines:
            monkeypatch.setattr(sys, "stderr", stream)
            open_log(None, level="info", run="7f3a").write(event())
            line = lines.readline()

        assert re.fullmatch(rf'time="{STAMP}" level=info msg="done" event=image.done {RUN}\n', line)


def test_terminal_gets_no_raw_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets only time, level and message, and never a raw escape."""
    master, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream, os.fdopen(master, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", stream)
        open_log(None, level="info", run="7f3a").write(
            event("\x1b]0;x\x07 q.io\nsays", level="error", source="s")
        )
        shown = screen.read(200)

    assert re.fullmatch(rb"\d\d:\d\d:\d\d error   \\x1b\]0;x\\x07 q\.io\\nsays\r\n", shown)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_made_printable(text: str) -> None:
    """`printable` makes any text printable, and does not change printable text."""
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert printable(text) == text or not text.isprintable()


class TestFile:
    def test_existing_log_is_continued(self, tmp_path: Path) -> None:
        """An existing log is continued."""
        path = tmp_path / "log"
        path.write_text("old\n")

        assert written(path, event())[0] == "old"

    def test_reopening_makes_a_new_file(self, tmp_path: Path) -> None:
        """After a rename, reopening makes a new file under the old name."""
        path = tmp_path / "log"
        with closing(open_log(path, level="info", run="7f3a")) as lines:
            lines.write(event("first"))
            path.rename(tmp_path / "log.1")
            lines.write(event("second"))
            lines.reopen()
            lines.write(event("third"))

        words = [re.findall("first|second|third", (tmp_path / name).read_text()) for name in ("log.1", "log")]
        assert words == [["first", "second"], ["third"]]

    def test_failed_reopening_keeps_the_old_file(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """If reopening fails, the old file continues, and standard error says why."""
        path = tmp_path / "log"
        with closing(open_log(path, level="info", run="7f3a")) as lines:
            path.rename(tmp_path / "log.1")
            path.mkdir()
            lines.reopen()
            lines.write(event("two"))

        assert "two" in (tmp_path / "log.1").read_text()
        assert "Is a directory" in capsys.readouterr().err

    def test_standard_error_is_not_reopened(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Standard error is not reopened, and stays open when the log is closed."""
        lines = open_log(None, level="info", run="7f3a")
        lines.reopen()
        lines.close()
        lines.write(event("one"))

        assert "one" in capfd.readouterr().err

    @pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
    def test_full_disk_does_not_stop_the_run(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A log that cannot be written does not stop the run, and standard error says so once."""
        with closing(open_log(FULL, level="info", run="7f3a")) as lines:
            lines.write(event("one"))
            lines.write(event("two"))

        expected = (
            "image-syncer: the log /dev/full cannot be written: No space left on device; the run continues\n"
        )
        assert capsys.readouterr().err == expected

    def test_standard_error_without_a_reader(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Standard error without a reader does not stop the run."""
        reader, writer = os.pipe()
        with os.fdopen(writer, "w") as stream:
            os.close(reader)
            with pytest.raises(BrokenPipeError):
                os.write(writer, b"x")
            monkeypatch.setattr(sys, "stderr", stream)
            open_log(None, level="info", run="7f3a").write(event())

    @pytest.mark.parametrize("name", [".", "missing/log"])
    def test_unwritable_path_is_an_error(self, tmp_path: Path, name: str) -> None:
        """A path that cannot be written is an error of the file, before anything starts."""
        with pytest.raises(
            FileError, match=r"the log cannot be written: (Is a directory|No such file)"
        ) as caught:
            open_log(tmp_path / name, level="info", run="7f3a")

        assert caught.value.exit_code == 2

    def test_unknown_level_is_an_error(self) -> None:
        """An unknown level is an error that names the valid ones."""
        with pytest.raises(
            UsageError, match="--log-level loud: unknown level; use one of debug, info, warning, error"
        ):
            open_log(None, level="loud", run="7f3a")

    def test_closed_standard_error_needs_a_log_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without standard error a log file is required."""
        monkeypatch.setattr(sys, "stderr", None)
        with pytest.raises(UsageError, match="--log"):
            open_log(None, level="info", run="7f3a")


def test_structlog_is_not_imported() -> None:
    """Importing the module does not import structlog, which costs more than all of --help."""
    script = "import sys, pipeline.log; print('structlog' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert found.stdout == "False\n"
