"""What the status says of the broker, against what the witness between both sees."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any

from tests.chaos.mqtt.line import Line
from tests.chaos.mqtt.link import Link

_AWAY_S = 27.0
"""15 s for an answer to CONNECT, 10 s until it is a condition; without an answer to pings it is known after 8 s."""
_UNANSWERED_S = 10.0
_TOLD_S = 10.0
_GRACE_S = 10.0
_STEADY_S = 5.0
"""One connection after others that were ended at once is believed when it has lasted for so long."""
_DIED_S = 5.0
"""A daemon that was killed so soon after it lost its session may not have come to saying it."""
_FIGHT_S, _FIGHTS = 90.0, 3
"""So many short connections, within such a time, look like another client's doing, whoever ended them."""

Lie = tuple[str, tuple[str, ...]]


class MqttTruth:
    """Holds conditions against the lines of a link.

    Attributes:
        untold: sessions that were lost within seconds of the daemon's end, and were never named.
    """

    def __init__(self, link: Link) -> None:
        self.untold = 0
        self._link = link
        self._contradicted: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()
        self._settled: dict[str, int] = {}
        self._losses_told: dict[str, int] = {}

    @property
    def calm(self) -> bool:
        """Whether both sources have been connected for a while."""
        now = monotonic()
        return all(line.since is not None and now - line.since > _STEADY_S for line in self._link.lines.values())

    def caused(self) -> bool:
        """Whether the broker has ever lost a session."""
        return any(line.lost for line in self._link.lines.values())

    def lies(self, status: Any, *, runs_since: float, ran_from: float, leeway: float) -> Iterator[Lie]:
        """All that is not so.

        Args:
            runs_since: since when the daemon answers as a running one (monotonic seconds); ``ran_from``: since when
                this run of it does.
        """
        now = monotonic()
        said = [one for one in status["conditions"] if one["name"].startswith("mqtt_")]
        errors = any(one["severity"] == "error" for one in status["conditions"])
        for source, line in self._link.lines.items():
            its = {one["name"]: one for one in said if one["about"].split(" ")[0] == source}
            if line.since is None and not its.keys() & {"mqtt_away", "mqtt_refused", "mqtt_client_id_taken"}:
                away = now - max(line.away_since, runs_since)
                if away > _AWAY_S + leeway:
                    yield f"{source}: for {away:.1f} s it reaches no broker, and nothing says so", ("silent", source)
            waits = now - max(min(line.waiting.values(), default=now), runs_since)
            if waits > _UNANSWERED_S + leeway and not errors:
                yield (
                    f"{source}: for {waits:.1f} s a message waits for its PUBACK, and no error says why",
                    (
                        "silent",
                        source,
                        "puback",
                    ),
                )
            yield from self._cried(source, line, its, leeway)
            yield from self._lost(source, line, said, ran_from, leeway)

    def _cried(self, source: str, line: Line, its: dict[str, Any], leeway: float) -> Iterator[Lie]:
        now = monotonic()
        for name in ("mqtt_away", "mqtt_refused", "mqtt_client_id_taken"):
            if name not in its or line.since is None:
                self._contradicted.pop((source, name), None)
                continue
            there = now - max(self._contradicted.setdefault((source, name), now), line.since)
            if there > _GRACE_S + leeway:
                yield f"{name} of {source} is said, and for {there:.1f} s it is connected", (name, source)
        if "mqtt_client_id_taken" in its and (name := "mqtt_client_id_taken"):
            short = sum(now - at < _FIGHT_S for at in line.hurried)
            if not line.intruders and short < _FIGHTS:
                yield f"{name} of {source} is said, and nobody has taken it", (name, source, "nobody")

    def _lost(self, source: str, line: Line, said: list[Any], ran_from: float, leeway: float) -> Iterator[Lie]:
        now = monotonic()
        its = {one["about"] for one in said if one["name"] == "mqtt_session_lost"}
        new = {(source, about) for about in its if about.split(" ")[0] == source} - self._told
        self._told |= new
        self._losses_told[source] = self._losses_told.get(source, 0) + len(new)
        told = self._losses_told[source]
        if told > len(line.lost):
            yield f"{source}: {told} lost sessions are told, and it were {len(line.lost)}", ("lost", source, "cried")
        settled = self._settled.get(source, 0)
        if told >= len(line.lost):
            self._settled[source] = len(line.lost)
        elif settled < len(line.lost):
            last = line.lost[-1]
            if ran_from > last:  # another run of the daemon: what it did not come to write down, it can't know
                self.untold += len(line.lost) - told
                self._losses_told[source] = len(line.lost)
            elif now - last > _TOLD_S + leeway:
                yield f"{source}: it lost its session {now - last:.1f} s ago, and nothing says so", ("lost", source)
