"""Reading the settings: a TOML file, environment variables over it, secrets from files."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

import platformdirs
from pydantic import BaseModel, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)  # fmt: skip

from iotd.config.check import check, check_places
from iotd.config.places import remembered
from iotd.config.sections.mqtt import setting_name
from iotd.config.tree import Tree
from iotd.model.errors import ConfigError

ENV_PREFIX = "IOTD_"

_RENAMED = {
    "archive.sink": 'it is archive.store now, a URL: "influxdb:" or "embedded:"',
    "log.level": "it is logging.level now; [log] is the durable log",
    "log.format": "it is logging.format now; [log] is the durable log",
    "queue": "queue.memory is log.memory now",
    "spool": "spool.limit is log.limit now; keep, sync and on_full are gone: an acknowledged reading is on disk, and a "
    "full log makes its sources wait",
}
"""Settings of version 0.1, and what has become of them."""


def find_config(explicit: Path | None = None) -> Path | None:
    """The configuration file.

    The one named, else ``$IOTD_CONFIG``, ``config/iotd.toml`` here, the user's, the system's.

    Raises:
        ConfigError: the one that was named is not there.
    """
    named = explicit or (Path(env) if (env := os.environ.get("IOTD_CONFIG")) else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"{named}: no such configuration file")
        return named
    places = (
        Path("config/iotd.toml"),
        platformdirs.user_config_path("iotd") / "iotd.toml",
        Path("/etc/iotd/iotd.toml"),
    )
    return next((p for p in places if p.is_file()), None)


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """The settings from ``path`` (or where :func:`find_config` finds them), environment and secret files.

    Environment variables are ``IOTD_`` with ``__`` between the levels (``IOTD_TOPOLOGY__PORT_OFFSET=1000``), secret
    files are named like them. The environment wins over secrets, these over the file; ``overrides`` win over all.

    Raises:
        ConfigError: the file can't be read, or a setting is unknown or wrong; the message has a line for each.
    """
    path = find_config(path)
    folders = _secret_folders()

    class Sourced(Settings):
        model_config = SettingsConfigDict(
            env_prefix=ENV_PREFIX,
            env_nested_delimiter="__",
            extra="forbid",
            toml_file=path,
            secrets_dir=folders,
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                init_settings,
                env_settings,
                _Secrets(file_secret_settings),
                TomlConfigSettingsSource(settings_cls),
            )

    where = str(path) if path else "environment"
    origins = _origins(folders)
    try:
        return Sourced(**overrides).knowing()
    except ValidationError as e:
        raise ConfigError("\n".join(_line(where, origins, error) for error in e.errors())) from None
    except SettingsError as e:
        raise ConfigError(f"environment: {_unparsed(str(e))}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        twice = "; a table may stand there once: put its settings together" if "twice" in str(e) else ""
        raise ConfigError(f"{where}: not valid TOML: {e}{twice}") from None
    except OSError as e:
        raise ConfigError(f"{e.filename or where}: can't be read: {e.strerror}") from None


class Settings(Tree, BaseSettings):
    """All settings, checked as a whole; make one with :func:`load`, which takes their sources into account."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        check(self)
        return self

    @property
    def state(self) -> Path:
        """The state directory: the setting, else systemd's ``$STATE_DIRECTORY``, else the user's state folder."""
        if self.state_dir is not None:
            return self.state_dir.expanduser().absolute()
        if systemd := os.environ.get("STATE_DIRECTORY"):
            return Path(systemd.split(":")[0])
        return platformdirs.user_state_path("iotd")

    def knowing(self, state: Path | None = None) -> Settings:
        """These settings with what a state directory remembers of the locations (None: their own). Blocking.

        Raises:
            ConfigError: they contradict it.
        """
        made = self.model_copy()
        made._known = remembered(state or self.state, self.topology)
        try:
            check_places(made)
        except ValueError as e:
            raise ConfigError(str(e)) from None
        return made

    @property
    def stack_token(self) -> Path:
        """Where the token of the InfluxDB that the stack runs is kept."""
        return self.state / "influxdb.token"


class _Secrets(NestedSecretsSettingsSource):
    """Files named like our variables; what else lies in their folder belongs to others and is not read."""

    @classmethod
    def load_secrets(cls, path: Path) -> dict[str, str]:
        return {file.name: file.read_text().strip() for file in _secret_files(path)}


def _secret_folders() -> list[Path]:
    # Docker secrets and systemd credentials; the latter are for this very service, and win
    folders = [Path(p) for p in ("/run/secrets", os.environ.get("CREDENTIALS_DIRECTORY")) if p]
    try:
        return [p for p in folders if p.is_dir()]
    except OSError as e:
        raise ConfigError(f"{e.filename}: the secrets in it can't be read ({e.strerror})") from None


def _secret_files(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.upper().startswith(ENV_PREFIX) and p.is_file()]


def _origins(folders: list[Path]) -> dict[str, str]:
    """By the name of a variable in upper case: where its value comes from, for messages.

    Raises:
        ConfigError: one is no setting's; pydantic-settings passes over it, and a mistyped one must not be silent.
    """
    found = {file.name.upper(): str(file) for folder in folders for file in _secret_files(folder)}
    found |= {name.upper(): f"environment: {name}" for name in os.environ if name.upper().startswith(ENV_PREFIX)}
    for name, origin in found.items():
        if name == "IOTD_CONFIG" or name.startswith("IOTD_TEST_"):
            continue
        first = name.removeprefix(ENV_PREFIX).split("__")[0].lower()
        if first not in Tree.model_fields:
            raise ConfigError(f"{origin}: no such setting{_nearest((first,))}")
    return found


def _line(where: str, origins: dict[str, str], error: Any) -> str:
    loc = error["loc"]
    place = setting_name(".".join(str(part) for part in loc))
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = f"no such setting; {_RENAMED[place]}" if place in _RENAMED else "no such setting" + _nearest(loc)
    elif error["type"] in ("model_type", "dict_type"):
        message = "must be a table"
    else:
        given = error.get("input")
        secret = "password" in place or "token" in place or (isinstance(given, str) and "@" in given)
        if isinstance(given, str | int | float | bool) and not secret and repr(given) not in message:
            message += f" (given: {given!r})"
    names = place.split(".")
    for depth in range(len(names), 0, -1):
        if origin := origins.get(ENV_PREFIX + "__".join(names[:depth]).upper()):
            return ": ".join(filter(None, (origin, ".".join(names[depth:]), message)))
    return f"{where}: {place}: {message}" if place else f"{where}: {message}"


def _unparsed(message: str) -> str:
    # pydantic-settings names no more than the field of the tree in which a variable can't be read
    field = re.search(r'field "(\w+)"', message)
    if field is None:
        return message
    return f"{ENV_PREFIX}{field[1].upper()}, or a part of it: not valid JSON, as a table or list is there"


def _nearest(loc: tuple[int | str, ...]) -> str:
    model: Any = Tree
    for part in loc[:-1]:
        if get_origin(model) is dict:
            model = get_args(model)[1]
        else:
            field = model.model_fields.get(str(part)) if _is_model(model) else None
            model = field.annotation if field else None
    if not _is_model(model):
        return ""
    near = difflib.get_close_matches(str(loc[-1]), list(model.model_fields), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(model.model_fields)}"


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)
