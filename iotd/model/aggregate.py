"""Aggregations: what the servers compute, and how two servers' results for one bucket make one.

Only what can be put together exactly from the parts is offered; a median, for instance, can't.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from iotd.model.batch import Values
from iotd.model.types import Kind

Aggregation = Literal["avg", "min", "max", "sum", "count", "first", "last", "range", "std.p"]
"""By the names of TS.RANGE (https://redis.io/docs/latest/commands/ts.range/); std.p is of the whole population."""

AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

Asked = Aggregation | Literal["increase"]
"""What may be asked for; an increase is computed from the readings, see :mod:`iotd.query.increase`."""

ASKED: tuple[Asked, ...] = (*AGGREGATIONS, "increase")

_FITTING: Mapping[Kind, tuple[Asked, ...]] = {
    "gauge": AGGREGATIONS,
    "counter": ("increase", "min", "max", "count", "first", "last", "range"),
    "state": ("min", "max", "count", "first", "last"),
}
"""There is no mean of a state, and the sum of what a counter shows means nothing."""


def fits(what: Asked, kind: Kind) -> bool:
    """Whether an aggregation means something for types of a kind."""
    return what in _FITTING[kind]


NEEDS: dict[str, tuple[Aggregation, ...]] = {
    "avg": ("count", "sum"),
    "range": ("min", "max"),
    "std.p": ("count", "avg", "std.p"),
}
"""What must be known of each part of a bucket; for those not named here, the aggregation itself."""

Piece = Mapping[str, float]
"""The readings of one part of a bucket: its aggregations by name."""


def needs(what: Aggregation) -> tuple[Aggregation, ...]:
    """The aggregations that must be known of each part, to make the whole."""
    return NEEDS.get(what, (what,))


def piece(values: Values) -> Piece:
    """All aggregations of some readings in time order, which must not be empty."""
    return {
        "count": float(len(values)),
        "sum": math.fsum(values.tolist()),
        "avg": math.fsum(values.tolist()) / len(values),
        "min": float(values.min()),
        "max": float(values.max()),
        "first": float(values[0]),
        "last": float(values[-1]),
        "std.p": float(np.std(values)),
    }


def combine(what: Aggregation, pieces: Sequence[Piece]) -> float:
    """The aggregation over the readings of all pieces together; they are in time order, at least one."""
    match what:
        case "count" | "sum":
            return math.fsum(p[what] for p in pieces)
        case "avg":
            return math.fsum(p["sum"] for p in pieces) / math.fsum(p["count"] for p in pieces)
        case "min":
            return min(p["min"] for p in pieces)
        case "max":
            return max(p["max"] for p in pieces)
        case "range":
            return max(p["max"] for p in pieces) - min(p["min"] for p in pieces)
        case "first":
            return pieces[0]["first"]
        case "last":
            return pieces[-1]["last"]
        case "std.p":  # the mean square within the parts, and that of their means (Chan, Golub, LeVeque, 1983)
            count = math.fsum(p["count"] for p in pieces)
            mean = math.fsum(p["count"] * p["avg"] for p in pieces) / count
            squares = math.fsum(p["count"] * (p["std.p"] ** 2 + (p["avg"] - mean) ** 2) for p in pieces)
            return math.sqrt(squares / count)
