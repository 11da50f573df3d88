"""Publishers, as a process of its own beside the broker: `python -m tests.chaos.clients.mqtt HOST PORT ROOM…`.

Nothing of what they say is noted here, since what the broker acknowledges to them counts for nothing: the witness
behind it notes what it passes on. Messages with a time are sent again until the broker has them. One without a time is
sent once only: a repeat of it would be another message. SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from tests.chaos.clients.book import Reading
from tests.chaos.clients.invention import Inventor
from tests.chaos.mqtt import wire
from tests.chaos.mqtt.topics import BRANCHES, OLD, TIMED, TIMELESS, alias, payload, topic
from tests.chaos.mqtt.wire import Packets

_PAUSE_S = (0.02, 0.3)
_ANSWER_S = 5.0
_AGAIN_S = 0.5
_BURST, _BURSTS = 30, 0.03
"""Messages of one, and how often there is one."""
_BAD = 0.05
_ALIAS = 0.3
"""How often a room is called by its alias."""


class Sender:
    """A connection to the broker."""

    def __init__(self, name: str, host: str, port: int) -> None:
        self._name = name
        self._where = host, port
        self._next = 0
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Keeps it up until cancelled."""
        while True:
            with suppress(OSError, TimeoutError):
                await self._session()
            self._writer = None
            for answer in self._answers.values():
                answer.cancel()
            self._answers.clear()
            await asyncio.sleep(_AGAIN_S)

    async def _session(self) -> None:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(*self._where)
        try:
            writer.write(wire.connect(self._name, keep_alive=0))
            packets = Packets()
            while data := await reader.read(65_536):
                for packet in packets.feed(data):
                    if packet.type == wire.CONNACK and wire.let_in(packet)[0] == 0:
                        self._writer = writer
                    elif packet.type == wire.PUBACK:
                        answer = self._answers.pop(wire.acknowledged(packet), None)
                        if answer is not None and not answer.done():
                            answer.set_result(None)
        finally:
            writer.close()

    async def send(self, where: str, what: bytes, *, qos: int = 1, retain: bool = False, again: bool = False) -> bool:
        """Sends a message once; whether the broker has it, as far as it says so."""
        if (writer := self._writer) is None:
            await asyncio.sleep(_AGAIN_S)
            return False
        if not qos:
            writer.write(wire.publish(where, what, qos=0, retain=retain))
            return True
        self._next = self._next % 65_535 + 1
        packet, answer = self._next, asyncio.get_running_loop().create_future()
        self._answers[packet] = answer
        writer.write(wire.publish(where, what, packet=packet, retain=retain, again=again))
        await asyncio.wait([answer], timeout=_ANSWER_S)
        self._answers.pop(packet, None)
        return answer.done() and not answer.cancelled()


class Publisher:
    """Says one thing after the other on one branch."""

    def __init__(self, name: str, branch: str, sender: Sender, rooms: Sequence[str]) -> None:
        self._invent = Inventor(name, rooms)
        self._rng = self._invent.rng
        self._branch = branch
        self._sender = sender

    async def run(self, ending: asyncio.Event) -> None:
        """Until it is to end."""
        rng = self._rng
        while not ending.is_set():
            count = _BURST if rng.random() < _BURSTS else 1
            await asyncio.gather(*(self._say(ending) for _ in range(count)))
            with suppress(TimeoutError):
                async with asyncio.timeout(rng.uniform(*_PAUSE_S)):
                    await ending.wait()

    async def _say(self, ending: asyncio.Event) -> None:
        kind = self._rng.random()
        if kind < _BAD:
            await self._sender.send(*self._bad())
        elif kind < 2 * _BAD:  # a device that has nothing to say, and says so
            (one,) = self._invent.timeless(1)
            nothing = self._rng.choice((b"unavailable", b"unknown", b"nan", b""))
            where = topic(self._branch, TIMELESS, one.location, f"{OLD}-{one.sensor}", one.type)
            await self._sender.send(where, nothing, retain=True)
        elif kind < 0.5:
            (one,) = self._invent.timed(1)
            sent = await self._sender.send(*self._of(TIMED, one))
            while not sent and not ending.is_set():
                sent = await self._sender.send(*self._of(TIMED, one), again=True)
        elif kind < 0.9:
            (one,) = self._invent.timeless(1)
            await self._sender.send(*self._of(TIMELESS, one))
        else:
            (one,) = self._invent.timeless(1)
            await self._sender.send(*self._of(TIMELESS, one._replace(sensor=f"{one.sensor}-q0")), qos=0)

    def _of(self, kind: str, one: Reading) -> tuple[str, bytes]:
        room = alias(one.location) if self._rng.random() < _ALIAS else one.location
        return topic(self._branch, kind, room, one.sensor, one.type), payload(one)

    def _bad(self) -> tuple[str, bytes]:
        rng, mark = self._rng, self._invent.mark()
        (one,) = self._invent.timeless(1)
        kind = rng.choice((TIMED, TIMELESS))
        values: Sequence[object] = (1e12, "hot", [1], {"v": 1})
        if rng.random() < 0.3:
            where = topic(self._branch, kind, "nowhere at all", mark, one.type)
            return where, payload(one._replace(time=_now() if kind == TIMED else None))
        if rng.random() < 0.2:
            return topic(self._branch, TIMELESS, one.location, mark, "nothing_known"), payload(one)
        where = topic(self._branch, kind, one.location, mark, one.type)
        if rng.random() < 0.3:
            return where, rng.choice((b"\xff\xfe", b"{", b"21.5 21.5"))
        value = rng.choice(values)
        said = {"v": value, "ts": rng.choice((_now(), _now(), "one day"))} if kind == TIMED else value
        return where, json.dumps(said).encode()


def _now() -> int:
    return time.time_ns() // 1_000_000


async def main(host: str, port: int, rooms: Sequence[str]) -> None:
    """Says things until SIGTERM."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    senders = [Sender(f"publisher-{n}", host, port) for n in range(len(BRANCHES))]
    keeping = [asyncio.create_task(sender.run()) for sender in senders]
    async with asyncio.TaskGroup() as group:
        for sender, branch in zip(senders, BRANCHES, strict=True):
            for n in range(_EACH):
                group.create_task(Publisher(f"{branch}{n}", branch, sender, rooms).run(ending))
    for task in keeping:
        task.cancel()


_EACH = 4
"""Publishers on each branch, that wait for the answer of one message before they say the next."""


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
