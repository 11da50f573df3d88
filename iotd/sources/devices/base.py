"""What the modules of devices share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from iotd.model.errors import Refused
from iotd.model.observation import Observation

_MASKED = "masked-"
_NUMBER = re.compile(r"[+-]?[0-9.,]+(?:[eE][+-]?[0-9]+)?")

Fields = Mapping[str, tuple[str, str | None]]
"""By a field's name: the sensor type, and the unit of the values; None: that of the type."""


def said(body: Mapping[str, Any], fields: Fields, sensor: str, **common: Any) -> list[Observation]:
    """An observation of one sensor for each field that there is.

    Args:
        common: what else is said of all: ``time``, ``location``, ``hints``.
    """
    return [
        Observation(kind, sensor, body[name], unit=unit, **common)
        for name, (kind, unit) in fields.items()
        if body.get(name) not in (None, "")
    ]


def text(body: Mapping[str, Any], name: str, of: str) -> str:
    """A field that has to be there and to be a text or a number.

    Raises:
        Refused: it is not; ``of`` says what should have had it.
    """
    value = body.get(name)
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
        return str(value).strip()
    raise Refused("not of this form", f"{of} has {name}, and this has none")


def table(body: Mapping[str, Any], name: str, of: str) -> Mapping[str, Any]:
    """A field that has to be there and to be an object.

    Raises:
        Refused: it is not.
    """
    value = body.get(name)
    if isinstance(value, Mapping):
        return value
    raise Refused("not of this form", f"{of} has an object {name}, and this has none")


def decoded(payload: Any, sensor: str, **common: Any) -> Iterator[Observation]:
    """The numbers and booleans in a decoded payload, also as text, each of the type that its name is.

    What stands in an object within it has that object's name behind the sensor's id: a device with two probes has two
    temperatures.
    """
    yield from _decoded("", payload, sensor, 4, common)


def _decoded(name: str, value: Any, sensor: str, depth: int, common: Mapping[str, Any]) -> Iterator[Observation]:
    if isinstance(value, Mapping) and depth:
        inside = f"{sensor} {name}" if name else sensor
        for key, inner in value.items():
            yield from _decoded(str(key), inner, inside, depth - 1, common)
    elif name and (isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value))):
        yield Observation(name, sensor, value, **common)


def strongest(gateways: Any, sensor: str, **common: Any) -> list[Observation]:
    """The signal strength at the gateway that heard a device best, from a list of gateways; none without one."""
    heard = [one.get("rssi") for one in gateways if isinstance(one, Mapping)] if isinstance(gateways, list) else []
    numbers = [rssi for rssi in heard if isinstance(rssi, int | float)]
    return [Observation("rssi", sensor, max(numbers), **common)] if numbers else []


def without_secrets(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without passwords; of a station's key a short id is left, which does not tell it."""
    found = {name: value for name, value in body.items() if name.upper() not in ("PASSWORD", "KEY")}
    if (secret := found.get("PASSKEY")) and not str(secret).startswith(_MASKED):
        digest = hashlib.blake2b(str(secret).encode(errors="replace"), digest_size=4).hexdigest()
        found["PASSKEY"] = f"{_MASKED}{digest}"
    return found
