"""Rules that no single file shows: the direction of imports, and the length of files and functions.

They are read from the syntax trees: an import inside a function or under TYPE_CHECKING counts, too.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASE = {"dataclass", "errors", "settings", "log", "process"}
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    "model": BASE,
    "scheduler": {*BASE, "model"},
    "http": {*BASE, "model"},
    "registry": {*BASE, "model", "http"},
    "stages": {*BASE, "model", "http", "registry", "config"},
    "config": {*BASE, "model"},
    "records": {*BASE, "model"},
    "engine": {*BASE, "model", "scheduler", "http", "registry", "stages", "config", "records"},
    "outputs": {*BASE, "model"},
    "report": {*BASE, "model", "scheduler", "observe", "outputs"},
    "observe": {*BASE, "model", "scheduler", "report", "outputs"},
}
"""What each part of `pipeline` may import besides itself; commands may import all of these."""
MAY_IMPORT["commands"] = set(MAY_IMPORT)
MAY_IMPORT["cli"] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = set(MAY_IMPORT)
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
SENTENCE_BREAK = re.compile(r"[.!?]\s+[A-Z]")
TYPE_NAME = re.compile(r"_?[A-Z]\w*[a-z]\w*")


def files(*folders: str) -> list[Path]:
    """The Python files below the folders, as paths within the project."""
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def names_imported(module: ast.Module, package: tuple[str, ...]) -> set[str]:
    """The full names of all modules and names that a module of `package` imports."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            found |= {f"{base}.{name.name}" for name in node.names}
    return found


def imported(path: Path) -> set[str]:
    """The full names of all modules and names that a file imports."""
    return names_imported(tree(path), path.parts[:-1])


def part_of(path: Path) -> str:
    """The part of `pipeline` that a file belongs to: a module's or a folder's name."""
    return path.parts[1].removesuffix(".py")


def parts_imported(path: Path) -> set[str]:
    """The parts of `pipeline` that a file imports."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("pipeline.")} & MAY_IMPORT.keys()


def importers(*packages: str) -> set[str]:
    """The parts of `pipeline` that import one of the packages."""
    return {
        part_of(path)
        for path in files("pipeline")
        if {name.split(".")[0] for name in imported(path)} & set(packages)
    }


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a file, including methods and inner ones."""
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    docstring = function.body[0]
    return total - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def types_in(module: ast.Module) -> set[str]:
    """The names of a module's classes and of type aliases that look like classes."""
    found = {node.name for node in ast.walk(module) if isinstance(node, ast.ClassDef)}
    assigned = {
        target.id
        for node in ast.walk(module)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return found | {name for name in assigned if TYPE_NAME.fullmatch(name)}


@pytest.mark.parametrize("path", files("pipeline"), ids=str)
def test_import_order(path: Path) -> None:
    """A module imports its own part and those that MAY_IMPORT names."""
    part = part_of(path)
    if part == "__init__":
        assert parts_imported(path) == set()
        return
    assert part in MAY_IMPORT, f"{part} has no place in the order of imports: give it one in MAY_IMPORT"

    assert parts_imported(path) - {part} - MAY_IMPORT[part] == set()


def test_only_the_own_dataclass_decorator() -> None:
    """Classes use the project's own decorator, which is cheap at the start of each process."""
    users = {str(path) for path in files("pipeline") if "dataclasses.dataclass" in imported(path)}

    assert users == {"pipeline/dataclass.py"}


def test_faults_are_made_in_one_module() -> None:
    """Faults are made only in model/faults.py, so that all have a place, a side and consistent wording."""
    makers = {
        str(path)
        for path in files("pipeline")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Fault"
    }

    assert makers == {"pipeline/model/faults.py"}


def test_class_names_are_unique() -> None:
    """No two modules use the same name for a class or for a type alias."""
    places: dict[str, set[str]] = {}
    for path in files("pipeline"):
        for name in types_in(tree(path)):
            places.setdefault(name, set()).add(str(path))

    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_scheduler_is_pure() -> None:
    """The scheduler imports nothing that touches the system or the clock."""
    pure = {"os", "socket", "multiprocessing", "time", "subprocess", "threading"}

    assert "scheduler" not in importers(*pure)


def test_only_the_store_imports_diskcache() -> None:
    """Only records/store.py imports diskcache, so that replacing it changes only one file."""
    named = {path for path in files("pipeline") if "diskcache" in {n.split(".")[0] for n in imported(path)}}

    assert {str(path) for path in named} <= {"pipeline/records/store.py", "pipeline/records/folder.py"}


def test_only_engine_dask_imports_dask() -> None:
    """Only engine/dask imports Dask, so the rest works without the extra."""
    named = {
        path.parent.as_posix()
        for path in files("pipeline")
        if {"dask", "distributed"} & {name.split(".")[0] for name in imported(path)}
    }

    assert named == {"pipeline/engine/dask"}


def test_only_http_opens_connections() -> None:
    """Only http/ opens connections, and registry/ handles their errors."""
    assert importers("requests") <= {"http"}
    assert importers("urllib3") <= {"http", "registry"}


def test_stages_do_not_import_multiprocessing() -> None:
    """The stages do not import multiprocessing: they know no queue, process or engine."""
    assert "stages" not in importers("multiprocessing")


def test_stages_import_only_the_image_store() -> None:
    """The stages see a registry only as an ImageStore; only the maker of their runner names the client."""
    named = {
        path.name
        for path in files("pipeline/stages")
        if any(
            name.startswith(("pipeline.registry.client", "pipeline.registry.upload"))
            for name in imported(path)
        )
    }

    assert named == {"run.py"}


def test_supervisor_imports_only_the_pool_interface() -> None:
    """The supervisor knows the worker pool only by its interface: no process, pipe or cluster."""
    wrong = {
        f"{path}: {name}"
        for path in files("pipeline/engine")
        if not {"local", "dask"} & set(path.parts)
        for name in imported(path)
        if name.startswith(("pipeline.engine.local", "pipeline.engine.dask", "multiprocessing", "subprocess"))
    }

    assert wrong == set()


def test_worker_pools_are_independent() -> None:
    """Neither kind of worker imports the other."""
    for one, other in (("local", "dask"), ("dask", "local")):
        names = {name for path in files(f"pipeline/engine/{one}") for name in imported(path)}

        assert not any(name.startswith(f"pipeline.engine.{other}") for name in names)


def test_model_is_pure() -> None:
    """The model imports nothing that touches the system or the clock."""
    assert "model" not in importers("os", "socket", "multiprocessing", "time", "subprocess", "threading")


@pytest.mark.parametrize("folder", ["pipeline", "tests", "scripts"])
def test_file_lengths(folder: str) -> None:
    """No file is longer than 400 lines."""
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in files(folder)}

    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


