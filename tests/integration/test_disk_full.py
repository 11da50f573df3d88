"""A full disk under the state directory: said, by every way one may look, and over by itself when there is room."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import FreshSystem
from tests.servers.checker import RedisStore, count, handed_over
from tests.servers.daemon import iotd, running_daemon
from tests.servers.disk import small_disk
from tests.servers.http import get, metrics
from tests.servers.system import make_settings, until


async def test_a_full_disk_is_said_and_over_by_itself_and_nothing_is_lost(
    fresh_system: FreshSystem, tmp_path: Path
) -> None:
    system = fresh_system(("salon", "chambre1"), sensors={"interval": "50ms"})
    # the daemon's state alone is on the small disk, not that of the servers
    folder = tmp_path / "daemon"
    settings = make_settings(
        folder, system.settings.topology.redis_port, sensors={"interval": "50ms"}, archive={"interval": "1s"}
    )
    with small_disk(settings.state, megabytes=4) as disk, running_daemon(settings) as daemon:
        await daemon.serving()
        for location in settings.locations:
            await daemon.writes(location)
        with disk.full():

            async def unready() -> bool:
                return (await get(settings, "/readyz"))[0] == 503

            await until(unready, 60, "it is not ready")
            _, text, _ = await get(settings, "/readyz")
            assert "the log can't be written" in json.loads(text)["conditions"][0]["detail"]
            assert (await metrics(settings))["iotd_log_failing"] == 1
            assert (await get(settings, "/livez"))[0] == 200
            config = folder / "iotd.toml"
            shown = await iotd("status", config=config)
            assert "the log can't be written" in shown.out
            # nothing that must write is broken by being asked for: a reload is refused or taken, and the daemon lives
            make_settings(
                folder, settings.topology.redis_port, sensors={"interval": "50ms"}, archive={"interval": "2s"}
            )
            await iotd("reload", config=config, limit=60)
            assert (await get(settings, "/livez"))[0] == 200

        async def ready() -> bool:
            return (await get(settings, "/readyz"))[0] == 200

        await until(ready, 60, "it is ready again")
        for location in settings.locations:
            await daemon.writes(location)

        async def archive_well() -> bool:
            return (await daemon.status())["archive"]["trouble"] is None

        await until(archive_well, 60, "the archive takes readings")
        spans = {location: handed_over(settings, location) for location in settings.locations}
        assert await daemon.stop() == 0
        assert daemon.events("log_failing")
        assert daemon.events("log_recovered")[0]["after_s"] > 0
    for location, span in spans.items():
        master = await system.master(location)
        async with system.connection(master.name) as redis:
            found = await count(settings, location, span, RedisStore(redis))
        assert found.good, found
