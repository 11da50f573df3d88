"""Times as people write them: ISO 8601, epoch seconds, datetimes, `-1h`, `yesterday 18:00`, `il y a 2 heures`."""

from __future__ import annotations

import re
import time
import unicodedata
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal

from iotd.model.errors import UsageError
from iotd.model.instants import local_zone, milliseconds

Time = datetime | date | int | float | str
"""A moment: a datetime (naive: local), a date, seconds since the epoch, or text (see :func:`parse_time`)."""

Edge = Literal["start", "end"]

HINT = "write it like -1h, 2026-11-24T18:00, yesterday 18:00, or seconds since the epoch"

_MS_FROM = 100_000_000_000  # as seconds that would be the year 5138
_UNITS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds", "milliseconde", "millisecondes"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "seconde", "secondes"), "s"),
    **dict.fromkeys(("m", "min", "mins", "mn", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "heure", "heures"), "h"),
    **dict.fromkeys(("d", "j", "day", "days", "jour", "jours"), "d"),
    **dict.fromkeys(("w", "week", "weeks", "semaine", "semaines"), "w"),
    **dict.fromkeys(("mo", "month", "months", "mois"), "mo"),
    **dict.fromkeys(("y", "a", "year", "years", "an", "ans", "annee", "annees"), "y"),
}
_LENGTH_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_AMOUNT = re.compile(r"(\d+(?:[.,]\d+)?|an?|une?) ?([a-z]+)")
_DAYS = {
    **dict.fromkeys(("today", "aujourd'hui", "aujourdhui"), 0),
    **dict.fromkeys(("yesterday", "hier"), 1),
    **dict.fromkeys(("day before yesterday", "avant-hier", "avant hier"), 2),
}
_WEEKDAYS = {
    name: number
    for names in (
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    )
    for number, name in enumerate(names)
}
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2})(?::(\d{2}))?| ?h ?(\d{2})?) ?(am|pm)?|(\d{1,2}) ?(am|pm)")
_EUROPEAN = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})")


def parse_time(value: Time, *, edge: Edge = "start", now: int | None = None, zone: tzinfo | None = None) -> int:
    """A moment, in ms since the epoch.

    Text may be ISO 8601 (without an offset: local), ``24/11/2026 18h30``, a clock time of today (``18:30``), seconds
    since the epoch, relative (``-1h30m``, ``2 hours ago``, ``now-15m``), or a day (``yesterday``, ``monday``, also
    with a clock time); French words are understood too. A number of eleven digits or more counts as ms.

    Args:
        edge: a day without a clock time is its first moment as a start, and the end of the day as an end.
        now: ms since the epoch; None: the clock's.
        zone: of times without an offset; None: the local one.

    Raises:
        UsageError: it is none of these.
    """
    now = time.time_ns() // 1_000_000 if now is None else now
    zone = local_zone() if zone is None else zone
    try:
        if isinstance(value, bool):
            raise ValueError
        if isinstance(value, datetime):
            return _ms(value if value.tzinfo else value.replace(tzinfo=zone))
        if isinstance(value, date):
            return _day(value, edge, zone)
        if isinstance(value, str):
            return _text(_plain(value), edge, now, zone)
        number = float(value)
        return round(number if abs(number) >= _MS_FROM else number * 1000)
    except (ValueError, OverflowError, TypeError):
        raise UsageError(f"{edge}: can't read {value!r} as a time; {HINT}") from None


def parse_range(start: Time, end: Time | None, *, now: int | None = None) -> tuple[int, int]:
    """A range of time, ms: from ``start``, included, to ``end``, excluded; None: up to now.

    Raises:
        UsageError: one can't be read, or the range is empty.
    """
    now = time.time_ns() // 1_000_000 if now is None else now
    first = parse_time(start, edge="start", now=now)
    stop = now + 1 if end is None else parse_time(end, edge="end", now=now)
    if first >= stop:
        shown = f"start {show(first)}, end {show(stop)}"
        if end is None:
            raise UsageError(f"the range is empty: start {show(first)} is in the future; give an earlier start")
        if first == stop:
            raise UsageError(f"the range is empty: {shown} are the same; the end is not part of it, give a later one")
        raise UsageError(f"the range is empty: {shown}; the start must come before the end")
    return first, stop


def parse_bucket(value: timedelta | float | str) -> int:
    """The length of a bucket, in ms: ``1m``, ``"15 min"``, a timedelta, or seconds.

    Raises:
        UsageError: it is none of these, or less than 1 ms.
    """
    try:
        if isinstance(value, timedelta):
            ms = milliseconds(value)
        elif isinstance(value, str):
            text = _plain(value)
            if re.fullmatch(r"[a-z]+", text):  # "h" for "1h", "day" for "1 day"
                text = f"1{text}"
            ms = round(float(text) * 1000) if text.replace(".", "", 1).isdigit() else _fixed(text)
        else:
            ms = round(value * 1000)
    except (ValueError, TypeError, OverflowError):
        raise UsageError(f"bucket: can't read {value!r} as a length of time; write it like 30s, 1m, 1h or 1d") from None
    if ms < 1:
        raise UsageError(f"bucket: {value!r} is too short; give at least 1ms")
    return ms


