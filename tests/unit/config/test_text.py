from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import text
from pipeline.config.nodes import Document
from pipeline.config.text import read_document
from pipeline.errors import FileError
from tests.unit.config.words import attempt, plain, write
from tests.unit.records.stores import python

WITHOUT_POWERS = (
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
)
READ = """
import sys
from pathlib import Path
from pipeline.config.nodes import Document
from pipeline.config.text import read_document
from pipeline.errors import FileError
try:
    read_document(Path(sys.argv[1]))
except FileError as error:
    print(error, end="")
"""


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.yml"])
def test_file_ending_determines_the_format(tmp_path: Path, name: str) -> None:
    """All three endings are read, and a byte order mark is ignored."""
    path = write(tmp_path, name, b'\xef\xbb\xbf{"a": "b"}')

    document = read_document(path)

    assert (str(path), {"a": "b"}, ()) == (document.path, plain(document.root), document.warnings)


@pytest.mark.parametrize("name", ["a.yaml", "a.yml"])
def test_empty_map_is_valid(tmp_path: Path, name: str) -> None:
    """An empty map is a valid file."""
    assert {} == plain(read_document(write(tmp_path, name, "{}\n")).root)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "{}", ": the name must end in .json, .yaml or .yml"),
        ("a", "{}", ": the name must end in .json, .yaml or .yml"),
        ("a.json", "", ": the file is empty (write {}"),
        ("a.yaml", " \n\t\n", ": the file is empty (write {}"),
        ("a.yaml", "# nothing\n", ": the file has no content (write {}"),
        ("a.yaml", "---\n", ": the file has no content (write {}"),
        ("a.json", "null", ": the file has no content (write {}"),
        ("a.json", b'{"a":\n "\xff"}', ":2:3: the byte 0xff is not UTF-8"),
        ("a.yaml", "a: é\nb: ü".encode("latin-1"), ":1:4: the byte 0xe9 is not UTF-8"),
        ("a.json", '{"a": 1}'.encode("utf-16"), ": the file is UTF-16 (save it as UTF-8)"),
        ("a.yaml", b"\x7fELF\x02\x01\x01\x00", ":1:1: a control character, U+007F"),
        ("a.json", b'{\n"a\x00": 1}', ":2:3: a control character, U+0000"),
    ],
)
def test_invalid_file_gets_one_clear_error(
    tmp_path: Path,
    name: str,
    content: str | bytes,
    words: str,
) -> None:
    """The error names the file, the place if known, and what to do."""
    path = write(tmp_path, name, content)

    with pytest.raises(FileError) as caught:
        read_document(path)

    assert str(caught.value).startswith(f"{path}{words}")
    assert caught.value.exit_code == 2


def test_missing_file_is_reported(tmp_path: Path) -> None:
    """A missing file is reported as missing or unreadable, also below a path that is not a directory."""
    write(tmp_path, "file", "")

    for path in (tmp_path / "no.json", tmp_path / "file" / "no.json", Path("a\0b.json")):
        with pytest.raises(FileError, match=r"does not exist|cannot be read") as caught:
            read_document(path)
        assert str(path) == caught.value.path


def test_directory_is_refused(tmp_path: Path) -> None:
    """A directory with the name of a file is refused as a directory."""
    path = tmp_path / "a.json"
    path.mkdir()

    with pytest.raises(FileError, match="this is a directory, not a file"):
        read_document(path)


def test_huge_file_is_refused(tmp_path: Path) -> None:
    """A file over the size limit is refused without being parsed."""
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(text.MAX_FILE + 1)

    with pytest.raises(FileError, match="the file is larger than 64 MiB"):
        read_document(path)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root reads any file")
def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    """A file without read permission is reported as such."""
    path = write(tmp_path, "a.json", "{}")
    path.chmod(0)
    prefix = WITHOUT_POWERS if os.geteuid() == 0 else ()

    run = subprocess.run(
        [*prefix, sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )

    assert f"{path}: no permission to read the file (check its owner and mode)" == run.stdout


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60), name=st.sampled_from(["a.json", "a.yaml"]))
def test_any_content_parses_or_raises_file_error(tmp_path: Path, content: bytes, name: str) -> None:
    """Any content either parses or raises FileError."""
    path = write(tmp_path, name, content)

    found = attempt(lambda: read_document(path))

    assert isinstance(found, Document | FileError)
    assert str(path) == found.path


@pytest.mark.parametrize(("name", "imported"), [("rules.json", False), ("rules.yaml", True)])
def test_yaml_is_imported_only_for_yaml(tmp_path: Path, name: str, imported: bool) -> None:  # noqa: FBT001 - a column
    """The yaml package is imported only for YAML files."""
    file = tmp_path / name
    file.write_text('{"a": "b"}')
    script = (
        "import sys, pathlib; from pipeline.config.text import read_document;"
        " read_document(pathlib.Path(sys.argv[1])); print('yaml' in sys.modules)"
    )
    said, _ = python(script, file).communicate(timeout=30)

    assert said == f"{imported}\n"
