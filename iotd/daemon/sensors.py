"""The sensors that were seen, and what people say of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from iotd.daemon.calibrate import Calibrated, calibrate, spans_of
from iotd.daemon.replay import Replayed, replay
from iotd.daemon.runtime import Runtime
from iotd.health.silence import FORGOTTEN
from iotd.intake.world import world_of
from iotd.model.calibration import EVER, Line
from iotd.model.errors import UsageError
from iotd.model.instants import NEVER
from iotd.ops.control import Handler
from iotd.sources.simulator.source import SIMULATORS


@dataclass(frozen=True, slots=True)
class Sensor:
    """A series, as its sensor is known.

    Attributes:
        name: given by people; empty: none.
        source: which first named it.
        since: when that was, ms.
        time, value: of the newest reading, ms, calibrated; None: there is none.
        raw: the value that is stored.
        calibration: by time: since (ms) when which factor and offset hold; see :mod:`iotd.model.calibration`.
        forgotten: it is not expected any more.
    """

    type: str
    location: str
    sensor: str
    name: str
    unit: str
    source: str
    since: int
    time: int | None
    value: float | None
    raw: float | None
    calibration: list[Mapping[str, float]]
    forgotten: bool


@dataclass(frozen=True, slots=True)
class Assigned:
    """What has become of what was said of a sensor.

    Attributes:
        taken: things that were held, of which all could be taken by that.
        spoke: whether it has a series yet, or continues one.
    """

    taken: int
    spoke: bool


def sensors(runtime: Runtime, location: str | None = None) -> list[Sensor]:
    """All series of the locations that are served, or of one, in their order.

    Raises:
        UsageError: that location is not served.
    """
    catalogue, assigned = runtime.catalogue, runtime.assignments.all
    names = [runtime.location(location).name] if location else list(runtime.locations)
    calibrations = runtime.assignments.calibrations
    found = []
    for name in names:
        for number in catalogue.of_location(name):
            one = catalogue.series(number)
            made, newest = catalogue.made(number), int(catalogue.newest[number])
            given, raw = assigned.get(one.sensor_id), catalogue.latest(number)
            found.append(
                Sensor(
                    one.type,
                    one.location,
                    one.sensor_id,
                    (given.name if given else None) or "",
                    one.unit,
                    made.source,
                    made.since,
                    newest if newest != NEVER else None,
                    raw if raw is None else calibrations.latest(one, newest, raw),
                    raw,
                    spans_of(calibrations.of(one)),
                    bool(catalogue.pauses[number] == FORGOTTEN),
                )
            )
    order = {name: at for at, name in enumerate(names)}
    return sorted(found, key=lambda s: (order[s.location], s.type, s.sensor))


async def assign(
    runtime: Runtime, sensor: str, *, location: str | None = None, name: str | None = None, continues: str | None = None
) -> Assigned:
    """Says of a sensor where it is, what it is called, or whose series it continues; what was held of it is tried
    again.

    A sensor that continues a series is calibrated for itself: what was said of the one before goes on for that one's
    readings, and only for them.

    Raises:
        UsageError: that location is not served, or the sensor that it continues was never seen, or is itself.
        StateUnwritable: it can't be kept; nothing was changed.
    """
    what: dict[str, str | int | None] = {}
    if location is not None:
        what["location"] = runtime.location(location).name
    if name is not None:
        what["name"] = name or None
    if continues is not None:
        what |= _continued(runtime, sensor, continues)
    await asyncio.to_thread(runtime.assignments.change, sensor, **what)
    runtime.intake.use(world_of(runtime.settings, runtime.assignments.all))
    for its in runtime.locations.values():
        its.shard.relabel(_series_of(runtime, its.name, sensor))
    taken = (await replay(runtime.intake, runtime.sources.by_name)).taken
    given = runtime.assignments.all.get(sensor)
    series = (given and given.continues) or sensor
    return Assigned(taken, any(_series_of(runtime, name, series) for name in runtime.locations))


async def forget(runtime: Runtime, sensor: str) -> int:
    """A sensor is not expected any more, until it speaks again; its readings stay. Of how many series.

    Raises:
        UsageError: it was never seen.
        StateUnwritable: it can't be kept.
    """
    numbers = [number for name in runtime.locations for number in _series_of(runtime, name, sensor)]
    if not numbers:
        raise UsageError(f"{sensor!r}: no sensor of that id was ever seen; `iotd sensors` lists what there is")
    for number in numbers:
        runtime.silence.forget(number)
    await runtime.catalogue.save()
    return len(numbers)


def forget_unsimulated(runtime: Runtime) -> None:
    """Series that a simulator made, and that none simulates now, are not expected any more."""
    simulated = {series for simulator in runtime.sources.simulators.values() for series in simulator.series}
    catalogue = runtime.catalogue
    for location in runtime.locations:
        for number in catalogue.of_location(location):
            made = catalogue.made(number).source.startswith(SIMULATORS)
            if made and catalogue.series(number) not in simulated and catalogue.pauses[number] != FORGOTTEN:
                runtime.silence.forget(number)


def _series_of(runtime: Runtime, location: str, sensor: str) -> list[int]:
    """The numbers of the series that a sensor has in a location."""
    catalogue = runtime.catalogue
    return [number for number in catalogue.of_location(location) if catalogue.series(number).sensor_id == sensor]


def _continued(runtime: Runtime, sensor: str, other: str) -> dict[str, str | int | None]:
    """What is said of a sensor that continues the series in which another one speaks."""
    assigned = runtime.assignments.all
    before = assigned.get(other)
    series = (before and before.continues) or other
    if sensor == other:
        raise UsageError(f"{sensor!r}: a sensor can't replace itself")
    what: dict[str, str | int | None] = {"location": _where(runtime, series)}
    its = assigned.get(sensor)
    if its and its.since is not None and its.continues == series:
        return what  # said once more
    newest = [one.time for one in sensors(runtime) if one.sensor == series and one.time is not None]
    others = [
        one.since or EVER for name, one in assigned.items() if name != sensor and (one.continues or name) == series
    ]
    # what is there by now is not of the new one, and what was held of it, and is taken now, is
    since = max(min(max(newest, default=EVER), runtime.now_ms()), *others, EVER) + 1
    return what | {"continues": series if series != sensor else None, "since": since}


def _where(runtime: Runtime, sensor: str) -> str:
    found = {one.location for one in sensors(runtime) if one.sensor == sensor}
    if len(found) != 1:
        where = f"it is in {' and '.join(sorted(found))}" if found else "no sensor of that id was ever seen"
        raise UsageError(f"{sensor!r}: {where}; `iotd sensors` lists what there is")
    return found.pop()


def of_sensors(runtime: Runtime) -> Mapping[tuple[str, str], Handler]:
    """What the control socket does about sensors, by method and path."""

    async def seen(params: Mapping[str, str]) -> list[Sensor]:
        return sensors(runtime, params.get("location"))

    async def assigned(params: Mapping[str, str]) -> Assigned:
        location, name, continues = (params.get(key) for key in ("location", "name", "continues"))
        return await assign(runtime, params["sensor"], location=location, name=name, continues=continues)

    async def calibrated(params: Mapping[str, str]) -> Calibrated:
        line = Line(float(params["factor"]), float(params["offset"]))
        kind, location, since = params.get("type"), params.get("location"), int(params["since"])
        return await calibrate(runtime, params["sensor"], line, kind=kind, location=location, since=since)

    async def forgotten(params: Mapping[str, str]) -> int:
        return await forget(runtime, params["sensor"])

    async def replayed(params: Mapping[str, str]) -> Replayed:
        return await replay(runtime.intake, runtime.sources.by_name, params.get("source"), params.get("reason"))

    async def dropped(params: Mapping[str, str]) -> int:
        return await runtime.held.drop(params.get("source"), params.get("reason"))

    return {
        ("GET", "/sensors"): seen,
        ("POST", "/sensors"): assigned,
        ("POST", "/sensors/calibrate"): calibrated,
        ("POST", "/sensors/forget"): forgotten,
        ("POST", "/held/replay"): replayed,
        ("POST", "/held/drop"): dropped,
    }
