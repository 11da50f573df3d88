"""`iotd sensors try`: what would become of one message, step by step."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iotd.cli.brokers import broker_option, brokers_of
from iotd.cli.output import bad, console, doubtful, good, output_option, plain, print_json
from iotd.config import load
from iotd.model.errors import UsageError
from iotd.model.instants import iso

if TYPE_CHECKING:
    from iotd.sources.mqtt.exploring.trying import Said, Trial

_LARGEST = 256 * 1024**2
"""Bytes: MQTT has no larger message."""
_EXIT_NOT_TAKEN = 1


@click.command(name="try")
@click.argument("topic")
@click.argument("payload")
@broker_option
@click.option("--retained", is_flag=True, help="The broker has kept it, and hands it over because we subscribe.")
@output_option
@click.pass_context
def try_(ctx: click.Context, /, *, topic: str, payload: str, broker: str | None, retained: bool, output: str) -> None:
    """Say what would become of a message with this TOPIC and PAYLOAD, step by step, storing nothing.

    PAYLOAD is the text itself, @FILE, or - for what comes in. No broker is asked and no daemon needed. Rules, presets
    and rooms are those of the configuration, beside what people have said of sensors and what presets have been told.
    Exits with 1 when nothing of it would be taken.

    \b
    iotd sensors try zigbee2mqtt/salon/thermo '{"temperature": 21.02}'
    mosquitto_sub -C 1 -t home/attic/temp | iotd sensors try home/attic/temp -
    """
    from iotd.config.sections.mqtt import source_of  # noqa: PLC0415  # what brings numpy is not for --help
    from iotd.intake.assignments import read_assignments  # noqa: PLC0415
    from iotd.intake.world import world_of  # noqa: PLC0415
    from iotd.sources.mqtt.exploring.trying import try_message  # noqa: PLC0415
    from iotd.sources.mqtt.memory import read_notes  # noqa: PLC0415

    settings = load(ctx.obj)
    brokers = brokers_of(settings, broker) if broker is not None or settings.mqtt else {}
    world = world_of(settings, read_assignments(settings.state))
    body = _payload(payload)
    trials: dict[str, Trial] = {}
    for name, its in brokers.items() or [("", None)]:
        trials[name] = asyncio.run(
            try_message(
                its,
                topic,
                body,
                retained=retained,
                notes=read_notes(settings.state / "mqtt" / f"{source_of(name)}.sqlite") if name else {},
                world=world,
                arrived=time.time_ns() // 1_000_000,
            )
        )
    # of several brokers those that are told apart by what they read
    read = {name: trial for name, trial in trials.items() if trial.configured} or dict([next(iter(trials.items()))])
    if output == "json":
        print_json([{"broker": name or None, **_as_json(trial)} for name, trial in read.items()])
    else:
        for name, trial in read.items():
            _show(name if len(brokers) > 1 else "", trial)
    taken = any(one.fate.became == "taken" for trial in read.values() if trial.configured for one in trial.said)
    ctx.exit(0 if taken else _EXIT_NOT_TAKEN)


def _payload(said: str) -> bytes:
    if said == "-":
        body = sys.stdin.buffer.read(_LARGEST + 1)
    elif said.startswith("@"):
        try:
            with Path(said[1:]).open("rb") as file:
                body = file.read(_LARGEST + 1)
        except OSError as e:
            raise UsageError(f"{said[1:]}: can't be read ({e.strerror})") from None
    else:
        # bytes that were no UTF-8 come as halves of surrogate pairs
        body = said.encode(errors="surrogateescape")
    if len(body) > _LARGEST:
        raise UsageError(f"a payload of more than {_LARGEST} bytes is no MQTT")
    return body


def _show(broker: str, trial: Trial) -> None:
    out = console()

    def line(step: str, text: object) -> None:
        out.print(f"{step:<12} {text}")

    kept = "retained, " if trial.retained else ""
    line("message", plain(f"{trial.topic}, {kept}{trial.bytes:,} bytes" + (f", at {broker}" if broker else "")))
    if not trial.reads:
        line("read by", bad("nobody: no rule is for this topic, no preset knows it, and nothing has announced it"))
        return
    if trial.configured:
        line("read by", plain(trial.reads))
        if trial.would:
            line("", f"presets that know it too, and are not configured: {plain(', '.join(trial.would))}")
    else:
        which = ", ".join(trial.would)
        line("read by", bad("nobody that is configured") + f"; presets that know it: {plain(which)}")
        line("", f"as if mqtt.presets had {plain(trial.reads)} in it:")
    if trial.why_not:
        what = doubtful("no reading") if trial.retained else bad("held")
        line("becomes", f"{what}: {plain(trial.why_not)}")
    for one in trial.said:
        out.print()
        _show_value(line, one, configured=trial.configured)
    if not trial.said and not trial.why_not:
        line("says", "no values")
    out.print() if trial.said else None
    for who in trial.heard.presence:
        kind = "gateway" if who.gateway else "device"
        line("presence", f"{kind} {plain(who.who)} is {'there' if who.online else 'gone'}")
    for key, note in trial.heard.notes.items():
        line("remembered", plain(f"{key}: {'is forgotten' if note is None else note}"[:200]))
    if trial.heard.passed_over:
        line("passed over", plain(", ".join(trial.heard.passed_over)))


def _show_value(line: Any, one: Said, *, configured: bool) -> None:
    said, fate = one.observation, one.fate
    unit = f", unit {said.unit!r}" if said.unit else ""
    where = f", location {said.location!r}" if said.location else ""
    hints = f", named in {', '.join(map(repr, said.hints))}" if said.hints and not said.location else ""
    when = f", time {said.time!r}" if said.time is not None else ""
    line("says", plain(f"{said.type} of {said.sensor!r} is {said.value!r}{unit}{when}{where}{hints}"))
    if fate.location:
        line("location", plain(f"{fate.location}, {fate.found_by}"))
    else:
        line("location", bad("not found"))
    if fate.value is not None:
        converted = f", from {fate.original_unit}" if fate.original_unit else ""
        line("value", plain(f"{fate.value!r} {fate.unit}{converted}"))
    if fate.time is not None:
        whose = "of its arrival, it has none of its own" if fate.timeless else "its own"
        twice = "; that hour is there twice, the first is taken" if fate.ambiguous else ""
        line("time", f"{iso(fate.time)}, {whose}{twice}")
    if fate.became == "taken":
        says = good("taken") if configured else doubtful("would be taken")
        line("becomes", f"{says}: {plain(fate.series)} {fate.time} {fate.value!r}")
    else:
        line("becomes", f"{bad('held') if fate.became == 'held' else doubtful('no reading')}: {plain(fate.reason)}")


def _as_json(trial: Trial) -> dict[str, Any]:
    return {
        "topic": trial.topic,
        "bytes": trial.bytes,
        "retained": trial.retained,
        "read_by": trial.reads or None,
        "configured": trial.configured,
        "others": list(trial.would),
        "why_not": trial.why_not or None,
        "says": [dataclasses.asdict(one.observation) | {"becomes": dataclasses.asdict(one.fate)} for one in trial.said],
        "presence": [one._asdict() for one in trial.heard.presence],
        "notes": dict(trial.heard.notes),
        "passed_over": list(trial.heard.passed_over),
    }
