"""iotd/ARCHITECTURE.md names functions that exist where it says, and at most forty of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "iotd"
TEXT = (SOURCE / "ARCHITECTURE.md").read_text()
STEPS = re.findall(r"^(\d+)\. `([\w/.]+)` `([\w.]+)`", TEXT, re.M)


def functions(path: Path) -> set[str]:
    """Names of the functions of a module, those of classes as ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        inside = [(f"{node.name}.", child) for child in node.body] if isinstance(node, ast.ClassDef) else [("", node)]
        found |= {
            prefix + child.name for prefix, child in inside if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        }
    return found


def test_the_way_of_a_reading_has_at_most_forty_functions_and_each_is_where_it_says() -> None:
    assert [int(number) for number, _, _ in STEPS] == list(range(1, len(STEPS) + 1))
    assert 30 < len(STEPS) <= 40
    for _, file, function in STEPS:
        assert (SOURCE / file).is_file(), file
        assert function in functions(SOURCE / file), f"{function} is not in {file}"


def test_every_other_name_exists_too() -> None:
    everywhere = {name for path in SOURCE.rglob("*.py") for name in functions(path)}
    for name in re.findall(r"`([A-Z]\w+\.\w+)`", TEXT):
        assert name in everywhere, name
    for file in re.findall(r"`((?:\w+/)+[\w.]*)`", TEXT):
        root = SOURCE.parent if file.startswith(("tests/", "config/iotd.toml")) else SOURCE
        assert (root / file).exists(), file
