"""The page in a real browser: before, during and after a failover, on each kind of screen."""

from __future__ import annotations

from tests.conftest import FreshSystem
from tests.servers.chromium import Page, chromium
from tests.servers.daemon import Daemon, running_daemon
from tests.servers.system import System

ROOM = "document.querySelector('[data-location=salle_de_bain]')"
# this machine's own clock is no part of the tests
NOTHING_WRONG = "[...document.querySelectorAll('#problems li')].every((e) => e.textContent.includes('the kernel'))"
SCREENS = {"phone": (360, 740), "desk": (1280, 900), "wall": (2560, 1440)}
# CSS contrast (WCAG 2): of each element's text against the first ground behind it that is not transparent
POOR_CONTRAST = """
(() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return {rgb: m.slice(0, 3), a: m[3] ?? 1}; };
  const light = ({rgb}) => { const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.a === 1) return c; } return {rgb: [255, 255, 255]}; };
  return [...document.querySelectorAll('body *')]
    .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && !e.closest('.skip, .dots, template'))
    .map((e) => { const a = light(parse(getComputedStyle(e).color)), b = light(ground(e)); return [e.textContent.trim().slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]; })
    .filter(([, ratio]) => ratio < 4.5);
})()
"""  # noqa: E501


async def watched(page: Page, system: System) -> None:
    http = system.settings.http
    await page.open(f"http://{http.host}:{http.port}/")
    await page.becomes("document.querySelectorAll('.chart .mean[d]').length === 6")


async def test_the_page_follows_a_failover_without_anyone_touching_it(fresh_system: FreshSystem) -> None:
    system = fresh_system(("salon", "salle_de_bain"), sensors={"interval": "200ms"})
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        await daemon.writes("salle_de_bain")
        async with chromium() as page:
            await watched(page, system)
            # before
            assert await page.ask(f"{ROOM}.querySelector('h2').textContent") == "salle de bain"
            await page.becomes(f"{ROOM}.dataset.tone === 'good'")
            assert await roles(page) == {
                "master": "master",
                "replica": "replica",
            }
            assert await page.ask(f"{ROOM}.querySelector('.sentinels').textContent.includes('3 of 3')")
            assert (
                15 < float(await page.ask(f"{ROOM}.querySelector('[data-type=temperature] .number').textContent")) < 30
            )
            shown = await page.ask("document.getElementById('fact-durable').textContent")
            await page.becomes(f"document.getElementById('fact-durable').textContent !== '{shown}'")
            # during
            system.stack.backend.kill(system.topology.node("redis-salle_de_bain-master"))
            await page.becomes(f"{ROOM}.dataset.tone !== 'good'")
            await page.becomes("!document.getElementById('problems').hidden")
            assert await page.ask("document.querySelector('[data-location=salon]').dataset.tone") == "good"
            await page.becomes(f"{ROOM}.querySelector('.pill').textContent.includes('no replica')")
            assert await roles(page) == {"master": "down", "replica": "master"}
            # after
            await system.stack.start("redis-salle_de_bain-master")
            await page.becomes(f"{ROOM}.dataset.tone === 'good'", 60)
            await page.becomes(NOTHING_WRONG, 60)
            assert await page.ask("document.getElementById('headline').dataset.tone") != "bad"
            assert "no replica" in await page.ask("document.getElementById('past').textContent")
            assert await roles(page) == {
                "master": "replica",
                "replica": "master",
            }
            row = await page.ask("document.querySelector('#failovers tbody tr').textContent")
            assert "salle de bain" in row
            assert "master → replica" in row
            await page.becomes(f"{ROOM}.querySelectorAll('.chart .mark').length >= 3")
            assert page.errors == []
            await leaves(page, daemon)


async def roles(page: Page) -> dict[str, str]:
    name = "n.querySelector('.name').textContent.split('-')[2]"
    script = f"[...{ROOM}.querySelectorAll('.node')].map((n) => [{name}, n.dataset.role])"
    return dict(await page.ask(script))


async def leaves(page: Page, daemon: Daemon) -> None:
    """The daemon ends though the page is open, and the page says that it is gone."""
    assert await daemon.stop() == 0
    await page.becomes("!document.getElementById('offline').hidden")
    assert "No connection to iotd" in await page.ask("document.getElementById('offline').textContent")


