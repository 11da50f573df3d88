"""What the files of a log hold when it is opened: everything whole is taken up, everything lost is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from iotd.log.base import Damage, Epoch, Numbering
from iotd.log.disk import Disk
from iotd.log.epochs import chain
from iotd.log.frame import HEADER as FRAME_HEADER
from iotd.log.frame import (
    UNKNOWN,
    FrameError,
    Item,
    LogItem,
    PartitionItem,
    PositionItem,
    SeriesItem,
    SourceItem,
    StateItem,
    between,
    counted,
    items,
    verify,
)
from iotd.log.index import Place
from iotd.log.record import RecordItem
from iotd.log.segment import Bad, Found, Segment, read_segment, segment_numbers, segment_path
from iotd.model.errors import IotdError
from iotd.ops.loggers import get_logger

log = get_logger(__name__)

META, WITNESS = "meta", "witness"


@dataclass(slots=True)
class State:
    """How far a partition reaches and is truncated; with the readings counted until there."""

    truncated: int = 0
    truncated_readings: int = 0
    end: int = 0
    end_readings: int = 0

    def reach(self, end: int, readings: int) -> None:
        """It reaches at least to here."""
        if end > self.end or (end == self.end and self.end_readings == UNKNOWN):
            self.end, self.end_readings = end, readings

    def merge(self, item: StateItem) -> None:
        if item.truncated > self.truncated:
            self.truncated, self.truncated_readings = item.truncated, item.truncated_readings
        self.reach(item.end, item.end_readings)
        self.reach(item.truncated, item.truncated_readings)


@dataclass(slots=True)
class Recovered:
    """All that was found.

    Attributes:
        id: of the log; None when there is none yet.
        number: the greatest number of a frame.
        epochs: in order, without a hole.
        next_ordinal: for the epoch that begins now.
        partitions, sources: names by number.
        positions: of sources, by number.
        states, places: by partition's number.
        descriptions: per tag of an epoch, what its series numbers mean.
        segments: by number; those that cannot be read are not among them.
        last_segment: the greatest number of a file.
        tails: where a segment ends in bytes that nobody was ever told of: its number and the end of what is whole.
        damage: what is lost.
    """

    id: bytes | None = None
    number: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    next_ordinal: int = 1
    partitions: dict[int, str] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    positions: dict[int, bytes] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)
    places: dict[int, list[Place]] = field(default_factory=dict)
    descriptions: dict[int, dict[int, bytes]] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    last_segment: int = 0
    tails: dict[int, int] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)

    def state(self, partition: int) -> State:
        return self.states.setdefault(partition, State())


class _Reader:
    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self.disk = disk
        self.found = Recovered()
        self.epochs: dict[bytes, Epoch] = {}
        self.tags: dict[int, int] = {}  # the greatest frame number seen with each tag
        self.position_number: dict[int, int] = {}
        self.records: dict[int, dict[int, Place]] = {}
        self.bad: list[tuple[int, Bad]] = []

    def small(self, name: str) -> list[Item]:
        """The items of a small file of one frame; none when it is missing or damaged."""
        try:
            data = self.disk.read(self.folder / name)
            head = verify(memoryview(data), 0)
            if head is None:
                raise FrameError("its checksum is wrong")
            self.found.number = max(self.found.number, head.number)
            return list(items(memoryview(data)[FRAME_HEADER : FRAME_HEADER + head.length]))
        except FileNotFoundError:
            return []
        except (OSError, FrameError) as e:
            log.warning("log_file_unreadable", path=str(self.folder / name), reason=str(e), effect="done without it")
            return []

    def take(self, found: Iterable[Item], number: int, tag: int, at: tuple[Segment, int] | None = None) -> None:
        """Takes up the items of a frame, which lies ``at`` (segment, offset) unless it is one of the small files."""
        for item in found:
            match item:
                case RecordItem() if at is not None:
                    self.record(item, *at)
                case StateItem():
                    self.found.state(item.partition).merge(item)
                case PositionItem():
                    if number >= self.position_number.get(item.source, 0):
                        self.position_number[item.source] = number
                        self.found.positions[item.source] = item.position
                case SeriesItem():
                    self.found.descriptions.setdefault(tag, {}).update(item.descriptions)
                case PartitionItem():
                    self.found.partitions[item.number] = item.name
                case SourceItem():
                    self.found.sources[item.number] = item.name
                case Epoch():
                    self.epochs[item.token] = item

    def record(self, item: RecordItem, segment: Segment, frame: int) -> None:
        place = Place(item.sequence, item.readings, item.before, segment.number, frame, item.offset)
        known = self.records.setdefault(item.partition, {}).setdefault(item.sequence, place)
        if known is place:
            segment.add(item.partition, item.sequence, item.size)
        # segments that were rewritten and not yet removed hold the same once more
        elif (known.readings, known.before) != (place.readings, place.before):
            self.found.damage.append(
                Damage(
                    self.found.partitions.get(item.partition),
                    item.sequence,
                    item.sequence,
                    item.readings,
                    "two records have this sequence; the one found first is kept",
                )
            )

    def segment(self, number: int) -> None:
        found = read_segment(self.disk, segment_path(self.folder, number))
        segment = self.found.segments[number] = Segment(number)
        for part in found:
            if isinstance(part, Bad):
                self.bad.append((number, part))
                if part.size == 0:
                    del self.found.segments[number]  # never to be removed: it may be readable another time
                continue
            foreign = next((i for i in part.items if isinstance(i, LogItem) and i.id != self.found.id), None)
            if foreign is not None and self.found.id is not None:
                del self.found.segments[number]
                self.bad.append((number, Bad(part.offset, 0, False, "it is another log's")))
                return
            segment.size = part.offset + FRAME_HEADER + part.head.length
            self.found.number = max(self.found.number, part.head.number)
            self.tags[part.head.tag] = max(part.head.number, self.tags.get(part.head.tag, 0))
            self.take(part.items, part.head.number, part.head.tag, (segment, part.offset))


def tag_of(epoch: Epoch) -> int:
    """What frames carry of their epoch."""
    return int.from_bytes(epoch.token[:4], "little")


def recover(folder: Path, disk: Disk) -> Recovered:
    """Reads everything. Blocking: about 10 µs a frame. Raises OSError when the folder cannot be listed."""
    reader = _Reader(folder, disk)
    found = reader.found
    meta = reader.small(META)
    witness = reader.small(WITNESS)
    numbers = segment_numbers(folder)
    found.last_segment = max(numbers, default=0)
    found.id = _log_id(reader, numbers, meta, witness)
    reader.take(meta, 0, 0)
    if any(isinstance(item, LogItem) and item.id == found.id for item in witness):
        reader.take(witness, 0, 0)
    for number in numbers:
        reader.segment(number)
    _epochs(reader)
    for partition, records in reader.records.items():
        found.places[partition] = [records[sequence] for sequence in sorted(records)]
    _settle(reader)
    _name_bad(reader)
    return found


def _log_id(reader: _Reader, numbers: list[int], meta: list[Item], witness: list[Item]) -> bytes | None:
    """The log's identity: the small files know it, else the newest segment that does."""
    for small in (meta, witness):
        for item in small:
            if isinstance(item, LogItem):
                return item.id
    for number in reversed(numbers):
        for part in read_segment(reader.disk, segment_path(reader.folder, number)):
            if isinstance(part, Found):
                for item in part.items:
                    if isinstance(item, LogItem):
                        return item.id
    return None


