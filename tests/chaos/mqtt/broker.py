"""The broker of a chaos run: a real mosquitto on a host of its own, which writes itself down every few seconds."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from iotd.config import Address
from tests.chaos.hosts import Host
from tests.chaos.mqtt import wire
from tests.chaos.mqtt.wire import Packets
from tests.servers.system import until

PORT = 1883
_STARTS_S, _STOPS_S, _ANSWERS_S = 20, 20, 5
_SAVES_S = 5
"""By so much it is set back when it is killed; its default is half an hour."""
_SETTINGS = {
    "persistence": "true",
    "autosave_interval": _SAVES_S,
    "max_queued_messages": 0,  # as many as come
    "max_inflight_messages": 100,
    "allow_anonymous": "true",
    "log_dest": "stderr",
    "log_timestamp_format": "%Y-%m-%dT%H:%M:%S",
}


def no_mosquitto() -> str | None:
    """Why no broker can be run here; None when one can."""
    return None if _program() else "no mosquitto on PATH (Debian: mosquitto)"


class Broker:
    """What can be done to it.

    Attributes:
        log: what it says.
    """

    def __init__(self, folder: Path, host: Host) -> None:
        """
        Args:
            folder: made; not on the daemon's disk.
        """
        folder.mkdir()
        self.host = host
        self.address = Address(host.address, PORT)
        self.log = folder / "log"
        self._config = folder / "mosquitto.conf"
        user = pwd.getpwuid(os.getuid()).pw_name  # as root it would become another, who may not write here
        lines = {**_SETTINGS, "user": user, "persistence_location": f"{folder}/", "listener": f"{PORT} {host.address}"}
        self._config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        self._process: subprocess.Popen[bytes] | None = None

    async def mend(self) -> None:
        """Starts it if it does not run, with what it had written down, and returns when it lets clients in."""
        if self._process is None or self._process.poll() is not None:
            program = _program()
            assert program is not None
            with self.log.open("ab") as log:
                command = self.host.inside([program, "-c", str(self._config)])
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        await until(self._answers, _STARTS_S, "mosquitto lets clients in")

    async def keep(self, topic: str, payload: bytes) -> None:
        """Has it retain a message, and write that down."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(wire.connect("keeper") + wire.publish(topic, payload, packet=1, retain=True))
        await _until_packet(reader, wire.PUBACK)
        writer.close()
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """SIGKILL: what came since it wrote last is forgotten, the PUBACKs that it got among it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def stop(self) -> None:
        """It writes everything down, and ends."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, _STOPS_S)

    def down(self) -> None:
        """Ends it, if it was ever there."""
        if self._process is not None:
            self.kill()

    async def _answers(self) -> bool:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_ANSWERS_S):
                reader, writer = await asyncio.open_connection(*self.address)
                writer.write(wire.connect("probe"))
                await _until_packet(reader, wire.CONNACK)
                writer.close()
                return True
        return False


async def _until_packet(reader: asyncio.StreamReader, kind: int) -> None:
    packets = Packets()
    while data := await reader.read(4_096):
        if any(packet.type == kind for packet in packets.feed(data)):
            return
    raise ConnectionResetError("the broker has ended the connection")


def _program() -> str | None:
    # Debian has it where only root looks
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which("mosquitto", path=path)
