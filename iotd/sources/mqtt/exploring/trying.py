"""What would become of one message: each step of it, with nothing stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from iotd.config.sections.mqtt import Broker
from iotd.config.topics.filters import valid_topic
from iotd.intake.outlook import Fate, Outlook
from iotd.intake.world import World
from iotd.model.errors import Refused, UsageError
from iotd.model.observation import Names, Observation
from iotd.sources.mqtt.exploring.knowing import Kinds, Knowing, other_kinds
from iotd.sources.mqtt.exploring.survey import RETAINED
from iotd.sources.mqtt.presets.base import NOTHING, Delivery, Heard
from iotd.sources.mqtt.reading import kinds_of


@dataclass(frozen=True, slots=True)
class Said:
    """One value of the message, and what would become of it."""

    observation: Observation
    fate: Fate


@dataclass(frozen=True, slots=True)
class Trial:
    """A message that was tried.

    Attributes:
        reads: the rule or preset that reads it; empty: none does.
        would: presets that are not configured, and would read it; ``reads`` is the first of these where nothing that is
            configured does.
        configured: whether ``reads`` is.
        why_not: why all of it would be held, or passed over where it is retained.
        said: its values.
        heard: beside them: who is there, what is remembered, what is passed over.
    """

    topic: str
    bytes: int
    retained: bool
    reads: str
    configured: bool
    would: Sequence[str] = ()
    why_not: str = ""
    said: Sequence[Said] = ()
    heard: Heard = field(default_factory=lambda: NOTHING)


async def try_message(
    broker: Broker | None,
    topic: str,
    payload: bytes,
    *,
    retained: bool,
    notes: Mapping[str, Mapping[str, str]],
    world: World,
    arrived: int,
) -> Trial:
    """Tries a message.

    Args:
        broker: that it comes from; None: there is none.
        notes: what presets have been told so far.
        arrived: ms.

    Raises:
        UsageError: nothing can be published to such a topic.
        ConfigError: what is configured can't be used.
    """
    if not valid_topic(topic):
        raise UsageError(f"{topic!r:.200} is no topic: it is empty, too long, or has a wildcard or a zero in it")
    limit = int((broker or Broker(url="mqtt://localhost")).payload_limit)
    # of a payload that is too long, only the beginning is kept
    what = topic, Delivery(payload[:limit], retained), len(payload), notes, world.resolver
    own = [] if broker is None else kinds_of(broker)
    read = Knowing(own).read(*what)
    configured = read is not None
    others = {name: found for name, kind in other_kinds(own) if (found := Knowing([(name, kind)]).read(*what))}
    if read is None:
        if not others:
            return Trial(topic, len(payload), retained, "", configured=False)
        read = next(iter(others.values()))
    why_not = read.piece.why_not if read.piece is not None else None
    if retained and read.piece is None and read.heard == NOTHING:
        why_not = _unheld(own if configured else other_kinds(own), read.preset, what)
    outlook = Outlook(world)
    said = [Said(one, await _fate(one, outlook, arrived, retained=retained)) for one in read.heard.said]
    reason = "" if why_not is None else str(why_not)
    return Trial(topic, len(payload), retained, read.preset, configured, list(others), reason, said, read.heard)


async def _fate(one: Observation, outlook: Outlook, arrived: int, *, retained: bool) -> Fate:
    fate = await outlook.of(one, arrived, backlog=retained)
    if retained and one.time is None:
        return Fate("nothing", RETAINED, fate.location, fate.found_by)
    return fate


def _unheld(
    kinds: Kinds, name: str, what: tuple[str, Delivery, int, Mapping[str, Mapping[str, str]], Names]
) -> Refused | None:
    """Why a retained message says nothing: it is not held, so that the reason is told nowhere else."""
    topic, delivery, length, notes, names = what
    live = Knowing([one for one in kinds if one[0] == name]).read(
        topic, delivery._replace(retained=False), length, notes, names
    )
    return live.piece.why_not if live is not None and live.piece is not None else None
