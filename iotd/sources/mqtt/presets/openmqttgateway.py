"""OpenMQTTGateway and Theengs gateway: ``home/<gateway>/BTtoMQTT/<address>``, and what they receive at 433 MHz.

Several gateways hear one beacon. Its readings are its own, whoever heard them: the sensor is the address, and neither
the gateway's name nor its topic says where it is. The beacon's name may; else its address is assigned to a room. The
signal strength is one of beacon and gateway together, so it is passed over.

Without a time (OpenMQTTGateway's ``UTCtime`` or ``unixtime``, both off by default) what two gateways heard at once are
two readings, of two times of arrival: nothing tells them from two measurements of the same value, and all are stored.
With a time, which is in whole seconds, they are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from iotd.model.observation import Observation
from iotd.sources.devices.base import Fields, said
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Filter, Heard, Known, Reader, json_object
from iotd.sources.mqtt.presets.rtl_433 import event
from iotd.sources.mqtt.presets.words import presence, under

DEFAULT = "home"
_FIELDS: Fields = {
    "tempc": ("temperature", "°C"),
    "hum": ("humidity", None),
    "batt": ("battery", None),
    "volt": ("voltage", None),
    "current": ("current", None),
    "pv_power": ("power", None),
    "lux": ("illuminance", None),
    "pres": ("pressure", "hPa"),
    "co2": ("co2", None),
    "tvoc": ("tvoc", None),
    "pm1": ("pm1", None),
    "pm25": ("pm25", None),
    "pm10": ("pm10", None),
    "windspeed": ("wind", "m/s"),
    "motion": ("motion", None),
}
_PROBES = {f"tempc{number}": str(number) for number in range(1, 7)}
_DIGITS = frozenset("0123456789ABCDEFabcdef")


class OpenMqttGateway:
    """See :class:`iotd.sources.mqtt.presets.base.Preset`. The base is OpenMQTTGateway's base topic."""

    name = "openmqttgateway"

    def __init__(self, base: str = DEFAULT) -> None:
        self.base = base

    def filters(self, notes: Mapping[str, str]) -> Sequence[Filter]:
        """What gateways hear over Bluetooth and at 433 MHz, and whether they are there."""
        heard = (Filter(f"{self.base}/+/BTtoMQTT/#"), Filter(f"{self.base}/+/RTL_433toMQTT/#"))
        return (*heard, Filter(f"{self.base}/+/LWT", announces=True))

    def reader(self, topic: str) -> Reader | None:
        """Of a beacon, a transmission, or a gateway's last will."""
        match under(self.base, topic.split("/")):
            case (_, [_, "BTtoMQTT", *levels]):
                return partial(_beacon, _address(levels[-1]) if levels else "")
            case (_, [_, "RTL_433toMQTT", *_]):
                return event
            case (_, [gateway, "LWT"]):
                return partial(_last_will, gateway)
            case _:
                return None


def _beacon(address: str, delivery: Delivery, known: Known) -> Heard:
    if not delivery.payload:
        return NOTHING
    body = json_object(delivery.payload, "what a gateway heard of a beacon")
    id_ = body.get("id")
    sensor = _address(id_) if isinstance(id_, str) and id_.strip() else address
    if not sensor or body.get("type") == "TIRE":  # nobody's, or a car's
        return Heard(passed_over=tuple(body))
    common: dict[str, Any] = {"time": body.get("UTCtime") or body.get("unixtime"), "hints": _hints(body)}
    found = said(body, _FIELDS, sensor, **common)
    taken = set(_FIELDS)
    if "tempf" in body and body.get("tempc") is None:
        found += said(body, {"tempf": ("temperature", "°F")}, sensor, **common)
        taken.add("tempf")
    for name, number in _PROBES.items():
        if name in body:
            found += said(body, {name: ("temperature", "°C")}, f"{sensor} {number}", **common)
            taken.add(name)
    opened = "open" if isinstance(body.get("open"), bool) else "contact"  # `open` is also how far a blind is, in %
    if body.get(opened) is not None:
        found.append(Observation("contact", sensor, body[opened], **common))
        taken.add(opened)
    return Heard(found, passed_over=tuple(name for name in body if name not in taken))


def _last_will(gateway: str, delivery: Delivery, known: Known) -> Heard:
    return presence(delivery.payload, gateway, gateway=True) if delivery.payload else NOTHING


def _hints(body: Mapping[str, Any]) -> tuple[str, ...]:
    name = body.get("name")
    return (name,) if isinstance(name, str) and name else ()


def _address(text: str) -> str:
    """An address as beacons are known by: topics have ``A4C138112233`` for ``A4:C1:38:11:22:33``."""
    bare = text.strip()
    if len(bare) == 12 and _DIGITS.issuperset(bare):
        bare = ":".join(bare[at : at + 2] for at in range(0, 12, 2))
    return bare.upper() if len(bare) == 17 and bare.count(":") == 5 else bare
