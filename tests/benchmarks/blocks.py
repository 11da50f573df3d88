"""The embedded archive: bytes a reading, and readings a second, beside a table with a row a reading.

``python -m tests.benchmarks.blocks [DAYS]``: days of nine series at 1 Hz with two decimals, written as the archiver
writes them: every five minutes at rest, batches of 5,000 when it catches up.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from iotd.model.buckets import HOUR
from iotd.model.series import Series
from iotd.stores.embedded.reader import ArchiveReader
from iotd.stores.embedded.tables import FILE
from iotd.stores.embedded.writer import ArchiveWriter, Readings

SERIES = [Series("temperature", "salon", str(n)) for n in range(9)]
T0 = 1_790_000_000_000 // HOUR * HOUR
YEAR = 45 * 365 * 86_400
"""Readings of 45 sensors at 1 Hz."""


def runs(days: float, jitter: int) -> list[Readings]:
    """A random walk of two decimals for each series; each reading up to ``jitter`` ms off the second."""
    random = np.random.default_rng(1)
    n = round(days * 86_400)
    return [
        (
            series,
            T0 + np.arange(n) * 1000 + random.integers(0, jitter + 1, n),
            np.round(20 + np.cumsum(random.normal(0, 0.02, n)), 2),
        )
        for series in SERIES
    ]


def batches(of: Sequence[Readings], size: int, together: bool) -> Iterator[list[Readings]]:
    """The readings in batches of that many of a series: of all series at once, or of one series after the other."""
    for start in range(0, len(of[0][1]), size):
        batch = [(series, times[start : start + size], values[start : start + size]) for series, times, values in of]
        yield from [batch] if together else ([run] for run in batch)


def rows(path: Path) -> Callable[[list[Readings]], None]:
    """Writes as the form before: a row a reading."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(
        "CREATE TABLE samples (series INTEGER, time INTEGER, value REAL, PRIMARY KEY (series, time)) WITHOUT ROWID"
    )

    def write(batch: list[Readings]) -> None:
        db.execute("BEGIN")
        for series, times, values in batch:
            number = int(series.sensor_id)
            db.executemany(
                "INSERT INTO samples VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                zip([number] * len(times), times.tolist(), values.tolist(), strict=True),
            )
        db.execute("COMMIT")

    return write


def measure(name: str, write: Callable[[list[Readings]], object], batch: Iterator[list[Readings]], path: Path) -> None:
    written = 0
    began, cpu = time.perf_counter(), time.process_time()
    for each in batch:
        write(each)
        written += sum(len(times) for _, times, _ in each)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    a_reading = path.stat().st_size / written
    sys.stdout.write(
        f"{name:38} {written / took:12,.0f} readings/s {cpu / written * 1e6:6.2f} µs CPU {a_reading:7.3f} bytes/reading"
        f" {a_reading * YEAR / 1e9:6.2f} GB a year of 45 at 1 Hz\n"
    )


def main(days: float) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        some = runs(days / 10, 0)
        measure("a row a reading, 5,000 a commit", rows(folder / "rows"), batches(some, 5000, False), folder / "rows")
        for jitter in (0, 40):
            of = runs(days, jitter)
            for label, size, together in (("5,000 a commit", 5000, False), ("every 5 minutes", 300, True)):
                path = folder / f"{jitter}-{size}" / FILE
                what = f"blocks, {label}, jitter {jitter} ms"
                measure(what, ArchiveWriter(path).write, batches(of, size, together), path)
            reading(path, of)


def reading(path: Path, of: Sequence[Readings]) -> None:
    reader = ArchiveReader(path)
    _, times, _ = of[0]
    first, last = int(times[0]), int(times[-1])
    for name, call in (
        ("samples", lambda: reader.samples(SERIES[0], first, last)),
        ("summaries", lambda: reader.summaries(SERIES[0], first, last)),
        ("avg of days", lambda: reader.buckets(SERIES[0], "avg", T0, 24 * HOUR, first=first, last=last)),
        ("avg of minutes", lambda: reader.buckets(SERIES[0], "avg", T0, 60_000, first=first, last=last)),
        ("std.p of hours", lambda: reader.buckets(SERIES[0], "std.p", T0, HOUR, first=first, last=last)),
    ):
        began = time.perf_counter()
        call()
        took = (time.perf_counter() - began) * 1e3
        sys.stdout.write(f"  {name:20} of {len(times):,} readings of a series: {took:8.2f} ms\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 2)
