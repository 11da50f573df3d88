"""What is held because it can't be taken as it came, and how much of it there is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

ROW = 120
"""Bytes that a row takes beside its texts, about."""


@dataclass(frozen=True, slots=True)
class Held:
    """One thing that is held.

    Attributes:
        form: how topic and payload are to be read when it is tried again.
        topic: where it came from within its source: an MQTT topic, a path, a line's number.
        payload: as it came.
        sensor: of a payload with several sensors or types, that which can't be taken; empty: all of it.
        arrived: ms; the time of its readings, where they have none of their own.
        reason: one of a few; ``detail`` says what was there and what was expected.
        id: its number, once it is held.
        timed: it has times of its own: the same once more, whenever it arrives, is a repeat.
        digest: once it is held, of what makes it one thing.
        known_by: see :class:`iotd.model.observation.Piece`.
    """

    source: str
    form: str
    topic: str
    payload: bytes
    arrived: int
    reason: str
    detail: str = ""
    sensor: str = ""
    id: int = 0
    digest: bytes = b""
    timed: bool = False
    known_by: bytes = b""

    def same(self, other: Held) -> bool:
        """Whether both are one thing, for whatever reasons it was held."""
        return (self.source, self.identity()) == (other.source, other.identity())

    def identity(self) -> bytes:
        """A digest of what makes it one thing: a repeat has the same."""
        if self.digest:
            return self.digest
        told_by = b"" if self.timed else self.known_by or str(self.arrived).encode()
        texts = (self.form, self.topic, self.sensor)
        parts = (*(text.encode(errors="surrogatepass") for text in texts), told_by, self.payload)
        whole = hashlib.blake2b(digest_size=16)
        for part in parts:
            whole.update(len(part).to_bytes(8, "big") + part)
        return whole.digest()

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return ROW + len(self.payload) + sum(map(len, (self.topic, self.sensor, self.reason, self.detail)))


@dataclass(slots=True)
class Holdings:
    """What is held of one source.

    Attributes:
        count: of what is held now.
        bytes: that it takes.
        oldest, newest: when the oldest and the youngest arrived, ms; None: nothing is held.
        reasons: how many for each reason.
        let_go: how many the bound has let go, oldest first; ``let_go_upto`` is when the youngest of them arrived, ms.
    """

    count: int
    bytes: int
    oldest: int | None
    newest: int | None
    reasons: dict[str, int]
    let_go: int
    let_go_upto: int | None
