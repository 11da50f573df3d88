"""A real Home Assistant in a folder of its own, joined to a broker if wanted; its states are set by its REST API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.servers.clients import Program, client, running
from tests.servers.mosquitto import Broker

_STARTS_S = 120
_KEY = "a key of tests"
_TOKEN_ID = "1" * 32
_USER_ID = "2" * 32
_MADE = "2024-01-01T00:00:00+00:00"
_CONFIGURATION = """
homeassistant:
  name: House
  time_zone: Europe/Paris
  unit_system: metric
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
"""


@dataclass(frozen=True)
class HomeAssistant:
    """A running one, and where it answers."""

    program: Program
    port: int

    def running(self, limit: float = _STARTS_S) -> None:
        """Waits until all of it has started; blocking."""
        end = time.monotonic() + limit
        while True:
            self.program.alive()
            try:
                if self._asked("GET", "config")["state"] == "RUNNING":
                    return
            except (urllib.error.URLError, ConnectionError):
                pass  # it does not listen yet
            assert time.monotonic() < end, self.program.said[-4000:]
            time.sleep(0.1)

    def set(self, entity: str, state: object, attributes: Mapping[str, Any] | None = None) -> int:
        """Sets a state; when it was, as it has it, in µs since the epoch; blocking."""
        said = self._asked("POST", f"states/{entity}", {"state": str(state), "attributes": attributes or {}})
        return _us(said["last_updated"])

    def state(self, entity: str) -> str:
        """Of an entity; blocking."""
        return str(self._asked("GET", f"states/{entity}")["state"])

    def entities(self) -> list[str]:
        """All that it has; blocking."""
        return [one["entity_id"] for one in self._asked("GET", "states")]

    def _asked(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {_access_token()}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def home_assistant(
    folder: Path, port: int, configuration: str = "", *, broker: Broker | None = None
) -> Iterator[HomeAssistant]:
    """A Home Assistant; ended at the end. Run it again with the same folder for a restart.

    Args:
        folder: made; its configuration, its database and what it says (``said.log``).
        port: of its page and its API, on 127.0.0.1.
        configuration: sections of configuration.yaml beside those made here (:func:`statestream`).
        broker: its MQTT integration is joined to this one, and takes what is announced there.
    """
    storage = folder / ".storage"
    storage.mkdir(parents=True, exist_ok=True)
    (folder / "configuration.yaml").write_text(_CONFIGURATION.format(port=port) + configuration)
    if not (storage / "auth").exists():
        _write(storage, "auth", _users())
        if broker is not None:
            _write(storage, "core.config_entries", {"entries": [_entry(broker)]})
    command: list[str | Path] = [client("homeassistant") / "python/bin/hass", "--config", folder, "--skip-pip"]
    own = {"PYTHONPATH": ""}  # the libraries of its own environment, and no other
    with running(command, folder / "said.log", env=own) as program:
        yield HomeAssistant(program, port)


def statestream(base: str, **settings: Any) -> str:
    """The section that says all states to the broker (``publish_timestamps=True, publish_attributes=True``)."""
    lines = [f"  {key}: {json.dumps(value)}" for key, value in {"base_topic": base, **settings}.items()]
    return "\n".join(["mqtt_statestream:", *lines, ""])


def _us(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _write(storage: Path, key: str, data: Any) -> None:
    (storage / key).write_text(json.dumps({"version": 1, "minor_version": 1, "key": key, "data": data}))


def _entry(broker: Broker) -> dict[str, Any]:
    login = {}
    for user, password in list(broker.users.items())[:1]:
        login = {"username": user, "password": password}
    return {
        "entry_id": "3" * 32,
        "version": 1,
        "minor_version": 1,
        "domain": "mqtt",
        "title": "broker",
        "data": {"broker": "127.0.0.1", "port": broker.port, "discovery": True, **login},
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
    }


def _users() -> dict[str, Any]:
    user = {
        "id": _USER_ID,
        "group_ids": ["system-admin"],
        "is_owner": True,
        "is_active": True,
        "name": "tests",
        "system_generated": False,
        "local_only": False,
    }
    token = {
        "id": _TOKEN_ID,
        "user_id": _USER_ID,
        "client_id": None,
        "client_name": "tests",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": _MADE,
        "access_token_expiration": 315_360_000.0,
        "token": "4" * 128,
        "jwt_key": _KEY,
        "last_used_at": None,
        "last_used_ip": None,
        "expire_at": None,
        "credential_id": None,
        "version": "2024.3.3",
    }
    groups = [{"id": f"system-{name}", "name": name} for name in ("admin", "users", "read-only")]
    return {"users": [user], "groups": groups, "credentials": [], "refresh_tokens": [token]}


def _access_token() -> str:
    """What it would have handed out for the token in its store."""
    now = int(time.time())
    parts: list[Any] = [{"alg": "HS256", "typ": "JWT"}, {"iss": _TOKEN_ID, "iat": now, "exp": now + 3600}]
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(hmac.digest(_KEY.encode(), signed.encode(), hashlib.sha256))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
