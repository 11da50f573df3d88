// The page: takes the daemon's server-sent events and changes what differs in place, so that focus, open details
// and a screen reader's position stay where they are.

import { archive, begin, durableLog, failovers, held, sources } from "/below.js";
import { Room } from "/room.js";
import { $, clock, count, duration, known, list, moment, set, title, tone } from "/text.js";

const rooms = new Map();
let rate = null, shown = null;

// ── the whole ──

function show(now) {
  const daemon = now.daemon;
  known.titles = Object.fromEntries(now.locations.map((view) => [view.location, view.name]));
  const shards = new Map(daemon.shards.map((s) => [s.location, s]));
  for (const [location, room] of rooms) {
    if (!shards.has(location)) { room.card.remove(); rooms.delete(location); }
  }
  for (const view of now.locations) {
    if (!rooms.has(view.location)) rooms.set(view.location, new Room(view.location));
    rooms.get(view.location).show(now, shards.get(view.location), view);
  }
  headline(now);
  begin(now);
  facts(now, daemon.shards);
  held(now);
  sources(now);
  failovers(now.locations);
  durableLog(daemon);
  archive(now, daemon);
  set($("foot-version"), `iotd ${daemon.version}`);
}

function headline(now) {
  const wrong = now.daemon.conditions;
  const errors = wrong.filter((c) => c.severity === "error").length;
  const things = (n) => (n === 1 ? "one thing is" : `${n} things are`);
  const line = $("headline");
  if (errors) { tone(line, "bad"); set(line, `${things(errors)[0].toUpperCase()}${things(errors).slice(1)} wrong`); }
  else if (wrong.length) { tone(line, "warn"); set(line, `Readings are safe, ${things(wrong.length)} to be seen to`); }
  else { tone(line, "good"); set(line, "All is well"); }
  document.title = wrong.length ? `(${wrong.length}) iotd` : "iotd";
  $("problems").hidden = !wrong.length;
  list($("problems"), wrong, (item, c) => {
    tone(item, c.severity === "error" ? "bad" : "warn");
    if (!item.firstElementChild) item.append(document.createElement("span"), document.createElement("small"));
    set(item.firstElementChild, told(c));
    set(item.lastElementChild, c.remedy.replaceAll("`", ""));
    item.title = c.meaning;
  });
  const past = now.daemon.past.filter((c) => now.now / 1000 - c.until < 86_400).slice(0, 8);
  $("over").hidden = !past.length;
  list($("past"), past, (item, c) => set(item, `${told(c)}: ${moment(c.since * 1000)} to ${moment(c.until * 1000)}`));
}

function told(c) {
  return c.location ? `${title(c.location)}: ${c.detail}` : c.detail;
}

function facts(now, shards) {
  const sum = (pick) => shards.reduce((total, s) => total + pick(s), 0);
  const taken = sum((s) => s.taken);
  if (rate && now.now > rate.at && taken >= rate.taken) {
    const measured = ((taken - rate.taken) * 1000) / (now.now - rate.at);
    rate.value = rate.value === undefined ? measured : 0.8 * rate.value + 0.2 * measured;
    set($("fact-rate"), rate.value < 10 ? rate.value.toFixed(1) : count(Math.round(rate.value)));
  }
  rate = { at: now.now, taken, value: rate?.value };
  set($("fact-durable"), count(sum((s) => s.durable)));
  set($("fact-waiting"), count(sum((s) => s.waiting.readings)));
  set($("fact-uptime"), duration(Math.max(0, (Date.now() - Date.parse(now.daemon.started)) / 1000)));
}

// ── live ──

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("now", (e) => {
    shown = JSON.parse(e.data);
    known.types = shown.types;
    $("offline").hidden = true;
    show(shown);
    document.body.dataset.live = "yes";
  });
  source.addEventListener("charts", (e) => {
    const now = shown?.now ?? Date.now();
    for (const [location, charts] of Object.entries(JSON.parse(e.data))) rooms.get(location)?.draw(charts, now);
  });
  source.addEventListener("error", () => {
    const box = $("offline");
    const text = shown
      ? `No connection to iotd. This is how it was at ${clock(shown.now)}; trying again.`
      : "No connection to iotd; trying again.";
    if (box.hidden || box.textContent !== text) { box.hidden = false; set(box, text); }
    document.body.dataset.live = "no";
    // an answer that is no event stream ends an EventSource for good
    if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(connect, 3000); }
  });
}

// ── theme ──

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  set($("theme"), `Theme: ${name}`);
  try { localStorage.setItem("theme", name); } catch { /* a private window */ }
}

function remembered() {
  try { return localStorage.getItem("theme"); } catch { return null; }
}

let current = THEMES.includes(remembered()) ? remembered() : "auto";
theme(current);
$("theme").addEventListener("click", () => { current = THEMES[(THEMES.indexOf(current) + 1) % 3]; theme(current); });
set($("foot-zone"), `times in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`);
connect();
