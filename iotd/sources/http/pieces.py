"""The pieces that a request is made of: each is taken by itself, or held by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import orjson

from iotd.model.errors import Refused
from iotd.model.observation import Observation, Piece
from iotd.sources.devices import (
    airgradient,
    chirpstack,
    ecowitt,
    sensor_community,
    shelly,
    the_things_stack,
    weather_underground,
)
from iotd.sources.devices.base import without_secrets
from iotd.sources.http.jsonreadings import reading

WEBHOOKS: Mapping[str, Callable[[Mapping[str, Any]], list[Observation]]] = {
    "airgradient": airgradient.observations,
    "chirpstack": chirpstack.observations,
    "ecowitt": ecowitt.observations,
    "sensor-community": sensor_community.observations,
    "shelly": shelly.observations,
    "the-things-stack": the_things_stack.observations,
    "weather-underground": weather_underground.observations,
}
"""By the last part of their path: ``/webhook/ecowitt``."""


def json_pieces(said: Sequence[Any], topic: str = "", *, before: int = 0) -> list[Piece]:
    """A piece for each object that should say a reading, and that came under a topic behind so many others."""
    found = []
    for number, one in enumerate(said, start=before + 1):
        its, why_not = list[Observation](), None
        try:
            its.append(reading(one))
        except Refused as e:
            why_not = e
        found.append(Piece("json", f"{topic or '/readings'} {number}", orjson.dumps(one), its, why_not))
    return found


def webhook_piece(name: str, content_type: str, query: Mapping[str, str], body: bytes) -> Piece:
    """What a device posted: its body, and the parameters of the URL, of which ``location`` is for all that it says."""
    location = query.get("location", "")
    form, topic = f"webhook {name}", f"/webhook/{name}" + (f"?location={location}" if location else "")
    try:
        fields: Any = orjson.loads(body) if body and "form" not in content_type else form_fields(body)
    except orjson.JSONDecodeError as e:
        return Piece(form, topic, body, (), Refused("not JSON", str(e)))
    if not isinstance(fields, dict):
        return Piece(form, topic, body, (), Refused("not of this form", "it is no object"))
    others = {key: value for key, value in query.items() if key not in ("location", "token", "u", "p")}
    whole = without_secrets({**others, **fields})
    payload = orjson.dumps(whole)
    try:
        found = WEBHOOKS[name](whole)
    except Refused as e:
        return Piece(form, topic, payload, (), e)
    return Piece(form, topic, payload, [replace(one, location=location or one.location) for one in found])


def form_fields(body: bytes) -> dict[str, str]:
    """The fields of a form; of several with one name the last."""
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
