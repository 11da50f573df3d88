"""What a soak measures, and when it counts as flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """The daemon at one moment.

    Attributes:
        at: real seconds since the start.
        memory: resident, bytes, as Private memory of the process: what it alone uses.
        descriptors: open files and sockets.
        tasks: of the event loop.
        threads: of the process.
        log: bytes of the log that are not archived, of all rooms.
        log_files: bytes of the log's files.
        lag: largest event loop lag since the sample before, seconds.
        archive_lag: readings handed over since the last whole pass of the archive, of all rooms.
    """

    at: float
    memory: int
    descriptors: int
    tasks: int
    threads: int
    log: int
    log_files: int
    lag: float
    archive_lag: int


_ROOM = {
    "memory": 12 * _MIB,
    "descriptors": 6,
    "tasks": 8,
    "threads": 3,
    "log": 2 * _MIB,
    "log_files": 16 * _MIB,
    "lag": 0.25,
    "archive_lag": 50_000,
}
"""By how much the last third may lie above the second: what comes and goes with faults and reloads."""


@dataclass(frozen=True)
class Growth:
    """One figure's medians in the second and in the last third of a run (the first one warms up)."""

    name: str
    middle: float
    end: float

    @property
    def flat(self) -> bool:
        return self.end - self.middle <= _ROOM[self.name]


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """How each figure grew."""
    third = len(samples) // 3
    middle, end = samples[third : 2 * third], samples[2 * third :]
    return [
        Growth(name, median(asdict(s)[name] for s in middle), median(asdict(s)[name] for s in end)) for name in _ROOM
    ]


def table(samples: Sequence[Sample]) -> str:
    """The figures for people: ten moments, and the medians of the thirds."""
    lines = ["    time   memory  files  tasks  threads      log  on disk  loop lag  to archive"]
    step = max(1, len(samples) // 10)
    lines += [
        f"{s.at:6.0f} s {s.memory / _MIB:5.1f}MiB {s.descriptors:6} {s.tasks:6} {s.threads:8} "
        f"{s.log / 1024:5.0f}KiB {s.log_files / _MIB:5.1f}MiB {1000 * s.lag:6.0f} ms {s.archive_lag:11,}"
        for s in samples[step - 1 :: step]
    ]
    lines.append("")
    for g in growths(samples):
        lines.append(f"{g.name:12} {g.middle:14,.2f} → {g.end:14,.2f}   {'flat' if g.flat else 'GROWS'}")
    return "\n".join(lines)
