"""The SQLite database of Home Assistant's recorder: states as readings, long-term statistics as summaries of hours.

Of a sensor the recorder keeps its state whenever that changes (https://data.home-assistant.io/docs/states), for some
days; of each hour it keeps mean, minimum and maximum, or the sum of a counter, for good
(https://data.home-assistant.io/docs/statistics).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from iotd.intake.resolve import Resolver
from iotd.model.buckets import HOUR
from iotd.model.errors import Refused
from iotd.model.observation import Observation
from iotd.model.summaries import Hour, HourlySummaries
from iotd.model.types import Types
from iotd.model.units import conversion
from iotd.sources.importers.base import Row, with_fixed
from iotd.sources.importers.recorder import Recorder

_DOMAINS = ("sensor", "binary_sensor", "switch")
_TEXTS = ("date", "enum", "timestamp")
"""Device classes of sensors whose state is no number."""
_PIECE = 20_000
"""Statistics that are read at once."""
_PART = 1_000
"""Hours of a row."""


class HomeAssistantImporter:
    """What a database has of sensors; Home Assistant may be using it: it is only read.

    A mark is a state's id, or the last state's id and a statistic's together.
    """

    def __init__(self, path: Path, fixed: Mapping[str, str], types: Types) -> None:
        """
        Raises:
            UsageError: it is no such database.
        """
        self._fixed = fixed
        self._types = types
        self._names = Resolver(types, {}, {})
        self._recorder = Recorder(path)
        self._states, self._statistics = self._recorder.last_ids()
        self.size = self._states + self._statistics

    def rows(self, after: int = 0) -> Iterator[Row]:
        """See :class:`iotd.sources.importers.base.Importer`."""
        yield from self._of_states(after)
        if self._statistics:
            yield from self._of_statistics(max(0, after - self._states))

    # ── states ──

    def _of_states(self, after: int) -> Iterator[Row]:
        attributes: dict[str, Mapping[str, str]] = {}
        for state_id, entity, state, updated, shared in self._recorder.states(after, self._states):
            domain = (entity or "").partition(".")[0]
            if domain not in _DOMAINS:
                continue
            its = attributes.get(shared or "")
            if its is None:
                if len(attributes) > _PIECE:
                    attributes.clear()  # a database of old has them with each state
                its = attributes[shared or ""] = _attributes(shared)
            device_class = its.get("device_class")
            measures = "unit_of_measurement" in its or device_class
            if domain == "sensor" and (device_class in _TEXTS or not measures):
                continue  # a text: a name, a weather condition, a date
            yield Row(f"state {state_id}", state_id, state_id, self._said(entity, state, updated, its))

    def _said(self, entity: str, state: Any, updated: Any, its: Mapping[str, str]) -> list[Observation] | Refused:
        if (ms := _ms(updated)) is None:
            return Refused("no time", f"{entity} has none")
        return [self._observation(entity, its, state, ms)]

    def _observation(self, entity: str, its: Mapping[str, str], value: Any, ms: int | None) -> Observation:
        unit = its.get("unit_of_measurement")
        hints = (its.get("friendly_name", ""), entity)
        one = Observation(self._kind(entity, its), entity, value, unit=unit, time=ms, hints=hints)
        (one,) = with_fixed([one], self._fixed)
        return one

    def _kind(self, entity: str, its: Mapping[str, str]) -> str:
        """The type, by device class, by the end of the entity's name, or by a unit that one type alone has."""
        device_class = its.get("device_class", "")
        if kind := device_class or ("switch" if entity.startswith("switch.") else ""):
            return kind
        ending, unit = entity.rpartition("_")[2], its.get("unit_of_measurement")
        if unit and not self._names.knows(ending):
            found = [row.name for row in self._types.values() if conversion(unit, row.unit)]
            if len(found) == 1:
                return found[0]
        return ending

    # ── statistics ──

    def _of_statistics(self, after: int) -> Iterator[Row]:
        about = {number: self._about(*its) for number, *its in self._recorder.statistics_of()}
        while piece := self._recorder.statistics(after, self._statistics, _PIECE):
            hours: dict[int, dict[int, Hour]] = {}
            for _, number, start, mean, low, high, state, total in piece:
                if number in about and (ms := _ms(start)) is not None:
                    hour = ms // HOUR
                    its = (_finite(mean), _finite(low), _finite(high), _finite(state), _finite(total))
                    hours.setdefault(number, {})[hour] = (hour, *its)
            mark = self._states + after
            for number, by_hour in hours.items():
                some = list(by_hour.values())
                for at in range(0, len(some), _PART):
                    said = HourlySummaries(about[number], some[at : at + _PART])
                    yield Row(f"statistics {after + 1} +", mark, mark, said)
            after = piece[-1][0]
            yield Row(f"statistics {after}", self._states + after, self._states + after, [])

    def _about(self, statistic: str, unit: str | None, name: str | None, shared: str | None) -> Observation:
        its = {**_attributes(shared)}
        if unit:
            its["unit_of_measurement"] = unit
        its.setdefault("friendly_name", name or "")
        return self._observation(statistic, its, None, None)


def _ms(said: Any) -> int | None:
    """Seconds since the epoch, or a text in UTC."""
    try:
        if isinstance(said, str):
            moment = datetime.fromisoformat(said)
            said = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if isinstance(said, int | float):
            return round(said * 1_000_000) // 1_000  # cut, as what it sends to us: a float of microseconds
    except (ValueError, OverflowError):
        pass
    return None


def _finite(said: Any) -> float | None:
    return float(said) if isinstance(said, int | float) and math.isfinite(said) else None


def _attributes(shared: str | None) -> Mapping[str, str]:
    try:
        said = orjson.loads(shared or "{}")
    except ValueError:
        return {}
    return {key: text for key, text in said.items() if isinstance(text, str)} if isinstance(said, dict) else {}
