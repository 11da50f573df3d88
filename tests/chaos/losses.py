"""What faults have taken out of the daemon's log, and whether the daemon has named it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from iotd.model.series import Series
from tests.chaos import damage
from tests.servers.daemon import Daemon

_ANEW_S = 3


class Losses:
    """Keeps account of them.

    Attributes:
        losable: readings (series, time, values) that were in a part of the log which a fault has destroyed.
        harmed: partitions that have lost records, and when they were first (monotonic seconds).
        unnameable: partitions of which a part was destroyed that nothing else knew of.
        emptied: whether a fault has taken the whole log.
        under_way: whether files are being harmed now.
        unnamed: what the log had lost, and the daemon did not name.
    """

    def __init__(self, folder: Path, daemon_log: Path) -> None:
        """
        Args:
            folder: of the log.
            daemon_log: where the daemon's lines go.
        """
        self.folder = folder
        self.losable: dict[Series, dict[int, set[float]]] = {}
        self.harmed: dict[str, float] = {}
        self.unnameable: set[str] = set()
        self.emptied = self.under_way = False
        self.unnamed: list[str] = []
        self._daemon_log = daemon_log
        self._to_be_named: list[tuple[int, damage.Lost]] = []

    @contextmanager
    def harming(self, *, named: bool) -> Iterator[Path]:
        """The log's files are harmed meanwhile; the daemon is down, and whoever started it again names what is lost.

        Args:
            named: whether the log can know what it has lost.
        """
        with damage.harming(self.folder) as lost:
            yield self.folder
        self._note(lost, named=named)
        if named and lost.records:
            self._to_be_named.append((self._daemon_log.stat().st_size, lost))

    async def harm_running(self, files: Sequence[Path], harm: Callable[[Path], None]) -> None:
        """Harms files of the log while the daemon runs.

        The one that is being written it has to write anew at once, from what it still has open. What is not anew soon,
        or was sealed, may be lost with what it alone had, which is found out in a copy.
        """
        active = max(self.folder.glob("*.seg"), default=None)
        size = active.stat().st_size if active is not None and active in files else 0
        with TemporaryDirectory(prefix="iotd-chaos-") as place:
            copy = Path(place)
            for path in self.folder.glob("*"):
                with suppress(FileNotFoundError):  # the daemon lets go of files meanwhile
                    shutil.copy2(path, copy)
            self.under_way = True
            for path in files:
                harm(path)
            lost = [self._lost(copy, [path for path in files if path != active], harm)]
            lost.append(self._lost(copy, files, harm))
        anew = active is not None and active in files and await self._grows(active, size)
        # what a file had may be archived, and let go, before the daemon looks: then there is nothing to name
        self._note(lost[0] if anew or active not in files else lost[1], named=False)
        self.under_way = False

    @staticmethod
    def _lost(copy: Path, files: Sequence[Path], harm: Callable[[Path], None]) -> damage.Lost:
        with damage.harming(copy) as lost:
            for path in files:
                if (there := copy / path.name).exists():
                    harm(there)
        return lost

    @staticmethod
    async def _grows(path: Path, size: int) -> bool:
        for _ in range(_ANEW_S * 20):
            with suppress(FileNotFoundError):
                if path.stat().st_size >= size:
                    return True
            await asyncio.sleep(0.05)
        return False

    def look_for_names(self) -> None:
        """Notes which losses of the log the daemon has not named since; it must have been started again."""
        for size, lost in self._to_be_named:
            with self._daemon_log.open("rb") as f:
                f.seek(size)
                lines = Daemon.parsed(f.read().decode(errors="replace"))
            damaged = [e for e in lines if e["event"] == "log_damaged"]
            # a later fault may have taken the whole log: whoever says that has named all that was in it
            if not any(e["readings"] is None for e in damaged):
                named = [(e["shard"], e["first"], e["last"]) for e in damaged]
                self.unnamed += [f"{location} {sequence}" for location, sequence in lost.unnamed(named)]
        self._to_be_named.clear()

    def _note(self, lost: damage.Lost, *, named: bool) -> None:
        for readings in lost.records.values():
            for series, time, value in readings:
                self.losable.setdefault(series, {}).setdefault(time, set()).add(value)
        for partition, _ in lost.records:
            self.harmed.setdefault(partition, monotonic())
            if not named:
                self.unnameable.add(partition)
