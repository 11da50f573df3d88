"""One truth about health: status, exit code, probe, page and metrics say the same, whatever is wrong."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import FreshSystem
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.http import get, metrics
from tests.servers.system import System, until


async def truth(system: System, daemon: Daemon) -> set[tuple[str, str, str]]:
    """What there is, (name, severity, location), by every way at once; asserts that none contradicts another."""

    found: set[tuple[str, str, str]] = set()

    async def told() -> bool:
        # the list may change between two questions
        nonlocal found
        before = _named((await daemon.status())["conditions"])
        code, text, _ = await get(system.settings, "/readyz")
        counted = await metrics(system.settings)
        shown = await iotd("status", "--output", "json", config=system.config)
        page = json.loads((await get(system.settings, "/status"))[1])
        after = _named((await daemon.status())["conditions"])
        if before != after:
            return False
        found = after
        errors = any(severity == "error" for _, severity, _ in found)
        assert (code, json.loads(text)["ready"]) == ((503, False) if errors else (200, True))
        assert shown.code == (1 if errors else 0)
        assert _named(json.loads(text)["conditions"]) == found
        assert _named(shown.json["daemon"]["conditions"]) == found
        assert _named(page["daemon"]["conditions"]) == found
        names = {f'iotd_condition{{name="{n}",severity="{s}",shard="{shard}"}}' for n, s, shard in found}
        assert {name for name in counted if name.startswith("iotd_condition{")} == names
        return True

    await until(told, 60, "two looks in which nothing changes")
    return {one for one in found if one[0] != "clock_unsynchronised"}


def _named(conditions: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {(one["name"], one["severity"], one["location"] or "") for one in conditions}


async def test_a_missing_replica_is_a_warning_and_a_missing_shard_an_error_and_both_are_over_by_themselves(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system()
    shard = system.topology.shard("salon")
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        await daemon.writes("salon")
        await daemon.calm()
        assert await truth(system, daemon) == set()

        await system.stack.stop(shard.replica.name)
        await daemon.says("no_replica", "salon")
        assert await truth(system, daemon) == {("no_replica", "warning", "salon")}

        await system.stack.stop(shard.master.name)
        await daemon.says("not_written", "salon")
        assert ("not_written", "error", "salon") in await truth(system, daemon)
        shown = await iotd("status", config=system.config)
        assert "not_written" in shown.out
        assert "iotd stack up" in shown.out

        await system.stack.up()
        await daemon.calm()

        async def well() -> bool:
            return {name for name, _ in await daemon.conditions()} <= {"clock_unsynchronised"}

        await until(well, 60, "all is well")
        assert await truth(system, daemon) == set()
        past = [one["name"] for one in (await daemon.status())["past"]]
        assert {"not_written", "no_replica"} <= set(past)
        assert "over since" in (await iotd("status", config=system.config)).out
        assert await daemon.stop() == 0


async def test_a_loss_is_red_until_a_person_has_acknowledged_it_also_over_restarts(fresh_system: FreshSystem) -> None:
    system = fresh_system()
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        await daemon.writes("salon")
        daemon.process.kill()
        await daemon.ended()
    segment = max((system.settings.state / "log").glob("*.seg"), key=lambda file: file.stat().st_size)
    content = bytearray(segment.read_bytes())
    for place in range(len(content) // 3, 2 * len(content) // 3):
        content[place] ^= 0xFF
    segment.write_bytes(content)
    for _ in range(2):
        with running_daemon(system.settings) as daemon:
            await daemon.serving()
            await daemon.says("log_damaged", "salon")
            assert ("log_damaged", "error", "salon") in await truth(system, daemon)
            assert await daemon.stop() == 0
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        await daemon.says("log_damaged", "salon")
        wrong = await iotd("acknowledge", "log_damaged", "cuisine", config=system.config)
        assert (wrong.code, wrong.err.startswith("iotd: there is no log_damaged of cuisine")) == (64, True)
        assert (await iotd("acknowledge", "log_damaged", config=system.config)).code == 0
        assert not {one for one in await truth(system, daemon) if one[0] == "log_damaged"}
        assert await daemon.stop() == 0
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        await daemon.writes("salon")
        assert not {one for one in await truth(system, daemon) if one[0] == "log_damaged"}
        assert await daemon.stop() == 0


async def test_every_command_that_asks_the_daemon_says_that_none_runs(fresh_system: FreshSystem) -> None:
    system = fresh_system()
    for command in (["acknowledge", "log_damaged"], ["clock"], ["clock", "accept"]):
        ended = await iotd(*command, config=system.config)
        assert (ended.code, "no iotd daemon runs" in ended.err) == (69, True), command
    assert (await iotd("status", config=system.config)).code == 1
