"""What there is to measure: locations, types of sensors, and the simulated ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from iotd.config.sections.base import Section
from iotd.config.values import Duration, Names, Period
from iotd.model.types import Kind


class TypeRow(Section):
    """A sensor type of one's own, as a row of ``iotd/model/types.toml``."""

    unit: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: str = ""
    symbol: str = ""
    kind: Kind = "gauge"
    range: tuple[float, float] = (-1e15, 1e15)
    simulated: tuple[float, float] | None = None
    resolution: Annotated[int, Field(ge=0, le=12)] | None = None
    decimals: Annotated[int, Field(ge=0, le=12)] = 2
    span: Annotated[float, Field(gt=0)] = 1.0
    colour: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#475569"
    aliases: tuple[str, ...] = ()
    unit_aliases: tuple[str, ...] = ()

    @field_validator("range")
    @classmethod
    def _rising(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not limits[0] < limits[1]:
            raise ValueError("the first value must be smaller than the second")
        return limits

    @model_validator(mode="after")
    def _can_be_simulated(self) -> TypeRow:
        if self.simulated is None:
            return self
        low, high = self.simulated
        least, most = {"gauge": self.range, "counter": (0.0, 1e15), "state": (0.0, 1.0)}[self.kind]
        if not least <= low <= high <= most or (self.kind == "counter" and low <= 0.0):
            within = "be above 0" if self.kind == "counter" else f"lie within {least:g} and {most:g}"
            raise ValueError(f"simulated: the values of a {self.kind} must {within}, the smaller one first")
        return self


class Location(Section):
    """What people and devices call a location, beside its name in keys and configuration."""

    name: str = ""
    """As people write it: ``Grand salon``; empty: the name of the table."""
    aliases: tuple[str, ...] = ()
    """What else stands for it: names that sources use, a device's address. Blind to case and accents."""


class Sensors(Section):
    """The simulated sensors, and how often each is read; real ones are found as they speak."""

    types: Names = ("temperature", "humidity", "air_quality")
    per_type: Annotated[int, Field(ge=1, le=100_000)] = 3
    """Sensors of each type in each location, numbered from 1."""
    interval: Period = timedelta(seconds=1)
    """Time between two readings of a sensor; readings lie on whole multiples of it since the epoch."""

    @field_validator("types")
    @classmethod
    def _known(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        if not types:
            raise ValueError("name at least one sensor type")
        if len(set(types)) != len(types):
            raise ValueError("a sensor type is named twice")
        return types

    @field_validator("interval")
    @classmethod
    def _whole_ms(cls, interval: timedelta) -> timedelta:
        if interval.microseconds % 1000:
            raise ValueError("the interval must be a whole number of milliseconds")
        return interval


class Simulator(Section):
    """The simulated building."""

    enabled: Literal["auto", "on", "off"] = "auto"
    """auto: only while no other source is configured, so that nobody's house has invented readings in it."""
    seed: int = 1
    catch_up: Duration = timedelta(hours=1)
    """What a sensor remembers at its full rate while iotd does not run; what is older it keeps at history_step."""
    history_days: Annotated[float, Field(ge=0, le=3650)] = 7
    history_step: Period = timedelta(seconds=10)
