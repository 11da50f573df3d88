"""The clock that readings go by: the machine's, as long as it is credible.

The wall clock is read against one that no setting touches and that goes on while the machine sleeps (CLOCK_BOOTTIME,
clock_gettime(2)), whenever anybody asks for the time. Where both no longer agree, somebody has stepped the wall clock.
The new time is then held against witnesses, and until one speaks for it time goes on from where it was:

- the kernel's own word: a clock that is synchronised with a time server is right (adjtimex(2));
- the nodes' TIME. One that differed from us before the step, and agrees now, speaks for the new time; one that agreed
  before, and differs now, against it; one that has made the same step shares our clock and is no witness;
- the wall clock itself, when it comes back to what it would have been.

At the start there is nothing to carry on but what was noted in the same boot, and the newest reading in the log: a
clock that is behind it is not to be stamped with (a machine without a battery starts in the past).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from iotd.health import kernel
from iotd.model.instants import iso
from iotd.ops.files import write_atomically
from iotd.ops.loggers import get_logger

log = get_logger(__name__)

_TOLD_MS = 250
"""A step that is worth a line in the log; two clocks that are read one after the other differ by less."""
_AGREES_MS = 2_000
"""Clocks that differ by less agree: such a step is believed at once."""
_SLEW = 0.001
"""A clock that is slewed goes that much faster or slower (the kernel's own limit is 500 ppm, adjtimex(2))."""
_SMALL_MS = 60_000
_SMALL_AFTER_S = 10.0
"""A step of up to a minute that nobody contradicts is believed when it has lasted so long."""
_EVERY_S = 1.0
_NOTE_EVERY_S = 300.0
_SHOWN_S = 3600.0
_MS = 1_000_000
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class ClockState:
    """What there is to say of the clock.

    Attributes:
        time_ms: that readings go by, since the epoch.
        wall_ms: of the machine.
        doubt: why the machine's time is not gone by, None while it is.
        waits: who stamps readings with the present time waits meanwhile.
        stepped: the last step that was confirmed, within the last hour.
        synchronised: the kernel's word; None where it does not say.
    """

    time_ms: int
    wall_ms: int
    doubt: str | None
    waits: bool
    stepped: str | None
    synchronised: bool | None


@dataclass(slots=True)
class _Doubt:
    """A time that is not believed.

    Attributes:
        began: when (steady seconds).
        reason: for people.
        step_ms: by how much the wall clock went ahead (back: negative).
        waits: there is no time to carry on, only one that it must not be before.
        before: by node, by how much its clock was ahead of ours, ms.
        after: the same, of those heard since.
    """

    began: float
    reason: str
    step_ms: int
    waits: bool
    before: dict[str, float]
    after: dict[str, float] = field(default_factory=dict)


def boot_time_ns() -> int:
    """Nanoseconds since the machine was started, its sleep included."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Tells one run of the machine from another; empty where it is not said."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class CheckedClock:
    """Implements :class:`iotd.sources.clock.Clock`."""

    def __init__(
        self,
        note: Path,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = boot_time_ns,
        synchronised: Callable[[], bool | None] = kernel.synchronised,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        boot: str | None = None,
    ) -> None:
        """
        Args:
            note: a file, for what the next start in the same boot carries on.
            boot: names the machine's run.
        """
        self._note = note
        self._wall_ns, self._steady_ns = wall_ns, steady_ns
        self._kernel = synchronised
        self._sleep = sleep
        self._boot = boot_id() if boot is None else boot
        self._certain = asyncio.Event()
        self._certain.set()
        self._synchronised = synchronised()
        self._nodes: dict[str, float] = {}
        self._doubt: _Doubt | None = None
        self._stepped: tuple[float, str] | None = None
        self._wall, self._steady = self._noted() or self._read()
        """The last time that was believed, and when that was by the steady clock, ns."""

    # ── for those who go by it ──

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._look() // _MS

    async def sleep(self, ms: float) -> None:
        """Waits so many milliseconds, whatever the wall clock does meanwhile."""
        await self._sleep(ms / 1000)

    async def certain(self) -> None:
        """Returns when :meth:`now` may be stamped upon a reading."""
        await self._certain.wait()

    @property
    def state(self) -> ClockState:
        """What there is to say of it now."""
        now = self.now()
        doubt = self._doubt
        stepped = self._stepped
        if stepped is not None and self._seconds() - stepped[0] > _SHOWN_S:
            stepped = None
        return ClockState(
            time_ms=now,
            wall_ms=self._wall_ns() // _MS,
            doubt=doubt.reason if doubt else None,
            waits=doubt is not None and doubt.waits,
            stepped=stepped[1] if stepped else None,
            synchronised=self._synchronised,
        )

    # ── watching ──

    def begin(self, newest_ms: int | None, tolerance_ms: int) -> None:
        """The log's newest reading is of this time; a clock that is further behind has started in the past."""
        now = self.now()
        if newest_ms is None or newest_ms <= now + tolerance_ms + _AGREES_MS:
            return
        if self._kernel():
            log.warning("clock_behind", by_ms=newest_ms - now, effect="it is synchronised, and believed")
            return
        reason = (
            f"the clock says {iso(now)}, and the log has readings of {iso(newest_ms)}: it has started in the past, or "
            "was ahead before"
        )
        self._doubts(reason, now - newest_ms, waits=True)
        self._wall, self._steady = newest_ms * _MS, self._steady_ns()
        log.warning(
            "clock_behind", by_ms=newest_ms - now, effect="sources wait until it is confirmed, or has passed it"
        )

    def heard(self, node: str, ahead_ms: float) -> None:
        """A node's clock is so far ahead of ours (behind: negative)."""
        self._look()
        self._nodes[node] = ahead_ms
        if self._doubt is not None:
            self._doubt.after[node] = ahead_ms

    def accept(self) -> ClockState:
        """A person says that the machine's time is right."""
        if self._doubt is not None:
            self._believe("a person has confirmed it")
        return self.state

    async def run(self) -> None:
        """Looks, and asks the witnesses, once a second until cancelled."""
        noted_at = self._seconds()
        steady = time.monotonic_ns() - self._steady_ns()
        while True:
            await self._sleep(_EVERY_S)
            asleep = steady - (time.monotonic_ns() - self._steady_ns())
            steady -= asleep
            if asleep > 1000 * _MS:
                log.info("machine_slept", seconds=round(asleep / 1e9, 1))
            self.check()
            if self._seconds() - noted_at >= _NOTE_EVERY_S:
                noted_at = self._seconds()
                await asyncio.to_thread(self.note)

    def check(self) -> None:
        """Asks the witnesses, where the time is in doubt."""
        self._synchronised = self._kernel()
        self._look()
        doubt = self._doubt
        if doubt is None:
            return
        votes = [vote for node in doubt.after if (vote := _vote(doubt, node)) is not None]
        against = votes.count(False)
        if self._synchronised:
            self._believe("the kernel says that it is synchronised")
        elif votes.count(True) > against:
            self._believe("the clocks of other machines agree with it")
        elif not against and abs(doubt.step_ms) <= _SMALL_MS and self._seconds() - doubt.began >= _SMALL_AFTER_S:
            self._believe("it is a small one, and nothing contradicts it")

    def note(self) -> None:
        """Writes down what the next start in the same boot carries on. Blocking; without a disk it is left."""
        if self._doubt is not None and self._doubt.waits:
            return
        self._look()
        text = json.dumps({"boot": self._boot, "wall_ns": self._wall, "steady_ns": self._steady})
        with contextlib.suppress(OSError):
            write_atomically(self._note, text)

    # ── the time ──

    def _look(self) -> int:
        wall, steady = self._read()
        carried = self._wall + steady - self._steady
        apart = wall - carried
        doubt = self._doubt
        if doubt is not None:
            back = apart >= -_AGREES_MS * _MS if doubt.waits else abs(apart) <= _AGREES_MS * _MS
            if not back:
                return carried
            self._over("it has come back" if not doubt.waits else "it has passed the newest reading")
        elif abs(apart) > (_TOLD_MS + _SLEW * (steady - self._steady) / _MS) * _MS:
            step = apart // _MS
            if abs(step) > _AGREES_MS + _SLEW * (steady - self._steady) / _MS:
                direction = "ahead" if step > 0 else "back"
                reason = (
                    f"the clock was set {direction} by {abs(step) / 1000:.1f} s to {iso(wall // _MS)}, and nothing "
                    "confirms that"
                )
                self._doubts(reason, step, waits=False)
                log.warning("clock_stepped", by_ms=step, effect="time goes on from where it was until it is confirmed")
                return carried
            log.info("clock_stepped", by_ms=step, effect="a small step is believed")
        self._wall, self._steady = wall, steady
        return wall

    def _read(self) -> tuple[int, int]:
        """The wall clock, and the steady one at the same moment, ns."""
        while True:
            before = self._steady_ns()
            wall = self._wall_ns()
            after = self._steady_ns()
            if after - before < _TOLD_MS * _MS // 4:  # or we were held up between the two
                return wall, after

    def _doubts(self, reason: str, step_ms: int, *, waits: bool) -> None:
        self._doubt = _Doubt(self._seconds(), reason, step_ms, waits, dict(self._nodes))
        if waits:
            self._certain.clear()

    def _believe(self, why: str) -> None:
        doubt = self._doubt
        self._over(why)
        if doubt is not None:
            step = abs(doubt.step_ms) / 1000
            direction = "ahead" if doubt.step_ms > 0 else "back"
            self._stepped = self._seconds(), f"it was set {direction} by {step:.1f} s; {why}"
        self._wall, self._steady = self._read()

    def _over(self, why: str) -> None:
        if self._doubt is not None:
            log.info("clock_believed", because=why, after_s=round(self._seconds() - self._doubt.began, 3))
        self._doubt = None
        self._certain.set()

    def _seconds(self) -> float:
        return self._steady_ns() / 1e9

    def _noted(self) -> tuple[int, int] | None:
        try:
            found = json.loads(self._note.read_bytes())
            wall, steady, boot = int(found["wall_ns"]), int(found["steady_ns"]), str(found["boot"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not self._boot or boot != self._boot or not 0 <= steady <= self._steady_ns():
            return None
        return wall, steady


def _vote(doubt: _Doubt, node: str) -> bool | None:
    """Whether a node's clock speaks for the new time (True), against it (False), or not at all."""
    after, before = doubt.after[node], doubt.before.get(node)
    if before is None:
        return False if abs(after) > _AGREES_MS else None  # one that agrees may share our clock
    if abs(before - after - doubt.step_ms) > _AGREES_MS:
        return None  # it made the step with us: the same clock
    if abs(after) <= _AGREES_MS:
        return True
    return False if abs(before) <= _AGREES_MS else None
