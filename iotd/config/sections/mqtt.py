"""Brokers of MQTT: where they are, who we are there, and what their messages mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, ByteSize, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from iotd.config.sections.base import Section
from iotd.config.topics.patterns import PLACES, pattern_of
from iotd.config.topics.queries import is_query, query_of
from iotd.config.values import Duration, Size, parse_names

SCHEMES = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
"""Of a broker's URL, with their default ports."""
ALONE = "mqtt"
"""What the broker of the table ``[mqtt]`` itself is called."""


AUTO = "auto"
"""What stands for the preset ``homeassistant``."""
PRESETS = (
    "airgradient",
    "chirpstack",
    "esphome",
    "homeassistant",
    "homie",
    "openmqttgateway",
    "rtl_433",
    "shelly",
    "statestream",
    "tasmota",
    "the_things_stack",
    "zigbee2mqtt",
)


class PresetUse(Section):
    """A preset with the first levels of its topics, where these are not the usual ones."""

    name: str
    base: str | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        name = "homeassistant" if name == AUTO else name
        if name not in PRESETS:
            near = difflib.get_close_matches(name, PRESETS, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"there are auto, {', '.join(PRESETS)}"
            raise ValueError(f"no preset is called {name!r}; {known}")
        return name

    @field_validator("base")
    @classmethod
    def _levels(cls, base: str | None) -> str | None:
        if base is not None and (not base or base.strip("/") != base or set(base) & set("#\0")):
            raise ValueError('write it like "attic/zigbee2mqtt": the first levels of topics, without #')
        return base


def _parse_presets(value: Any) -> Any:
    value = parse_names(value)
    if isinstance(value, list | tuple):
        return [{"name": one} if isinstance(one, str) else one for one in value]
    return value


class TopicRule(Section):
    """How the messages of some topics are read: `[[mqtt.topic]]`.

    A text that begins with ``$.`` or ``$[`` is a query into a JSON payload (RFC 9535, one value at most).
    """

    topic: str
    """A topic filter; ``{location}``, ``{type}`` and ``{sensor}`` stand for a level, or a part of one, that says it."""
    value: str | None = None
    """Where the value is; None: the payload itself, as text or as a JSON number, text or boolean."""
    values: dict[str, str] = {}
    """By type, of payloads with several values: ``{ temperature = "$.t", humidity = "$.h" }``."""
    time: str | None = None
    """Where the time is; None: that of the arrival is taken."""
    unit: str | None = None
    """``degF``, or where it is; None: that of the type, unless the value has one behind it."""
    type: str | None = None
    location: str | None = None
    sensor: str | None = None
    """What the topic does not say; without a sensor it is the topic without the level of ``{type}``."""

    @field_validator("topic")
    @classmethod
    def _pattern(cls, text: str) -> str:
        pattern_of(text)
        return text

    @field_validator("value", "time")
    @classmethod
    def _query(cls, text: str | None) -> str | None:
        if text is not None:
            query_of(text)
        return text

    @field_validator("values")
    @classmethod
    def _queries(cls, queries: dict[str, str]) -> dict[str, str]:
        for kind, text in queries.items():
            if not kind.strip():
                raise ValueError("a type has no name")
            query_of(text)
        return queries

    @field_validator("unit", *PLACES)
    @classmethod
    def _constant_or_query(cls, text: str | None) -> str | None:
        if text is not None and is_query(text):
            query_of(text)
        elif text is not None and not text.strip():
            raise ValueError("it is empty; leave it out")
        return text

    @model_validator(mode="after")
    def _says_each_thing_once(self) -> TopicRule:
        places = pattern_of(self.topic).places
        for name in PLACES:
            if name in places and getattr(self, name) is not None:
                raise ValueError(f"{self.topic!r} has {{{name}}} in it, and {name} is set too: leave one out")
        if self.values:
            if self.value is not None:
                raise ValueError("value and values are set: leave one out")
            if self.type is not None or "type" in places:
                raise ValueError("values are by type, so there is no other type to say: leave it out")
            if self.unit is not None:
                raise ValueError("values have a unit each: write it behind the type, as in temperature_F, not as unit")
        elif self.type is None and "type" not in places:
            raise ValueError(f"nothing says what {self.topic!r} measures: write {{type}} in it, or set type or values")
        return self


def no_idle_rule(rules: Sequence[TopicRule]) -> None:
    """Of rules that match one topic the first is taken, so each has to match one that none before it does.

    Raises:
        ValueError: one can't.
    """
    patterns = [pattern_of(rule.topic) for rule in rules]
    for n, pattern in enumerate(patterns):
        for before in patterns[:n]:
            if before.text == pattern.text:
                raise ValueError(f"two rules are for {pattern.text!r}: leave one out")
            if before.covers(pattern):
                raise ValueError(
                    f"the rule for {pattern.text!r} can match nothing: the one for {before.text!r} before it takes all"
                    " of it; put it first"
                )


class Broker(Section):
    """One broker."""

    url: str
    """``mqtt://host:1883``, ``mqtts`` with TLS, ``ws`` and ``wss`` over websockets."""
    username: str | None = None
    password_file: Path | None = None
    tls_ca_file: Path | None = None
    """Trusted instead of the system's certificates."""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    version: Literal["auto", "5", "3.1.1"] = "auto"
    """auto: 5, and 3.1.1 where the broker does not speak it."""
    client_id: str | None = None
    """None: one that is made once, and kept in the state directory with the session that the broker keeps for it."""
    keep_alive: Annotated[Duration, Field(ge=timedelta(seconds=2), le=timedelta(hours=18))] = timedelta(seconds=30)
    presets: Annotated[tuple[PresetUse, ...], NoDecode, BeforeValidator(_parse_presets)] = ()
    """What the devices are; ``auto`` is what Home Assistant's discovery announces."""
    topic: tuple[TopicRule, ...] = ()
    """What the topics mean that no preset knows; these go before presets, and of several the first."""
    in_flight: Annotated[int, Field(ge=1, le=4_000)] = 1_000
    """Messages at most that we have and have not acknowledged; beyond it nothing more is read."""
    payload_limit: Annotated[Size, Field(ge=1024, le=64 * 1024**2)] = ByteSize(1024**2)
    """Bytes of a message; of a larger one the beginning is held."""
    silent_after: Duration | None = None
    """A broker from which nothing comes for so long is an error that `iotd status` names; None: it may be silent."""

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as e:
            raise ValueError(f"no URL: {e}") from None
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise ValueError('write it like "mqtt://broker:1883"; there are mqtt, mqtts, ws and wss')
        if parts.username is not None or parts.password is not None:
            raise ValueError("user and password do not belong into it: set username and password_file")
        if parts.query or parts.fragment or (parts.scheme in ("mqtt", "mqtts") and parts.path not in ("", "/")):
            raise ValueError("nothing may stand behind host and port")
        if port == 0:
            raise ValueError("0 is no port")
        return url

    @field_validator("presets")
    @classmethod
    def _each_once(cls, presets: tuple[PresetUse, ...]) -> tuple[PresetUse, ...]:
        if twice := [use.name for n, use in enumerate(presets) if use in presets[:n]]:
            raise ValueError(f"{twice[0]} is named twice")
        return presets

    @field_validator("topic")
    @classmethod
    def _no_idle_rule(cls, rules: tuple[TopicRule, ...]) -> tuple[TopicRule, ...]:
        no_idle_rule(rules)
        return rules

    @field_validator("client_id")
    @classmethod
    def _id(cls, client_id: str | None) -> str | None:
        if client_id is not None and not (
            0 < len(client_id.encode(errors="replace")) <= 255 and client_id.isprintable()
        ):
            raise ValueError("1 to 255 bytes, and printable")
        return client_id

    @model_validator(mode="after")
    def _whole(self) -> Broker:
        if self.tls_cert_file is None and self.tls_key_file is not None:
            raise ValueError("tls_key_file belongs to a tls_cert_file")
        if not self.secure and any((self.tls_ca_file, self.tls_cert_file)):
            raise ValueError(f"{self.parts.scheme} is without TLS: write mqtts or wss, or leave the tls_ files out")
        if self.password_file is not None and self.username is None:
            raise ValueError("set username beside password_file")
        return self

    @property
    def parts(self) -> SplitResult:
        """The URL's."""
        return urlsplit(self.url)

    @property
    def secure(self) -> bool:
        """Whether it is spoken to by TLS."""
        return self.parts.scheme in ("mqtts", "wss")

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.parts.port or SCHEMES[self.parts.scheme]

    def read_password(self) -> str | None:
        """The password, read anew each time.

        Raises:
            OSError, ValueError: the file can't be read, or is no text.
        """
        return None if self.password_file is None else self.password_file.read_text(encoding="utf-8-sig").strip()


def setting_name(place: str) -> str:
    """The name of a setting as people write it: of the only broker without the broker's name."""
    return re.sub(rf"^mqtt\.{ALONE}(?=\.|$)", "mqtt", place)


def source_of(broker: str) -> str:
    """What the source of a broker is called."""
    return setting_name(f"mqtt.{broker}")


def parse_brokers(value: Any) -> Any:
    """Brokers by name: ``[mqtt]`` with a ``url`` is the only one; otherwise each table in it is one.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, dict) or not value:
        return value
    fields = value.keys() & Broker.model_fields.keys()
    if "url" in value or any(not isinstance(value[name], dict) for name in fields):
        return {ALONE: value}
    if loose := [name for name, its in value.items() if not isinstance(its, dict | Broker)]:
        raise ValueError(f"no such setting {loose[0]!r}; a broker has a url, and several are tables: [mqtt.attic]")
    return value
