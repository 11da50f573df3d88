"""How two settings differ, and which parts of a running daemon that concerns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ByteSize, SecretStr

from iotd.config.load import Settings
from iotd.config.sections.mqtt import setting_name
from iotd.config.topology import http_address, topology
from iotd.config.values import format_duration, format_size
from iotd.model.errors import ConfigError

HIDDEN = "[secret]"


class Part(Enum):
    """What a reload does for a setting; the value says it to people."""

    LOCATIONS = "by the locations it names"
    SOURCES = "the sensors go on with it"
    SHARDS = "writing goes on over new connections"
    INTAKE = "at once"
    ARCHIVE = "the archive goes on with it"
    LOGGING = "at once (logging)"
    HTTP = "the HTTP server moves"
    INGEST = "the ingest is opened anew"
    STOP = "when the daemon stops"
    START = "at the next start"
    STACK = "at the next `iotd stack up`"
    RESTART = "needs a restart"


PARTS: Mapping[str, tuple[Part, ...]] = {
    "locations": (Part.LOCATIONS,),
    "serve": (Part.LOCATIONS,),
    "state_dir": (Part.RESTART,),
    "types": (Part.SOURCES, Part.SHARDS, Part.ARCHIVE),
    "sensors": (Part.SOURCES, Part.SHARDS),
    "sensors.interval": (Part.SOURCES,),
    "simulator": (Part.SOURCES,),
    "topology": (),  # by the addresses that it gives, see _moved
    "topology.address_map": (Part.SHARDS,),
    "redis": (Part.SHARDS, Part.ARCHIVE),
    "sentinel": (Part.SHARDS,),
    "sentinel.quorum": (Part.STACK,),
    "sentinel.down_after": (Part.STACK,),
    "sentinel.failover_timeout": (Part.STACK,),
    "sources": (Part.SOURCES,),
    "intake": (Part.INTAKE,),
    "mqtt": (Part.SOURCES,),
    "ingest": (Part.INGEST,),
    "silence": (Part.INTAKE,),
    "log": (Part.INTAKE,),
    "log.segment": (Part.RESTART,),
    "writer": (Part.SHARDS,),
    "archive": (Part.ARCHIVE,),
    "influxdb": (Part.ARCHIVE,),
    "influxdb.username": (Part.STACK,),
    "influxdb.password": (Part.STACK,),
    "stack": (Part.STACK,),
    "logging": (Part.LOGGING,),
    "startup": (Part.START,),
    "http": (Part.HTTP,),
    "shutdown": (Part.STOP,),
}
"""By the beginning of a setting's name; the longest one that fits counts."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs, as text for people; ``effect`` says what a reload does about it."""

    name: str
    before: str
    after: str
    effect: str


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs between two settings.

    Attributes:
        parts: what it concerns, all of it in the case of :attr:`Part.SHARDS`.
        moved: locations that both have, whose servers are at other addresses.
    """

    changes: list[Change]
    parts: frozenset[Part]
    moved: frozenset[str]

    @property
    def restart(self) -> list[Change]:
        """The settings that wait for a restart."""
        return [change for change in self.changes if change.effect == Part.RESTART.value]

    def waiting(self, restart: list[Change]) -> Difference:
        """The same, with other settings that wait for a restart."""
        return replace(self, changes=[c for c in self.changes if c not in self.restart] + restart)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Settings, and what the files with secrets that they name held when they were loaded.

    Attributes:
        secrets: by setting: the file, and a digest of its content; None when it could not be read.
    """

    settings: Settings
    secrets: Mapping[str, tuple[Path, str | None]]

    @classmethod
    def of(cls, settings: Settings) -> Snapshot:
        """Reads the files."""
        return cls(settings, {name: (path, _digest(path)) for name, path in _files(settings)})


