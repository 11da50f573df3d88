"""A real rtl_433 with only the antenna replaced: what thermometers send as radio waves, it says to a broker."""

from __future__ import annotations

import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from tests.servers.clients import Program, running
from tests.servers.mosquitto import Broker
from tests.servers.needs import lacking

_RATE = 250_000
"""Samples of a second; each is two bytes, around 127.5."""
_PIECE_S = 0.1
_STARTS_S = 20
_NEXUS = 19
"""Its number of the protocol of Nexus-TH."""
_REPEATS = 12
_PULSE_US, _ZERO_US, _ONE_US, _BETWEEN_US, _END_US = 500, 1000, 2000, 4000, 10_000


@dataclass(frozen=True)
class Rtl433:
    """A running one; :meth:`receive` says what is in the air."""

    program: Program
    _air: SimpleQueue[bytes]

    def receive(
        self, sensor: int, *, temperature: float, humidity: int, channel: int = 1, battery: bool = True
    ) -> None:
        """A thermometer of the kind Nexus-TH sends; it is at the broker about a second later.

        Args:
            sensor: 0 to 255; changes with its battery.
            temperature: in °C, −204.8 to 204.7, in steps of 0.1.
            humidity: in %.
            channel: 1 to 3.
        """
        tenths = round(temperature * 10) & 0xFFF
        code = sensor << 28 | battery << 27 | (channel - 1) << 24 | tenths << 12 | 0xF << 8 | humidity
        self._air.put(_wave(f"{code:036b}"))


def _wave(bits: str) -> bytes:
    """Pulses whose distances are the bits."""
    gaps = [_ONE_US if bit == "1" else _ZERO_US for bit in bits]
    levels: list[tuple[bool, int]] = []
    for gap in [*gaps, _BETWEEN_US] * _REPEATS:
        levels += [(True, _PULSE_US), (False, gap)]
    levels.append((False, _END_US))
    amplitude = np.concatenate([np.full(us * _RATE // 1_000_000, 100 * on) for on, us in levels])
    return _samples(amplitude)


def _samples(amplitude: np.ndarray) -> bytes:
    noise = np.frombuffer(random.Random(17).randbytes(2 * len(amplitude)), np.uint8) % 3
    turning = np.exp(2j * np.pi * 0.04 * np.arange(len(amplitude))) * amplitude
    both = np.column_stack([turning.real, turning.imag]).ravel()
    return (127 + both + noise).round().clip(0, 255).astype(np.uint8).tobytes()


@contextmanager
def rtl_433(broker: Broker, folder: Path, options: Sequence[str] = ("-M", "time:utc")) -> Iterator[Rtl433]:
    """A running rtl_433 that says what it hears under ``rtl_433/`` and its host's name; ended at the end.

    Args:
        options: of its command line, beside those made here.
    """
    if (program := shutil.which("rtl_433")) is None:
        lacking("rtl_433", "it is not on PATH; Debian has it in rtl-433")
    air: SimpleQueue[bytes] = SimpleQueue()
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        sending = threading.Thread(target=_send, args=(server, air, ended))
        sending.start()
        port = server.getsockname()[1]
        command = [program, "-d", f"rtl_tcp:127.0.0.1:{port}", "-R", str(_NEXUS), *options, "-F", _output(broker)]
        try:
            with running(command, folder / "rtl_433.log", cwd=folder) as made:
                limit = time.monotonic() + _STARTS_S
                while "MQTT Connection established" not in made.said:
                    made.alive()
                    assert time.monotonic() < limit, made.said
                    time.sleep(0.02)
                yield Rtl433(made, air)
        finally:
            ended.set()
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            sending.join()


def _output(broker: Broker) -> str:
    login = "".join(f",user={user},pass={password}" for user, password in list(broker.users.items())[:1])
    return f"mqtt://127.0.0.1:{broker.port}{login}"


def _send(server: socket.socket, air: SimpleQueue[bytes], ended: threading.Event) -> None:
    """What rtl_tcp sends: its greeting, and samples without an end; the commands that come are not read."""
    silence = _samples(np.zeros(int(_RATE * _PIECE_S)))
    with suppress(OSError):
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"RTL0" + (5).to_bytes(4, "big") + (29).to_bytes(4, "big"))
            while not ended.wait(_PIECE_S):
                with suppress(Empty):
                    connection.sendall(air.get_nowait())
                connection.sendall(silence)
