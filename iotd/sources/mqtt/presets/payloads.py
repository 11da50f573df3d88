"""What templates are given, and what they may give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from iotd.model.errors import Refused

LONGEST_TEXT = 65_536
"""Characters of a payload that the sandbox is given, and of a text that is made of it."""
LONGEST_RESULT = 1_000


class Payload:
    """What templates know of a message; read as JSON once, when the first of them asks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._json: Any = None
        self._is_read = False

    @property
    def json(self) -> Any:
        """What it is as JSON; None: it is none."""
        if not self._is_read:
            self._is_read = True
            try:
                self._json = orjson.loads(self.text)
            except orjson.JSONDecodeError:
                self._json = None
        return self._json


Template = Callable[[Payload], object]
"""Gives a number, a text, or None where the message has nothing for it. Raises Refused where it can't be followed."""


def refused(text: str, why: str) -> Refused:
    """That a template can't be followed."""
    return Refused("template", f"{text[:200]!r} can't be followed: {why[:200]}")
