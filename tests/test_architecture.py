"""Rules of the design, read from the source: what imports what, sizes, and what never appears."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "halo_cm"
SOURCES = sorted([*PACKAGE.rglob("*.py"), ROOT / "train_unified.py"])
TESTS = sorted((ROOT / "tests").rglob("*.py"))

#: Nothing imports to its right. Sampling stands left of training, which validates by sampling.
LAYERS = (
    (
        *("errors", "seeding", "atomic", "progress", "processes", "verbosity", "units"),
        *("versions", "containers"),
    ),
    ("config",),
    ("data", "universe", "networks", "diffusion", "statistics"),
    ("emulator",),
    ("sampling",),
    ("objectives",),
    ("training", "manager", "pretrained"),
    ("generation", "generate"),
    ("benchmark",),
    ("report",),
    ("compare",),
    ("pipeline",),
    ("ablate",),
    ("cli_support", "cli_simulate", "cli_benchmark", "cli_ablate", "cli", "__main__"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 60, 8

#: Homes of the libraries that only one place may import.
ONLY_IN = {"matplotlib": "report", "typer": "cli"}
NEVER = ("configparser", "pickle", "cPickle", "dill", "joblib", "tomllib", "toml", "yaml")

ABSOLUTE_PATH = re.compile(
    r"(^|[\s\"'=(])(/(home|work|tmp|Users|root|mnt|scratch|data|opt|usr)/|[A-Z]:\\)"
)

sources = pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def part(path: Path) -> str:
    """First name below halo_cm: ``training`` for halo_cm/training/loop.py."""
    inside = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else Path("cli")
    return inside.parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """Names of all imported modules, those inside functions too, but none for types alone."""
    for node in running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # `from halo_cm import pipeline` imports the module pipeline
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes below ``node`` without the blocks of ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from running(other)
            continue
        yield child
        yield from running(child)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_every_module_has_a_place_in_the_layers():
    names = {part(path) for path in SOURCES} - {"__init__"}
    assert names <= set(RANK), f"say in LAYERS where these stand: {sorted(names - set(RANK))}"


@sources
def test_nothing_imports_to_its_right(path):
    if path.parent == PACKAGE and path.name == "__init__.py":
        # the public names are resolved when they are used
        assert not [name for name in imported(parse(path)) if name.startswith("halo_cm")]
        return
    wrong = []
    for name in imported(parse(path)):
        words = name.split(".")
        # `from halo_cm import __version__` asks for a name, not for a module
        if words[0] == "halo_cm" and words[1] in RANK and RANK[words[1]] > RANK[part(path)]:
            wrong.append(name)
    assert not wrong


def test_no_module_imports_itself_through_others():
    modules = {module_name(path): path for path in SOURCES}
    graph = {
        name: {m for m in modules for found in top_level_imports(path) if is_in(found, m)} - {name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def is_in(found: str, module: str) -> bool:
    """Whether the imported name ``a.b.c`` is the module ``a.b.c`` or a name in ``a.b``."""
    return module in (found, found.rpartition(".")[0])


def top_level_imports(path: Path) -> list[str]:
    statements = [n for n in parse(path).body if isinstance(n, (ast.Import, ast.ImportFrom))]
    return list(imported(ast.Module(statements, [])))


@sources
def test_sizes(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    for function in functions(parse(path)):
        length = lines_of(function) - (lines_of(function.body[0]) if documented(function) else 0)
        assert length <= LONGEST_FUNCTION, f"{function.name} has {length} lines"
        arguments = function.args
        names = [a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
        names = [name for name in names if name not in ("self", "cls")]
        assert len(names) <= MOST_PARAMETERS, f"{function.name} has {len(names)} parameters"


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def documented(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether there is a docstring: what explains a function does not count as its length."""
    return ast.get_docstring(function) is not None


@sources
def test_nothing_is_printed_or_unpickled(path):
    for name, call in calls(parse(path)):
        assert name != "print"
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert keywords.get("allow_pickle") != "True"
        assert keywords.get("weights_only") != "False"
        assert name != "torch.load", "weights are safetensors"


@sources
def test_no_error_is_swallowed(path):
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            assert caught, f"line {node.lineno}: bare except"
            assert not re.search(r"\b(Base)?Exception\b", caught), f"line {node.lineno}: {caught}"
            assert [ast.unparse(n) for n in node.body] != ["pass"], f"line {node.lineno}: swallowed"


@sources
def test_libraries_stay_in_their_homes(path):
    for name in imported(parse(path)):
        library = name.split(".")[0]
        assert library not in NEVER, f"{name} is not used here"
        if library in ONLY_IN:
            assert part(path).startswith(ONLY_IN[library]), f"{name} belongs to {ONLY_IN[library]}"
        if part(path) == "statistics":
            assert library not in ("torch", "accelerate"), "statistics need numpy and scipy alone"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_absolute_paths(path):
    if path == Path(__file__):
        return
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = ABSOLUTE_PATH.search(node.value)
            assert not found, f"line {node.lineno}: {node.value!r}"


@sources
def test_nothing_is_left_unfinished(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)


def test_configs_and_scripts_hold_no_absolute_path():
    files = [
        *ROOT.glob("configs/*"),
        *ROOT.glob("examples/**/*.*"),
        ROOT / "Makefile",
        *ROOT.glob("*.md"),
    ]
    assert len(files) > 4
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not ABSOLUTE_PATH.search(line) or line.startswith("#!"), (
                f"{path}:{number}: {line}"
            )


def test_the_rules_find_what_they_look_for():
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "def f():\n    from halo_cm.cli import main\n    import pickle\n"
    )
    assert list(imported(tree)) == ["typing.TYPE_CHECKING", "halo_cm.cli.main", "pickle"]
    for text in ("/home/me/x.h5", "at /work/main", "='/tmp/x'", "C:\\data"):
        assert ABSOLUTE_PATH.search(text)
    for text in ("runs/data/x.h5", "../data/x", "M200c/h", "Msun/h / (Mpc/h)"):
        assert not ABSOLUTE_PATH.search(text)
