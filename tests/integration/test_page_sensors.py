"""The page with real sensors: as they come, by their kinds and names, silent ones, and what is held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.conftest import FreshSystem
from tests.integration.test_page import OVERLAPS, POOR_CONTRAST, unnamed
from tests.servers.chromium import Page, chromium
from tests.servers.daemon import iotd, running_daemon
from tests.servers.http import metrics
from tests.servers.ports import port_block
from tests.servers.system import System, until

SALON = "document.querySelector('[data-location=salon]')"
NORTH = "0x00158d <b>(north), 2"
Said = dict[str, object]


@dataclass
class House:
    """A system whose sensors hand over by HTTP, and the page that shows it."""

    system: System
    page: Page
    port: int

    async def say(self, *readings: Said) -> None:
        url = f"http://127.0.0.1:{self.port}/readings"
        async with aiohttp.ClientSession() as session, session.post(url, json=list(readings)) as answer:
            assert answer.status < 300, await answer.text()

    async def text(self, element: str) -> str:
        return str(await self.page.ask(f"{element}.textContent"))

    async def becomes(self, element: str, text: str) -> None:
        await self.page.becomes(f"{element}?.textContent === '{text}'")


@asynccontextmanager
async def house(fresh_system: FreshSystem, rooms: Mapping[str, Any], **tables: Any) -> AsyncIterator[House]:
    with port_block() as port:
        system = fresh_system(rooms, ingest={"listen": f"127.0.0.1:{port}"}, **tables)
        http = system.settings.http
        with running_daemon(system.settings) as daemon:
            await daemon.serving()
            async with chromium() as page:
                await page.open(f"http://{http.host}:{http.port}/")
                yield House(system, page, port)
                assert page.errors == []
            assert await daemon.stop() == 0


def said(kind: str, sensor: str, value: object, location: str = "salon") -> Said:
    return {"type": kind, "location": location, "sensor": sensor, "value": value}


def of(kind: str, part: str) -> str:
    return f"{SALON}?.querySelector('[data-type={kind}] .{part}')"


async def test_real_sensors_are_there_as_they_speak_and_so_is_what_is_wrong_with_them(
    fresh_system: FreshSystem,
) -> None:
    rooms = {"salon": {"name": "Grand <salon>", "aliases": ["living room"]}, "cave": {}}
    silence = {"least": "15s", "most": "15s"}
    async with house(fresh_system, rooms, silence=silence, intake={"held_limit": 4096}) as one:
        await nobody_has_spoken(one)
        await they_speak(one)
        await one_is_given_a_name(one)
        await some_can_not_be_taken(one)
        await one_falls_silent(one)
        for width in (360, 900, 1400, 2560):
            for dark in (False, True):
                await one.page.size(width, 1000, dark=dark)
                assert await one.page.ask("document.documentElement.scrollWidth <= innerWidth"), width
                assert await one.page.ask(OVERLAPS) == [], width
                assert await one.page.ask(POOR_CONTRAST) == [], (width, dark)
        assert await unnamed(one.page) == []
        counted = await metrics(one.system.settings)
        assert counted['iotd_held{source="http"}'] == 2
        assert counted['iotd_sensors_known{shard="salon"}'] == 5


async def nobody_has_spoken(one: House) -> None:
    await one.page.becomes("document.getElementById('begin')?.hidden === false")
    assert f"curl http://127.0.0.1:{one.port}/readings" in await one.text("document.getElementById('begin')")
    assert await one.page.ask("document.querySelectorAll('.nobody:not([hidden])').length") == 2
    assert await one.text("document.querySelector('#sources tbody')") == "http0000not yet"
    assert "simulat" not in await one.text("document.body")


async def they_speak(one: House) -> None:
    doors = [said("contact", "door", True), said("contact", "window", "closed")]
    north = [said("temperature", NORTH, 21.0), said("battery", NORTH, 12)]
    await one.say(*north, said("temperature", "south", 23.0), said("energy", "meter", 512.25), *doors)
    await one.becomes(of("temperature", "number"), "22.0")
    assert await one.page.ask("document.getElementById('begin').hidden")
    assert await one.text(f"{SALON}.querySelector('h2')") == "Grand <salon>"
    assert await one.text(f"{SALON}.querySelector('.slug')") == "salon"
    assert await one.page.ask("document.querySelector('[data-location=cave] .slug').hidden")
    assert await one.text(of("temperature", "spread")) == "21.0 – 23.0"
    assert await one.text(of("contact", "value")) == "1 of 2open"
    assert "last: " in await one.text(of("contact", "spread"))
    assert await one.text(of("energy", "number")) == "512.25"
    await one.say(said("contact", "door", False))
    await one.becomes(of("contact", "number"), "0 of 2")
    # a state has a line in steps, and no band
    await one.page.becomes(f"/^M.*H/.test({of('contact', 'mean')}.getAttribute('d'))")
    assert not await one.page.ask(f"{of('contact', 'band')}.getAttribute('d')")


async def one_is_given_a_name(one: House) -> None:
    assert (await iotd("sensors", "rename", NORTH, "north window", config=one.system.config)).code == 0
    each = f"{SALON}.querySelector('.each')"
    await one.page.ask(f"{each}.open = true")
    await one.page.becomes(f"{each}.textContent.includes('north window')")
    assert NORTH not in await one.text(each)


async def some_can_not_be_taken(one: House) -> None:
    await one.say(said("temperature", "x", 5, "attic"), said("radon <i>", "x", 5), said("temperature", "y", None))
    held = "document.getElementById('held')"
    await one.page.becomes(f"{held}.textContent.includes('2 held')")
    assert "1 × unknown location" in await one.text(held)
    assert "1 × unknown type" in await one.text(held)
    assert 0 < float(await one.page.ask(f"{held}.querySelector('meter').value")) < 1
    assert not await one.page.ask("document.getElementById('held-how').hidden")
    cells = "[...document.querySelectorAll('#sources tbody tr > *')].slice(0, 5).map((e) => e.textContent)"
    await one.page.becomes(f"{cells}.join() === 'http,7,2,1,7'")


async def one_falls_silent(one: House) -> None:
    silent = f"{SALON}.querySelector('.silent')"

    async def is_told() -> bool:
        await one.say(said("temperature", "south", 23.0), said("energy", "meter", 512.5))
        return "north window" in await one.text(silent)

    await until(is_told, 60, "the page says that a sensor is silent")
    assert "north window: Temperature, Battery silent for " in await one.text(silent)
    assert "battery 12 %" in await one.text(silent)
    assert "north window" in await one.text(f"{SALON}.querySelector('.each .missed')")
    await one.becomes(of("temperature", "number"), "23.0")  # its last word is no part of the mean
    assert (await metrics(one.system.settings))['iotd_sensors_silent{shard="salon"}'] == 1


async def test_a_room_of_three_thousand_sensors_lists_a_few(fresh_system: FreshSystem) -> None:
    async with house(fresh_system, {"salon": {}}) as one:
        await one.say(*(said("temperature", f"sensor number {n}", 20.0 + n % 3) for n in range(3_000)))
        await one.becomes(of("temperature", "number"), "21.0")
        await one.page.ask(f"{SALON}.querySelector('.each').open = true")
        await one.page.becomes(f"{SALON}.querySelectorAll('.each li').length === 13")
        await one.page.becomes(f"{SALON}.querySelector('.each').textContent.includes('and 2,988 more')")
        await one.page.size(360, 800)
        assert await one.page.ask("document.documentElement.scrollWidth <= innerWidth")
