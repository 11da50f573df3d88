"""Modules import one way: a circle makes each of them need all others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import iotd

ROOT = Path(iotd.__file__).parent
CONFIG = ("values", "tree", "topology", "check", "load", "diff")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}


def imports(node: ast.AST, *, late: bool) -> Iterator[str]:
    """Modules of ours that a module imports; with ``late``, also those inside of functions and for types only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom):
            for alias in child.names:
                full = f"{child.module}.{alias.name}"
                yield full if full in MODULES else str(child.module)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif late or not (
            isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING")
        ):
            yield from imports(child, late=late)


def graph(*, late: bool) -> dict[str, set[str]]:
    return {name: {m for m in imports(tree, late=late) if m in MODULES} for name, tree in MODULES.items()}


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(graph(late=False)).prepare()
    except CycleError as e:
        pytest.fail(" → ".join(reversed(e.args[1])))


def test_late_imports_hide_no_circle_but_that_of_readings_and_their_pictures() -> None:
    found = graph(late=True)
    found["iotd.query.result"] -= {"iotd.query.pictures.terminal", "iotd.query.pictures.png"}
    try:
        TopologicalSorter(found).prepare()
    except CycleError as e:
        pytest.fail(" → ".join(reversed(e.args[1])))


def test_the_configuration_imports_only_what_comes_before() -> None:
    found = graph(late=True)
    for n, module in enumerate(CONFIG):
        later = {f"iotd.config.{name}" for name in CONFIG[n:]} | {"iotd.config"}
        assert not found[f"iotd.config.{module}"] & later, module