def _epochs(reader: _Reader) -> None:
    found = reader.found
    found.epochs = chain(reader.epochs.values())
    for epoch in found.epochs:
        for partition, (first, before) in epoch.firsts.items():
            found.state(partition).reach(first - 1, before)
    last = max((epoch.ordinal for epoch in reader.epochs.values()), default=0)
    known = {tag_of(epoch) for epoch in reader.epochs.values()}
    newest = max((n for tag, n in reader.tags.items() if tag in known), default=0)
    # an epoch of which only frames are left breaks the chain: nobody knows where the one before it ended
    lost = any(n > newest for tag, n in reader.tags.items() if tag not in known)
    found.next_ordinal = last + (2 if lost else 1)


def _settle(reader: _Reader) -> None:
    """Leaves out what is truncated, and names the sequences that are missing."""
    found = reader.found
    for partition in set(found.states) | set(found.places):
        state = found.state(partition)
        places = [p for p in found.places.get(partition, ()) if p.sequence > state.truncated]
        found.places[partition] = places
        name = found.partitions.setdefault(partition, f"?{partition}")
        expected, count = state.truncated + 1, state.truncated_readings
        for place in places:
            if place.sequence > expected:
                _gap(found, name, (expected, place.sequence - 1), count, place.before)
            expected, count = place.sequence + 1, counted(place.before, place.readings)
        state.reach(expected - 1, count)
        if state.end >= expected:
            _gap(found, name, (expected, state.end), count, state.end_readings)


def _gap(found: Recovered, name: str, gap: tuple[int, int], count: int, until: int) -> None:
    found.damage.append(Damage(name, *gap, between(count, until), "records are missing from the files"))


def _name_bad(reader: _Reader) -> None:
    """Bad bytes are damage, unless they are the torn end of a last write, of which nobody was told."""
    found = reader.found
    lost = bool(found.damage)
    for number, bad in reader.bad:
        if bad.tail and not lost:
            found.tails[number] = bad.offset
            continue
        where = f"{segment_path(reader.folder, number).name} at byte {bad.offset}, {bad.size} bytes: {bad.reason}"
        found.damage.append(Damage(None, 0, 0, 0, where))


def translations(found: Recovered, numbering: Numbering) -> dict[int, dict[int, int]]:
    """Per epoch's tag: its series numbers as today's. A series that the catalogue cannot take up is left out."""
    today: dict[bytes, int | None] = {}
    tables: dict[int, dict[int, int]] = {}
    for tag, descriptions in found.descriptions.items():
        table = tables[tag] = {}
        for number, text in descriptions.items():
            if text not in today:
                try:
                    today[text] = numbering.number(text)
                except IotdError as e:
                    log.error("log_series_unknown", number=number, reason=str(e), effect="its readings are left out")
                    today[text] = None
            new = today[text]
            if new is not None:
                table[number] = new
    return tables
