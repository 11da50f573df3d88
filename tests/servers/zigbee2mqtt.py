"""A real zigbee2mqtt with only the radio replaced: devices of ours send raw frames, and it says them to a broker."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.clients import Program, client, running
from tests.servers.mosquitto import Broker

HERE = Path(__file__).parent / "zigbee2mqtt"
_STARTS_S = 60
_REPORT = 0x0A
_ATTRIBUTES: dict[str, tuple[int, int, int, int, bool, float]] = {
    "temperature": (0x0402, 0, 0x29, 2, True, 100),
    "pressure": (0x0403, 0, 0x29, 2, True, 1),
    "humidity": (0x0405, 0, 0x21, 2, False, 100),
    "open": (0x0006, 0, 0x10, 1, False, 1),
}
"""What is reported: its cluster, attribute and type, a value's bytes, whether it is signed, units in one of ours."""


@dataclass(frozen=True)
class Device:
    """A sensor of Aqara's.

    Attributes:
        name: its friendly name; may hold ``/``.
        model: what it says it is: ``lumi.weather`` (temperature in °C, humidity in %, pressure in hPa) or
            ``lumi.sensor_magnet.aq2`` (``open``, which comes out as ``contact``).
        seen_ms: when it was heard last, ms since the epoch; never, if None.
        settings: of this device in configuration.yaml (``{"qos": 1, "retain": True}``).
    """

    name: str
    model: str = "lumi.weather"
    seen_ms: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Zigbee2Mqtt:
    """A zigbee2mqtt that keeps its devices and their last state in a folder, over its restarts."""

    folder: Path
    devices: Sequence[Device]
    program: Program
    _count: int = 0

    def report(self, name: str, *, linkquality: int = 120, **values: float) -> None:
        """A device reports: a frame for each value, in the order given (``temperature=21.5, humidity=45``)."""
        number = [device.name for device in self.devices].index(name) + 1
        for what, value in values.items():
            cluster, attribute, kind, size, signed, factor = _ATTRIBUTES[what]
            self._count += 1
            frame = bytes([0x18, self._count % 256, _REPORT]) + attribute.to_bytes(2, "little") + bytes([kind])
            frame += round(value * factor).to_bytes(size, "little", signed=signed)
            said = {"from": number, "endpoint": 1, "cluster": cluster, "frame": frame.hex(), "linkquality": linkquality}
            stdin = self.program.process.stdin
            assert stdin is not None
            stdin.write(json.dumps(said).encode() + b"\n")
            stdin.flush()

    def stop(self) -> None:
        """Asks it to end: it writes down what it remembers; blocking."""
        assert self.program.stop() == 0, self.program.said[-4000:]

    def kill(self) -> None:
        """SIGKILL; blocking."""
        self.program.process.kill()
        self.program.process.wait()


@contextmanager
def zigbee2mqtt(
    broker: Broker, folder: Path, devices: Sequence[Device], **settings: Mapping[str, Any]
) -> Iterator[Zigbee2Mqtt]:
    """A running zigbee2mqtt; ended at the end. Run it again with the same folder for a restart.

    Args:
        folder: made; what it knows of its devices is kept there.
        devices: joined already.
        settings: sections of configuration.yaml, over those made here (``advanced={"last_seen": "ISO_8601"}``).
    """
    built = client("zigbee2mqtt")
    if not folder.exists():
        folder.mkdir(parents=True)
        rows = [_coordinator(), *(_row(n, device) for n, device in enumerate(devices, start=1))]
        (folder / "database.db").write_text("".join(json.dumps(row) + "\n" for row in rows))
    configuration = _configuration(broker, devices, settings)
    (folder / "configuration.yaml").write_text(json.dumps(configuration))  # JSON is YAML
    environment = {"ZIGBEE2MQTT_DATA": str(folder), "Z2M_ONBOARD_NO_SERVER": "1", "NODE_ENV": "production"}
    log = folder / "said.log"
    before = log.read_text().count("Zigbee2MQTT started!") if log.exists() else 0
    command = [built / "node", HERE / "radio.cjs", built]
    with running(command, log, cwd=folder, env=environment, stdin=subprocess.PIPE) as program:
        made = Zigbee2Mqtt(folder, devices, program)
        limit = time.monotonic() + _STARTS_S
        while program.said.count("Zigbee2MQTT started!") == before:
            program.alive()
            assert time.monotonic() < limit, program.said[-4000:]
            time.sleep(0.02)
        yield made


def _configuration(broker: Broker, devices: Sequence[Device], settings: dict[str, Mapping[str, Any]]) -> Any:
    login = {}
    for user, password in list(broker.users.items())[:1]:
        login = {"user": user, "password": password}
    own: dict[str, Mapping[str, Any]] = {
        "mqtt": {"server": broker.url(), "base_topic": "zigbee2mqtt", **login},
        "serial": {"port": "/dev/null", "adapter": "zstack"},
        "advanced": {
            "log_output": ["console"],
            "log_level": "info",
            "network_key": list(range(16)),
            "pan_id": 0x1A62,
            "ext_pan_id": [0xDD] * 8,
        },
        "frontend": {"enabled": False},
        "devices": {
            _address(n): {"friendly_name": device.name, **device.settings} for n, device in enumerate(devices, start=1)
        },
    }
    merged = {key: {**own.get(key, {}), **settings.get(key, {})} for key in own | settings}
    return {"version": 5, **merged}


def _address(number: int) -> str:
    return f"0x00158d{number:010x}"


def _coordinator() -> dict[str, Any]:
    return _entry(1, "Coordinator", "0x00124b0000000000", 0, [])


def _row(number: int, device: Device) -> dict[str, Any]:
    clusters = sorted({0, *(cluster for cluster, *_ in _ATTRIBUTES.values())})
    return {
        **_entry(number + 1, "EndDevice", _address(number), number, clusters),
        "manufId": 4151,
        "manufName": "LUMI",
        "powerSource": "Battery",
        "modelId": device.model,
        **({} if device.seen_ms is None else {"lastSeen": device.seen_ms}),
    }


def _entry(number: int, kind: str, address: str, network_address: int, clusters: list[int]) -> dict[str, Any]:
    endpoint = {
        "profId": 260,
        "epId": 1,
        "devId": 0,
        "inClusterList": clusters,
        "outClusterList": [],
        "clusters": {},
        "binds": [],
        "configuredReportings": [],
        "meta": {},
    }
    return {
        "id": number,
        "type": kind,
        "ieeeAddr": address,
        "nwkAddr": network_address,
        "epList": [1],
        "endpoints": {"1": endpoint},
        "interviewCompleted": True,
        "interviewState": "SUCCESSFUL",
        "meta": {},
    }
