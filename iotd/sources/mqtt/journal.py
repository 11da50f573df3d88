"""Which messages were taken and may not be acknowledged at the broker yet: so that a repeat of one changes nothing.

A message without a time of its own gets that of its arrival. When we are killed after it came onto the disk and before
the broker has our PUBACK, the broker sends it again (DUP), and it would be stored a second time, at another time. So
each message is noted here, and what is noted is the source's position: it is committed in one transaction with the
readings. On a resumed session the repeats at its beginning are found here, and are only acknowledged.

What is held is in another file than the log. So where something of a message has to be held, it is noted before, as
*begun*, with its arrival: a repeat of such a one is handed over again, as one that arrived then. It is held once, known
by its place, whatever comes together with it this time.

A packet id alone does not do: brokers use ids again. Nor does DUP: a publisher's own repeat comes as another message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

import xxhash

from iotd.sources.mqtt.packets import Publish

_FORMAT = 2
_HEAD = struct.Struct("<BQQHHHQ")
_NAME = struct.Struct("<QQ")
_ENTRY = struct.Struct("<HQ")
_MOST = 6_000
"""Messages that are noted: a position has 64 KiB at most."""


class Entry(NamedTuple):
    """A message that was taken: its packet id, and a digest of topic and payload."""

    id: int
    digest: int


def entry_of(message: Publish) -> Entry:
    """What a message is known by."""
    digest = xxhash.xxh3_64(message.topic.encode(errors="surrogatepass"))
    digest.update(b"\0")
    digest.update(message.payload)
    return Entry(message.id, digest.intdigest())


class Begun(NamedTuple):
    """Messages that were begun: the places of the first and behind the last of them, and when they arrived (ms)."""

    first: int
    end: int
    arrived: int


_NONE = Begun(0, 0, 0)


class Journal:
    """Messages in the order in which they were taken, with places that go on counting.

    Attributes:
        session: of the broker, a number of ours; another one means that nothing in here concerns it.
        begin, end: places of the first message that is noted, and behind the last.
        begun: those that may have been begun only; empty most of the time.
    """

    def __init__(self, session: int = 0) -> None:
        self.session = session
        self.begin = 0
        self.begun = _NONE
        self._packed = bytearray()  # as in the position, which is made for every few messages
        self._had: set[Entry] = set()
        self._had_before: set[Entry] = set()

    @property
    def end(self) -> int:
        return self.begin + len(self._packed) // _ENTRY.size

    def add(self, entries: Iterable[Entry]) -> None:
        """Notes messages behind the others: those that were begun before are finished, or come no more."""
        self.begun = _NONE
        self._packed += b"".join([_ENTRY.pack(*entry) for entry in entries])
        if self.end - self.begin > _MOST:  # far more than may be in flight
            self.confirmed(self.end - _MOST)

    def cut(self, end: int) -> None:
        """Forgets those from a place on: they were not taken after all."""
        del self._packed[max(0, end - self.begin) * _ENTRY.size :]

    def confirmed(self, upto: int) -> None:
        """The broker has surely got the PUBACKs of those before a place, and never sends them again."""
        if upto > self.begin:
            gone = self._packed[: (upto - self.begin) * _ENTRY.size]
            self._had.update([Entry(*its) for its in _ENTRY.iter_unpack(gone)])
            if len(self._had) > _MOST:
                self._had_before, self._had = self._had, set()
            del self._packed[: len(gone)]
            self.begin = upto

    def had(self, entry: Entry) -> bool:
        """Whether a message just like it, with its packet id, was taken a short while ago, and confirmed: the broker
        uses ids again, or was set back and has forgotten our PUBACK. Nobody can tell."""
        return entry in self._had or entry in self._had_before

    def name_of(self, place: int) -> bytes:
        """By which the message at a place is known, also after a restart."""
        return _NAME.pack(self.session, place)

    def finished(self, place: int) -> None:
        """A message that was begun is on disk, and those before it."""
        self.begun = self.begun._replace(first=place + 1)

    def anew(self, session: int) -> None:
        """The broker has begun another session: it repeats nothing of the one before."""
        self.session = session
        self.begun = _NONE
        self.confirmed(self.end)

    def repeats(self) -> Repeats:
        """For a session that is resumed: finds the repeats at its beginning."""
        return Repeats(self.begin, self._entries())

    def encode(self, begun: Begun | None = None) -> bytes:
        """As a source's position.

        Args:
            begun: messages that are begun, and not finished yet; None: :attr:`begun`.
        """
        first, end, arrived = begun or self.begun
        open_ = (max(0, first - self.begin), max(0, end - self.begin)) if first < end else (0, 0)
        return _HEAD.pack(_FORMAT, self.session, self.begin, self.end - self.begin, *open_, arrived) + self._packed

    @classmethod
    def decode(cls, position: bytes | None) -> Journal:
        """From a position; of one that is not of this form nothing is known."""
        found = cls()
        if position is not None and len(position) >= _HEAD.size:
            form, session, begin, count, first, end, arrived = _HEAD.unpack_from(position)
            if form == _FORMAT and len(position) == _HEAD.size + count * _ENTRY.size:
                found.session, found.begin = session, begin
                found.begun = Begun(begin + first, begin + end, arrived)
                found._packed += position[_HEAD.size :]
        return found

    def _entries(self) -> Iterable[Entry]:
        return map(Entry._make, _ENTRY.iter_unpack(self._packed))


class Repeats:
    """The messages at the beginning of a resumed session, as long as the broker marks them as sent before.

    What it has not got our PUBACK for it sends again, all of it, in its order, before anything new. So a repeat stands
    behind the one found before it.
    """

    def __init__(self, begin: int, entries: Iterable[Entry]) -> None:
        self._places: dict[Entry, int] = {
            entry: begin + at for at, entry in enumerate(entries)
        }  # the last of equal ones
        self._next = begin
        self._over = False

    def place_of(self, message: Publish) -> int | None:
        """Where a message is noted that was taken before; None: it is a new one."""
        if self._over or not message.qos:
            return None
        if not message.again:
            self._over = True
            self._places = {}
            return None
        place = self._places.get(entry_of(message))
        if place is None or place < self._next:
            return None
        self._next = place + 1
        return place

    @property
    def over(self) -> bool:
        """Whether what comes now is new."""
        return self._over
