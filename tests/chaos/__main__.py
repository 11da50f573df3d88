"""`python -m tests.chaos`: a chaos run, in a lab of its own; `make chaos` calls it.

Exits with 0 when nothing was lost and the status was truthful, 1 when not, 3 when there is no lab here, or a server is
not to be had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from dataclasses import asdict
from pathlib import Path

from tests.chaos import lab
from tests.chaos.faults import FAULTS
from tests.chaos.influx import no_influxd
from tests.chaos.mqtt.broker import no_mosquitto
from tests.chaos.run import Outcome, chaos

_INSIDE = "IOTD_TEST_IN_LAB"
_FIVE = ("salon", "chambre1", "chambre2", "cuisine", "salle_de_bain")


def main() -> int:
    """Runs, and says what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults under load, and a count.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="0: a new one, which is printed")
    parser.add_argument("--locations", type=int, default=5, help="so many of the five")
    parser.add_argument("--per-type", type=int, default=30, help="sensors of each type and location, at 10 Hz each")
    parser.add_argument("--only", action="append", default=[], choices=sorted(FAULTS), help="only this fault; again")
    parser.add_argument("--without-replay", action="store_true", help="break iotd, to see that the loss is seen")
    parser.add_argument("--early", action="store_true", help="acknowledge before the disk: a loss must be seen")
    parser.add_argument("--without-judge", action="store_true", help="blind iotd's health, to see that lies are seen")
    parser.add_argument("--crying-judge", action="store_true", help="have it cry, to see that false alarms are seen")
    parser.add_argument("--hold", type=float, help="seconds for which each fault is held, instead of some")
    parser.add_argument("--keep", type=Path, help="a folder for the daemon's log and state, when the run was not good")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON on stdout")
    options = parser.parse_args()
    if _INSIDE not in os.environ:
        if (reason := lab.lacks() or no_influxd() or no_mosquitto()) is not None:
            print(reason, file=sys.stderr)
            return 3
        inside = lab.run([sys.executable, "-m", "tests.chaos", *sys.argv[1:]], env={_INSIDE: "1"})
        try:
            return inside.wait()
        except KeyboardInterrupt:
            return 130
        finally:
            inside.kill()
    for name in [name for name in os.environ if name.startswith("IOTD_") and not name.startswith("IOTD_TEST_")]:
        del os.environ[name]
    seed = options.seed or secrets.randbelow(10**9) + 1
    print(f"seed {seed}, {options.minutes:g} minutes", file=sys.stderr)
    outcome = asyncio.run(
        chaos(
            options.minutes * 60,
            seed,
            lambda line: print(line, file=sys.stderr, flush=True),
            locations=_FIVE[: options.locations],
            per_type=options.per_type,
            faults=options.only,
            daemon=("-m", _daemon(options)),
            hold=options.hold,
            keep=options.keep,
        )
    )
    if options.json:
        print(json.dumps({**asdict(outcome), "good": outcome.good}))
    else:
        _report(outcome)
    return 0 if outcome.good else 1


def _daemon(options: argparse.Namespace) -> str:
    if options.without_replay:
        return "tests.chaos.without_replay"
    if options.early:
        return "tests.chaos.acknowledging_early"
    if options.without_judge:
        return "tests.chaos.without_judge"
    return "tests.chaos.crying_judge" if options.crying_judge else "iotd"


def _report(outcome: Outcome) -> None:
    _report_counts(outcome)
    print(f"{sum(outcome.faults.values())} faults in {outcome.seconds:g} s, seed {outcome.seed}:")
    for fault, times in outcome.faults.items():
        print(f"  {times:>4}  {fault}")
    if outcome.tampered:
        print(f"data taken or altered behind iotd's back, so verified before the count: {', '.join(outcome.tampered)}")
    print(f"held: {outcome.held} readings from the future; the daemon had at most {outcome.memory / 1e6:.0f} MB")
    _report_held(outcome)
    print("MQTT: " + ", ".join(f"{count:,} {what}" for what, count in outcome.mqtt.items()))
    for line in outcome.refused[:10]:
        print(f"dead letter: {line}")
    if outcome.missed:
        print(f"{len(outcome.missed):,} readings were not archived before the verification: {outcome.missed[0]} …")
    for what in outcome.unnamed[:10]:
        print(f"lost from the log and not named: {what}")
    if outcome.forgotten:
        print(f"{outcome.forgotten:,} points InfluxDB had acknowledged and lost: found and repaired by a verification")
    print("the daemon's warnings: " + ", ".join(f"{n} {event}" for event, n in outcome.events.items()))
    print("errors the status told: " + (", ".join(f"{n} {name}" for name, n in outcome.errors.items()) or "none"))
    if outcome.named:
        print(f"losses that faults had caused, named by the status and acknowledged: {outcome.named}")
    for lie in outcome.lies:
        print(f"UNTRUTHFUL: {lie}")
    for what in outcome.wrong[:20]:
        print(f"WRONG: {what}")
    for death in outcome.deaths:
        print(f"the daemon ended by itself: {death}")
    print("nothing was lost, and the status was truthful" if outcome.good else "READINGS WERE LOST, or worse")


def _report_counts(outcome: Outcome) -> None:
    for title, counts in outcome.tables.items():
        print(f"{title:<32} {'due':>11} {'missing':>9} {'altered':>9} {'strange':>9} {'lost with the log':>18}")
        for name, count in counts.items():
            print(
                f"{name:<32} {count.due:>11,} {count.missing:>9,} {count.altered:>9,} {count.strange:>9,} "
                f"{count.lost:>18,}  {count.first or ''}"
            )


def _report_held(outcome: Outcome) -> None:
    for client, reasons in outcome.held_of_clients.items():
        if reasons:
            print(f"held of {client}: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    print(f"held of what clients sent that nobody could take: {outcome.bad}, of repeats without a key {outcome.again}")
    print(f"acknowledged messages that were sent more than once: {outcome.repeated}; answers with 503: {outcome.later}")


if __name__ == "__main__":
    sys.exit(main())
