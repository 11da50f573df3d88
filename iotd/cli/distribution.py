"""`iotd distribution`: how evenly the shards share the load."""

from __future__ import annotations

import asyncio

import click

from iotd.cli.output import bad, console, output_option, print_json, table
from iotd.query.distribution import Distribution, Share
from iotd.query.system import ShardingSystem

_BAR = 24


@click.command()
@output_option
@click.pass_context
def distribution(ctx: click.Context, output: str) -> None:
    """Show how evenly the shards share the load: series, readings, memory, writes per second.

    Exits with 1 when a shard does not answer; it is left out of the figures then.

    \b
    iotd distribution
    iotd distribution --output json
    """

    async def ask() -> Distribution:
        async with ShardingSystem.connect(ctx.obj) as system:
            return await system.get_shard_distribution_metrics()

    found = asyncio.run(ask())
    if output == "json":
        print_json(found)
    else:
        _show(found)
    if found.unknown:
        ctx.exit(1)


def _show(found: Distribution) -> None:
    out = console()
    most = max((share.share or 0.0 for share in found.shards), default=0.0)
    rows: list[tuple[object, ...]] = [_row(share, most) for share in found.shards]
    total = (f"{found.series:,}", f"{found.samples:,}", _bytes(found.memory), f"{found.writes_per_second:.1f}")
    rows.append(("all", *total, ""))
    names = ("location", "series", "readings", "memory", "writes/s", "share of the readings")
    out.print(table(names, rows, right=(1, 2, 3, 4)))
    if found.imbalance is not None:
        out.print(
            f"the fullest shard holds {found.imbalance:.2f} times the mean (1.00 is even), "
            f"variation {100 * (found.variation or 0):.1f} %"
        )
    for location in found.unknown:
        out.print(bad(f"{location}: no node answers; it is left out") + ", see `iotd status`")


def _row(share: Share, most: float) -> tuple[object, ...]:
    if share.samples is None or share.memory is None:
        return (share.location, "", "", "", "", bad("does not answer"))
    part = share.share or 0.0
    bar = "█" * round(_BAR * part / most) if most else ""
    rate = f"{share.writes_per_second or 0.0:.1f}"
    return (
        share.location,
        share.series,
        f"{share.samples:,}",
        _bytes(share.memory),
        rate,
        f"{100 * part:5.1f} % {bar}",
    )


def _bytes(count: int) -> str:
    return f"{count / 1_048_576:.1f} MiB"
