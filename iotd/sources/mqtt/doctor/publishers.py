"""What publishers lose before a broker has it, or say again: their QoS, and zigbee2mqtt's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from iotd.sources.mqtt.doctor.bench import Bench
from iotd.sources.mqtt.doctor.findings import Finding, Verdict
from iotd.sources.mqtt.exploring.survey import Survey

DEFAULT = "zigbee2mqtt"
"""The preset, and what its topics begin with by default."""
_FILE = "configuration.yaml"
_NAMED = 5


def by_qos(survey: Survey, *, seconds: float, raised: bool) -> Iterator[Finding]:
    """How each preset's messages come.

    Args:
        raised: the broker raises QoS 0, so that it can't be seen.
    """
    for preset, count in sorted(survey.live.items()):
        lost = survey.live_qos0[preset]
        name, measured = f"publishers, {preset}", {"messages": count, "qos0": lost}
        if lost:
            text = (
                f"{lost:,} of {count:,} readings' messages within {seconds:g} s have QoS 0: some are lost whenever a "
            )
            text += "connection breaks"
            lines = ("let the devices publish with QoS 1, where they can",)
            yield Finding(name, Verdict.LOSES, text, lines, measured=measured)
        elif raised:
            text = f"{count:,} messages within {seconds:g} s; the broker raises QoS 0, so theirs is not known"
            yield Finding(name, Verdict.NOTE, text, measured=measured)
        else:
            yield Finding(
                name, Verdict.OK, f"all {count:,} messages within {seconds:g} s have QoS 1", measured=measured
            )


def silent(survey: Survey, names: Sequence[str], *, seconds: float) -> Iterator[Finding]:
    """What is configured, and of which nothing came."""
    for name in names:
        if not survey.live[name]:
            text = (
                f"no readings came within {seconds:g} s: it is silent, or the broker takes the subscription and lets "
            )
            yield Finding(f"publishers, {name}", Verdict.NOTE, f"{text}nothing through (see its access list)")


def refused(survey: Survey) -> Iterator[Finding]:
    """Topic filters that the broker does not give us."""
    for topic, why in survey.refused.items():
        text = f"{topic}: {why}"
        yield Finding("access", Verdict.LOSES, text, ("let our user read these topics, at QoS 1",))


async def bridge_info(bench: Bench, base: str) -> Mapping[str, Any] | None:
    """What a zigbee2mqtt says of itself; None: there is none.

    Raises:
        BrokerAway, BrokerRefuses, ProtocolBroken: the broker does not answer.
    """
    client = await bench.client()
    await client.subscribe(f"{base}/bridge/info")
    found = await client.until(1)
    await client.close()
    try:
        info = orjson.loads(found[0].payload) if found else None
    except orjson.JSONDecodeError:
        return None
    return info if isinstance(info, dict) else None


def finding_name(base: str) -> str:
    """What findings of a zigbee2mqtt are called."""
    return DEFAULT if base == DEFAULT else f"{DEFAULT}, {base}"


def zigbee2mqtt(base: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    """What of its settings loses or repeats readings; pure, and takes any JSON."""
    config = _table(info, "config")
    advanced, options = _table(config, "advanced"), _table(config, "device_options")
    name = finding_name(base)
    stamped = advanced.get("last_seen") not in (None, "disable")
    cached = advanced.get("cache_state", True) is not False
    if not stamped:
        yield Finding(
            name,
            Verdict.REPEATS,
            "last_seen is off: after a restart it says old values again, and nobody can tell them from new ones; each "
            "is stored at the time of its arrival",
            ("advanced:", "  last_seen: ISO_8601"),
            _FILE,
        )
    elif cached:
        text = "last_seen is on, so what it says again has its old time and changes nothing"
        yield Finding(name, Verdict.OK, text)
    if cached:
        # it says so itself: the integration of Home Assistant needs the cache
        needed = _table(config, "homeassistant").get("enabled") is True or config.get("homeassistant") is True
        text = "cache_state is on: each message repeats all attributes, those too that were not measured anew"
        yield Finding(
            name,
            Verdict.NOTE if stamped or needed else Verdict.REPEATS,
            text + ("; its integration into Home Assistant needs that" if needed else ""),
            () if needed else ("advanced:", "  cache_state: false"),
            _FILE,
        )
    elif stamped:
        yield Finding(name, Verdict.OK, "last_seen is on and cache_state off: each message is what was measured")
    devices = [its for its in _table(config, "devices").values() if isinstance(its, dict)]
    if bad := [str(its.get("friendly_name", "?")) for its in devices if _qos(its, options) == 0]:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        text = f"QoS 0 for {', '.join(sorted(bad)[:_NAMED])}{more}: what it says while its connection is broken is lost"
        lines = ["device_options:", "  qos: 1"]
        if any("qos" in its for its in devices if _qos(its, options) == 0):
            lines.append("# and no other qos at the devices themselves")
        yield Finding(name, Verdict.LOSES, text, lines, _FILE, {"devices": len(devices), "qos0": len(bad)})
    elif devices:
        yield Finding(name, Verdict.OK, f"all {len(devices)} devices are published with QoS 1")
    available = config.get("availability")
    if not (available is True or (isinstance(available, dict) and available.get("enabled", True) is True)):
        text = "availability is off: that a device has gone is not told"
        yield Finding(name, Verdict.NOTE, text, ("availability:", "  enabled: true"), _FILE)


def _qos(device: Mapping[str, Any], options: Mapping[str, Any]) -> int:
    qos = device.get("qos", options.get("qos", 0))
    return qos if isinstance(qos, int) else 0


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}
