"""The shape of the code base, held by its syntax trees: arrows, one importer for each library, and small pieces."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("hivetune", "chain", "hub", "miner", "validator", "averager", "neurons", "tools")
# What each package may import: neurons -> roles -> chain | hub -> hivetune.
ARROWS = {
    "hivetune": set(),
    "chain": {"hivetune"},
    "hub": {"hivetune"},
    "miner": {"hivetune", "chain", "hub"},
    "validator": {"hivetune", "chain", "hub"},
    "averager": {"hivetune", "chain", "hub"},
    "neurons": {"hivetune", "chain", "hub", "miner", "validator", "averager"},
    "tools": {"hivetune", "chain"},  # test equipment, which nothing of the product imports
}
AROUND = ("neurons", "tools")  # what starts an embedded chain
# Where a library may be imported: a package or one file.
IMPORTERS = {
    "substrateinterface": ("chain/", "tools/"),
    "scalecodec": ("chain/", "tools/"),
    "huggingface_hub": "hub/",
    "transformers": "hivetune/model.py",
    "datasets": "hivetune/corpus.py",
    "peft": "miner/",
}
LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 60


@dataclass(frozen=True)
class Source:
    name: str  # relative to the root
    package: str
    lines: int
    tree: ast.Module


@cache
def sources() -> tuple[Source, ...]:
    """Every file of the product."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            name = path.relative_to(ROOT).as_posix()
            found.append(Source(name, package, len(text.splitlines()), ast.parse(text, name)))
    return tuple(found)


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Full names of imported modules with their lines, wherever in the file they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name comes from"
            yield node.module or "", node.lineno
            if (node.module or "") in PACKAGES:
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def called(node: ast.Call) -> str:
    """The dotted name of what is called; "" when it is no plain name."""
    return ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""


def test_the_checks_see_the_code() -> None:
    assert {source.package for source in sources()} == set(PACKAGES)
    assert len(sources()) > 50
    names = {name for source in sources() for name, _ in imported(source.tree)}
    assert set(IMPORTERS) <= {name.split(".")[0] for name in names}


def test_arrows_point_down() -> None:
    against = [
        f"{source.name}:{line} imports {name}"
        for source in sources()
        for name, line in imported(source.tree)
        if (top := name.split(".")[0]) in PACKAGES and top != source.package and top not in ARROWS[source.package]
    ]
    assert against == []


def test_production_code_does_not_import_its_embedded_twins() -> None:
    """The embedded chain and Hub are endpoints: the clients know them over a socket alone."""
    against = [
        f"{source.name}:{line} imports {name}"
        for source in sources()
        for name, line in imported(source.tree)
        if (name.startswith("chain.devnode") and source.package not in AROUND and "devnode" not in source.name)
        or (name.startswith("hub.server") and source.package != "neurons" and "server" not in source.name)
    ]
    assert against == []


def test_release_zero_is_made_by_the_processes_alone() -> None:
    importers = {s.package for s in sources() for name, _ in imported(s.tree) if name.startswith("averager.genesis")}
    assert importers == {"neurons"}


@pytest.mark.parametrize("library", IMPORTERS)
def test_a_library_has_one_importer(library: str) -> None:
    against = [
        f"{source.name}:{line}"
        for source in sources()
        for name, line in imported(source.tree)
        if name.split(".")[0] == library and not source.name.startswith(IMPORTERS[library])
    ]
    assert against == []


def test_nothing_of_the_product_imports_its_tests_or_benchmarks() -> None:
    names = {name.split(".")[0] for source in sources() for name, _ in imported(source.tree)}
    assert not names & {"tests", "conftest", "benchmarks", "pytest", "unittest", "hypothesis"}


def test_one_broad_except_stands_in_the_daemon_loop() -> None:
    broad = [
        source.name
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & set(ast.unparse(node.type).strip("()").split(", ")))
    ]
    assert broad == ["neurons/daemon.py"]


def test_the_product_prints_nothing() -> None:
    against = [
        f"{source.name}:{node.lineno}"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and called(node) in ("print", "pprint", "breakpoint")
    ]
    assert against == []


def test_files_fit_a_head() -> None:
    assert [f"{s.name}: {s.lines} lines" for s in sources() if s.lines > LONGEST_FILE] == []


def test_functions_fit_a_screen() -> None:
    long = [
        f"{source.name}:{node.lineno} {node.name}: {length} lines"
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    assert [source.name for source in sources() if not ast.get_docstring(source.tree)] == []


def test_flat_folders_stay_flat() -> None:
    for folder in ("tests", "docker", "benchmarks"):
        assert not (ROOT / folder / "__init__.py").exists()
    rooms = (ROOT / "tests", ROOT / "tests" / "contract")
    assert not [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent not in rooms]


def test_values_are_frozen() -> None:
    """Every dataclass of the protocol and of what judges by it."""
    loose = [
        f"{source.name}:{node.lineno} {node.name}"
        for source in sources()
        if source.package in ("hivetune", "validator", "averager")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator).startswith("dataclass") and "frozen=True" not in ast.unparse(decorator)
    ]
    assert loose == []


HEAVY = ("torch", "transformers", "peft", "datasets")
CLIENTS = ("substrateinterface", "huggingface_hub")


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [("neurons.cli", HEAVY + CLIENTS), ("neurons.miner, neurons.validator, neurons.averager", HEAVY)],
)
def test_entry_files_start_without_heavy_libraries(modules: str, unwanted: tuple[str, ...]) -> None:
    """Help is instant: torch and what sits on it are imported when a command runs."""
    code = f"import sys, {modules}; print(*[name for name in {unwanted} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
