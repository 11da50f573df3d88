"""What all tables of the configuration have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of the configuration; an unknown key in it is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
