"""Value templates of Home Assistant: the plainest kind by itself, all others by way of the sandbox."""

from __future__ import annotations

import re
from functools import lru_cache

from iotd.sources.mqtt.presets.payloads import LONGEST_RESULT, Payload, Template, refused

MOST_CHARACTERS = 2_000
"""Of a template."""
_WHOLE = re.compile(
    r"\{\{-?\s*value_json((?:\.[A-Za-z]\w*|\['[^'\\\n]*'\]|\[\"[^\"\\\n]*\"\]|\[[0-9]{1,4}\])+)\s*-?\}\}"
)
_STEP = re.compile(r"\.(\w+)|\['([^']*)'\]|\[\"([^\"]*)\"\]|\[([0-9]+)\]")


@lru_cache(maxsize=4_096)
def template_of(text: str) -> Template:
    """What a template gives.

    Raises:
        Refused: it is none, or uses what is not followed.
    """
    if len(text) > MOST_CHARACTERS:
        raise refused(text, f"it is longer than {MOST_CHARACTERS} characters")
    if (whole := _WHOLE.fullmatch(text.strip())) is not None:
        return _picked(whole[1])
    from iotd.sources.mqtt.presets.sandbox import rendered  # noqa: PLC0415  # Jinja takes 50 ms to import

    return rendered(text)


def _picked(steps: str) -> Template:
    """Of `{{ value_json.temperature }}`: what rendering it gives, at a tenth of the cost."""
    path = [int(step[4]) if step[4] else step[1] or step[2] or step[3] or "" for step in _STEP.finditer(steps)]

    def pick(payload: Payload) -> object:
        found = payload.json
        for step in path:
            if isinstance(step, str):
                found = found.get(step) if isinstance(found, dict) else None
            else:
                found = found[step] if isinstance(found, list) and step < len(found) else None
        if isinstance(found, dict | list):
            return "an object" if isinstance(found, dict) else "a list"
        return found if found is None or type(found) in (int, float) else str(found)[:LONGEST_RESULT]

    return pick
