"""A receiver of messages that is killed again and again: what is nowhere in the end, and what is there twice."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from iotd.config.sections.mqtt import Broker as BrokerSettings
from iotd.sources.mqtt.connection import connect
from tests.benchmarks.found import in_redis, values_in_influxdb, values_in_redis
from tests.benchmarks.gate import Gate
from tests.benchmarks.mqttload import Form
from tests.benchmarks.overmqtt import CLIENT, broker_and_gate, over_mqtt, publishing
from tests.benchmarks.receivers import Receiver, killed, receiver
from tests.intakes import held_readings
from tests.servers.influxdb import InfluxServer
from tests.servers.mosquitto import Broker

_LOOK_S = 0.2
_STEADY_S = 6.0
"""So long nothing comes any more when all that will has come."""
_LEFT_S = 3.0
"""So long a broker may take to hand over what it has left."""
_KILLS_RATE = 1_000
"""Messages a second."""


@dataclass(frozen=True)
class Kills:
    """One receiver, killed some times.

    Attributes:
        messages: published.
        left: not acknowledged in the end: the broker has them still.
        held: by iotd with a reason: it knows why they are not there.
        lost_redis, lost_influxdb: of the others, nowhere there.
        doubles_redis, doubles_influxdb: readings too many.
        down: why it did not start again after one of the kills; they ended with that.
    """

    name: str
    form: Form
    kills: int
    messages: int
    left: int
    held: int
    lost_redis: int
    lost_influxdb: int
    doubles_redis: int
    doubles_influxdb: int
    down: str | None

    def __str__(self) -> str:
        return (
            f"{self.name}, {self.form}, killed {self.kills} times: of {self.messages:,} messages {self.left:,} not "
            f"acknowledged, {self.held:,} held; lost {self.lost_redis:,} in Redis, {self.lost_influxdb:,} in InfluxDB; "
            f"twice {self.doubles_redis:,} in Redis, {self.doubles_influxdb:,} in InfluxDB"
            + (f"; then it did not start: {self.down}" if self.down else "")
        )


async def kills(name: str, influx: InfluxServer, folder: Path, form: Form, times: int) -> Kills:
    """Messages at a rate that both can take, while the receiver is killed so many times at random moments."""
    chance, first = random.Random(17), time.time_ns() // 1_000_000 - 86_400_000
    most = times * 10 * _KILLS_RATE
    async with (
        broker_and_gate(folder / "broker") as (broker, its_gate),
        receiver(name, influx, folder.name, folder, over_mqtt(its_gate, form)) as its,
        publishing(broker, form, first, most, _KILLS_RATE) as load,
    ):
        load.stdin.write(b"\n")
        count, down = await killed(its, times, chance)
        await asyncio.sleep(1.0)  # and it goes on
        load.terminate()
        published = json.loads(await load.stdout.readline())["messages"]
        await _settled(its, its_gate)
        its.process.terminate()
        await asyncio.to_thread(its.process.wait)
        left = await _left(broker)
        in_redis_, in_influxdb_ = await values_in_redis(its.system), await values_in_influxdb(influx, folder.name)
        state = its.system.settings.state
        held = {round(one.value) for one in held_readings(state)} - in_redis_.keys() if name == "iotd" else set()
        wanted = set(range(published)) - left - held
        return Kills(
            name,
            form,
            count,
            published,
            len(left),
            len(held),
            len(wanted - in_redis_.keys()),
            len(wanted - in_influxdb_.keys()),
            _too_many(in_redis_),
            _too_many(in_influxdb_),
            down,
        )


async def _settled(its: Receiver, its_gate: Gate) -> None:
    last, since = (-1, -1), monotonic()
    while monotonic() - since < _STEADY_S:
        if (now := (await in_redis(its.system), its_gate.acknowledged)) != last:
            last, since = now, monotonic()
        await asyncio.sleep(_LOOK_S)


async def _left(broker: Broker) -> set[int]:
    """Values of the messages that a broker still has for the receiver."""
    connection = await connect(BrokerSettings(url=broker.url()), CLIENT)
    found: set[int] = set()
    try:
        async with asyncio.timeout(_LEFT_S):
            while True:
                messages = await connection.receive()
                for message in messages:
                    said = json.loads(message.payload)
                    found.add(round(said["value"] if isinstance(said, dict) else said))
                connection.acknowledge([message.id for message in messages])
    except TimeoutError:
        return found
    finally:
        await connection.close()


def _too_many(found: Counter[int]) -> int:
    return sum(found.values()) - len(found)
