"""The topics of a chaos run: which rules the daemon has for them, and what a message on one of them is.

`five/timed/salon/m0-1/temperature`: of the source that speaks MQTT 5, with a time in its payload, of a sensor in the
salon. Rooms are called by their names or by their aliases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.chaos.clients.book import Reading
from tests.chaos.mqtt.notes import SOURCES

BRANCHES = tuple(source.partition(".")[2] for source in SOURCES.values())
"""The first levels: each is read by the source of this name."""
TIMED, TIMELESS = "timed", "plain"
OLD = "old"
"""Begins the ids of sensors of which nothing may ever become a reading."""


def alias(room: str) -> str:
    """What else a room is called."""
    return f"Étage d'en haut: {room}"


def topic(branch: str, kind: str, room: str, sensor: str, type_: str) -> str:
    """Of a sensor; the room by whatever it is called."""
    return f"{branch}/{kind}/{room}/{sensor}/{type_}"


def payload(one: Reading) -> bytes:
    """Of a reading; as plain text where it has no time."""
    if one.time is None:
        return repr(one.value).encode()
    return json.dumps({"v": one.value, "ts": one.time}).encode()


def kept(rooms: Iterable[str]) -> list[str]:
    """Topics whose messages the broker had before iotd ever subscribed: nobody knows when they were measured."""
    return [topic(branch, TIMELESS, room, f"{OLD}-kept", "temperature") for branch in BRANCHES for room in rooms]


def said(topic: str, payload: bytes, rooms: Iterable[str]) -> Reading | None:
    """The reading that a message says; None: it says none that can be taken."""
    levels = topic.split("/")
    places = {name: room for room in rooms for name in (room, alias(room))}
    if len(levels) != 5 or levels[2] not in places:
        return None
    _, kind, place, sensor, type_ = levels
    try:
        found = json.loads(payload)
        value, time = (found["v"], found["ts"]) if kind == TIMED else (found, None)
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(value, float) or not (time is None or isinstance(time, int)):
        return None
    return Reading(type_, places[place], sensor, time, value)


def brokers(url: str) -> Mapping[str, Any]:
    """The daemon's tables: a source for each version of the protocol, both at one broker."""
    return {
        source.partition(".")[2]: {
            "url": url,
            "version": "5" if version == 5 else "3.1.1",
            "keep_alive": "4s",
            "topic": [
                {"topic": topic(branch, TIMED, "{location}", "{sensor}", "{type}"), "value": "$.v", "time": "$.ts"},
                {"topic": topic(branch, TIMELESS, "{location}", "{sensor}", "{type}")},
            ],
        }
        for version, source in SOURCES.items()
        for branch in (source.partition(".")[2],)
    }
