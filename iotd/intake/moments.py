"""When a reading was taken: times as devices write them, made milliseconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from iotd.model.errors import Refused
from iotd.model.observation import Moment, ms_of
from iotd.model.wording import shown

UNSET_BEFORE = 946_684_800_000
"""2000-01-01, ms: a device that gives an earlier time has not had the time yet (Tasmota #2571)."""

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?")
_LONGEST = 30
"""Characters of a number that may be a time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def moment_of(said: object, zone: tzinfo) -> Moment | None:
    """The time that a device means; what is finer than a millisecond is cut off.

    Args:
        said: a number of seconds, milliseconds, microseconds or nanoseconds since the epoch, told apart by its size, or
            that as text; or ISO 8601.
        zone: of a text without one.

    Returns:
        None: there is none, or the device's clock was not set yet; the time of arrival is to be taken.

    Raises:
        Refused: it is no time.
    """
    if said is None or said == "":
        return None
    moment = said if isinstance(said, Moment) else _read(said, zone)
    return moment if moment.ms >= UNSET_BEFORE else None


def _read(said: object, zone: tzinfo) -> Moment:
    if isinstance(said, str):
        text = said.strip()
        if not _NUMBER.fullmatch(text):
            return _text(text, zone)
        # whole numbers stay whole: a float has no place for the nanoseconds of today
        number = float(text) if "." in text else _whole(text)
    elif isinstance(said, int | float) and not isinstance(said, bool):
        number = said
    else:
        raise Refused("not a time", shown(said))
    if number - number != 0:
        raise Refused("not a time", f"{said!r:.80}")
    return Moment(ms_of(number))


def _whole(text: str) -> int:
    if len(text) > _LONGEST:
        raise Refused("not a time", f"{text!r:.80}")
    return int(text)


def _text(said: str, zone: tzinfo) -> Moment:
    try:
        written = datetime.fromisoformat(said)
        ambiguous = False
        if written.tzinfo is None:
            written = written.replace(tzinfo=zone)
            first, second = written.utcoffset(), written.replace(fold=1).utcoffset()
            # in the hour that a change skips the offsets differ too, the other way round
            ambiguous = first is not None and second is not None and first > second
        return Moment((written.astimezone(UTC) - _EPOCH) // _MS, ambiguous)
    except (ValueError, OverflowError):
        raise Refused("not a time", f"{said!r:.80}") from None
