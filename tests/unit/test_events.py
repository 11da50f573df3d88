"""iotd/ops/EVENTS.md lists every event that the code logs, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "iotd"
LIST = SOURCE / "ops" / "EVENTS.md"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def logged(path: Path) -> Iterator[tuple[str, str]]:
    """(event, level) of each call of a logger in a module; both names where one of two is chosen."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        owner = node.func.value
        if not (isinstance(owner, ast.Name) and owner.id == "log" and node.func.attr in LEVELS):
            continue
        for part in ast.walk(node.args[0]):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value, node.func.attr


def test_every_event_is_listed_with_its_level_and_every_listed_one_exists() -> None:
    code = {pair for path in SOURCE.rglob("*.py") for pair in logged(path)}
    code |= {("library_log", "any"), ("log_lines_dropped", "warning")}  # made by the logging itself
    listed = set(re.findall(r"^\| `(\w+)` \| (\w+) \|", LIST.read_text(), re.M))
    assert code - listed == set(), "add these to iotd/ops/EVENTS.md, with what they mean"
    assert listed - code == set(), "these are logged nowhere any more: take them out of iotd/ops/EVENTS.md"


def test_event_names_are_in_snake_case() -> None:
    for path in SOURCE.rglob("*.py"):
        for event, _ in logged(path):
            assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", event), f"{path}: {event!r}"
