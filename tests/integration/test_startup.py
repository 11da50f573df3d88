"""Starting without a shard: wait for it, or fail, as the settings say."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys

from tests.conftest import FreshSystem
from tests.servers.checker import all_there
from tests.servers.daemon import Daemon, iotd, running_daemon
from tests.servers.http import get
from tests.servers.system import make_settings, until


async def test_a_missing_shard_is_waited_for_and_one_that_must_be_there_ends_the_daemon(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(("salon", "chambre1"))
    for node in system.topology.shard("salon").nodes:
        system.stack.backend.kill(node)
    folder, first = system.settings.state.parent, system.settings.topology.redis_port

    def starting(**startup: object) -> None:
        make_settings(
            folder, first, stack={"redis_dir": system.settings.stack.redis_dir}, startup={"limit": "2s", **startup}
        )

    starting(missing="fail")
    ended = await iotd("run", config=system.config, limit=60)
    assert ended.code == 69
    assert "salon: no master within 2 s" in ended.err
    assert "startup.missing is fail" in ended.err

    starting(shards={"salon": "fail"})
    assert (await iotd("run", config=system.config, limit=60)).code == 69

    starting(missing="fail", shards={"salon": "wait"})
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        await daemon.logs("shard_missing")
        await daemon.says("not_written", "salon")
        code, text, _ = await get(system.settings, "/readyz")
        assert code == 503
        assert "no master; readings wait in the log" in text
        await daemon.writes("chambre1")
        await asyncio.shield(system.stack.up())
        await daemon.writes("salon")
        assert await daemon.stop() == 0
    await all_there(system, "salon")


async def test_a_terminal_that_is_closed_ends_the_daemon_in_it_and_a_hangup_by_hand_reloads_it(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system()
    ours, theirs = pty.openpty()

    log = system.settings.state.parent / "daemon.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "iotd", "--config", str(system.config), "run"],
            stdin=theirs,
            stdout=out,
            stderr=out,
        )
    try:
        daemon = Daemon(system.settings, process, log)
        await daemon.running()
        process.send_signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return bool((await daemon.status())["reload"]["count"] == 1)

        await until(reloaded, 20, "it has reloaded")
        os.close(theirs)
        os.close(ours)  # the window is closed
        assert await daemon.ended() == 0
        assert daemon.events("draining")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
