"""Queries into a JSON payload: those of RFC 9535 that find one value at most."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

_SEGMENT = re.compile(
    r"""\.(?P<name>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)
      | \[\s*(?: (?P<index>0|-?[1-9][0-9]{0,14})
               | '(?P<single>(?:[^'\\\x00-\x1f]|\\.)*)'
               | "(?P<double>(?:[^"\\\x00-\x1f]|\\.)*)" )\s*\]""",
    re.VERBOSE,
)
_EXAMPLES = "write it like $.name, $['a name'] or $.list[0]"
MOST_STEPS = 50


MISSING = object()
"""What a query finds that finds nothing: null is something."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query as it was written, and its steps: names of objects' members, and places in arrays."""

    text: str
    steps: tuple[str | int, ...]

    def find(self, document: object) -> object:
        """What it finds in a decoded payload; :data:`MISSING`: there is no such member or place."""
        found = document
        for step in self.steps:
            if isinstance(step, str):
                if not isinstance(found, dict) or step not in found:
                    return MISSING
                found = found[step]
            else:
                if not isinstance(found, list) or not -len(found) <= step < len(found):
                    return MISSING
                found = found[step]
        return found


def is_query(text: str) -> bool:
    """Whether a text that may be a constant is a query."""
    return text.startswith(("$.", "$["))


def query_of(text: str) -> Query:
    """Reads a query.

    Raises:
        ValueError: it is none, or may find several values; the text says what is wrong with it.
    """
    if not text.startswith("$"):
        raise ValueError(f"{text!r} is no query: it begins with $; {_EXAMPLES}")
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        match = _SEGMENT.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} is no query from {text[at:]!r} on; {_EXAMPLES}")
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(_unquoted(text, match["single"], match["double"]))
        at = match.end()
    if len(steps) > MOST_STEPS:
        raise ValueError(f"{text!r:.80} has more than {MOST_STEPS} steps")
    return Query(text, tuple(steps))


def _unquoted(text: str, single: str | None, double: str | None) -> str:
    inside = double if double is not None else re.sub(r'\\\'|(?<!\\)"', _swapped, single or "")
    try:
        return str(orjson.loads(f'"{inside}"'))
    except orjson.JSONDecodeError:
        raise ValueError(f"{text!r} is no query: {inside!r} has an escape that JSON does not know") from None


def _swapped(match: re.Match[str]) -> str:
    return "'" if match[0] == r"\'" else r"\""
