"""The kinds of value that people write in the configuration: durations, addresses."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*")


def parse_duration(value: Any) -> timedelta:
    """A duration from ``"500ms"``, ``"5m"``, ``"1h30m"``, or a number of seconds.

    Raises:
        ValueError: it is none of these, or negative.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("a duration can't be negative")
        return timedelta(seconds=value)
    text = str(value).strip()
    if text.replace(".", "", 1).isdigit():
        return timedelta(seconds=float(text))
    if not text or _DURATION.sub("", text):
        raise ValueError(f'{text!r} is not a duration; write it like "500ms", "5m" or "1h30m"')
    return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _DURATION.findall(text)))


def format_duration(value: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads back: ``"1h30m"``."""
    ms = round(value.total_seconds() * 1000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
]


class Address(NamedTuple):
    """A host and port, as ``host:port`` in text; IPv6 hosts in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, value: Any) -> Address:
        """An address from ``"host:port"``.

        Raises:
            ValueError: no port, or not one from 1 to 65535.
        """
        if isinstance(value, Address):
            return value
        host, _, port = str(value).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f'{value!r} is not an address; write it like "127.0.0.1:6379"')
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


HostPort = Annotated[Address, BeforeValidator(Address.parse), PlainSerializer(str, when_used="json")]
