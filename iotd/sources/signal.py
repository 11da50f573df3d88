"""The simulated building: each reading a pure function of (seed, sensor, time).

So history and live data join without a jump, a restart continues the same curve, and anyone can compute what the
stores must hold. Only operations that IEEE 754 rounds the same everywhere are used (no sine, no power), so a reading
does not depend on the machine, on NumPy's version, or on how many are computed at once.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from iotd.model.batch import Times, Values
from iotd.model.roster import Batch, Roster
from iotd.model.series import Series

_Salts = NDArray[np.uint64]

_HOUR = 3_600_000
_DAY = 24 * _HOUR

_DECIMALS = {"temperature": 2, "humidity": 1, "air_quality": 0}
"""As the usual sensors resolve: 0.01 °C, 0.1 % relative humidity, whole index points."""
_RANGE = {"temperature": (-20.0, 60.0), "humidity": (0.0, 100.0), "air_quality": (0.0, 500.0)}

_MEAN_CELSIUS = {"salon": 21.0, "cuisine": 21.5, "salle_de_bain": 22.5, "chambre1": 19.0, "chambre2": 18.5}
# how much a room is used, by hour of the day (UTC), 0 to 1
_NIGHT_ROOM = (9, 9, 9, 9, 9, 9, 8, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 3, 5, 8, 9)
_DAY_ROOM = (1, 0, 0, 0, 0, 0, 1, 3, 4, 3, 2, 2, 4, 4, 3, 3, 4, 5, 7, 8, 9, 9, 6, 3)
_KITCHEN = (0, 0, 0, 0, 0, 0, 2, 7, 5, 2, 1, 4, 8, 6, 2, 1, 2, 4, 8, 9, 5, 2, 1, 0)
_BATHROOM = (0, 0, 0, 0, 0, 1, 6, 9, 5, 1, 0, 0, 1, 1, 0, 0, 0, 1, 3, 4, 5, 6, 4, 1)
_USE = {"chambre1": _NIGHT_ROOM, "chambre2": _NIGHT_ROOM, "cuisine": _KITCHEN, "salle_de_bain": _BATHROOM}
_STEAM = {"cuisine": 12.0, "salle_de_bain": 30.0}


class _Group:
    """The sensors of one type in a location.

    Attributes:
        columns: their places in the roster.
        places: where each of them is, as a column of the warmth.
        own: a salt for each, for what is its own.
        bias: 0 to 1, how each differs from the others for good.
    """

    def __init__(self, seed: int, roster: Roster, kind: str, places: dict[str, int]) -> None:
        members = [(i, sensor) for i, sensor in enumerate(roster) if sensor.type == kind]
        self.columns = np.array([i for i, _ in members], np.intp)
        self.places = np.array([places[sensor.sensor_id] for _, sensor in members], np.intp)
        self.own = _salts(seed, [sensor.key for _, sensor in members], "own")
        self.bias = _unit(self.own)


class Signal:
    """The signal of one location's sensors."""

    def __init__(self, seed: int, roster: Roster) -> None:
        location = roster.location
        self._roster = roster
        self._series = np.arange(len(roster), dtype=np.int32)
        self._mean = _MEAN_CELSIUS.get(location, 19.0 + 3.0 * float(_unit(_salts(seed, [location], "mean"))[0]))
        self._use = np.array(_USE.get(location, _DAY_ROOM), np.float64) / 9.0
        self._steam = _STEAM.get(location, 3.0)
        self._room = _salts(seed, [location], "room")
        # humidity follows the temperature at the same place, whether or not a thermometer is in the roster
        ids = sorted({sensor.sensor_id for sensor in roster})
        self._climate = _salts(seed, [f"{location}:{sensor_id}" for sensor_id in ids], "climate")
        places = {sensor_id: n for n, sensor_id in enumerate(ids)}
        self._groups = {kind: _Group(seed, roster, kind, places) for kind in sorted({sensor.type for sensor in roster})}

    def values(self, times: Times) -> Values:
        """The readings at these times.

        Args:
            times: int64 ms, in any order, shape (T,).

        Returns:
            float64, shape (T, sensors), in each sensor's unit, clamped and rounded as the sensor does.
        """
        t = np.asarray(times, np.int64)[:, None]
        warmth, busy = self._warmth(t), self._occupancy(t)
        out = np.empty((len(t), len(self._roster)), np.float64)
        for kind, group in self._groups.items():
            match kind:
                case "temperature":
                    raw = self._temperature(t, group, warmth)
                case "humidity":
                    raw = self._humidity(t, group, warmth, busy)
                case _:
                    raw = self._air_quality(t, group, busy)
            scale = 10.0 ** _DECIMALS[kind]
            np.clip(raw, *_RANGE[kind], out=raw)
            # a whole number divided once: the double that the decimal text reads back to
            out[:, group.columns] = np.rint(raw * scale) / scale
        return out

    def batch(self, times: Times) -> Batch:
        """All sensors' readings at these times (int64 ms, shape (T,), rising), a tick after the other."""
        return Batch(
            self._roster,
            np.tile(self._series, len(times)),
            np.repeat(times, len(self._roster)),
            self.values(times).ravel(),
        )

    def _temperature(self, t: Times, group: _Group, warmth: Values) -> Values:
        offset = (group.bias - 0.5) * 0.6
        return self._mean + offset + warmth[:, group.places] + 0.04 * _noise(t, 20_000, group.own)

    def _humidity(self, t: Times, group: _Group, warmth: Values, busy: Values) -> Values:
        steam = self._steam * busy * busy
        dry = 2.2 * warmth[:, group.places]
        slow, fast = _noise(t, 1_800_000, group.own), _noise(t, 30_000, group.own)
        return 46.0 + 4.0 * (group.bias - 0.5) - dry + steam + 1.5 * slow + 0.2 * fast

    def _air_quality(self, t: Times, group: _Group, busy: Values) -> Values:
        slow, fast = _noise(t, 1_200_000, group.own), _noise(t, 45_000, group.own)
        return 28.0 + 6.0 * group.bias + 75.0 * busy + 6.0 * slow + 1.2 * fast

    def _warmth(self, t: Times) -> Values:
        """By how much each place is warmer than the mean, shape (T, places)."""
        daily = 1.4 * _wave(t - 15 * _HOUR)
        return daily + 0.8 * _noise(t, 3 * _HOUR, self._climate) + 0.2 * _noise(t, 900_000, self._climate)

    def _occupancy(self, t: Times) -> Values:
        """How much the room is used, 0 to 1, shape (T, 1)."""
        within = t % _DAY
        hour = within // _HOUR
        part = (within - hour * _HOUR) / _HOUR
        usual = self._use[hour] * (1.0 - part) + self._use[(hour + 1) % 24] * part
        return np.clip(usual + 0.25 * _noise(t, 2_400_000, self._room), 0.0, 1.0)


