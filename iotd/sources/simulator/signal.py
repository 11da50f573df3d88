"""The simulated building: each reading a pure function of (seed, sensor, time).

So history and live data join without a jump, a restart continues the same curve, and anyone can compute what the
stores must hold. Only operations that IEEE 754 rounds the same everywhere are used (no sine, no power), so a reading
does not depend on the machine, on NumPy's version, or on how many are computed at once.

Temperature, humidity and air quality belong together, as in a room with people in it. Any other type follows its row
in the table of types: a gauge swings slowly, a counter grows while the room is used, a state holds for minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iotd.model.batch import Times, Values
from iotd.model.buckets import HOUR
from iotd.model.series import Series
from iotd.model.types import BUILT_IN, SensorType, Types
from iotd.sources.simulator.noise import DAY, borders, dice, noise, salts, unit, wave

_CLIMATE = {"temperature": "celsius", "humidity": "percent", "air_quality": "aqi"}
"""The types that belong together, in the units that they are computed in."""

_MEAN_CELSIUS = {"salon": 21.0, "cuisine": 21.5, "salle_de_bain": 22.5, "chambre1": 19.0, "chambre2": 18.5}
# how much a room is used, by hour of the day (UTC), 0 to 1
_NIGHT_ROOM = (9, 9, 9, 9, 9, 9, 8, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 3, 5, 8, 9)
_DAY_ROOM = (1, 0, 0, 0, 0, 0, 1, 3, 4, 3, 2, 2, 4, 4, 3, 3, 4, 5, 7, 8, 9, 9, 6, 3)
_KITCHEN = (0, 0, 0, 0, 0, 0, 2, 7, 5, 2, 1, 4, 8, 6, 2, 1, 2, 4, 8, 9, 5, 2, 1, 0)
_BATHROOM = (0, 0, 0, 0, 0, 1, 6, 9, 5, 1, 0, 0, 1, 1, 0, 0, 0, 1, 3, 4, 5, 6, 4, 1)
_USE = {"chambre1": _NIGHT_ROOM, "chambre2": _NIGHT_ROOM, "cuisine": _KITCHEN, "salle_de_bain": _BATHROOM}
_STEAM = {"cuisine": 12.0, "salle_de_bain": 30.0}

_INSTALLED = 1_577_836_800_000
"""When every counter was near 0: 2020-01-01."""
_RUN = 0.25
"""Part of an hour in which a counter grows by what the hour adds."""
_HOLD = 600_000
"""A state is thrown anew once in so many ms, and holds for half of it at least."""


class _Group:
    """The sensors of one type in a location.

    Attributes:
        columns: their places among the series.
        places: where each of them is, as a column of the warmth.
        own: a salt for each, for what is its own.
        moment: another one, for when something begins.
        bias: 0 to 1, how each differs from the others for good.
        low, high: see ``simulated`` in ``types.toml``.
    """

    def __init__(self, seed: int, series: Sequence[Series], row: SensorType, places: dict[str, int]) -> None:
        members = [(i, sensor) for i, sensor in enumerate(series) if sensor.type == row.name]
        keys = [sensor.key for _, sensor in members]
        self.row = row
        self.climate = _CLIMATE.get(row.name) == row.unit
        self.low, self.high = row.simulated or (row.range if self.climate else _usual(row))
        self.scale = 10.0 ** (row.decimals if row.resolution is None else row.resolution)
        self.columns = np.array([i for i, _ in members], np.intp)
        self.places = np.array([places[sensor.sensor_id] for _, sensor in members], np.intp)
        self.own = salts(seed, keys, "own")
        self.moment = salts(seed, keys, "moment")
        self.bias = unit(self.own)


class Signal:
    """The signal of one location's sensors."""

    def __init__(self, seed: int, series: Sequence[Series], types: Types = BUILT_IN) -> None:
        """
        Args:
            series: of one location; readings come in this order.
            types: the table that has their types.
        """
        location = series[0].location
        self._series = tuple(series)
        self._mean = _MEAN_CELSIUS.get(location, 19.0 + 3.0 * float(unit(salts(seed, [location], "mean"))[0]))
        hours = np.array(_USE.get(location, _DAY_ROOM), np.float64)
        self._use = hours / 9.0
        self._used = np.concatenate(([0.0], hours.cumsum()))
        self._steam = _STEAM.get(location, 3.0)
        self._room = salts(seed, [location], "room")
        # humidity follows the temperature at the same place, whether or not a thermometer is simulated there
        ids = sorted({sensor.sensor_id for sensor in series})
        self._climate = salts(seed, [f"{location}:{sensor_id}" for sensor_id in ids], "climate")
        places = {sensor_id: n for n, sensor_id in enumerate(ids)}
        kinds = sorted({sensor.type for sensor in series})
        self._groups = [_Group(seed, self._series, types[kind], places) for kind in kinds]
        self._climatic = any(group.climate for group in self._groups)

    def values(self, times: Times) -> Values:
        """The readings at these times.

        Args:
            times: int64 ms, in any order, shape (T,).

        Returns:
            float64, shape (T, sensors), in each sensor's unit, clamped and rounded as the sensor does.
        """
        t = np.asarray(times, np.int64)[:, None]
        climate = (self._warmth(t), self._occupancy(t)) if self._climatic else None
        out = np.empty((len(t), len(self._series)), np.float64)
        for group in self._groups:
            raw = self._climate_values(t, group, *climate) if climate and group.climate else self._of_kind(t, group)
            # a whole number divided once: the double that the decimal text reads back to
            out[:, group.columns] = np.rint(raw * group.scale) / group.scale
        return out

    def _climate_values(self, t: Times, group: _Group, warmth: Values, busy: Values) -> Values:
        match group.row.name:
            case "temperature":
                raw = self._temperature(t, group, warmth)
            case "humidity":
                raw = self._humidity(t, group, warmth, busy)
            case _:
                raw = self._air_quality(t, group, busy)
        return np.clip(raw, group.low, group.high, out=raw)

    def _of_kind(self, t: Times, group: _Group) -> Values:
        match group.row.kind:
            case "gauge":
                return self._gauge(t, group)
            case "counter":
                return self._counter(t, group)
            case "state":
                return self._state(t, group)

    def _gauge(self, t: Times, group: _Group) -> Values:
        """A swing through the day and over hours; all parts together stay within the limits."""
        own = 0.2 * (2.0 * group.bias - 1.0) + 0.37 * noise(t, 3 * HOUR, group.own) + 0.08 * noise(t, _HOLD, group.own)
        swing = 0.35 * wave(t - 15 * HOUR) + own
        half = 0.5 * (group.high - group.low)
        return np.clip(group.low + half + half * swing, group.low, group.high)

    def _counter(self, t: Times, group: _Group) -> Values:
        """Grows each day by an amount of its own, hour by hour as the room is used, at a random moment of the hour.

        It never falls, not even in its last bit: every step is one that rounding keeps in order.
        """
        since = np.maximum(t - _INSTALLED, 0)
        days, today = borders((since // DAY)[:, 0])
        half = 0.5 * (group.high - group.low)
        at = days[:, None] * (group.low + half) + half * dice(days, group.own, DAY)
        hours, now = borders((since // HOUR)[:, 0])
        begins = ((1.0 - _RUN) * dice(hours, group.moment, HOUR))[now]
        run = np.clip(((since % HOUR) / HOUR - begins) / _RUN, 0.0, 1.0)
        hour = since % DAY // HOUR
        used = self._used[hour] + (self._used[hour + 1] - self._used[hour]) * run
        begin, end = at[today], at[today + 1]
        grown: Values = np.minimum(begin + (end - begin) * (used / self._used[-1]), end)
        return grown

    def _state(self, t: Times, group: _Group) -> Values:
        """0 or 1; thrown anew at a random moment of the first half of each cell, by the use of the room."""
        cells = t // _HOLD
        marks, here = borders(cells[:, 0])
        share = group.low + (group.high - group.low) * self._use[marks * _HOLD % DAY // HOUR][:, None]
        on = (dice(marks, group.own, _HOLD) < share).astype(np.float64)
        changes = (0.5 * dice(marks, group.moment, _HOLD))[here]
        return np.where((t - cells * _HOLD) / _HOLD < changes, on[here], on[here + 1])

    def _temperature(self, t: Times, group: _Group, warmth: Values) -> Values:
        offset = (group.bias - 0.5) * 0.6
        return self._mean + offset + warmth[:, group.places] + 0.04 * noise(t, 20_000, group.own)

    def _humidity(self, t: Times, group: _Group, warmth: Values, busy: Values) -> Values:
        steam = self._steam * busy * busy
        dry = 2.2 * warmth[:, group.places]
        slow, fast = noise(t, 1_800_000, group.own), noise(t, 30_000, group.own)
        return 46.0 + 4.0 * (group.bias - 0.5) - dry + steam + 1.5 * slow + 0.2 * fast

    def _air_quality(self, t: Times, group: _Group, busy: Values) -> Values:
        slow, fast = noise(t, 1_200_000, group.own), noise(t, 45_000, group.own)
        return 28.0 + 6.0 * group.bias + 75.0 * busy + 6.0 * slow + 1.2 * fast

    def _warmth(self, t: Times) -> Values:
        """By how much each place is warmer than the mean, shape (T, places)."""
        daily = 1.4 * wave(t - 15 * HOUR)
        return daily + 0.8 * noise(t, 3 * HOUR, self._climate) + 0.2 * noise(t, 900_000, self._climate)

    def _occupancy(self, t: Times) -> Values:
        """How much the room is used, 0 to 1, shape (T, 1)."""
        within = t % DAY
        hour = within // HOUR
        part = (within - hour * HOUR) / HOUR
        usual = self._use[hour] * (1.0 - part) + self._use[(hour + 1) % 24] * part
        return np.clip(usual + 0.25 * noise(t, 2_400_000, self._room), 0.0, 1.0)


def _usual(row: SensorType) -> tuple[float, float]:
    """What a type is simulated with whose row does not say it."""
    if row.kind == "counter":
        return row.span, 10.0 * row.span
    if row.kind == "state":
        return 0.0, 0.5
    low = 0.0 if row.range[0] <= 0.0 < row.range[1] else row.range[0]
    return low, min(row.range[1], low + 20.0 * row.span)


def values(seed: int, sensor: Series, times: Times, types: Types = BUILT_IN) -> Values:
    """One sensor's readings at these times (int64 ms, shape (T,)): float64, shape (T,)."""
    return Signal(seed, [sensor], types).values(times)[:, 0]


def sensors(location: str, types: Sequence[str], per_type: int, table: Types = BUILT_IN) -> list[Series]:
    """The simulated sensors of a location: so many of each type, numbered from 1."""
    return [Series(kind, location, str(n), table.unit(kind)) for kind in types for n in range(1, per_type + 1)]
