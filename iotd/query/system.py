"""ShardingSystem: all shards and the archive, asked as one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from iotd.config import Settings, load
from iotd.config.topology import topology
from iotd.intake.assignments import read_calibrations
from iotd.intake.catalogue import catalogued
from iotd.intake.summaries import Summaries
from iotd.model.calibration import Calibrations
from iotd.model.errors import UsageError
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.query import stream
from iotd.query.blocking import Blocking, iterating, waiting
from iotd.query.distribution import Distribution, distribution
from iotd.query.engine import Query
from iotd.query.imported import with_summaries
from iotd.query.increase import increases
from iotd.query.marks import Marks, read_marks
from iotd.query.names import Ids, aggregation, fitting, select
from iotd.query.result import Readings, concatenate
from iotd.query.shard import ShardSource
from iotd.query.status import ShardsStatus, shards_status
from iotd.query.times import Time, local, parse_bucket, parse_range, parse_time
from iotd.sources.simulator.signal import sensors
from iotd.stores.base import Store
from iotd.stores.registry import open_store


class ShardingSystem:
    """Asks the shards and the archive of one system; the daemon need not run.

        async with ShardingSystem.connect() as system:
            readings = await system.query_location_data("salon", "temperature", "-1h", "now")

    Connections are made when they are needed, so connecting itself never fails for want of a server.
    """

    def __init__(self, settings: Settings) -> None:
        """Use :meth:`connect`, unless you have settings of your own."""
        self.settings = settings
        self._topology = topology(settings)
        self._archive: Store | None = open_store(settings, read_only=True)

    @classmethod
    def connect(cls, config: str | Path | None = None, **overrides: Any) -> ShardingSystem:
        """The system that the configuration describes, found as the daemon finds it.

        Args:
            config: a configuration file; None: the usual places (``iotd config check`` names it).
            overrides: tables of the configuration that win over it: ``topology={"port_offset": 1000}``.

        Raises:
            ConfigError: the configuration is wrong.
        """
        return cls(load(Path(config) if config is not None else None, **overrides))

    @classmethod
    def connect_sync(cls, config: str | Path | None = None, **overrides: Any) -> BlockingShardingSystem:
        """The same with methods that block, for scripts and notebooks; see :meth:`connect`.

        Raises:
            ConfigError: the configuration is wrong.
        """
        return BlockingShardingSystem(cls.connect(config, **overrides))

    async def __aenter__(self) -> ShardingSystem:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of the archive's connection."""
        if self._archive is not None:
            await self._archive.close()

    def __repr__(self) -> str:
        archive = self._archive.identity if self._archive else "none"
        return f"<ShardingSystem: {', '.join(self.settings.locations)}; archive {archive}>"

    # ── how it is ──

    async def get_shards_status(self) -> ShardsStatus:
        """Every shard as its nodes and Sentinels answer, within half a second, dead ones included."""
        return await shards_status(self.settings, self._topology)

    async def get_shard_distribution_metrics(self) -> Distribution:
        """How series, readings, memory and writes are shared between the shards, and how evenly."""
        return distribution(await self.get_shards_status())

    # ── readings ──

    async def query_location_data(
        self,
        location: str | None,
        sensor_type: str | None,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: Ids = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
        raw: bool = False,
    ) -> Readings:
        """The readings of a type in a location, hot and archived ones together.

        Args:
            location: None or ``"all"``: every location.
            sensor_type: None or ``"all"``: every type.
            start, end: times as :func:`iotd.query.times.parse_time` reads them; the start is part of the range, the
                end is not; without an end: up to now.
            sensor_ids: one id or several; None: all sensors.
            agg: an aggregation of :data:`iotd.model.aggregate.ASKED`; needs ``bucket``. Types that it does not fit are
                left out: there is no mean of a state.
            bucket: the length of a bucket: ``"1m"``, a timedelta, or seconds; one of a day begins at midnight.
            raw: what is stored; else what was said by ``iotd sensors calibrate`` is applied, and ``.calibrated`` tells.

        Returns:
            all of it, in memory (20 bytes a reading); for long ranges see :meth:`stream_location_data`. A shard that
            is dead makes it partial (``.complete``, ``.problems``), never wrong.

        Raises:
            UsageError: there is no such location, type, sensor or aggregation, or a time can't be read.
            StateError: how sensors are calibrated can't be read.
        """
        chunks = self.stream_location_data(
            location, sensor_type, start, end, sensor_ids=sensor_ids, agg=agg, bucket=bucket, raw=raw
        )
        return concatenate([chunk async for chunk in chunks])

    async def query_by_unit_measure(
        self,
        unit: str,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: Ids = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
        raw: bool = False,
    ) -> Readings:
        """The readings of every sensor with a unit, from all shards at once; see :meth:`query_location_data`.

        Args:
            unit: one of the table of types (``iotd/model/types.toml``, ``[types]``): ``celsius``, ``percent``, ``ppm``.

        Raises:
            UsageError: there is no such unit, sensor or aggregation, or a time can't be read.
        """
        chunks = self.stream_by_unit_measure(unit, start, end, sensor_ids=sensor_ids, agg=agg, bucket=bucket, raw=raw)
        return concatenate([chunk async for chunk in chunks])

    def stream_location_data(
        self,
        location: str | None,
        sensor_type: str | None,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: Ids = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
        raw: bool = False,
    ) -> AsyncIterator[Readings]:
        """The same in chunks of about 50,000 readings in time order, so that memory stays flat however long the range.

        At least one chunk comes; the answers of the last one are those of the whole.

        Raises:
            UsageError: as :meth:`query_location_data`, at once.
        """
        seen = self._seen()
        what = select(self.settings, location=location, sensor_type=sensor_type, sensor_ids=sensor_ids, seen=seen)
        return self._stream(what, start, end, agg, bucket, seen=seen, raw=raw)

    def stream_by_unit_measure(
        self,
        unit: str,
        start: Time,
        end: Time | None = None,
        *,
        sensor_ids: Ids = None,
        agg: str | None = None,
        bucket: timedelta | float | str | None = None,
        raw: bool = False,
    ) -> AsyncIterator[Readings]:
        """:meth:`query_by_unit_measure` in chunks; see :meth:`stream_location_data`.

        Raises:
            UsageError: as :meth:`query_by_unit_measure`, at once.
        """
        seen = self._seen()
        what = select(self.settings, unit=unit, sensor_ids=sensor_ids, seen=seen)
        return self._stream(what, start, end, agg, bucket, seen=seen, raw=raw)

    async def get_sensors(
        self, location: str | None = None, sensor_type: str | None = None, *, unit: str | None = None
    ) -> dict[Series, datetime]:
        """The sensors that shards or archive have readings of, and the time of the first one of each (local).

        Raises:
            UsageError: there is no such location, type or unit.
        """
        seen = self._seen()
        what = select(self.settings, location=location, sensor_type=sensor_type, unit=unit, seen=seen)
        query = self._query(what, seen, 0, parse_time("now") + 1, raw=True)
        try:
            await query.learn()
        finally:
            await query.close()
        return {sensor: local(begins) for sensor, begins in sorted(query.begins.items())}

    def _stream(
        self,
        what: Selection,
        start: Time,
        end: Time | None,
        agg: str | None,
        bucket: timedelta | float | str | None,
        *,
        seen: list[Series],
        raw: bool,
    ) -> AsyncIterator[Readings]:
        first, stop = parse_range(start, end)
        summaries = Summaries(self.settings.state, self.settings.known_types)
        if agg is None and bucket is None:
            read = with_summaries(stream.readings, summaries, partial(self._query, what, seen, raw=raw))
            return self._closing(self._query(what, seen, first, stop, raw=raw), read)
        if bucket is None:
            raise UsageError(f"agg {agg!r} needs a bucket: over how long, for instance 1m")
        if agg is None:
            raise UsageError(f"bucket {bucket!r} needs an aggregation: what of each bucket, for instance avg")
        asked, width = aggregation(agg), parse_bucket(bucket)
        what = fitting(what, asked, self.settings.known_types)
        if asked == "increase":
            chunks: Any = partial(increases, bucket=width)
        else:
            chunks = partial(stream.aggregated, what=asked, bucket=width)
        read = with_summaries(chunks, summaries, partial(self._query, what, seen, raw=raw), asked, width)
        return self._closing(self._query(what, seen, first, stop, raw=raw), read)

    async def _closing(self, query: Query, read: Any) -> AsyncIterator[Readings]:
        try:
            async for chunk in read(query):
                yield chunk
        finally:
            await query.close()

    def _seen(self) -> list[Series]:
        """The series that there are: a dead shard can't say which ones it holds."""
        settings = self.settings
        found = catalogued(settings.state / "catalogue.sqlite")
        if found is None and settings.simulates:  # no daemon has run here, and a simulator's sensors are known
            types, count = settings.sensors.types, settings.sensors.per_type
            return [one for name in settings.locations for one in sensors(name, types, count, settings.known_types)]
        return found or []

    def _query(self, what: Selection, seen: list[Series], first: int, stop: int, *, raw: bool) -> Query:
        archive = self._archive

        def marks() -> Marks:
            return (archive and read_marks(self.settings.state, archive.identity)) or Marks()

        shards = {name: ShardSource(self._topology.shard(name), self.settings) for name in what.locations}
        types = self.settings.known_types
        wanted = [series for series in seen if series in what]
        return Query(
            what,
            first,
            stop,
            shards=shards,
            archive=archive,
            marks=marks,
            sensors=wanted,
            types=types,
            calibrations=Calibrations if raw else partial(read_calibrations, self.settings.state),
        )


class BlockingShardingSystem(Blocking[ShardingSystem]):
    """A :class:`ShardingSystem` on an event loop in a thread of its own, so that it works in a notebook too.

        with ShardingSystem.connect_sync() as system:
            readings = system.query_location_data("salon", "temperature", "-1h")

    Without ``with`` it is closed by :meth:`close`, or at the end of the program. Methods may be called from any thread.
    """

    get_shards_status = waiting(ShardingSystem.get_shards_status)
    get_shard_distribution_metrics = waiting(ShardingSystem.get_shard_distribution_metrics)
    get_sensors = waiting(ShardingSystem.get_sensors)
    query_location_data = waiting(ShardingSystem.query_location_data)
    query_by_unit_measure = waiting(ShardingSystem.query_by_unit_measure)
    stream_location_data = iterating(ShardingSystem.stream_location_data)
    stream_by_unit_measure = iterating(ShardingSystem.stream_by_unit_measure)