async def test_the_page_fits_every_screen_reads_well_in_light_and_dark_and_works_by_keyboard(
    fresh_system: FreshSystem,
) -> None:
    system = fresh_system(("salon", "salle_de_bain"), sensors={"interval": "200ms"})
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        async with chromium() as page:
            await watched(page, system)
            for name, (width, height) in SCREENS.items():
                for dark in (False, True):
                    await page.size(width, height, dark=dark)
                    assert await page.ask("document.documentElement.scrollWidth <= innerWidth"), name
                    assert await page.ask(POOR_CONTRAST) == [], (name, dark)
            # on the wall all of it is seen at once
            assert await page.ask("document.documentElement.scrollHeight <= innerHeight")

            # the theme stays when it was chosen
            await page.ask("document.getElementById('theme').click()")
            await page.size(1280, 900, dark=True)
            assert await page.ask("getComputedStyle(document.documentElement).colorScheme") == "light"

            # the first stop of the Tab key leads past the top; arrows read a chart
            await page.press("Tab")
            assert await page.ask("document.activeElement.className") == "skip"
            await page.ask("document.querySelector('.chart svg').focus()")
            await page.press("ArrowLeft")
            assert ": " in await page.ask("document.querySelector('.measure .spread').textContent")
            assert await page.ask("document.querySelector('.measure .spread').ariaLive") == "polite"
            await page.press("Escape")
            assert await page.ask("document.querySelector('.chart svg').getAttribute('aria-label')")

            # everything came from us, and has a name for a screen reader
            names = "performance.getEntriesByType('resource').map((r) => new URL(r.name).origin)"
            assert set(await page.ask(names)) == {await page.ask("location.origin")}
            assert await unnamed(page) == []
            assert page.errors == []
        assert await daemon.stop() == 0


TEN = (
    *("temperature", "humidity", "air_quality", "pressure", "co2", "illuminance"),
    *("energy", "water", "contact", "radon"),
)
RADON = {"unit": "bq_per_m3", "symbol": "Bq/m³", "title": "Radon gas", "colour": "#0f766e", "decimals": 2, "span": 20.0}
# what would lie over something else: a value over its chart, a number of the axis over the line or outside of the card
OVERLAPS = """
[...document.querySelectorAll('.measure')].filter((m) => {
  const box = (s) => m.querySelector(s).getBoundingClientRect();
  const line = box('svg'), cell = m.getBoundingClientRect();
  const texts = ['h3', '.value', '.spread'].map((s) => { const r = document.createRange(); r.selectNodeContents(m.querySelector(s)); return r.getBoundingClientRect(); });
  const axes = ['.axis.high', '.axis.low'].map(box);
  return texts.some((t) => t.right > line.left + 1) || axes.some((a) => a.left < line.right - 1 || a.right > cell.right + 1) || line.width < 60;
}).map((m) => m.dataset.type)
"""  # noqa: E501


async def test_a_room_of_ten_types_shows_each_as_its_row_says_and_fits_every_screen(fresh_system: FreshSystem) -> None:
    system = fresh_system(
        ("salon", "cuisine"),
        sensors={"types": list(TEN), "per_type": 2, "interval": "200ms"},
        types={"radon": RADON},
    )
    http = system.settings.http
    with running_daemon(system.settings) as daemon:
        await daemon.serving()
        async with chromium() as page:
            await page.open(f"http://{http.host}:{http.port}/")
            await page.becomes("document.querySelectorAll('.chart .mean[d]').length === 20")

            async def said(kind: str, what: str) -> str:
                room = "document.querySelector('[data-location=salon]')"
                return str(await page.ask(f"{room}.querySelector('[data-type={kind}] {what}').textContent"))

            shown = await page.ask(
                "[...document.querySelectorAll('[data-location=salon] .measure')].map((m) => m.dataset.type)"
            )
            assert set(shown) == set(TEN)
            assert [await said("radon", what) for what in ("h3", ".unit")] == ["Radon gas", "Bq/m³"]
            assert len((await said("radon", ".number")).partition(".")[2]) == 2
            assert [await said("co2", what) for what in ("h3", ".unit")] == ["CO₂", "ppm"]
            assert "." not in await said("co2", ".number")
            assert (await said("contact", ".number")).endswith("of 2")
            await page.becomes("document.querySelector('[data-type=energy] .spread').textContent.startsWith('+')")
            stroke = "getComputedStyle(document.querySelector('[data-type=radon] .mean')).stroke"
            assert await page.ask(stroke) == "rgb(15, 118, 110)"
            await page.ask("document.querySelector('.each').open = true")
            await page.becomes("document.querySelectorAll('.each li').length === 20")
            for width in (360, 400, 900, 1400, 2560):
                for dark in (False, True):
                    await page.size(width, 1000, dark=dark)
                    assert await page.ask("document.documentElement.scrollWidth <= innerWidth"), width
                    assert await page.ask(OVERLAPS) == [], width
                    assert await page.ask(POOR_CONTRAST) == [], (width, dark)
            assert page.errors == []
        assert await daemon.stop() == 0


async def unnamed(page: Page) -> list[str]:
    """The roles of what a screen reader would have no name for."""
    tree = await page.call("Accessibility.getFullAXTree")
    return [node["role"]["value"] for node in tree["nodes"] if _needs_name(node) and not node["name"]["value"]]


def _needs_name(node: dict[str, object]) -> bool:
    role = node.get("role")
    needing = ("article", "button", "link", "img", "image", "meter", "heading", "table")
    return isinstance(role, dict) and role["value"] in needing and not node["ignored"] and "name" in node
