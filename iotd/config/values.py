"""The kinds of value that people write in the configuration: durations, addresses, lists of names."""

from __future__ import annotations

import ipaddress
import json
import re
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ByteSize, PlainSerializer
from pydantic_settings import NoDecode

from iotd.model.folding import folded
from iotd.model.instants import milliseconds

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DURATION = re.compile(rf"({_NUMBER.pattern})\s*(ms|[smhdw])\s*")
_LONGEST = timedelta(days=36_525)


def parse_duration(value: Any) -> timedelta:
    """A duration from ``"500ms"``, ``"5m"``, ``"1h30m"``, or a number of seconds.

    Raises:
        ValueError: it is none of these, negative, or longer than a century.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = str(value).strip()
        if _NUMBER.fullmatch(text):
            seconds = float(text)
        elif text and not _DURATION.sub("", text):
            seconds = sum(float(n) * _UNITS[unit] for n, unit in _DURATION.findall(text))
        else:
            raise ValueError(f'{text!r} is not a duration; write it like "500ms", "5m" or "1h30m"')
    if seconds < 0:
        raise ValueError("a duration can't be negative")
    if not seconds <= _LONGEST.total_seconds():  # also when it is not a number
        raise ValueError("a duration can't be longer than a century")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads back: ``"1h30m"``."""
    ms = milliseconds(value)
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


def format_size(value: int) -> str:
    """Bytes as the shortest text that pydantic's ``ByteSize`` reads back: ``"20MiB"``, ``"1500B"``."""
    for unit, size in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value and value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}B"


Size = Annotated[
    ByteSize,
    PlainSerializer(format_size, return_type=str, when_used="json"),
]


def _above_zero(value: timedelta) -> timedelta:
    if value < timedelta(milliseconds=1):
        raise ValueError("must be 1ms at least")
    return value


Period = Annotated[Duration, AfterValidator(_above_zero)]
"""A duration that is repeated or waited for, so that none at all would mean without end or not at all."""


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


def is_loopback(place: str) -> bool:
    """Whether only this machine reaches what listens there.

    Args:
        place: a host, ``host:port`` or a URL; IPv6 hosts with a port in brackets. Of names only ``localhost`` and those
            below it count (RFC 6761): nothing is looked up.
    """
    host = place
    with suppress(ValueError):  # a bare IPv6 address is not ours to split
        return ipaddress.ip_address(host).is_loopback
    with suppress(ValueError):
        host = urlsplit(place if "//" in place else f"//{place}").hostname or ""
        return ipaddress.ip_address(host).is_loopback
    host = host.lower().rstrip(".")
    return host == "localhost" or host.endswith(".localhost")


HostPort = Annotated[Address, BeforeValidator(Address.parse), PlainSerializer(str, when_used="json")]


def parse_names(value: Any) -> Any:
    """Names from a list, or, as an environment variable has them, from ``"salon,cuisine"`` or ``'["salon"]'``."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [name.strip() for name in value.split(",")]


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)]


def parse_locations(value: Any) -> Any:
    """Locations by their names in keys: from a table of tables, or from names as :func:`parse_names` reads them.

    A name with spaces or apostrophes is what people call the location; ``salle_a_manger`` is made of
    ``Salle à manger``.

    Raises:
        ValueError: two names make the same one.
    """
    names = parse_names(value)
    if isinstance(names, list | tuple):
        said: list[tuple[Any, Any]] = [(name, {}) for name in names]
    elif isinstance(value, dict):
        said = list(value.items())
    else:
        return value
    found: dict[Any, Any] = {}
    for name, table in said:
        slug = "" if not isinstance(name, str) or re.fullmatch(r"[\w-]+", name) else folded(name)
        if (key := slug or name) in found:
            raise ValueError(f"{name!r}: a location is named twice")
        found[key] = {"name": name.strip(), **table} if slug and isinstance(table, dict) else table
    return found
