"""The checker of a truthful status: what the daemon says of itself, against what the run sees (:mod:`observe`).

Its rules are in the README. Whatever breaks one is a lie, and makes the run a bad one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

from iotd.model.errors import IotdError
from iotd.ops.control import request
from tests.chaos.mqtt.truth import MqttTruth
from tests.chaos.observe import Observer, Pulse, Seen
from tests.chaos.world import World

_LOOK_S = 0.25
_ANSWER_S = 1.0
"""A daemon that has not answered by then is one that does not: `iotd status` is red."""
_TOLD_WITHIN_S = 10.0
_GRACE_S = 10.0
"""So long an error may stand after all goes on again: a judgement a second, and causes that must be seen to be over."""
_TASK_GRACE_S = 45.0
"""A task that died is started again after up to 30 s, and counts as recovered when it has run for 10 s."""
_SAMPLING_S = 1.25
"""The daemon judges once a second, we look four times; so much later may we see what was said in time."""
_LOSSES = ("log_damaged", "readings_lost")
_LASTING = (*_LOSSES, "mqtt_session_lost")
"""What stands until a person has acknowledged it."""

_Key = tuple[str, str | None, str]


class Truth:
    """Holds what the status says against what is seen, all through a run.

    Attributes:
        lies: each with its time, what was seen, and what the status said.
        errors: how often each kind of error was begun to be said.
        acknowledged: losses that a fault had caused, and that were acknowledged.
    """

    def __init__(self, world: World, tell: Callable[[str], None]) -> None:
        self.lies: list[str] = []
        self.errors: Counter[str] = Counter()
        self.acknowledged = 0
        self.named: set[tuple[str, str | None]] = set()
        self._world = world
        self._tell = tell
        self._observer = Observer(world)
        self._mqtt = MqttTruth(world.mqtt.link)
        self._said_at: dict[tuple[str, str], float] = {}
        self._since: dict[_Key, float] = {}
        self._contradicted: dict[tuple[_Key, int], float] = {}
        self._told: set[tuple[str, ...]] = set()
        self._runs_since: float | None = None
        self._run: str | None = None
        self._run_began = 0.0
        self._calm_since: float | None = None
        self._served: dict[str, float] = {}
        self._looked = monotonic()
        self._held_up = 0.0

    async def run(self) -> None:
        """Checks until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._observer.run())
            group.create_task(self._check())

    def named_loss(self, location: str) -> bool:
        """Whether a loss of a location was ever named by a condition."""
        return any(name in _LOSSES and where in (location, None) for name, where in self.named)

    async def _check(self) -> None:
        while True:
            status = await self._status()
            self._notice_delay()
            self._take_in(status)
            if status is not None:
                checks = (self._silences, self._false_alarms, self._unexpected, self._of_mqtt)
                for lie, about in [one for check in checks for one in check(status)]:
                    self._found(lie, about, status)
                await self._acknowledge(status)
            await asyncio.sleep(_LOOK_S)

    async def _status(self) -> Any:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await request(self._world.settings.state, "GET", "/status")
        except (IotdError, TimeoutError):
            return None

    def _notice_delay(self) -> None:
        # where we were held up ourselves (a fault that blocks, a machine that is overloaded) nothing is held against it
        now = monotonic()
        pause, self._looked = now - self._looked, now
        self._held_up = max(self._held_up * 0.9, pause - _ANSWER_S - 2 * _LOOK_S, 0.0)

    def _take_in(self, status: Any) -> None:
        now = monotonic()
        if status is None:
            self._runs_since = self._calm_since = None
            self._since.clear()
            self._contradicted.clear()
            return
        if status["phase"] != "running":
            self._runs_since = None
        elif self._runs_since is None:
            self._runs_since = now
        if status["phase"] == "running" and status["started"] != self._run:
            self._run, self._run_began = status["started"], now
        errors = {_key(one): one for one in status["conditions"] if one["severity"] == "error"}
        for key in errors.keys() - self._since.keys():
            self.errors[key[0]] += 1
        self._since = {key: self._since.get(key, now) for key in errors}
        self._contradicted = {which: at for which, at in self._contradicted.items() if which[0] in errors}
        self.named |= {(one["name"], one["location"]) for one in status["conditions"]}
        rooms = {shard["location"] for shard in status["shards"]}
        for room in rooms - self._served.keys():
            self._observer.seen[room].begin()
        self._served = {room: self._served.get(room, now) for room in rooms}
        if not self._calm():
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now

    def _calm(self) -> bool:
        world = self._world
        if world.striking or not world.mended or world.configuration.uncertain or self._runs_since is None:
            return False
        rooms = [self._observer.seen[room] for room in self._served]
        return self._mqtt.calm and all(
            p.silent_s() <= p.gap_s for s in rooms for p in (s.source, s.master, s.replica, s.archive)
        )

    # ── what is not said ──

    def _silences(self, status: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
        if self._runs_since is None:
            return  # it says that it does not run
        errors = {(key[0], key[1]) for key in self._since}
        interval = self._world.settings.archive.interval.total_seconds()
        for room in self._served:
            seen = self._observer.seen[room]
            # what is wrong with a broker is no reason for anything else
            red = [name for name, where in errors if where in (room, None) and name not in _LOSSES]
            red = [name for name in red if not name.startswith("mqtt")]
            flow = [name for name in red if not name.startswith(("archive", "verification"))]
            rules: list[tuple[str, Pulse, float, list[str]]] = [
                ("its source gets no acknowledgement", seen.source, _TOLD_WITHIN_S, flow),
                ("nothing reaches its master", seen.master, _TOLD_WITHIN_S, flow),
                ("the archive takes nothing", seen.archive, 2 * interval + 60 + _TOLD_WITHIN_S, red),
            ]
            for what, pulse, within, said in rules:
                stalled = self._unsaid_s(self._stalled_s(pulse, room), bool(said), room, what)
                if stalled > within + self._leeway:
                    yield f"{room}: for {stalled:.1f} s {what}, and no error says so", ("silent", room, what)
            refused = seen.refusal.seconds(max(self._runs_since, self._served[room]))
            refused = self._unsaid_s(refused, bool(flow), room, "503")
            if refused > _TOLD_WITHIN_S + self._leeway:
                yield f"{room}: for {refused:.1f} s its client gets 503, and no error says why", ("silent", room, "503")
            told = {one["name"] for one in status["conditions"] if one["location"] in (room, None)}
            # of a master that was away itself it can't be known whether it had one
            alone = min(self._stalled_s(seen.replica, room), monotonic() - seen.master.steady_since)
            alone = self._unsaid_s(alone, bool(told & {"no_replica", "not_written", "not_durable"}), room, "replica")
            if alone > _TOLD_WITHIN_S + self._leeway:
                yield f"{room}: for {alone:.1f} s no replica is connected, and nothing says so", ("silent", room, "r")

    def _stalled_s(self, pulse: Pulse, room: str) -> float:
        # a daemon that has just begun to run, or to serve a room, knows nothing of what was before
        return monotonic() - max(pulse.last, self._runs_since or 0.0, self._served[room])

    def _unsaid_s(self, seconds: float, said: bool, room: str, what: str) -> float:
        # what was said until a moment ago may be over, and we have not seen yet that it is
        if said:
            self._said_at[room, what] = monotonic()
        return min(seconds, monotonic() - self._said_at.get((room, what), 0.0))

    @property
    def untold_sessions(self) -> int:
        """See :attr:`MqttTruth.untold`."""
        return self._mqtt.untold

    @property
    def _leeway(self) -> float:
        return _SAMPLING_S + self._held_up

    # ── what is said, and is not so ──

    def _false_alarms(self, status: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
        for key, since in self._since.items():
            name, room, about = key
            if name in _LASTING:
                if not self._caused(name, room):
                    yield f"{name} of {room}, and no fault has destroyed anything of it", (name, str(room), about)
                continue
            if name == "archive_rejected" and self._rejected():
                continue
            for what, pulse in self._against(name, room):
                if pulse.last <= since:
                    continue
                # it may have begun to go on only now: from the first time that we see it
                first = self._contradicted.setdefault((key, id(pulse)), pulse.last)
                goes_on = pulse.last - max(first, pulse.steady_since)
                if goes_on > _GRACE_S + self._leeway:
                    yield f"{name} of {room} is said, and for {goes_on:.1f} s {what}", (name, str(room), "though")
            grace = _TASK_GRACE_S if name == "task_failing" else _GRACE_S
            if self._calm_since is not None and not self._is_for_a_check(name):
                calm = monotonic() - max(since, self._calm_since)
                if calm > grace + self._leeway:
                    yield f"{name} of {room} is said, and for {calm:.1f} s all is well", (name, str(room), "calm")

    def _against(self, name: str, room: str | None) -> Iterator[tuple[str, Pulse]]:
        """What must not go on where this is said."""
        seen = [self._observer.seen[r] for r in ([room] if room else self._served)]
        pulses: dict[str, tuple[str, Callable[[Seen], Pulse]]] = {
            "not_written": ("its master takes writes", lambda s: s.master),
            "log_unreadable": ("its master takes writes", lambda s: s.master),
            "log_failing": ("sources get acknowledgements", lambda s: s.source),
            "log_full": ("its source gets acknowledgements", lambda s: s.source),
            "archive_failing": ("the archive takes points", lambda s: s.archive),
            "archive_behind": ("the archive takes points", lambda s: s.archive),
        }
        if name in pulses:
            what, of = pulses[name]
            yield from ((what, of(one)) for one in seen)

    def _is_for_a_check(self, name: str) -> bool:
        # what a verification has found stands until the next one
        return name in ("archive_differs", "archive_lost") and bool(self._world.tampered)

    def _caused(self, name: str, room: str | None) -> bool:
        if name not in _LOSSES:
            return self._mqtt.caused()
        losses = self._world.losses
        if losses.under_way:
            return True  # what it costs is found out now
        return (losses.emptied or bool(losses.harmed)) if room is None else room in losses.harmed

    def _rejected(self) -> bool:
        path = self._world.settings.state / "dead-letters" / "archive.jsonl"
        with suppress(OSError):
            return path.stat().st_size > 0
        return True

    # ── what a fault has to bring about ──

    def _unexpected(self, status: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
        if self._runs_since is None or len(self._world.striking) > 1:
            return  # one fault may hide what another brings about
        for expected in self._world.expected:
            if expected.once and expected.since < self._run_began:
                continue
            if any(
                (one["name"], one["location"]) == (expected.name, expected.location) for one in status["conditions"]
            ):
                expected.seen = True
            waits = monotonic() - max(expected.since, self._runs_since)
            if not expected.seen and waits > expected.within + self._leeway:
                where = f" of {expected.location}" if expected.location else ""
                yield f"for {waits:.1f} s {expected.name}{where} is due, and is not said", ("due", expected.name, where)

    def _of_mqtt(self, status: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
        if self._runs_since is not None:
            yield from self._mqtt.lies(
                status, runs_since=self._runs_since, ran_from=self._run_began, leeway=self._leeway
            )

    # ── what comes of it ──

    def _found(self, lie: str, about: tuple[str, ...], status: Any) -> None:
        if about in self._told:
            return
        self._told.add(about)
        said = "; ".join(
            f"{one['name']}{'/' + one['location'] if one['location'] else ''}: {one['detail']}"
            for one in status["conditions"]
        )
        self.lies.append(
            f"{lie}; faults: {', '.join(self._world.striking) or 'none'}; the status said: {said or 'nothing'}"
        )
        self._tell(f"UNTRUTHFUL: {self.lies[-1]}")

    async def _acknowledge(self, status: Any) -> None:
        for name, room in {(key[0], key[1]) for key in self._since if key[0] in _LASTING}:
            if self._caused(name, room):
                with suppress(IotdError, TimeoutError):
                    async with asyncio.timeout(_ANSWER_S):
                        params = {"name": name} | ({"location": room} if room else {})
                        self.acknowledged += await request(self._world.settings.state, "POST", "/acknowledge", params)


def _key(condition: Any) -> _Key:
    return condition["name"], condition["location"], condition["about"]
