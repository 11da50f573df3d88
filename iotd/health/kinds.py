"""The conditions there are: what each means and what to do about it. The README's runbook has the same words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
"""``error``: readings are lost, or stuck, or not taken. ``warning``: none is, and somebody should look."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of condition.

    Attributes:
        name: stable: metrics and alerts have it as a label.
        meaning, remedy: for people, a sentence or two each.
        after_s: seconds that what it says must have held before it is a condition: a failover takes some.
        lasting: it names a loss, and stays until a person has acknowledged it (`iotd acknowledge`).
        told: it can be acknowledged, and is over by itself where its cause is mended.
    """

    name: str
    severity: Severity
    meaning: str
    remedy: str
    after_s: float = 0.0
    lasting: bool = False
    told: bool = False


_ALL = (
    Kind(
        "not_running",
        "error",
        "The daemon is starting or ending: it takes no readings.",
        "Wait for it; `iotd status` shows the phase. When it stays, the log lines of the daemon say why.",
    ),
    Kind(
        "log_failing",
        "error",
        "The log can't be written, so that no reading is taken: sources wait, and real sensors get no answer.",
        "Mend what the detail names: free space, the rights of the state directory, the disk, the limit of open files. "
        "iotd tries again twice a second and goes on by itself.",
    ),
    Kind(
        "log_unreadable",
        "error",
        "The log can't be read now. Readings are safe in it, and go no further.",
        "Mend what the detail names: rights, or the limit of open files.",
        after_s=1.0,
    ),
    Kind(
        "log_full",
        "error",
        "The location's part of the log has reached `log.limit`: its sources wait.",
        "See what keeps shard or archive from taking the readings (another condition says it), and mend that; or raise "
        "`log.limit` and reload.",
        after_s=2.0,
    ),
    Kind(
        "log_damaged",
        "error",
        "A part of the log could not be read: something else changed its files, or the disk did. Readings that only "
        "the log had are lost; `log_damaged` in the daemon's log names them.",
        "See whether the disk is sound, and that nothing else writes into the state directory. What the shard has of "
        "them is archived. Then `iotd acknowledge log_damaged`.",
        lasting=True,
    ),
    Kind(
        "log_mended",
        "warning",
        "A part of the log that holds no readings was damaged, and was made anew from the rest. Nothing is lost.",
        "See whether the disk is sound, and that nothing else writes into the state directory.",
    ),
    Kind(
        "log_file_replaced",
        "warning",
        "A file of the log was removed, or another was put in its place, while the daemon ran. It was written anew; "
        "nothing is lost.",
        "Find out what cleans up or restores files in the state directory, and keep it away from there.",
    ),
    Kind(
        "not_written",
        "error",
        "Nothing is written into the shard: it has no master, or the master refuses. Its readings wait in the log, "
        "which has a limit.",
        "`iotd status` shows the nodes; start those that are down (`iotd stack up`, or your own way). Where a node "
        "refuses, the detail says what it said.",
        after_s=4.0,
    ),
    Kind(
        "not_durable",
        "error",
        "Master and replica are connected, and do not both get the latest readings onto their disks. The log keeps "
        "them.",
        "See whether the disks of the two nodes are full, slow or failing, and whether the append-only file is on.",
        after_s=6.0,
    ),
    Kind(
        "node_foreign",
        "warning",
        "A node belongs to another location or to another system. It is neither read nor written.",
        "Correct the addresses in `topology`; to take the shards over on purpose, `iotd adopt`. Where the Sentinels "
        "have made a node master that somebody put there, empty it (`FLUSHALL`): log and archive give back what it "
        "lacks.",
    ),
    Kind(
        "node_refuses",
        "warning",
        "A node does not let us in: wrong credentials, or no TimeSeries module.",
        "Correct `redis.username`, `redis.password`, `redis.tls`, or the node's own configuration.",
        after_s=2.0,
    ),
    Kind(
        "no_replica",
        "warning",
        "No replica is connected to the master: the log keeps all that is written meanwhile, and a master that dies "
        "now has no successor.",
        "Start the replica (`iotd stack up` starts what is missing), and see that it follows this master.",
        after_s=5.0,
    ),
    Kind(
        "failing_over",
        "warning",
        "The shard has failed over three times or more within the last hour: its masters die, or seem dead.",
        "See the logs of both nodes around the times that the page shows (`iotd stack logs`): killed for memory, a "
        "machine that stalls; or `sentinel.down_after` is too short for the network.",
    ),
    Kind(
        "two_masters",
        "warning",
        "A second node believes itself master. Nothing is written to it; the Sentinels make it a replica.",
        "If it stays, see whether the Sentinels reach that node.",
        after_s=10.0,
    ),
    Kind(
        "sentinels_missing",
        "warning",
        "Fewer Sentinels answer than there should be; below the majority, a master that dies now is not replaced.",
        "Start them (`iotd stack up`, or your own way).",
        after_s=10.0,
    ),
    Kind(
        "sentinel_foreign",
        "warning",
        "A Sentinel watches no master of this shard's name: it belongs to another shard, or was started without its "
        "configuration.",
        "Correct its address in `topology`, or have it monitor this shard's master.",
        after_s=5.0,
    ),
    Kind(
        "sentinel_blind",
        "warning",
        "A Sentinel's clock was ahead and was set back. It asks the nodes nothing until its clock has come there "
        "again, and can't complete a failover meanwhile.",
        "Start it again: `iotd stack up` does that with its own.",
        after_s=5.0,
    ),
    Kind(
        "not_on_disk",
        "warning",
        "A node keeps no append-only file. Durable means in the replica's memory: both nodes losing power at once "
        "lose what the log no longer has.",
        "Switch `appendonly` on on both nodes (the servers of `iotd stack` have it on).",
    ),
    Kind(
        "restoring",
        "warning",
        "The shard has lost readings that are in the archive; they are being written back.",
        "Wait. Until then, queries take what they can from the archive.",
        after_s=5.0,
    ),
    Kind(
        "readings_held",
        "warning",
        "Readings of a source could not be taken within the last hour. They are held with the reason.",
        "`iotd sensors held` lists them. Mend the sensor or its clock, name the room or the type that nobody knows, or "
        "change the setting that refuses them; then `iotd sensors replay`.",
    ),
    Kind(
        "held_filling",
        "warning",
        "What is held of a source takes more than half of `intake.held_limit`. Beyond it the oldest is let go.",
        "`iotd sensors held` says why it is held. Mend that and `iotd sensors replay`; `iotd sensors drop` throws away "
        "what nobody wants; or raise `intake.held_limit` and reload.",
    ),
    Kind(
        "held_let_go",
        "error",
        "What was held of a source has reached `intake.held_limit`, and the oldest of it was let go: it is lost.",
        "`iotd sensors held` says why it was held: mend that. Then `iotd acknowledge held_let_go`.",
        told=True,
    ),
    Kind(
        "archive_failing",
        "error",
        "The archive takes nothing. The log keeps the readings meanwhile, up to its limit.",
        "See whether the server runs and answers, and whether token, organisation and bucket are right: the detail has "
        "what it said.",
        after_s=2.0,
    ),
    Kind(
        "archive_behind",
        "error",
        "Readings wait for the archive far longer than its interval. The log keeps them.",
        "`iotd archive status` shows what keeps it.",
    ),
    Kind(
        "retention_near",
        "warning",
        "The shard will drop readings within two days that are not archived yet. What the log has is archived all the "
        "same; what others wrote into the shard would be lost.",
        "Mend the archive before that, or raise `redis.retention` and reload.",
    ),
    Kind(
        "readings_lost",
        "error",
        "Readings are neither in the log nor in the shard nor in the archive. `iotd archive status` names series and "
        "times.",
        "They can't be had back from here. See what else was wrong at that time, then `iotd acknowledge "
        "readings_lost`.",
        lasting=True,
    ),
    Kind(
        "archive_lost",
        "error",
        "The archive has fewer readings than when it was last verified, and the shard no longer has them: it was set "
        "back, or rows were deleted there. Queries of these times say so.",
        "Give it back what a backup has. Where they were deleted on purpose: `iotd acknowledge archive_lost`.",
        told=True,
    ),
    Kind(
        "archive_differs",
        "error",
        "Shard and archive differ, and archiving the difference again did not mend it.",
        "`iotd archive verify --deep` shows what differs; `iotd archive repair` tries again.",
    ),
    Kind(
        "verification_failing",
        "warning",
        "Shard and archive can't be compared at present, so a difference would not be noticed.",
        "Let the token read the bucket, or mend what the detail names.",
    ),
    Kind(
        "archive_rejected",
        "error",
        "The archive refused points for good; they are in `dead-letters/archive.jsonl`, and not in the archive.",
        "Mend what the reason in the file names (most often a field of another type), then `iotd archive "
        "retry-rejected`.",
    ),
    Kind(
        "source_silent",
        "error",
        "A source hands nothing over, though it should.",
        "See whether what it reads from runs; the daemon's log has what it said.",
    ),
    Kind(
        "mqtt_away",
        "error",
        "A broker can't be reached. What sensors publish waits there, as far as the broker keeps it, or is lost.",
        "See whether the broker runs and this machine reaches it: the detail has what was said. `iotd doctor mqtt` "
        "says what the broker keeps meanwhile.",
        after_s=10.0,
    ),
    Kind(
        "mqtt_refused",
        "error",
        "A broker does not let us in, or does not let us subscribe to everything.",
        "Correct what the detail names: `username`, `password_file`, the `tls_` files, or the broker's access list.",
        after_s=2.0,
    ),
    Kind(
        "mqtt_client_id_taken",
        "error",
        "Another client connects to the broker with our client id: each ends the other's connection, and takes "
        "messages from its session.",
        "End the other one: most often a second iotd with a copy of the state directory. Or set `client_id` for one of "
        "them.",
    ),
    Kind(
        "mqtt_session_lost",
        "error",
        "The broker has lost our session: what was published from our last message on until then is lost, as far as "
        "nobody sends it again.",
        "See whether the broker keeps sessions over a restart (mosquitto: `persistence true`), and for how long. Then "
        "`iotd acknowledge mqtt_session_lost`.",
        lasting=True,
    ),
    Kind(
        "mqtt_session_short",
        "warning",
        "The broker keeps our session for less than a day while we are away: what is published after that is lost.",
        "Let it keep sessions longer; the setting is the broker's.",
    ),
    Kind(
        "mqtt_flooded",
        "warning",
        "A broker announces more devices and topics than are remembered; some are passed over.",
        "Name the topics that matter in `[[mqtt.topic]]` or take a preset with a narrower base.",
    ),
    Kind(
        "gateway_offline",
        "error",
        "A gateway says that it is gone, or its broker does: nothing comes from the sensors behind it.",
        "See whether it runs, and whether it reaches the broker.",
        after_s=30.0,
    ),
    Kind(
        "device_offline",
        "warning",
        "Sensors are reported as gone by their gateway, or by their last will.",
        "See their batteries and their distance to the gateway.",
        after_s=30.0,
    ),
    Kind(
        "sensor_silent",
        "warning",
        "Sensors of the room have said nothing for longer than they used to.",
        "See their batteries and the gateway. `iotd sensors` lists when each last spoke; `iotd sensors forget` is for "
        "one that is gone for good, `[silence]` has the bounds.",
    ),
    Kind(
        "task_failing",
        "error",
        "A part of the daemon dies and is started again and again.",
        "The daemon's log has `task_failed` with the reason; with a traceback it is a bug, please report it.",
        after_s=5.0,
    ),
    Kind(
        "clock_doubted",
        "warning",
        "The machine's clock was stepped, and nothing confirms the new time. Readings go by the time before, carried "
        "on, until it is confirmed or corrected.",
        "Set the clock right (NTP), or confirm the new time with `iotd clock accept`.",
    ),
    Kind(
        "clock_behind",
        "error",
        "The machine's clock is behind the newest reading in the log: it has started in the past, as machines without "
        "a battery do. Sources that go by it wait.",
        "Let it have the time by NTP; iotd goes on by itself then. Or confirm the time with `iotd clock accept`.",
    ),
    Kind(
        "clock_stepped",
        "warning",
        "The clock was stepped within the last hour, and the new time was confirmed.",
        "Nothing, if somebody set it right. Otherwise see what sets it.",
    ),
    Kind(
        "clock_unsynchronised",
        "warning",
        "The kernel's clock is not synchronised with any time server: times of readings may drift.",
        "Run an NTP client (chrony, systemd-timesyncd) on this machine.",
        after_s=60.0,
    ),
    Kind(
        "node_clock",
        "warning",
        "The clock of a node on another machine differs from ours by more than a second.",
        "Run an NTP client on both machines.",
        after_s=10.0,
    ),
    Kind(
        "reload_refused",
        "warning",
        "The last reload was refused: the daemon goes by the configuration before.",
        "Correct what the detail names, and reload again.",
    ),
    Kind(
        "restart_needed",
        "warning",
        "Settings differ from the file and wait for a restart of the daemon.",
        "Start the daemon again when it suits.",
    ),
    Kind(
        "loop_held_up",
        "warning",
        "The daemon was held up for more than a second within the last minutes: the machine is overloaded or swaps.",
        "Give it more CPU or memory, or find what takes them.",
    ),
    Kind(
        "metadata_not_written",
        "warning",
        "`sharding_metadata/` in the state directory can't be written: places and failovers are not remembered.",
        "Mend the rights of the state directory, or its disk.",
    ),
    Kind(
        "page_not_served",
        "warning",
        "Metrics, health and page can't be served: the address is taken.",
        "Set `http.port` to a free one and reload, or end what has it.",
        after_s=2.0,
    ),
)

KINDS = {kind.name: kind for kind in _ALL}
"""By name, in the order of the runbook."""
