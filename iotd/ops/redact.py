"""Keeping secrets out of what is logged: by the name of a field, by the shape of a text, and by the secret itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from iotd.config.diff import HIDDEN

_NAMES = ("password", "token", "secret", "authorization")
_NAME_ENDS = ("_file",)  # names where a secret is, and is none
_SHAPES = re.compile(
    r"(?<=://)[^/\s\"'@]+(?=@)"  # user and password in a URL
    r"|(?<=\bToken )[\w\-=.+/]+|(?<=\bBearer )[\w\-=.+/]+",  # Authorization headers
)
_SHORTEST = 4
"""A secret shorter than that would blot out half of every line."""


class Redactor:
    """Hides the secrets of a configuration in finished lines."""

    def __init__(self, settings: BaseModel) -> None:
        """Reads the files that the settings name, as they are now."""
        found = sorted({s for s in _secrets(settings) if len(s) >= _SHORTEST}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(self, line: str) -> str:
        line = _SHAPES.sub(HIDDEN, line)
        return self._known.sub(HIDDEN, line) if self._known else line


def hide_by_name(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: the values of fields that are named like secrets."""
    for key in event:
        name = key.lower()
        if any(secret in name for secret in _NAMES) and not name.endswith(_NAME_ENDS):
            event[key] = HIDDEN
    return event


def _secrets(model: BaseModel) -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _secrets(value)
        elif isinstance(value, dict):
            for its in value.values():
                if isinstance(its, BaseModel):
                    yield from _secrets(its)
        elif isinstance(value, SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, Path) and name in ("password_file", "token_file"):
            try:
                yield value.read_text().strip()
            except (OSError, ValueError):
                continue