def local(ms: int, zone: tzinfo | None = None) -> datetime:
    """The moment in the local zone."""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone or local_zone())


def show(ms: int, *, zone_name: bool = True) -> str:
    """The moment for people: local, with the zone's name, and with ms only where there are any."""
    moment = local(ms)
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    if ms % 1000:
        text += f".{ms % 1000:03d}"
    return f"{text} {moment.tzname()}" if zone_name else text


def _plain(text: str) -> str:
    """Lower case, one space between words, no accents, one kind of apostrophe and minus."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(bare.lower().replace("’", "'").replace("−", "-").split())


def _text(text: str, edge: Edge, now: int, zone: tzinfo) -> int:
    if text in ("now", "maintenant"):
        return now
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return parse_time(float(text))
    if (before := _before_now(text)) is not None:
        return _back(now, before, zone)
    day, clock = _day_of(text, now, zone)
    if day is not None:
        return _day(day, edge, zone) if clock is None else _ms(_at(day, clock, zone))
    moment = datetime.fromisoformat(text.upper())
    return _ms(moment if moment.tzinfo else moment.replace(tzinfo=zone))


def _before_now(text: str) -> str | None:
    if text.startswith("now-"):
        return text.removeprefix("now-").strip()
    if text.startswith("-"):
        return text.removeprefix("-").strip()
    if text.endswith(" ago"):
        return text.removesuffix(" ago")
    return text.removeprefix("il y a ") if text.startswith("il y a ") else None


def _amounts(text: str) -> list[tuple[float, str]]:
    if not text or _AMOUNT.sub("", text).strip(" ,et"):
        raise ValueError(text)
    return [
        (1.0 if number[0].isalpha() else float(number.replace(",", ".")), _UNITS[unit])
        for number, unit in _AMOUNT.findall(text)
        if unit in _UNITS or _unknown(unit)
    ]


def _unknown(unit: str) -> bool:
    raise ValueError(unit)


def _fixed(text: str) -> int:
    return round(
        sum(number * _LENGTH_MS[unit] if unit in _LENGTH_MS else _unknown(unit) for number, unit in _amounts(text))
    )


def _back(now: int, text: str, zone: tzinfo) -> int:
    at = now
    for number, unit in _amounts(text):
        if unit in _LENGTH_MS:
            at -= round(number * _LENGTH_MS[unit])
        else:  # a month or a year ago is the same day of another month
            at = _months_back(at, round(number * (12 if unit == "y" else 1)), zone)
    return at


def _months_back(at: int, months: int, zone: tzinfo) -> int:
    moment = local(at, zone)
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return _ms(moment.replace(year=year, month=month + 1, day=day))


def _day_of(text: str, now: int, zone: tzinfo) -> tuple[date | None, tuple[int, int, int] | None]:
    """The day and the clock time that a text names; (None, None) when it is neither."""
    today = local(now, zone).date()
    if (clock := _clock(text)) is not None:
        return today, clock
    for name, back in sorted(_DAYS.items(), key=lambda pair: -len(pair[0])):
        if text == name or text.startswith(f"{name} "):
            return today - timedelta(days=back), _rest(text.removeprefix(name))
    word, _, rest = text.removeprefix("last ").partition(" ")
    if word in _WEEKDAYS:
        back = (today.weekday() - _WEEKDAYS[word]) % 7
        if text.startswith("last ") or rest.startswith("dernier"):
            back = back or 7
        return today - timedelta(days=back), _rest(rest.removeprefix("dernier"))
    if european := _EUROPEAN.match(text):
        day, month, year = map(int, european.groups())
        return date(year, month, day), _rest(text[european.end() :])
    if re.match(r"\d{4}-\d{2}-\d{2}($| )", text):
        rest = text[10:].strip()
        clock = _clock(rest) if rest else None
        if not rest or clock is not None:
            return date.fromisoformat(text[:10]), clock
    return None, None


def _rest(text: str) -> tuple[int, int, int] | None:
    text = text.strip(" ,").removeprefix("at ").removeprefix("a ").strip()
    if not text:
        return None
    if (clock := _clock(text)) is None:
        raise ValueError(text)
    return clock


def _clock(text: str) -> tuple[int, int, int] | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hour, minute, second, after_h, half, bare, bare_half = found.groups()
    number, half = int(hour or bare), half or bare_half
    if half:
        if not 1 <= number <= 12:
            raise ValueError(text)
        number = number % 12 + (12 if half == "pm" else 0)
    return number, int(minute or after_h or 0), int(second or 0)


def _at(day: date, clock: tuple[int, int, int], zone: tzinfo) -> datetime:
    if clock == (24, 0, 0):
        return datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(days=1)
    return datetime(day.year, day.month, day.day, *clock, tzinfo=zone)


def _day(day: date, edge: Edge, zone: tzinfo) -> int:
    if edge == "end":
        day += timedelta(days=1)
    return _ms(datetime(day.year, day.month, day.day, tzinfo=zone))


def _ms(moment: datetime) -> int:
    whole = moment.astimezone(UTC).replace(microsecond=0)
    return round(whole.timestamp()) * 1000 + round(moment.microsecond / 1000)
