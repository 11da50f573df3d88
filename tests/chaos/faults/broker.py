"""Faults of the broker, of the way to it, and of who connects to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from random import Random

from tests.chaos.faults.base import fault
from tests.chaos.mqtt.intruder import intrude
from tests.chaos.mqtt.link import Moment, Passage
from tests.chaos.mqtt.notes import SOURCES
from tests.chaos.world import World
from tests.servers.system import until

_AWAY_S = 10 + 5
"""When `mqtt_away` is due: after 10 s, and a connection that stood may need a moment to be known as gone."""
_STALL_S = 15 + 10 + 2
_TAKEN_S = 15
_FLAPS, _TRAPS, _KILLS = 6, 8, 3
_SPRINGS_S = 10
_CONNECTS_S = 10


@fault
async def broker_killed(world: World, rng: Random) -> AsyncIterator[str]:
    # it comes back as it was when it wrote last: with messages whose PUBACK it had
    world.mqtt.broker.kill()
    try:
        with world.expecting("mqtt_away", None, within=_AWAY_S):
            yield "SIGKILL"
    finally:
        await world.mqtt.broker.mend()


@fault
async def broker_killed_and_back_at_once(world: World, rng: Random) -> AsyncIterator[str]:
    world.mqtt.broker.kill()
    await world.mqtt.broker.mend()
    yield "SIGKILL"


@fault
async def broker_stopped(world: World, rng: Random) -> AsyncIterator[str]:
    await world.mqtt.broker.stop()
    try:
        with world.expecting("mqtt_away", None, within=_AWAY_S):
            yield "SIGTERM"
    finally:
        await world.mqtt.broker.mend()


@fault
async def broker_link_cut(world: World, rng: Random) -> AsyncIterator[str]:
    with world.mqtt.link.cut(), world.expecting("mqtt_away", None, within=_AWAY_S):
        yield "both sources"


@fault
async def broker_link_flaps(world: World, rng: Random) -> AsyncIterator[str]:
    for _ in range(_FLAPS):
        with world.mqtt.link.cut():
            await asyncio.sleep(rng.uniform(0, 0.5))
        await asyncio.sleep(rng.uniform(0.2, 2))
    yield f"{_FLAPS} times"


@fault
async def broker_link_stalls(world: World, rng: Random) -> AsyncIterator[str]:
    # nobody sees an end; all of it comes later
    with world.mqtt.link.stalling(), world.expecting("mqtt_away", None, within=_STALL_S):
        yield "every byte waits"


def _setting(reached: asyncio.Event) -> Callable[[Passage], None]:
    return lambda passage: reached.set()


@fault
async def broker_link_slow(world: World, rng: Random) -> AsyncIterator[str]:
    seconds = rng.choice((0.05, 0.5, 2.0))
    with world.mqtt.link.slow(seconds):
        yield f"{seconds:g} s each way"


async def _cut_at(world: World, rng: Random, moment: Moment) -> int:
    def cut(passage: Passage) -> None:
        passage.deaf = True  # what iotd still says is heard by us alone
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.3), passage.end)

    with world.mqtt.link.trapping(moment, cut) as trap:
        for _ in range(_TRAPS * _SPRINGS_S):
            await asyncio.sleep(0.1)
            if trap.count >= _TRAPS:
                break
    return trap.count


@fault
async def broker_link_cut_between_message_and_puback(world: World, rng: Random) -> AsyncIterator[str]:
    # a message that the broker has sent, and for which it never gets the PUBACK
    yield f"{await _cut_at(world, rng, 'publish')} times"


@fault
async def broker_link_cut_at_a_puback(world: World, rng: Random) -> AsyncIterator[str]:
    # iotd has acknowledged it, and the broker does not know: it has to send it again
    yield f"{await _cut_at(world, rng, 'puback')} times"


@fault
async def daemon_killed_between_message_and_puback(world: World, rng: Random) -> AsyncIterator[str]:
    done = 0
    for _ in range(_KILLS):
        reached = asyncio.Event()
        with world.mqtt.link.trapping("publish", _setting(reached)):
            try:
                async with asyncio.timeout(_SPRINGS_S):
                    await reached.wait()
                await asyncio.sleep(rng.choice((0, rng.uniform(0, 0.05))))
                done += 1
            except TimeoutError:  # another fault may keep messages from it
                pass
        world.kill_daemon()
        world.start_daemon()
    yield f"{done} of {_KILLS} times"


@fault
async def client_id_taken_once(world: World, rng: Random) -> AsyncIterator[str]:
    # iotd comes back at once, and ends the other's connection
    version, source = rng.choice(list(SOURCES.items()))
    await _connected(world, source)
    async with _intruder(world, rng, version, again=False) as how:
        yield f"{source}, {how}"


@fault
async def client_id_fought_for(world: World, rng: Random) -> AsyncIterator[str]:
    version, source = rng.choice(list(SOURCES.items()))
    # one that is not connected may wait for a while before it tries again
    connected = await _connected(world, source)
    async with _intruder(world, rng, version, again=True) as how:
        with world.expecting("mqtt_client_id_taken", None, within=_TAKEN_S) if connected else nullcontext():
            yield f"{source}, {how}"


async def _connected(world: World, source: str) -> bool:
    async def there() -> bool:
        return world.mqtt.link.lines[source].since is not None

    with suppress(AssertionError):  # another fault may keep it from that
        await until(there, _CONNECTS_S, f"{source} is connected")
    return await there()


@asynccontextmanager
async def _intruder(world: World, rng: Random, version: int, *, again: bool) -> AsyncIterator[str]:
    line = world.mqtt.link.lines[SOURCES[version]]
    clean, acknowledges = rng.random() < 0.3, rng.random() < 0.5
    line.intruders += 1
    other = asyncio.create_task(
        intrude(world.mqtt.broker.address, line.client, version, clean=clean, acknowledges=acknowledges, again=again)
    )
    try:
        takes = "takes messages" if acknowledges else "takes nothing"
        yield f"{'ends the session and ' if clean else ''}{takes}"
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
