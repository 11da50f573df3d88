"""What is held, read again: by the form in which it came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from iotd.model.errors import Refused
from iotd.model.held import Held
from iotd.model.observation import Names, Piece, part_name
from iotd.sources.base import Telling
from iotd.sources.http.jsonreadings import objects
from iotd.sources.http.lines import PRECISIONS, lines
from iotd.sources.http.pieces import WEBHOOKS, json_pieces, webhook_piece

_LINE = re.compile(r"[^?]*\?precision=(\w+|µ) line \d+")
"""The topic of a line: see :mod:`iotd.sources.http.server`."""


def pieces_of(held: Held, names: Names, source: object = None) -> list[Piece]:
    """The pieces of one thing that is held, under the topic that it has: what can't be taken of it is held as the same.

    Args:
        names: what is known by name.
        source: that it came from; it reads forms of its own, where it can.

    Raises:
        Refused: it is of no form that can be read again; it stays, for a person to look at.
    """
    found = _read(held, names, source)
    if held.sensor:
        found = [replace(one, said=[s for s in one.said if part_name(s) == held.sensor]) for one in found]
    what = held.form, held.topic, held.payload
    return [Piece(*what, one.said, one.why_not, sensor=held.sensor, digest=held.digest) for one in found]


def _read(held: Held, names: Names, source: object) -> Sequence[Piece]:
    if held.form == "json":
        return json_pieces(objects(held.payload))
    if held.form == "lines" and (match := _LINE.fullmatch(held.topic)) and match[1] in PRECISIONS:
        return [
            Piece("lines", held.topic, line.text, line.said, line.refused)
            for line in lines(held.payload, match[1], names)
        ]
    name = held.form.removeprefix("webhook ")
    if held.form.startswith("webhook ") and name in WEBHOOKS:
        query = dict(parse_qsl(urlsplit(held.topic).query))
        return [webhook_piece(name, "application/json", query, held.payload)]
    if isinstance(source, Telling):
        return source.pieces_of(held, names)
    raise Refused("can't be read again", f"{held.form or 'it'} is of no form that iotd reads")
