"""Calibrating a sensor: which of its series it concerns, and what is said of it already."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from iotd.daemon.runtime import Runtime
from iotd.model.calibration import Calibration, Line
from iotd.model.errors import UsageError
from iotd.model.folding import folded
from iotd.model.series import Series

_EVERYWHERE = "all"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was said.

    Attributes:
        sensor: its id.
        location: None: wherever the sensor is.
    """

    sensor: str
    type: str
    location: str | None


async def calibrate(
    runtime: Runtime, sensor: str, line: Line, *, kind: str | None, location: str | None, since: int
) -> Calibrated:
    """From a time (ms) on, a line holds for what a sensor says of a type, in place of all that was said of that.

    Args:
        sensor: its id, or the name that people gave it.
        kind: None: the one type that it has.
        location: for sensors of one id in several locations; ``all``: in each of them.

    Raises:
        UsageError: no such sensor was ever seen, or it is not clear of what this is said, or that is a state.
        StateUnwritable: it can't be kept; nothing was changed.
    """
    sensor = _identified(runtime, sensor)
    assigned = runtime.assignments.all.get(sensor)
    ids = {sensor} | ({assigned.continues} if assigned and assigned.continues else set())
    its = [one for one in _seen(runtime) if one.sensor_id in ids]
    its = [one for one in its if one.type == (kind := _type(runtime, sensor, its, kind))]
    assert kind is not None
    places = sorted({one.location for one in its})
    if location is not None and location not in (_EVERYWHERE, *places):
        raise UsageError(f"{sensor!r}: there is no {kind} of it in {location}; it is in {_named(places)}")
    if location is None and len(places) > 1 and not (assigned and assigned.location):
        raise UsageError(f"{sensor!r} is in {_named(places)}: give --location, or --location all if it is one sensor")
    where = None if location == _EVERYWHERE else location
    await asyncio.to_thread(runtime.assignments.calibrate, sensor, kind, where, since, line)
    return Calibrated(sensor, kind, where)


def spans_of(calibration: Calibration) -> list[Mapping[str, float]]:
    """The spans of a calibration as what becomes JSON."""
    return [{"since": since, "factor": line.factor, "offset": line.offset} for since, line in calibration.spans]


def _seen(runtime: Runtime) -> list[Series]:
    catalogue = runtime.catalogue
    return [catalogue.series(number) for name in runtime.locations for number in catalogue.of_location(name)]


def _identified(runtime: Runtime, sensor: str) -> str:
    """The id of the sensor that an id or a person's name means."""
    assigned = runtime.assignments.all
    known = {one.sensor_id for one in _seen(runtime)} | {s for s, one in assigned.items() if one.continues}
    if sensor in known:
        return sensor
    named = [other for other, one in assigned.items() if one.name and folded(one.name) == folded(sensor)]
    if not named:
        raise UsageError(f"{sensor!r}: no sensor of that id or name was ever seen; `iotd sensors` lists what there is")
    if len(named) > 1:
        raise UsageError(f"{sensor!r} is the name of {_named(sorted(named))}: give the id")
    return named[0]


def _type(runtime: Runtime, sensor: str, its: Collection[Series], kind: str | None) -> str:
    """The type that is meant: the one that was given, or the only one that can be calibrated."""
    types = runtime.settings.known_types
    there = sorted({one.type for one in its})
    if kind is not None and kind not in there:
        raise UsageError(f"{sensor!r}: there is no {kind} of it; it has {_named(there)}")
    fit = [name for name in ([kind] if kind else there) if types.row(name).kind != "state"]
    if not fit:
        raise UsageError(f"{sensor!r}: {_named([kind] if kind else there)} is a state, and can't be calibrated")
    if len(fit) > 1:
        raise UsageError(f"{sensor!r} has {_named(fit)}: say which one with --type")
    return fit[0]


def _named(names: Collection[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
