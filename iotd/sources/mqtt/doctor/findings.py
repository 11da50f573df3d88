"""What an experiment has found, and what to set so that it is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """How it stands."""

    OK = "OK"
    LOSES = "LOSES"
    REPEATS = "REPEATS"
    """What was measured once is said again later, so that it is stored with a wrong time."""
    NOTE = "NOTE"
    """Nothing is lost by it."""
    UNTRIED = "NOT TRIED"
    """The broker did not let us, or it was not asked for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them.

    Attributes:
        what: was tried, in a word or two.
        text: what was measured, in a sentence.
        advice: lines to set, or what to do.
        place: where the lines stand; empty: they are no lines of a file.
        measured: the numbers, for programs.
        hindered: it should have been tried, and could not be.
    """

    what: str
    verdict: Verdict
    text: str
    advice: Sequence[str] = ()
    place: str = ""
    measured: Mapping[str, int] = field(default_factory=dict)
    hindered: bool = False

    @property
    def bad(self) -> bool:
        """Whether something is to be mended."""
        return self.hindered or self.verdict in (Verdict.LOSES, Verdict.REPEATS)


@dataclass(frozen=True, slots=True)
class Advice:
    """What to set at a broker, by what was found: lines of its configuration, or what to look for in it.

    Attributes:
        place: the file; empty: which one, only the broker's manual knows.
    """

    place: str
    queue: Sequence[str]
    queue_bytes: Sequence[str]
    qos0: Sequence[str]
    in_flight: Sequence[str]
    payload: Sequence[str]
    session: Sequence[str]
    retained: Sequence[str]
    restart: Sequence[str]
    access: Sequence[str]


MOSQUITTO = Advice(
    place="mosquitto.conf",
    queue=("max_queued_messages 0",),
    queue_bytes=("max_queued_bytes 0",),
    qos0=("upgrade_outgoing_qos true",),
    in_flight=("max_inflight_messages 1000",),
    payload=("message_size_limit 0", "# and no max_packet_size"),
    session=("# no persistent_client_expiration, or a long one:", "persistent_client_expiration 1y"),
    retained=("retain_available true",),
    restart=("persistence true", "autosave_on_changes true", "autosave_interval 1"),
    access=("# in acl_file, behind the line of our user:", "topic readwrite iotd/doctor/#"),
)
GENERAL = Advice(
    place="",
    queue=("raise the number of messages that it queues for a client that is away",),
    queue_bytes=("raise the bytes that it queues for a client that is away",),
    qos0=("let it queue QoS 0 for clients that are away, at QoS 1 if it can; better let publishers use QoS 1",),
    in_flight=("raise the number of messages that it sends before they are acknowledged",),
    payload=("raise the largest message that it takes",),
    session=("let it keep sessions of clients that are away for days at least",),
    retained=("let it keep retained messages",),
    restart=("let it keep sessions and queues on disk, and write them at each change if it can",),
    access=("let our user publish and subscribe below iotd/doctor/",),
)


def advice_for(version: str | None) -> Advice:
    """By what the broker says of itself in ``$SYS/broker/version``."""
    return MOSQUITTO if names_mosquitto(version) else GENERAL


def names_mosquitto(version: str | None) -> bool:
    """Whether it is mosquitto."""
    return version is not None and "mosquitto" in version.lower()
