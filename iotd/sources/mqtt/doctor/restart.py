"""What of a broker's sessions and queues outlives its restart, by a command of whoever asks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from iotd.sources.mqtt.doctor.bench import Bench, Client
from iotd.sources.mqtt.doctor.findings import Advice, Finding, Verdict, names_mosquitto
from iotd.sources.mqtt.link import BrokerAway, BrokerRefuses
from iotd.sources.mqtt.packets import ProtocolBroken

_COUNT = 50
_SETTLE_S = 1.0
"""So old is what is queued when the broker is restarted: that the very last is lost is told anyway."""
_COMMAND_S = 120.0
_ENDS_S = 10.0
"""So long after the command the broker may take to end our connections."""
_BACK_S = 120.0
_RETRY_S = 0.2


def not_asked_for() -> Finding:
    """That it was not tried, and how it is."""
    return Finding(
        "restart",
        Verdict.UNTRIED,
        "what a restart of the broker loses; give the command that restarts it, best as a crash would",
        ('iotd doctor mqtt --restart-command "systemctl kill --signal=SIGKILL mosquitto"',),
    )


def acknowledges_early(version: str | None) -> Finding | None:
    """What no setting mends."""
    if not names_mosquitto(version):
        return None
    return Finding(
        "crash",
        Verdict.NOTE,
        "mosquitto acknowledges a message before it writes it down (its issue #1855): whatever is set, a power failure "
        "there may lose the last ones, though their publishers were told that they arrived",
    )


async def restart(bench: Bench, command: str, advice: Advice) -> Finding:
    """Queues messages, restarts the broker, and counts.

    Raises:
        BrokerAway, BrokerRefuses, ProtocolBroken: it is not there, before or afterwards.
    """
    topic = f"{bench.base}/restart"
    subscriber = await bench.with_session("restart")
    await subscriber.subscribe(topic)
    await subscriber.close()
    watching = await bench.client()
    taken = await watching.publish(topic, [f"doctor {n}".encode() for n in range(_COUNT)])
    await bench.retain(watching, f"{topic}/kept", b"kept")
    await asyncio.sleep(_SETTLE_S)
    why = await _run(command)
    if not why and not await watching.ended(_ENDS_S):
        why = f"the broker still runs {_ENDS_S:.0f} s after {command!r}"
    await watching.close()
    if why:
        return Finding("restart", Verdict.UNTRIED, why, hindered=True)
    back = await _back(bench)
    kept = back.connection.session_present
    found = {one.payload for one in await back.until(taken)}
    await back.close()
    reader = await bench.client()
    await reader.subscribe(f"{topic}/kept")
    retained = len(await reader.until(1))
    await reader.close()
    measured = {"acknowledged": taken, "arrived": len(found), "session_present": int(kept), "retained": retained}
    of = f"after {command!r} {len(found)} of {taken} messages arrived that were acknowledged a second before"
    if kept and len(found) >= taken and retained:
        return Finding(
            "restart", Verdict.OK, f"{of}; the session and what is retained are there too", measured=measured
        )
    lost = [*([] if kept else ["the session"]), *([] if retained else ["what was retained"])]
    of += f"; {' and '.join(lost)} {'are' if len(lost) > 1 else 'is'} lost too" if lost else ""
    return Finding("restart", Verdict.LOSES, of, advice.restart, advice.place, measured)


async def _run(command: str) -> str:
    """Runs the command; why that failed, or nothing."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_COMMAND_S):
            said, _ = await process.communicate()
    except TimeoutError:
        return f"{command!r} did not end within {_COMMAND_S:.0f} s"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or [""]
        return f"{command!r} ended with {process.returncode}: {last[0][:200]}"
    return ""


async def _back(bench: Bench) -> Client:
    end = monotonic() + _BACK_S
    while True:
        try:
            return await bench.with_session("restart")
        except (BrokerAway, BrokerRefuses, ProtocolBroken):
            if monotonic() > end:
                raise
        await asyncio.sleep(_RETRY_S)
