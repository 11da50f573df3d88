"""The list of conditions as it is now, and those that are over."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, time
from typing import Any

from iotd.health.kinds import KINDS, Severity
from iotd.model.errors import UsageError
from iotd.ops.files import write_atomically
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said

log = get_logger(__name__)

_HISTORY = 100
"""Conditions that are over, and are remembered."""
_WORTH_S = 2.0
"""What is over sooner is nothing for the history: a daemon that starts."""
_ACKNOWLEDGED = 1000
"""Losses that are, and are not told again when the log is opened again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found just now.

    Attributes:
        name: of its kind.
        location: whose; None: of the whole daemon.
        detail: what exactly, for people.
        about: tells several of one kind and location apart: a node, a source, a loss.
    """

    name: str
    location: str | None = None
    detail: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that a person should know, as long as it lasts.

    Attributes:
        detail: what exactly, for people.
        since: seconds since the epoch.
        until: when it was over; None while it is not.
        meaning, remedy: of its kind.
    """

    name: str
    severity: Severity
    location: str | None
    about: str
    detail: str
    since: float
    until: float | None
    meaning: str
    remedy: str

    @classmethod
    def of(cls, found: Found, since: float, until: float | None = None) -> Condition:
        """With what its kind says."""
        kind = KINDS[found.name]
        detail = found.detail or kind.meaning.split(". ")[0]
        return cls(
            found.name,
            kind.severity,
            found.location,
            found.about,
            detail.rstrip("."),
            since,
            until,
            kind.meaning,
            kind.remedy,
        )


_Key = tuple[str, str | None, str]


class Conditions:
    """Keeps what was found until it is found no more; what names a loss, until it is acknowledged."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time, steady: Callable[[], float] = monotonic) -> None:
        """
        Args:
            path: keeps losses and history over a restart; one that can't be read is begun anew.
            now: seconds since the epoch.
            steady: seconds that no change of the clock touches.
        """
        self._path = path
        self._now = now
        self._steady = steady
        self._first: dict[_Key, float] = {}
        self._present: dict[_Key, Condition] = {}
        self._past: deque[Condition] = deque(maxlen=_HISTORY)
        self._acknowledged: deque[_Key] = deque(maxlen=_ACKNOWLEDGED)
        self.unsaved = False
        """Whether :meth:`save` has something to write."""
        self._read()

    @property
    def present(self) -> list[Condition]:
        """Errors first, each in the order of the runbook."""
        order = list(KINDS)
        return sorted(
            self._present.values(),
            key=lambda c: (c.severity != "error", order.index(c.name), c.location or "", c.about),
        )

    @property
    def past(self) -> list[Condition]:
        """Those that are over, latest first."""
        return list(reversed(self._past))

    def update(self, found: Iterable[Found]) -> None:
        """Takes in all that was found just now; what is not among it is over."""
        steady, now = self._steady(), self._now()
        seen = {key: one for one in found if (key := (one.name, one.location, one.about)) not in self._acknowledged}
        before, self._first = self._first, {key: self._first.get(key, steady) for key in seen}
        for key, one in seen.items():
            kind = KINDS[one.name]
            lasted = steady - self._first[key]
            if key in self._present:
                self._present[key] = Condition.of(one, self._present[key].since)
            elif lasted >= kind.after_s:
                self._present[key] = Condition.of(one, now - lasted)
                self.unsaved |= kind.lasting
        for key in [key for key in self._present if key not in seen and not KINDS[key[0]].lasting]:
            self._over(key, steady - before.get(key, steady))

    def acknowledge(self, name: str, location: str | None) -> int:
        """A person has read of these losses; returns how many they are.

        Raises:
            UsageError: there is none of that name, or it is none that is acknowledged.
        """
        if name not in KINDS:
            raise UsageError(f"there is no condition {name!r}; `iotd status` lists those there are")
        if not (KINDS[name].lasting or KINDS[name].told):
            raise UsageError(f"{name} can't be acknowledged: it is over by itself once its cause is mended")
        keys = [key for key in self._present if key[0] == name and location in (None, key[1])]
        if not keys:
            raise UsageError(f"there is no {name}" + (f" of {location}" if location else "") + " to be acknowledged")
        for key in keys:
            if KINDS[name].lasting:
                self._acknowledged.append(key)
            self._over(key, _WORTH_S)
        return len(keys)

    def save(self) -> None:
        """Keeps on disk what is to outlive a restart, if it has changed. Blocking."""
        if not self.unsaved:
            return
        self.unsaved = False
        lasting = [_to_json(c) for c in self._present.values() if KINDS[c.name].lasting]
        past = [_to_json(c) for c in self._past]
        text = json.dumps({"present": lasting, "past": past, "acknowledged": list(self._acknowledged)}, indent=1)
        try:
            write_atomically(self._path, text)
        except OSError as e:
            log.warning("conditions_not_written", path=str(self._path), reason=said(e))
            self.unsaved = True

    def _over(self, key: _Key, lasted: float) -> None:
        condition = self._present.pop(key)
        if lasted >= _WORTH_S:
            self._past.append(replace(condition, until=self._now()))
        self.unsaved = True

    def _read(self) -> None:
        try:
            found = json.loads(self._path.read_bytes())
            present = [_from_json(one) for one in found["present"]]
            past = [_from_json(one) for one in found["past"]]
            acknowledged = [(str(name), location, str(about)) for name, location, about in found["acknowledged"]]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as e:
            reason = said(e) if isinstance(e, OSError) else "not what was written"
            log.warning("conditions_unreadable", path=str(self._path), reason=reason, effect="history begins anew")
            return
        self._present = {(c.name, c.location, c.about): c for c in present if KINDS[c.name].lasting}
        self._past.extend(past)
        self._acknowledged.extend(acknowledged)


def _to_json(condition: Condition) -> dict[str, Any]:
    return {
        "name": condition.name,
        "location": condition.location,
        "about": condition.about,
        "detail": condition.detail,
        "since": condition.since,
        "until": condition.until,
    }


def _from_json(found: Any) -> Condition:
    location, until = found["location"], found["until"]
    return Condition.of(
        Found(
            str(found["name"]),
            None if location is None else str(location),
            str(found["detail"]),
            str(found["about"]),
        ),
        since=float(found["since"]),
        until=None if until is None else float(until),
    )
