"""`python -m tests.benchmarks`: runs benchmarks and prints ratios."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict

import click

from tests.benchmarks.archive import FIRST_ARCHIVE
from tests.benchmarks.frame import Benchmark, Result, Spread, measure
from tests.benchmarks.ingest import CATCHING_UP, HISTORY, INGEST_FIVE, INGEST_ONE
from tests.benchmarks.query import QUERY_DAY, QUERY_UNIT

BENCHMARKS: dict[str, Benchmark] = {
    b.name: b for b in (INGEST_ONE, INGEST_FIVE, HISTORY, CATCHING_UP, FIRST_ARCHIVE, QUERY_DAY, QUERY_UNIT)
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1), help="Times that each case runs.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def bench(names: Sequence[str], rounds: int, output: str) -> None:
    """Measures the benchmarks named, or all; what counts are the ratios within a round."""
    import structlog
    import uvloop  # as the daemon

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    def tell(line: str) -> None:
        click.echo(line, err=True)

    results = [uvloop.run(measure(BENCHMARKS[name], rounds, tell)) for name in names or BENCHMARKS]
    if output == "json":
        click.echo(json.dumps([_plain(result) for result in results], indent=2))
        return
    for result in results:
        _show(result)


def _show(result: Result) -> None:
    base = next(iter(result.measures))
    click.echo(f"\n{result.name}: {result.what}; median (smallest–largest) of the rounds")
    for name, measures in result.measures.items():
        rate = Spread.of([m.rate for m in measures])
        stall, busy = max(m.stall_ms for m in measures), max(m.busy_ms for m in measures)
        cpu = Spread.of([1e6 * m.cpu / m.count for m in measures])
        against = "" if name == base else f", {result.ratio(name, base)} of {base}"
        if name != base and measures[0].served:
            against += f" ({result.thrift(name, base)} by the CPU of all processes)"
        click.echo(
            f"  {name:<10} {rate.median:>12,.0f} {result.unit}/s{against}; own CPU {cpu.median:.2f} µs each; "
            f"longest stall {stall:.1f} ms, computing {busy:.1f} ms"
        )


def _plain(result: Result) -> dict[str, object]:
    base = next(iter(result.measures))
    return {
        "name": result.name,
        "what": result.what,
        "unit": result.unit,
        "ratios": {name: asdict(result.ratio(name, base)) for name in result.measures},
        "ratios by CPU": {name: asdict(result.thrift(name, base)) for name in result.measures},
        "measures": {name: [asdict(m) for m in measures] for name, measures in result.measures.items()},
    }


if __name__ == "__main__":
    bench()
