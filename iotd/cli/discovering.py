"""`iotd sensors discover`: what brokers have, and what would become of it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from iotd.cli.brokers import broker_option, brokers_of, url_options
from iotd.cli.output import bad, console, doubtful, good, output_option, plain, print_json, table
from iotd.config import load
from iotd.model.errors import IotdError

if TYPE_CHECKING:
    from iotd.config import Settings
    from iotd.config.sections.mqtt import Broker
    from iotd.intake.world import World
    from iotd.sources.mqtt.exploring.survey import Listener, Seen, Survey

_GROUPS = 40
"""Groups of topics that are listed."""
_SHOWN = 40
"""Characters of a payload that are shown."""
_TICK_S = 0.2


@click.command()
@broker_option
@click.option(
    "--seconds", type=click.FloatRange(0.1, 86_400), default=15, show_default=True, help="How long to listen."
)
@url_options
@click.option("--preset", "presets", multiple=True, help="Look for this kind of devices only; may be repeated.")
@click.option("--everything", is_flag=True, help="Listen to all topics, those too that no preset knows.")
@output_option
@click.pass_context
def discover(
    ctx: click.Context,
    /,
    *,
    broker: str | None,
    seconds: float,
    presets: tuple[str, ...],
    everything: bool,
    output: str,
    **given: Any,
) -> None:
    """Listen to the brokers for a while: show the sensors there are, and what would become of what they say.

    Nothing is stored, and the daemon is not disturbed: it is listened to with a session of its own. All presets are
    tried, beside what is configured. At the end stand the lines to write into the configuration. Ctrl-C ends it early.

    \b
    iotd sensors discover
    iotd sensors discover --url mqtt://localhost --everything
    iotd sensors discover --broker attic --preset zigbee2mqtt --seconds 60
    """
    from iotd.intake.assignments import read_assignments  # noqa: PLC0415  # what brings numpy is not for --help
    from iotd.intake.world import world_of  # noqa: PLC0415

    settings = load(ctx.obj)
    brokers = brokers_of(settings, broker, **given)
    world = world_of(settings, read_assignments(settings.state))
    listeners = _listeners(settings, brokers, presets, world)
    failed = asyncio.run(_listen(brokers, listeners, seconds, everything=everything))
    surveys = {name: listener.finished() for name, listener in listeners.items()}
    asyncio.run(_judge(surveys, world))
    if output == "json":
        print_json([_as_json(name, brokers[name], its, world, failed.get(name)) for name, its in surveys.items()])
    else:
        for name, survey in surveys.items():
            if name not in failed or survey.messages:
                _show(name, brokers[name], survey, world)
    for name, why in failed.items():
        click.echo(f"iotd: {brokers[name].url}: {why}", err=True)
    ctx.exit(next(iter(failed.values())).exit_code if failed else 0)


def _listeners(
    settings: Settings, brokers: Mapping[str, Broker], presets: tuple[str, ...], world: World
) -> dict[str, Listener]:
    from iotd.sources.mqtt.exploring.knowing import other_kinds  # noqa: PLC0415
    from iotd.sources.mqtt.exploring.survey import Listener  # noqa: PLC0415
    from iotd.sources.mqtt.reading import kinds_of  # noqa: PLC0415

    found = {}
    for name, broker in brokers.items():
        configured = kinds_of(broker)
        others = other_kinds(configured, presets)
        found[name] = Listener(configured, others, world.resolver, lambda: time.time_ns() // 1_000_000)
    return found


async def _listen(
    brokers: Mapping[str, Broker], listeners: Mapping[str, Listener], seconds: float, *, everything: bool
) -> dict[str, IotdError]:
    """Listens to all at once; why it did not go well, by name."""
    from iotd.sources.mqtt.exploring.survey import explore  # noqa: PLC0415

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    with _progress(", ".join(broker.url for broker in brokers.values()), seconds, listeners):
        ended = await asyncio.gather(
            *(
                explore(broker, listeners[name], seconds=seconds, everything=everything, stop=stop)
                for name, broker in brokers.items()
            ),
            return_exceptions=True,
        )
    failed = {}
    for name, end in zip(brokers, ended, strict=True):
        if isinstance(end, IotdError):
            failed[name] = end
        elif end is not None:
            raise end
    return failed


@contextmanager
def _progress(where: str, seconds: float, listeners: Mapping[str, Listener]) -> Iterator[None]:
    out = console(err=True)
    if not out.is_terminal:
        click.echo(f"listening to {where} for {seconds:g} s", err=True)
        yield
        return
    begun = time.monotonic()

    async def tick() -> None:
        while True:
            surveys = [listener.survey for listener in listeners.values()]
            messages, sensors = sum(one.messages for one in surveys), sum(len(one.seen) for one in surveys)
            passed = time.monotonic() - begun
            shown.update(
                f"{where}: {passed:.0f} of {seconds:g} s, {messages:,} messages, {sensors:,} sensors and types; "
                "Ctrl-C ends it"
            )
            await asyncio.sleep(_TICK_S)

    with out.status(f"connecting to {where}") as shown:
        ticking = asyncio.ensure_future(tick())
        try:
            yield
        finally:
            ticking.cancel()


async def _judge(surveys: Mapping[str, Survey], world: World) -> None:
    for survey in surveys.values():
        await survey.judge(world)


def _show(name: str, broker: Broker, survey: Survey, world: World) -> None:
    from iotd.sources.mqtt.exploring.grouping import MOST_TOPICS  # noqa: PLC0415
    from iotd.sources.mqtt.exploring.suggesting import suggestion  # noqa: PLC0415

    out = console()
    out.print(f"[bold]{plain(broker.url)}[/bold]: {survey.messages:,} messages")
    if survey.seen:
        columns = (
            "preset",
            "sensor",
            "type",
            "location",
            "last value",
            "every",
            "QoS",
            "retained",
            "what becomes of it",
        )
        out.print(table(columns, [_row(one) for one in survey.seen.values()], right={4, 5}))
    else:
        out.print("no sensors that a rule or preset reads" + ("" if survey.messages else ", nothing at all"))
    if survey.others:
        out.print(f"and {survey.others:,} values of more sensors than are told apart")
    gone = [who for (_, who), online in survey.online.items() if not online]
    if gone:
        out.print(f"said to be gone: {plain(', '.join(sorted(gone)[:20]))}{'' if len(gone) <= 20 else ', …'}")
    for topic, why in survey.refused.items():
        out.print(f"{bad('refused')} {plain(topic)}: {plain(why)}")
    if survey.unread:
        least = "≥ " if sum(one.topics for one in survey.unread) >= MOST_TOPICS else ""
        rows = [
            (one.pattern, f"{least}{one.topics:,}", f"{one.messages:,}", _short(one.payload))
            for one in survey.unread[:_GROUPS]
        ]
        out.print(table(("topics that nobody reads", "topics", "messages", "the last one"), rows, right={1, 2}))
        if len(survey.unread) > _GROUPS:
            more = survey.unread[_GROUPS:]
            out.print(f"and {len(more):,} groups more, with {sum(one.messages for one in more):,} messages")
    if lines := suggestion(name, broker, survey, world.resolver):
        out.print("[bold]To write into the configuration:[/bold]\n")
        click.echo(lines)


def _row(one: Seen) -> tuple[object, ...]:
    fate = one.fate
    assert fate is not None
    value = ""
    if fate.value is not None:
        value = f"{fate.value:.{fate.decimals}f} {fate.symbol}"
    elif one.last is not None:
        value = f"{one.last.value} {one.last.unit or ''}".strip()[:_SHOWN]
    live = one.messages - one.retained
    qos = "" if not live else "1" if not one.qos0 else doubtful("0, loses" if one.qos0 == live else "0 and 1")
    every = "" if one.every_s is None else f"{one.every_s:.3g} s"
    became = {"taken": good("taken"), "held": bad("held")}.get(fate.became, doubtful("no reading"))
    says = f"{became}: {plain(fate.reason)}" if fate.reason else became
    if not one.configured and fate.became == "taken":
        says = f"{became}, once the preset is configured"
    return (
        one.preset,
        one.sensor,
        one.type,
        fate.location,
        value,
        every,
        qos,
        f"{one.retained:,}" if one.retained else "",
        type(became)(says),
    )


def _as_json(name: str, broker: Broker, survey: Survey, world: World, failed: IotdError | None) -> Any:
    from iotd.sources.mqtt.exploring.suggesting import suggestion  # noqa: PLC0415

    def seen(one: Seen) -> Any:
        last = one.last
        return {
            "preset": one.preset,
            "configured": one.configured,
            "topic": one.topic,
            "sensor": one.sensor,
            "type": one.type,
            "messages": one.messages,
            "retained": one.retained,
            "qos0": one.qos0,
            "every_s": one.every_s,
            "value": None if last is None else last.value,
            "unit": None if last is None else last.unit,
            "becomes": one.fate,
        }

    return {
        "broker": name,
        "url": broker.url,
        "error": None if failed is None else str(failed),
        "messages": survey.messages,
        "sensors": [seen(one) for one in survey.seen.values()],
        "more_sensors": survey.others,
        "presence": [
            {"preset": preset, "who": who, "online": online} for (preset, who), online in survey.online.items()
        ],
        "refused": dict(survey.refused),
        "unread": [
            {
                "topics": one.pattern,
                "count": one.topics,
                "messages": one.messages,
                "retained": one.retained,
                "qos0": one.qos0,
                "topic": one.topic,
                "payload": one.payload.decode(errors="replace"),
            }
            for one in survey.unread
        ],
        "suggestion": suggestion(name, broker, survey, world.resolver),
    }


def _short(payload: bytes) -> str:
    text = "".join(c if c.isprintable() else "·" for c in payload[: 4 * _SHOWN].decode(errors="replace"))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
