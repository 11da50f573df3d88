"""A witness of what InfluxDB has acknowledged: what it lacks of that in the end, it has lost itself.

It does lose some, when it is killed after its disk was full: its log is cut at the place where a write was torn, and
what it had acknowledged behind that place is gone. Only a verification finds that out, which is what it is for.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

from iotd.model.series import Series
from tests.servers.influxproxy import WRITE, Request

_STEP_MS = 100


class Witness:
    """Notes the points of every write that was acknowledged: a byte each on the grid of the simulated sensors."""

    def __init__(self) -> None:
        self._first: int | None = None
        self.heard: Callable[[str], None] = lambda location: None
        """Told the location of each write that was acknowledged."""
        self._seen: dict[bytes, bytearray] = {}
        self._off_grid: dict[bytes, set[int]] = {}

    def told(self, request: Request, status: int) -> None:
        """The client was told this status for a request."""
        if request.path != WRITE or status != 204 or not request.body:
            return
        packed = request.headers.get("content-encoding") == "gzip"
        locations = set()
        for line in (gzip.decompress(request.body) if packed else request.body).split(b"\n"):
            series, _, time = line.split(b" ")
            self._note(series, int(time))
            locations.add(series.partition(b",location=")[2].partition(b",")[0])
        for location in locations:
            self.heard(location.decode())

    def acknowledged(self, sensor: Series, time: int) -> bool:
        """Whether InfluxDB has said that it holds a sensor's point at this time (ms)."""
        tags = f"location={sensor.location},sensor_id={sensor.sensor_id},unit={sensor.unit}"
        if time % _STEP_MS or self._place(time) < 0:
            return time in self._off_grid.get(f"{sensor.type},{tags}".encode(), ())
        seen = self._seen.get(f"{sensor.type},{tags}".encode(), b"")
        place = self._place(time)
        return 0 <= place < len(seen) and bool(seen[place])

    def _note(self, series: bytes, time: int) -> None:
        if self._first is None:
            self._first = time - 2_000_000  # what is late is not much older
        if time % _STEP_MS or self._place(time) < 0:
            self._off_grid.setdefault(series, set()).add(time)
            return
        place = self._place(time)
        seen = self._seen.setdefault(series, bytearray())
        if place >= len(seen):
            seen.extend(bytes(place + 36_000 - len(seen)))
        seen[place] = 1

    def _place(self, time: int) -> int:
        return (time - (self._first or 0)) // _STEP_MS
