"""What becomes of messages at a broker: each experiment is a function, and gives what it has found."""

from __future__ import annotations

from collections.abc import Sequence

from iotd.model.instants import duration
from iotd.sources.mqtt.doctor.bench import LARGEST, Bench
from iotd.sources.mqtt.doctor.findings import Advice, Finding, Verdict
from iotd.sources.mqtt.link import BrokerAway
from iotd.sources.mqtt.packets import FOREVER, V5, Publish, reason_of

_DAY_S = 86_400
_FEW = 100
_BULKY = 32
"""Messages of 32 KiB, which are 1 MiB."""
_AT_ONCE = 300
"""Messages of which it is counted how many come before one is acknowledged."""
_ENOUGH = 100
"""So many in flight that the way there and back does not matter."""
_SIZES = [1024, 4096, 16 * 1024, 64 * 1024, 256 * 1024, LARGEST]


async def version_of(bench: Bench) -> str | None:
    """What the broker says of itself; None: nothing."""
    client = await bench.client()
    try:
        codes = await client.subscribe("$SYS/broker/version")
        found = await client.until(1) if codes and codes[0] < 0x80 else []
    except BrokerAway:  # some end the connection of whoever asks
        return None
    finally:
        await client.close()
    return found[0].payload.decode(errors="replace")[:100] if found else None


async def access(bench: Bench, advice: Advice) -> Finding | None:
    """Why no experiment can be made; None: what we publish comes back to us."""
    client = await bench.client()
    topic = f"{bench.base}/access"
    why = ""
    try:
        codes = await client.subscribe(topic)
        if codes[0] >= 0x80:
            why = f"it does not let us subscribe ({reason_of(codes[0], V5)})"
        elif not await client.publish(topic, [b"doctor"]):
            why = "it does not let us publish"
        elif not await client.until(1):
            why = "what we publish does not come back"
    except BrokerAway as e:
        why = str(e)
    await client.close()
    if not why:
        return None
    text = f"below iotd/doctor/, {why}; so the broker could not be examined"
    return Finding("access", Verdict.UNTRIED, text, advice.access, advice.place, hindered=True)


async def session(bench: Bench, versions: Sequence[str], advice: Advice) -> Finding:
    """Whether it keeps a session, and for how long."""
    first = await bench.with_session("session")
    await first.subscribe(f"{bench.base}/session")
    expiry = first.connection.session_expiry
    await first.close()
    again = await bench.with_session("session")
    kept = again.connection.session_present
    await again.close()
    speaks = f"it speaks MQTT {' and '.join(versions)}"
    measured = {"session_present": int(kept), "session_expiry_s": expiry}
    if not kept:
        text = f"{speaks}, and keeps no session: all that comes while we are away is lost"
        return Finding("session", Verdict.LOSES, text, advice.session, advice.place, measured)
    if expiry < _DAY_S:
        text = f"{speaks}, and keeps our session for {duration(expiry * 1000)}: what comes later is lost"
        return Finding("session", Verdict.LOSES, text, advice.session, advice.place, measured)
    how_long = f"for {duration(expiry * 1000)}"
    if expiry == FOREVER:
        how_long = "without an end" if bench.version == "5" else "(for how long, MQTT 3.1.1 does not say)"
    return Finding("session", Verdict.OK, f"{speaks}, and keeps our session {how_long}", measured=measured)


async def queue(bench: Bench, count: int, advice: Advice) -> Finding:
    """How many messages of QoS 1 it keeps for a subscriber that is away."""
    taken, found = await bench.absent("queue", _numbered(count, 60), qos=1)
    measured = {"published": count, "acknowledged": taken, "arrived": len(found)}
    of = f"of {taken:,} acknowledged messages of QoS 1 for a subscriber that was away {len(found):,} arrived"
    if len(found) >= taken:
        return Finding("queue", Verdict.OK, of, measured=measured)
    order = "the newest are dropped" if _first(found) == 0 else "the oldest are dropped"
    return Finding("queue", Verdict.LOSES, f"{of}: {order}", advice.queue, advice.place, measured)


async def queue_bytes(bench: Bench, advice: Advice) -> Finding:
    """The same for a few large messages."""
    taken, found = await bench.absent("bytes", _numbered(_BULKY, 32 * 1024), qos=1)
    measured = {"published": _BULKY, "acknowledged": taken, "arrived": len(found)}
    of = f"of {taken:,} acknowledged messages of 32 KiB for a subscriber that was away {len(found):,} arrived"
    if len(found) >= taken:
        return Finding("queue, bytes", Verdict.OK, of, measured=measured)
    lines = (*advice.queue, *advice.queue_bytes)
    return Finding("queue, bytes", Verdict.LOSES, of, lines, advice.place, measured)