def values(seed: int, sensor: Series, times: Times) -> Values:
    """One sensor's readings at these times (int64 ms, shape (T,)): float64, shape (T,)."""
    return Signal(seed, Roster(sensor.location, [sensor])).values(times)[:, 0]


def _salt(seed: int, name: str, channel: str) -> np.uint64:
    digest = hashlib.blake2b(f"{seed}/{channel}/{name}".encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _salts(seed: int, names: list[str], channel: str) -> _Salts:
    known = {name: _salt(seed, name, channel) for name in set(names)}
    return np.array([known[name] for name in names], np.uint64)


def _mixed(x: _Salts) -> _Salts:
    # the finalizer of splitmix64 (Steele, Lea, Flood, 2014), on wrapping 64-bit integers
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _unit(x: _Salts) -> Values:
    """0 ≤ … < 1, from the upper 53 bits."""
    return (_mixed(x) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _noise(t: Times, period: int, salts: _Salts) -> Values:
    """Smooth noise from -1 to 1, shape (T, salts): random at each whole ``period`` (ms), a smooth curve between."""
    cell = t // period
    part = (t - cell * period) / period
    marks, here = _marks(cell[:, 0])
    step = np.uint64(0x9E3779B97F4A7C15)
    at = _unit(salts[None, :] + (marks.astype(np.uint64) + np.uint64(period))[:, None] * step)
    rise = at[1:] - at[:-1]
    out = rise[here]
    out *= part * part * (3.0 - 2.0 * part)
    out += at[here]
    out *= 2.0
    out -= 1.0
    return out


def _marks(cells: Times) -> tuple[Times, NDArray[np.intp]]:
    """The cells' borders, each once, and for each cell the place of its first border; the next is its second."""
    low, high = (int(cells.min()), int(cells.max())) if len(cells) else (0, -1)
    if high - low < 2 * len(cells):
        return np.arange(low, high + 2), cells - low
    marks = np.unique(np.concatenate((cells, cells + 1)))
    return marks, np.searchsorted(marks, cells)


def _wave(t: Times) -> Values:
    """A daily wave from -1 to 1, highest at 0: smooth, and made of products only."""
    part = (t % _DAY) / _DAY
    rise = np.abs(part * 2.0 - 1.0)
    return rise * rise * (3.0 - 2.0 * rise) * 2.0 - 1.0
