"""The whole examination of one broker, in order; each finding is told as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from iotd.config.sections.mqtt import Broker
from iotd.model.observation import Names
from iotd.sources.mqtt.doctor import experiments, publishers
from iotd.sources.mqtt.doctor.bench import Bench, versions_of
from iotd.sources.mqtt.doctor.findings import Advice, Finding, Verdict, advice_for
from iotd.sources.mqtt.doctor.restart import acknowledges_early, not_asked_for, restart
from iotd.sources.mqtt.exploring.survey import Listener, explore
from iotd.sources.mqtt.link import BrokerAway, BrokerRefuses
from iotd.sources.mqtt.packets import ProtocolBroken
from iotd.sources.mqtt.reading import kinds_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be examined, and how.

    Attributes:
        messages: that are queued for a subscriber that is away.
        seconds: for which publishers are listened to.
        restart_command: a shell command that restarts the broker; None: its restart is not tried.
        names: what is known by name.
        now: tells the time, ms.
    """

    messages: int
    seconds: float
    restart_command: str | None
    names: Names
    now: Callable[[], int]


async def examine(broker: Broker, wanted: Wanted) -> AsyncGenerator[Finding, None]:
    """Examines a broker; what it leaves there is gone when it ends, however it ends.

    Raises:
        BrokerAway, BrokerRefuses, ProtocolBroken: it does not let us in.
    """
    versions = await versions_of(broker)
    bench = Bench(broker, versions[0] if broker.version == "auto" else broker.version)
    try:
        version = await experiments.version_of(bench)
        advice = advice_for(version)
        raised = False
        if (hindered := await experiments.access(bench, advice)) is not None:
            yield hindered
        else:
            async with aclosing(_at_the_broker(bench, versions, version, advice, wanted)) as found:
                async for finding in found:
                    raised |= finding.what == "QoS 0" and finding.verdict is Verdict.OK
                    yield finding
        async with aclosing(_at_the_publishers(broker, bench, wanted, raised=raised)) as found:
            async for finding in found:
                yield finding
    finally:
        clean = await asyncio.shield(bench.clean())
    if not clean:
        text = f"sessions or messages of ours below {bench.base} could not be removed"
        yield Finding("cleaning up", Verdict.NOTE, text)


async def _at_the_broker(
    bench: Bench, versions: list[str], version: str | None, advice: Advice, wanted: Wanted
) -> AsyncGenerator[Finding, None]:
    oldest = versions[-1]
    trials: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
        ("session", lambda: experiments.session(bench, versions, advice)),
        ("queue", lambda: experiments.queue(bench, wanted.messages, advice)),
        ("queue, bytes", lambda: experiments.queue_bytes(bench, advice)),
        ("QoS 0", lambda: experiments.qos0(bench, advice)),
        *((f"in flight, {one}", lambda one=one: experiments.in_flight(bench, one, advice)) for one in versions),
        ("payload", lambda: experiments.payload(bench, oldest, advice)),
        ("overlap", lambda: experiments.overlap(bench)),
        ("retained", lambda: experiments.retained(bench, advice)),
    ]
    if (command := wanted.restart_command) is not None:
        trials.append(("restart", lambda: restart(bench, command, advice)))
    for what, trial in trials:
        try:
            yield await trial()
        except (BrokerAway, BrokerRefuses, ProtocolBroken) as e:
            yield Finding(what, Verdict.UNTRIED, str(e), hindered=True)
    if command is None:
        yield not_asked_for()
    if (early := acknowledges_early(version)) is not None:
        yield early


async def _at_the_publishers(
    broker: Broker, bench: Bench, wanted: Wanted, *, raised: bool
) -> AsyncGenerator[Finding, None]:
    kinds = kinds_of(broker)
    default = publishers.DEFAULT
    bases = [use.base or default for use in broker.presets if use.name == default] or [default]
    if kinds:
        listener = Listener(kinds, [], wanted.names, wanted.now)
        try:
            await explore(broker, listener, seconds=wanted.seconds, everything=False, stop=asyncio.Event())
        except (BrokerAway, BrokerRefuses, ProtocolBroken) as e:
            yield Finding("publishers", Verdict.UNTRIED, str(e), hindered=True)
        survey = listener.finished()
        told = [
            *publishers.refused(survey),
            *publishers.by_qos(survey, seconds=wanted.seconds, raised=raised),
            *publishers.silent(survey, [name for name, _ in kinds], seconds=wanted.seconds),
        ]
        for finding in told:
            yield finding
    else:
        yield Finding(
            "publishers", Verdict.UNTRIED, "no presets and no topics are configured, so nothing is listened to"
        )
    for base in bases:
        try:
            info = await publishers.bridge_info(bench, base)
        except (BrokerAway, BrokerRefuses, ProtocolBroken) as e:
            yield Finding(publishers.finding_name(base), Verdict.UNTRIED, str(e), hindered=True)
            continue
        if info is not None:
            for finding in publishers.zigbee2mqtt(base, info):
                yield finding
