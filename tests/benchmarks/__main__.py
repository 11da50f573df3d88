"""`python -m tests.benchmarks`: runs benchmarks and prints ratios."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict

import click

from tests.benchmarks.archive import FIRST_ARCHIVE
from tests.benchmarks.frame import Benchmark, Result, Spread, measure
from tests.benchmarks.ingest import CATCHING_UP, HISTORY, INGEST_FIVE, INGEST_ONE, INGEST_RAW
from tests.benchmarks.mqttclient import MQTT_CLIENT
from tests.benchmarks.query import QUERY_DAY, QUERY_UNIT

BENCHMARKS: dict[str, Benchmark] = {
    b.name: b
    for b in (
        INGEST_ONE,
        INGEST_FIVE,
        INGEST_RAW,
        HISTORY,
        CATCHING_UP,
        FIRST_ARCHIVE,
        QUERY_DAY,
        QUERY_UNIT,
        MQTT_CLIENT,
    )
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
    click.echo(f"\n{result.name}: {result.what}; median (smallest–largest) of the rounds")
    for name, measures in result.measures.items():
        rate = Spread.of([m.rate for m in measures])
        stall, busy = max(m.stall_ms for m in measures), max(m.busy_ms for m in measures)
        cpu = Spread.of([1e6 * m.cpu / m.count for m in measures])
        click.echo(
            f"  {name:<13} {rate.median:>12,.0f} {result.unit}/s; own CPU {cpu.median:.2f} µs each; "
            f"longest stall {stall:.1f} ms, computing {busy:.1f} ms"
        )
        for other in result.others(name):
            by_cpu = f" ({result.thrift(name, other)} by the CPU of all processes)" if measures[0].served else ""
            click.echo(f"  {'':<13} {result.ratio(name, other)} of {other}{by_cpu}")


def _plain(result: Result) -> dict[str, object]:
    def against(ratio: Callable[[str, str], Spread]) -> dict[str, object]:
        return {name: {other: asdict(ratio(name, other)) for other in result.others(name)} for name in result.measures}

    return {
        "name": result.name,
        "what": result.what,
        "unit": result.unit,
        "ratios": against(result.ratio),
        "ratios by CPU": against(result.thrift),
        "measures": {name: [asdict(m) for m in measures] for name, measures in result.measures.items()},
    }


if __name__ == "__main__":
    bench()