@pytest.mark.parametrize("folder", ["pipeline", "tests", "scripts"])
def test_function_lengths(folder: str) -> None:
    """No function is longer than 40 lines, not counting docstrings."""
    lengths = {
        f"{path}:{function.lineno} {function.name}": lines_of(function)
        for path in files(folder)
        for function in functions(path)
    }

    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_every_test_has_a_one_sentence_docstring() -> None:
    """Every test has a docstring of one sentence, which states the behaviour."""
    wrong = []
    for path in files("tests"):
        for function in functions(path) if path.name.startswith("test_") else []:
            if not function.name.startswith("test"):
                continue
            text = " ".join((ast.get_docstring(function) or "").split())
            if not text.endswith(".") or SENTENCE_BREAK.search(text):
                wrong.append(f"{path}:{function.lineno} {function.name}: {text!r}")

    assert wrong == []


def test_reader_finds_imports_and_types() -> None:
    """Imports and types are found at any depth, and docstrings are not counted as lines."""
    source = """
def long():
    '''One.

    Two.'''
    from . import queues
    from ..model.tree import Plan
    import pipeline.cli.main

class Plan: ...
if TYPE_CHECKING:
    Ask = Callable
LIMIT = T = 1
"""
    module = ast.parse(source)
    function = module.body[0]
    assert isinstance(function, ast.FunctionDef)

    names = names_imported(module, ("pipeline", "engine"))

    assert names == {"pipeline.engine.queues", "pipeline.model.tree.Plan", "pipeline.cli.main"}
    assert lines_of(function) == 4
    assert types_in(module) == {"Plan", "Ask"}


def asserts(function: ast.AST) -> bool:
    """Whether a function itself has an assertion: `assert`, or one of pytest's calls."""
    pytests = {"pytest.raises", "pytest.warns", "pytest.fail"}
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and ast.unparse(node.func) in pytests)
        for node in ast.walk(function)
    )


def test_every_test_asserts() -> None:
    """Every test asserts something, itself or in a function of the tests that it calls by name."""
    functions = [
        (path, node)
        for path in files("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
    ]
    helpers = {node.name for _, node in functions if asserts(node) and not node.name.startswith("test_")}
    called = [
        (f"{path}:{node.lineno} {node.name}", {ast.unparse(each.func) for body in node.body for each in
         ast.walk(body) if isinstance(each, ast.Call)})
        for path, node in functions
        if node.name.startswith("test_") and not asserts(node)
    ]  # fmt: skip

    assert [name for name, calls in called if not calls & helpers] == []