def difference(before: Snapshot, after: Snapshot) -> Difference:
    """What differs, setting by setting; secrets are never shown.

    Raises:
        ConfigError: a file that ``after`` names can't be read, and was not already missing before.
    """
    for name, (path, digest) in after.secrets.items():
        if digest is None and before.secrets.get(name) != (path, None):
            raise ConfigError(f"{name}: {path} can't be read; make the file, or change the setting")
    old, new = dict(_leaves(before.settings)), dict(_leaves(after.settings))
    changes, parts = [], set[Part]()
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            concerned = parts_of(name)
            parts.update(concerned)
            effect = "; ".join(part.value for part in concerned) or "by the addresses it gives"
            changes.append(Change(name, _text(old.get(name)), _text(new.get(name)), effect))
    was, now = before.settings.served, after.settings.served
    leaves, comes = "it is drained, then removed", "it is added"
    changes += [Change(f"location {n}", "served", "not served", leaves) for n in was if n not in now]
    changes += [Change(f"location {n}", "not served", "served", comes) for n in now if n not in was]
    for name in sorted(before.secrets.keys() & after.secrets.keys()):
        if before.secrets[name][1] != after.secrets[name][1]:
            concerned = parts_of(name)
            parts.update(concerned)
            effect = "; ".join(part.value for part in concerned)
            changes.append(Change(f"{name} (the file)", HIDDEN, HIDDEN, effect))
    moved = set()
    for location, name, here, there in _moved(before.settings, after.settings):
        if location is None:
            part = Part.ARCHIVE if name == "influxdb" else Part.HTTP
            parts.add(part)
        else:
            part = Part.SHARDS
            moved.add(location)
        changes.append(Change(name, here, there, part.value))
    return Difference(changes, frozenset(parts), frozenset(moved))


def parts_of(name: str) -> tuple[Part, ...]:
    """What a setting concerns."""
    words = name.split(".")
    for n in range(len(words), 0, -1):
        if (parts := PARTS.get(".".join(words[:n]))) is not None:
            return parts
    raise KeyError(name)


def _leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in type(model).model_fields:
        value = getattr(model, field)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{field}.")
        elif isinstance(value, dict):
            for key, item in value.items():
                name = setting_name(f"{prefix}{field}.{key}")
                if isinstance(item, BaseModel):
                    yield from _leaves(item, f"{name}.")
                else:
                    yield name, item
        else:
            yield prefix + field, value


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, ByteSize):
        return format_size(value)
    if isinstance(value, str):
        return value
    return json.dumps(value, default=_as_written, ensure_ascii=False).strip('"')


def _as_written(value: Any) -> Any:
    """An entry of a list as it stands in the file, without what was left at its default."""
    return value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else str(value)


def _moved(old: Settings, new: Settings) -> Iterator[tuple[str | None, str, str, str]]:
    """(location, node, address before, address after); of what belongs to no location, None for the first."""
    there = {shard.location: shard for shard in topology(new).shards}
    for shard in topology(old).shards:
        if (other := there.get(shard.location)) is None:
            continue
        if shard.service != other.service:
            yield shard.location, f"service of {shard.location}", shard.service, other.service
        for a, b in zip(shard.nodes, other.nodes, strict=False):
            if a.address != b.address:
                yield shard.location, a.name, str(a.address), str(b.address)
        if len(shard.nodes) != len(other.nodes):
            count = len(shard.sentinels), len(other.sentinels)
            yield shard.location, f"Sentinels of {shard.location}", str(count[0]), str(count[1])
    was, now = topology(old).influxdb.address, topology(new).influxdb.address
    if was != now and new.influxdb.url is None:
        yield None, "influxdb", str(was), str(now)
    if (was := http_address(old)) != (now := http_address(new)):
        yield None, "http server", str(was), str(now)


def _files(settings: Settings) -> Iterator[tuple[str, Path]]:
    for section in ("redis", "sentinel"):
        credentials = getattr(settings, section)
        for name in ("password_file", "tls_ca_file", "tls_cert_file", "tls_key_file"):
            if (path := getattr(credentials, name)) is not None:
                yield f"{section}.{name}", path
    for name in ("tls_cert_file", "tls_key_file"):
        if (path := getattr(settings.ingest, name)) is not None:
            yield f"ingest.{name}", path
    for key, broker in settings.mqtt.items():
        for name in ("password_file", "tls_ca_file", "tls_cert_file", "tls_key_file"):
            if (path := getattr(broker, name)) is not None:
                yield setting_name(f"mqtt.{key}.{name}"), path
    if settings.influxdb.token_file is not None:
        yield "influxdb.token_file", settings.influxdb.token_file


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