async def qos0(bench: Bench, advice: Advice) -> Finding:
    """What becomes of messages of QoS 0 for a subscriber that is away."""
    _, found = await bench.absent("qos0", _numbered(_FEW, 20), qos=0)
    raised = sum(one.qos > 0 for one in found)
    measured = {"published": _FEW, "arrived": len(found), "raised": raised}
    of = f"of {_FEW} messages of QoS 0 for a subscriber that was away {len(found)} arrived"
    if raised == _FEW:
        return Finding("QoS 0", Verdict.OK, f"{of}, at QoS 1", measured=measured)
    if len(found) == _FEW:
        of += ", at QoS 0: those under way when a connection breaks are lost"
    return Finding("QoS 0", Verdict.LOSES, of, advice.qos0, advice.place, measured)


async def in_flight(bench: Bench, version: str, advice: Advice) -> Finding:
    """How many messages it sends before the first is acknowledged."""
    topic = f"{bench.base}/flight"
    subscriber = await bench.client(version, acknowledges=False)
    await subscriber.subscribe(topic)
    publisher = await bench.client()
    await publisher.publish(topic, _numbered(_AT_ONCE, 20))
    found = len(await subscriber.until(_AT_ONCE, quiet_s=1.0))
    await subscriber.close()
    await publisher.close()
    measured = {"published": _AT_ONCE, "in_flight": found}
    name = f"in flight, {version}"
    if found >= _ENOUGH:
        more = " at least" if found == _AT_ONCE else ""
        return Finding(name, Verdict.OK, f"it sends {found}{more} before one is acknowledged", measured=measured)
    text = f"it sends {found} before one is acknowledged, so that each fsync takes no more: slow, and the rest queues"
    return Finding(name, Verdict.NOTE, text, advice.in_flight, advice.place, measured)


async def payload(bench: Bench, version: str, advice: Advice) -> Finding:
    """The largest message that it takes and hands over."""
    largest, acknowledged, why = 0, False, ""
    for size in _SIZES:
        client = await bench.client(version)
        topic = f"{bench.base}/payload"
        try:
            await client.subscribe(topic)
            acknowledged = await client.publish(topic, [b"x" * size]) == 1
            arrived = await client.until(1) if acknowledged else []
        except BrokerAway as e:
            acknowledged, arrived, why = False, [], str(e)
        await client.close()
        if not arrived or arrived[0].length != size:
            break
        largest = size
    measured = {"largest": largest}
    if largest == LARGEST:
        return Finding("payload", Verdict.OK, f"messages of {_size(largest)} arrive", measured=measured)
    text = (
        f"messages of {_size(largest)} arrive, and one of {_size(_SIZES[_SIZES.index(largest) + 1 if largest else 0])}"
    )
    if acknowledged:
        text += " is acknowledged and does not"
        return Finding("payload", Verdict.LOSES, text, advice.payload, advice.place, measured)
    text += " is refused" + (f" ({why})" if why else "")
    return Finding("payload", Verdict.NOTE, text, advice.payload, advice.place, measured)


async def overlap(bench: Bench) -> Finding:
    """Whether a message that two subscriptions match comes twice."""
    client = await bench.client()
    await client.subscribe(f"{bench.base}/over/#", f"{bench.base}/over/+")
    await client.publish(f"{bench.base}/over/lap", [b"once"])
    count = len(await client.until(3, quiet_s=1.0))
    await client.close()
    measured = {"arrived": count}
    if count <= 1:
        return Finding("overlap", Verdict.OK, "a message that two subscriptions match comes once", measured=measured)
    text = f"a message that two subscriptions match comes {count} times; iotd's own overlap only while they change"
    return Finding("overlap", Verdict.OK, text, measured=measured)


async def retained(bench: Bench, advice: Advice) -> Finding:
    """Whether it keeps messages, and says which these are."""
    topic = f"{bench.base}/retained"
    publisher = await bench.client()
    try:
        taken = await bench.retain(publisher, topic, b"kept")
    except BrokerAway as e:
        await publisher.close()
        text = f"it refuses retained messages ({e}): what presets are told by them is not known"
        return Finding("retained", Verdict.LOSES, text, advice.retained, advice.place)
    subscriber = await bench.client()
    await subscriber.subscribe(topic)
    kept = list(await subscriber.until(1))
    await bench.retain(publisher, topic, b"new")
    live = (await subscriber.until(len(kept) + 1))[len(kept) :]
    await publisher.close()
    await subscriber.close()
    measured = {"acknowledged": taken, "kept": len(kept)}
    if not kept or kept[0].payload != b"kept":
        text = "it keeps no retained messages: what presets are told by them is not known after a connection"
        return Finding("retained", Verdict.LOSES, text, advice.retained, advice.place, measured)
    if not kept[0].retained or any(one.retained for one in live):
        text = "it does not tell kept messages from new ones: kept values are stored again with each subscription"
        return Finding("retained", Verdict.REPEATS, text, advice.retained, advice.place, measured)
    return Finding("retained", Verdict.OK, "it keeps retained messages, and marks them", measured=measured)


def _numbered(count: int, size: int) -> list[bytes]:
    return [f"doctor {n} ".encode().ljust(size, b".") for n in range(count)]


def _first(found: Sequence[Publish]) -> int:
    return min((int(one.payload.split()[1]) for one in found), default=0)


def _size(count: int) -> str:
    return f"{count // 1024**2} MiB" if count >= 1024**2 else f"{count // 1024} KiB" if count else "no size"
