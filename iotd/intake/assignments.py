"""What people said of sensors: where they are, what they are called, whose series they continue, what corrects them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from iotd.intake.resolve import Assignment
from iotd.model.calibration import EVER, Calibration, Calibrations, Line, Span, said_of
from iotd.model.errors import StateError, StateUnwritable, UsageError
from iotd.ops.files import set_aside, write_atomically
from iotd.ops.loggers import get_logger
from iotd.ops.systemerrors import said

log = get_logger(__name__)

FILE = "sensors.json"
"""Its name in the state directory."""


class Assignments:
    """A JSON file, by the source's id of a sensor; written whole, durable on return. Methods may be called from any
    thread.

    A file that can't be read as that is moved aside and named: sensors go where their sources say, until somebody
    gives it back.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file; blocking.

        Raises:
            StateUnwritable: it is there, and can't be opened or moved aside.
        """
        self.path = path
        self._changing = threading.Lock()
        self._all: dict[str, Assignment] = {}
        try:
            self._all = _read(path)
        except OSError as e:
            raise StateUnwritable(f"{path}: can't be read ({said(e)})") from None
        except ValueError as e:
            aside = set_aside(path, StateUnwritable)
            log.error("assignments_damaged", path=str(path), reason=str(e), moved_to=str(aside))

    @property
    def all(self) -> Mapping[str, Assignment]:
        """By the sensor's id."""
        return self._all

    def name_of(self, sensor: str) -> str | None:
        """What people call a sensor, by its id."""
        found = self._all.get(sensor)
        return found.name if found else None

    @property
    def calibrations(self) -> Calibrations:
        """How series are calibrated by it now."""
        return _calibrations(self._all)

    def change(self, sensor: str, **what: Any) -> None:
        """Changes what is said of a sensor: location, name, continues, since. Blocking.

        Raises:
            StateUnwritable: the file can't be written; nothing was changed.
        """
        with self._changing:
            self._write({**self._all, sensor: replace(self._all.get(sensor, Assignment()), **what)})

    def calibrate(self, sensor: str, kind: str, location: str | None, since: int, line: Line) -> None:
        """A line holds for a sensor's values of a type from a time (ms) on, in place of all that held then. Blocking.

        Args:
            location: for this one only, where other sensors of the same id are elsewhere; None: wherever it is.

        Raises:
            StateUnwritable: the file can't be written; nothing was changed.
        """
        with self._changing:
            before = self._all.get(sensor, Assignment())
            its = dict(before.calibrations)
            if location is None:
                its = {key: one for key, one in its.items() if not key.startswith(f"{kind}:")}
                its[kind] = its.get(kind, Calibration()).since(since, line)
            else:
                its[f"{kind}:{location}"] = said_of(its, kind, location).since(since, line)
            # one that is empty says something only where another one is said of all locations
            its = {key: one for key, one in its.items() if one or (":" in key and kind in its)}
            self._write({**self._all, sensor: replace(before, calibrations=its)})

    def rename(self, old: str, new: str) -> None:
        """What is said of a location is said of it by its new name. Blocking.

        Raises:
            StateUnwritable: the file can't be written; nothing was changed.
        """

        def renamed(one: Assignment) -> Assignment:
            its = {
                f"{kind}:{new}" if location == old else key: calibration
                for key, calibration in one.calibrations.items()
                for kind, _, location in (key.partition(":"),)
            }
            return replace(one, location=new if one.location == old else one.location, calibrations=its)

        with self._changing:
            after = {sensor: renamed(one) for sensor, one in self._all.items()}
            if after != self._all:
                self._write(after)

    def forget(self, sensor: str) -> None:
        """Nothing is said of a sensor any more. Blocking.

        Raises:
            StateUnwritable: the file can't be written; nothing was changed.
        """
        with self._changing:
            if sensor in self._all:
                self._write({other: one for other, one in self._all.items() if other != sensor})

    def _write(self, after: dict[str, Assignment]) -> None:
        after = {sensor: one for sensor, one in after.items() if one != Assignment()}
        content = {sensor: _plain(one) for sensor, one in sorted(after.items())}
        try:
            write_atomically(self.path, json.dumps(content, indent=1, ensure_ascii=False))
        except OSError as e:
            raise StateUnwritable(f"{self.path}: can't be written ({said(e)})") from None
        self._all = after


def read_calibrations(state: Path) -> Calibrations:
    """How series are calibrated, by the file of a state directory that a daemon may be using. Blocking.

    Raises:
        StateError: it can't be read.
    """
    return _calibrations(_looked_at(state, "calibrations", "raw values (--raw) need none"))


def read_assignments(state: Path) -> Mapping[str, Assignment]:
    """What people said of sensors, by the file of a state directory that a daemon may be using. Blocking.

    Raises:
        StateError: it can't be read.
    """
    return _looked_at(state, "what was said of sensors", "a daemon would move it aside")


def _looked_at(state: Path, what: str, else_: str) -> dict[str, Assignment]:
    path = state / FILE
    try:
        return _read(path)
    except OSError as e:
        reason = said(e)
    except ValueError as e:
        reason = str(e)
    raise StateError(f"{path}: {what} can't be read ({reason}); {else_}")


def _calibrations(all_: Mapping[str, Assignment]) -> Calibrations:
    continued: dict[str, list[tuple[int, str]]] = {}
    for sensor, one in all_.items():
        if one.continues is not None or one.since is not None:
            continued.setdefault(one.continues or sensor, []).append((one.since or EVER, sensor))
    return Calibrations(
        {sensor: one.calibrations for sensor, one in all_.items() if one.calibrations},
        {series: sorted(owners) for series, owners in continued.items()},
    )


def _read(path: Path) -> dict[str, Assignment]:
    """What the file says; nothing where there is none.

    Raises:
        OSError: it can't be opened.
        ValueError: it is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
        return {str(sensor): _assignment(one) for sensor, one in content.items()}
    except FileNotFoundError:
        return {}
    except (TypeError, AttributeError, KeyError, OverflowError, UsageError) as e:
        raise ValueError(str(e)) from None


def _plain(one: Assignment) -> dict[str, Any]:
    calibrations = {
        key: [{"since": since, "factor": line.factor, "offset": line.offset} for since, line in its.spans]
        for key, its in one.calibrations.items()
    }
    texts = {"location": one.location, "continues": one.continues, "name": one.name, "since": one.since}
    return {key: value for key, value in (texts | {"calibrations": calibrations or None}).items() if value is not None}


def _assignment(said: Any) -> Assignment:
    found = Assignment(**said)
    since_right = found.since is None or type(found.since) is int
    if not since_right or not all(isinstance(t, str | None) for t in (found.location, found.continues, found.name)):
        raise ValueError(f"not an assignment: {said!r:.100}")
    return replace(found, calibrations={key: _calibration(spans) for key, spans in found.calibrations.items()})


def _calibration(said: Any) -> Calibration:
    spans = [Span(one["since"], Line(float(one["factor"]), float(one["offset"]))) for one in said]
    times = [span.since for span in spans]
    if not all(type(time) is int for time in times) or times != sorted(times):
        raise ValueError(f"not a calibration: {said!r:.100}")
    return Calibration(spans)
