"""Where readings come from, what is asked of them on their way in, and when silence is told."""

from __future__ import annotations

import zoneinfo
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any

from pydantic import ByteSize, ConfigDict, Field, field_validator, model_validator

from iotd.config.sections.base import Section
from iotd.config.values import Duration, HostPort, Names, Period, Size, is_loopback
from iotd.model.instants import local_zone


class Source(Section):
    """A source of readings; what it takes beside its kind is the source's own."""

    model_config = ConfigDict(extra="allow", frozen=True, validate_default=True)

    kind: str
    silent_after: Duration | None = None
    """A source that hands nothing over for so long is an error that `iotd status` names; None: it may be silent."""

    @property
    def options(self) -> dict[str, Any]:
        """The other keys of the table."""
        return dict(self.model_extra or {})


class Intake(Section):
    """What is taken, and how long readings wait for company on their way into the log."""

    unknown_location: str = "hold"
    """What becomes of a reading whose location nobody knows: ``hold``, or the location that takes it."""
    future: Duration = timedelta(minutes=5)
    """A reading further ahead of our clock is held: retention counts from the largest time in a series, so that one
    such reading would expire all others (TS.ADD documentation, RETENTION)."""
    past: Duration = timedelta(days=7)
    """A reading whose own time is older is held, unless its source hands it over as a backlog, as an import does."""
    timezone: str | None = None
    """Of times without a zone, as Tasmota and rtl_433 send them: ``Europe/Paris``; None: this machine's."""
    ignore: Names = ()
    """Measurements and types that are no sensors' (``cpu``, ``disk*``): what they say is neither taken nor held."""
    held_limit: Size = ByteSize(64 * 1024**2)
    """What is held of each source; beyond it the oldest is let go, and counted."""
    series_limit: Annotated[int, Field(ge=1)] = 10_000
    """Series that one source may make: beyond it, readings of new ones are held."""
    linger: Duration = timedelta(milliseconds=500)
    """So long readings that nobody waits for are gathered: each fsync of the log writes a page, which wears a card."""
    answer_within: Duration = timedelta(milliseconds=20)
    """So long at most while somebody waits for the answer."""

    @property
    def zone(self) -> tzinfo:
        """Of times without a zone.

        Raises:
            UsageError: it is this machine's, and that can't be told.
        """
        return local_zone() if self.timezone is None else zoneinfo.ZoneInfo(self.timezone)

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        if name is not None and name not in zoneinfo.available_timezones():
            raise ValueError(f'no time zone {name!r}; write it like "Europe/Paris"')
        return name

    @field_validator("answer_within")
    @classmethod
    def _short(cls, answer_within: timedelta) -> timedelta:
        if answer_within > timedelta(milliseconds=50):
            raise ValueError("who waits for an answer must not wait longer than 50ms for others")
        return answer_within


class Ingest(Section):
    """Readings over HTTP, on a listener of its own; off unless ``listen`` is set."""

    listen: HostPort | None = None
    """``127.0.0.1:9109``; ``0.0.0.0:9109`` for sensors on the network."""
    tokens_file: Path | None = None
    """Who may hand readings over: a token a line; None: whoever reaches it, which has to be this machine alone."""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    body_limit: Annotated[Size, Field(ge=1024)] = ByteSize(25 * 1024**2)
    """Bytes of one request, unpacked; more is refused with 413, and clients send it in parts."""
    body_timeout: Period = timedelta(seconds=30)
    """So long a client may take to send one."""

    @model_validator(mode="after")
    def _safe(self) -> Ingest:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("set tls_cert_file and tls_key_file, or none of them")
        if self.listen is not None and self.tokens_file is None and not is_loopback(self.listen.host):
            raise ValueError(f"whoever reaches {self.listen} could write: set tokens_file, or listen on 127.0.0.1")
        return self


class Patience(Section):
    """How long sensors of a type may be silent; what is not set is as in ``[silence]``."""

    watched: bool = True
    factor: Annotated[float, Field(ge=1)] | None = None
    least: Period | None = None
    most: Period | None = None


class Silence(Section):
    """Sensors that say nothing for longer than they used to, each by its own rhythm."""

    factor: Annotated[float, Field(ge=1)] = 3.0
    """So many times its usual longest pause a sensor may be silent."""
    least: Period = timedelta(minutes=10)
    most: Period = timedelta(days=1)
    """Bounds of that; ``most`` is also for one whose rhythm is not known yet."""
    types: dict[str, Patience] = {}
    """By type, where it differs. Types of the kind ``state`` are watched only when they are here: a door that nobody
    opens says nothing."""
