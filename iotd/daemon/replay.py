"""What is held, tried again: what can be taken by now leaves the store of held readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iotd.intake.intake import Intake
from iotd.intake.superseded import REASON as SUPERSEDED
from iotd.model.errors import Refused
from iotd.model.held import Held
from iotd.sources.base import Source
from iotd.sources.forms import pieces_of

_PAGE = 500


@dataclass(slots=True)
class Replayed:
    """What has become of what was held.

    Attributes:
        taken: things of which all could be taken, or that said nothing.
        held: those of which something is held still.
        unreadable: those of a form that can't be read again; they are held still.
    """

    taken: int = 0
    held: int = 0
    unreadable: int = 0


async def replay(
    intake: Intake, sources: Mapping[str, Source], source: str | None = None, reason: str | None = None
) -> Replayed:
    """Tries what is held, in its order, with the times at which it arrived: one that is tried twice changes nothing.

    Args:
        sources: by name: those that run, each of which reads forms of its own.
        source, reason: only what is held of this source, for this reason; without one, nothing that was superseded.

    Raises:
        StateError: log, catalogue or held readings can't be written now; the rest is as it was.
    """
    found = Replayed()
    after = 0
    # not what is held anew meanwhile
    last = max([one.id for one in await intake.held.latest(source, count=1)], default=0)
    while after < last and (page := await intake.held.page(source, after=after, count=_PAGE)):
        after = page[-1].id
        gone = []
        for one in page:
            # a later value stands in place of one that was superseded: it comes back only when it is asked for
            if one.reason != reason and (reason is not None or one.reason == SUPERSEDED):
                continue
            if await _taken(intake, sources, one, found):
                gone.append(one.id)
        await intake.held.remove(gone)
    return found


async def _taken(intake: Intake, sources: Mapping[str, Source], held: Held, found: Replayed) -> bool:
    its = intake.of(held.source)
    try:
        pieces = pieces_of(held, its.names, sources.get(held.source))
    except Refused:
        found.unreadable += 1
        return False
    still = await (await its.again(pieces, held.arrived))
    found.taken += not still
    found.held += bool(still)
    # a part of it may be held by itself now, under a name of its own
    return not any(one.same(held) for one in still)
