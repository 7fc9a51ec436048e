from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import FileError, MachineError
from pipeline.outputs import writing
from pipeline.outputs.writing import check_writable, is_stream, write_text


class TestCheckWritable:
    def test_check_leaves_no_file_behind(self, tmp_path: Path) -> None:
        """The check leaves no file behind and does not change an existing one."""
        check_writable(tmp_path / "new.yaml")
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "old.yaml").write_text("old")
        check_writable(tmp_path / "old.yaml")
        assert (tmp_path / "old.yaml").read_text() == "old"

    @pytest.mark.parametrize(("name", "words"), [(".", "folder"), ("missing/a.yaml", "No such file")])
    def test_folder_or_missing_folder_is_an_error(self, tmp_path: Path, name: str, words: str) -> None:
        """A folder, or a path in a missing folder, is an error."""
        with pytest.raises(FileError, match=words) as caught:
            check_writable(tmp_path / name)

        assert caught.value.exit_code == 2

    @pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv takes from root what modes forbid")
    def test_read_only_folder_is_detected(self, tmp_path: Path) -> None:
        """An unwritable folder is detected before the run."""
        script = (
            "import sys, pathlib, pipeline.outputs.writing as r; r.check_writable(pathlib.Path(sys.argv[1]))"
        )
        less = "-dac_override,-dac_read_search"
        limits = ["setpriv", f"--bounding-set={less}", f"--inh-caps={less}"]
        tmp_path.chmod(0o500)
        found = subprocess.run(
            [*limits, sys.executable, "-c", script, tmp_path / "a.yaml"],
            cwd=Path(writing.__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        tmp_path.chmod(0o700)

        assert found.stderr.splitlines()[-1].endswith("a.yaml: it cannot be written: Permission denied")

    def test_streams_are_checked_without_opening(self, tmp_path: Path) -> None:
        """Devices and pipes are checked without opening them or creating a file beside them."""
        os.mkfifo(tmp_path / "pipe")
        check_writable(tmp_path / "pipe")
        check_writable(Path("/dev/null"))

        assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


class TestWriteText:
    def test_device_stays_a_device(self, tmp_path: Path) -> None:
        """A device is written to and stays a device, also through a link."""
        link = tmp_path / "null"
        link.symlink_to("/dev/null")
        write_text(Path("/dev/null"), ["one"])
        write_text(link, ["one"])

        assert link.readlink() == Path("/dev/null")
        assert stat.S_ISCHR(link.stat().st_mode)
        assert [path.name for path in tmp_path.iterdir()] == ["null"]

    def test_link_stays_and_its_target_is_replaced(self, tmp_path: Path) -> None:
        """A link stays, and its target is replaced or created."""
        (tmp_path / "there").mkdir()
        old, new = tmp_path / "there" / "old", tmp_path / "there" / "new"
        old.write_text("old")
        for name, target in (("a", old), ("b", new)):
            (tmp_path / name).symlink_to(target)
            check_writable(tmp_path / name)
            write_text(tmp_path / name, ["on", "e"])

        assert [(tmp_path / name).is_symlink() for name in "ab"] == [True, True]
        assert [path.read_text() for path in (old, new)] == ["one", "one"]

    def test_named_pipe_gets_everything(self, tmp_path: Path) -> None:
        """The reader of a named pipe gets everything, whatever the size."""
        path = tmp_path / "pipe"
        os.mkfifo(path)
        # Opened for both, so that the pipe has a reader before anything is written.
        reader = os.open(path, os.O_RDWR)
        found: list[bytes] = []

        def read() -> None:
            left = 300_000
            while left:
                found.append(os.read(reader, left))
                left -= len(found[-1])

        thread = threading.Thread(target=read)
        thread.start()
        write_text(path, ["abc"] * 100_000)
        thread.join()
        os.close(reader)

        assert b"".join(found) == b"abc" * 100_000
        assert stat.S_ISFIFO(path.stat().st_mode)

    def test_named_pipe_without_reader_is_an_error(self, tmp_path: Path) -> None:
        """A named pipe without a reader is an error, without waiting."""
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(MachineError, match="pipe cannot be written: no process reads from it"):
            write_text(tmp_path / "pipe", ["one"])

    def test_full_device_is_a_machine_error(self) -> None:
        """A full device is a MachineError."""
        with pytest.raises(MachineError, match="/dev/full cannot be written: No space left on device"):
            write_text(Path("/dev/full"), ["one"])

    @pytest.mark.parametrize("name", ["/dev/stdout", "here"])
    def test_file_behind_standard_output_is_not_replaced(self, tmp_path: Path, name: str) -> None:
        """The file behind standard output is written at its position, and not replaced."""
        script = (
            "import sys, pathlib; from pipeline.outputs.writing import write_text\n"
            "print('before', flush=True); write_text(pathlib.Path(sys.argv[1]), ['between\\n'])\n"
            "print('after')"
        )
        with (tmp_path / "here").open("w") as here:
            subprocess.run(
                [sys.executable, "-c", script, name],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(Path(writing.__file__).parents[2])},
                stdout=here,
                check=True,
            )

        assert (tmp_path / "here").read_text().splitlines() == ["before", "between", "after"]


@pytest.mark.parametrize(("name", "expected"), [("/dev/null", True), ("/", False), ("/no/such", False)])
def test_folder_and_missing_path_are_not_streams(name: str, expected: bool) -> None:  # noqa: FBT001 - pytest's parameters
    """Neither a folder nor a missing path is a stream."""
    assert is_stream(Path(name)) == expected
