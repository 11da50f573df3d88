"""How messages come to iotd and to Telegraf over MQTT: a broker, a gate behind it, and a publisher before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.gate import Gate, gate
from tests.benchmarks.lineload import ROOMS
from tests.benchmarks.mqttload import SENSORS, Form
from tests.benchmarks.receivers import Way, client_of
from tests.servers.mosquitto import Broker, mosquitto

CLIENT = "receiver"
"""The client id of both."""
_JSON = """data_format = "json_v2"
  [[inputs.mqtt_consumer.json_v2]]
    timestamp_path = "time"
    timestamp_format = "unix_ms"
    [[inputs.mqtt_consumer.json_v2.field]]
      path = "value"
      type = "float"
"""


def over_mqtt(its: Gate, form: Form) -> Way:
    """Messages of one form, from the broker behind a gate.

    Telegraf's figures are those with which it is fastest here: with fewer messages under way (10,000, 20,000), smaller
    batches (1,000, 2,000) or more frequent ones it takes a tenth to a third fewer messages a second.
    """
    rule = {"topic": f"{form}/{{location}}/{{sensor}}/{{type}}"}
    if form == "json":
        rule |= {"value": "$.value", "time": "$.time"}
        parser = _JSON
    else:
        parser = 'data_format = "value"\n  data_type = "float"'
    connections = its.connections

    async def takes() -> bool:
        nonlocal connections
        if not its.subscribed or its.connections == connections:
            return False
        connections = its.connections
        return True

    return Way(
        iotd={
            "mqtt": {"url": f"mqtt://127.0.0.1:{its.port}", "client_id": CLIENT, "topic": [rule]},
            "intake": {"past": "30d"},
        },
        telegraf=f"""
[[inputs.mqtt_consumer]]
  servers = ["tcp://127.0.0.1:{its.port}"]
  topics = ["{form}/+/+/+"]
  topic_tag = ""
  qos = 1
  persistent_session = true
  client_id = "{CLIENT}"
  max_undelivered_messages = 50000
  {parser}
  [[inputs.mqtt_consumer.topic_parsing]]
    topic = "+/+/+/+"
    measurement = "_/_/measurement/_"
    tags = "_/room/_/type"
""",
        picked='room = ["{room}"]',
        keys=lambda room: [f"s{n}_value" for n in range(SENSORS) if ROOMS[n % len(ROOMS)] == room],
        takes=takes,
        agent={"interval": '"1s"'},
    )


@asynccontextmanager
async def publishing(broker: Broker, form: Form, first: int, messages: int, rate: float = 0) -> AsyncIterator[Any]:
    """A publisher that has made its messages, and publishes them once it gets a line; killed if it is not done."""
    options = {"port": broker.port, "form": form, "first": first, "messages": messages, "rate": rate}
    async with client_of("tests.benchmarks.mqttload", options) as process:
        yield process


@asynccontextmanager
async def broker_and_gate(folder: Path) -> AsyncIterator[tuple[Broker, Gate]]:
    """A broker that keeps all that comes, and hands over as much at once as the receiver wants."""
    with mosquitto(folder, max_queued_messages=0, max_inflight_messages=65_535, log_type="error") as broker:
        async with gate(broker.port) as its:
            yield broker, its
