"""Reading the settings: a TOML file, environment variables over it, secrets from files."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from iotd.errors import ConfigError
from iotd.settings.tree import Tree

ENV_PREFIX = "IOTD_"


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

    Environment variables are ``IOTD_`` with ``__`` between the levels
    (``IOTD_TOPOLOGY__PORT_OFFSET=1000``) and win over the file; ``overrides`` win over both.

    Raises:
        ConfigError: the file can't be read, or a setting is unknown or wrong; the message has a line for each.
    """
    path = find_config(path)

    class Sourced(Settings):
        model_config = SettingsConfigDict(
            env_prefix=ENV_PREFIX,
            env_nested_delimiter="__",
            extra="forbid",
            toml_file=path,
            secrets_dir=_secret_folders(),
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
                file_secret_settings,
                TomlConfigSettingsSource(settings_cls),
            )

    where = str(path) if path else "environment"
    _refuse_unknown_env()
    try:
        return Sourced(**overrides)
    except ValidationError as e:
        raise ConfigError("\n".join(_line(where, error) for error in e.errors())) from None
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{where}: not valid TOML: {e}") from None
    except OSError as e:
        raise ConfigError(f"{where}: can't be read: {e.strerror}") from None


class Settings(Tree, BaseSettings):
    """All settings, with where they came from taken into account; make one with :func:`load`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    @property
    def state(self) -> Path:
        """The state directory: the setting, else systemd's ``$STATE_DIRECTORY``, else the user's state folder."""
        if self.state_dir is not None:
            return self.state_dir.expanduser().absolute()
        if systemd := os.environ.get("STATE_DIRECTORY"):
            return Path(systemd.split(":")[0])
        return platformdirs.user_state_path("iotd")

    @property
    def stack_token(self) -> Path:
        """Where the token of the InfluxDB that the stack runs is kept."""
        return self.state / "influxdb.token"


def _secret_folders() -> list[Path] | None:
    # systemd credentials and Docker secrets; a file there is named like the variable (IOTD_INFLUXDB__TOKEN)
    folders = [Path(p) for p in (os.environ.get("CREDENTIALS_DIRECTORY"), "/run/secrets") if p]
    return [p for p in folders if p.is_dir()] or None


def _line(where: str, error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "no such setting" + _nearest(error["loc"])
    else:
        given = error.get("input")
        secret = "password" in place or "token" in place
        if isinstance(given, str | int | float | bool) and not secret and repr(given) not in message:
            message += f" (given: {given!r})"
    return f"{where}: {place}: {message}" if place else f"{where}: {message}"


def _nearest(loc: tuple[int | str, ...]) -> str:
    model: Any = Tree
    for part in loc[:-1]:
        field = model.model_fields.get(str(part)) if _is_model(model) else None
        model = field.annotation if field else None
    if not _is_model(model):
        return ""
    near = difflib.get_close_matches(str(loc[-1]), list(model.model_fields), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(model.model_fields)}"


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)


def _refuse_unknown_env() -> None:
    # pydantic-settings passes over variables it can't place; a mistyped one must not be silent
    for name in os.environ:
        if not name.startswith(ENV_PREFIX) or name.startswith(("IOTD_TEST_", "IOTD_CONFIG")):
            continue
        first = name.removeprefix(ENV_PREFIX).split("__")[0].lower()
        if first not in Tree.model_fields:
            raise ConfigError(f"environment: {name}: no such setting{_nearest((first,))}")
