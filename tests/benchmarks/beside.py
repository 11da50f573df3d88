"""`python -m tests.benchmarks.beside --commit COMMIT`: this tree beside an earlier commit of it, in one run.

A worktree of the commit is made in a temporary folder. In each round both trees do the same cases, one after the
other, the first of them second in the next round; each with the benchmarks it has itself, so that a case means the
same from outside and may be anything inside. What counts are the ratios within a round. ``rest`` is
:mod:`tests.benchmarks.rest` of each tree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tests.benchmarks.frame import Spread, tell

HERE = Path(__file__).parents[2]

Figures = Mapping[str, float]
"""By what they are, "written, readings/s" or so."""

_CASES = """
import asyncio, json, logging, sys
from dataclasses import asdict, replace
import structlog, uvloop
from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.frame import measure
structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)
benchmark = BENCHMARKS[sys.argv[1]]
async def ours():
    async for cases in benchmark.cases():
        yield [case for case in cases if case.kind != "peer"]
result = uvloop.run(measure(replace(benchmark, cases=ours), 1, lambda line: print(line, file=sys.stderr)))
print(json.dumps({name: asdict(measures[0]) for name, measures in result.measures.items()}))
"""
"""Runs a benchmark of the tree that it is started in once, without the peers."""


@dataclass(frozen=True)
class Ratio:
    """Here against the commit, round by round: median, smallest, largest; and the medians themselves."""

    case: str
    what: str
    ratio: Spread
    here: float
    before: float


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The commit's files in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="iotd-beside-") as folder:
        path = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", str(path), commit], cwd=HERE, check=True)
        try:
            yield path
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(path)], cwd=HERE, check=True)


def figures(tree: Path, case: str, seconds: float) -> Figures:
    """What a tree's own benchmark says."""
    if case == "rest":
        found = _run(tree, "-m", "tests.benchmarks.rest", "--seconds", str(seconds), "--output", "json")
        return {
            f"{one['name']}, {what}": one[key]
            for one in found
            for what, key in (("part of a core", "daemon"), ("MiB", "resident"), ("GB written a day", "written"))
            if key in one
        }
    measures = _run(tree, "-c", _CASES, case)
    return {
        f"{name}, {what}": figure
        for name, one in measures.items()
        for what, figure in (
            ("readings/s", one["count"] / one["seconds"]),
            ("own µs of CPU each", 1e6 * one["cpu"] / one["count"]),
        )
    }


def _run(tree: Path, *command: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = (sys.executable, *command)
    with subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()  # it ends its servers
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return json.loads(said)


def compare(commit: str, cases: Sequence[str], rounds: int, seconds: float) -> list[Ratio]:
    """Runs all cases in both trees, in turn."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with worktree(commit) as before:
        for n in range(rounds):
            for case in cases:
                order = (before, HERE) if n % 2 else (HERE, before)
                said = {tree: figures(tree, case, seconds) for tree in order}
                for what in said[HERE].keys() & said[before].keys():
                    pair = said[HERE][what], said[before][what]
                    found.setdefault((case, what), []).append(pair)
                    click.echo(f"{n + 1}/{rounds} {case} {what}: {pair[0]:,.3f}, {pair[1]:,.3f} before", err=True)
    return [
        Ratio(
            case,
            what,
            Spread.of([here / earlier for here, earlier in pairs]),
            Spread.of([here for here, _ in pairs]).median,
            Spread.of([earlier for _, earlier in pairs]).median,
        )
        for (case, what), pairs in sorted(found.items())
    ]


@click.command()
@click.argument("cases", nargs=-1)
@click.option("--commit", default="6c98609", show_default=True)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--seconds", default=150.0, show_default=True, help="Of watching, in rest.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(cases: Sequence[str], commit: str, rounds: int, seconds: float, output: str) -> None:
    """Ratios of this tree to an earlier commit: cases of `python -m tests.benchmarks`, and rest."""
    tell(compare(commit, cases or ("ingest-1", "history", "rest"), rounds, seconds), output, _line)


def _line(one: Ratio) -> str:
    return f"{one.case:<12} {one.what:<42} {one.ratio} ({one.here:,.3f}, {one.before:,.3f} before)"


if __name__ == "__main__":
    bench()
