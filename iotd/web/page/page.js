// The page: takes the daemon's server-sent events and changes what differs in place, so that focus, open details
// and a screen reader's position stay where they are.

import { Chart } from "/chart.js";

const STALE_MS = 10_000;

const $ = (id) => document.getElementById(id);
const rooms = new Map();
let rate = null, shown = null;
// how values of each type are shown: title, symbol, kind, decimals, span, colour
let types = {};

// ── text ──

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dateFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const count = (n) => n.toLocaleString();
const clock = (ms) => clockFormat.format(ms);
const moment = (ms) => (Date.now() - ms < 43_200_000 ? clockFormat : dateFormat).format(ms);

function bytes(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024) return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(1)} GiB`;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  const parts = [];
  for (const [unit, size] of units) {
    const whole = Math.floor(seconds / size);
    seconds -= whole * size;
    if (whole || parts.length) parts.push(`${whole} ${unit}`);
  }
  return parts.slice(0, 2).join(" ");
}

function value(type, number) {
  const { decimals } = types[type];
  return number.toLocaleString(undefined, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** A value in a chart: of a state the share of sensors that are on, of a counter what was added. */
function charted(type, number) {
  const { kind } = types[type];
  if (kind === "state") return `${Math.round(100 * number)} %`;
  return `${kind === "counter" ? "+" : ""}${value(type, number)}`;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tone(element, name) {
  if (element.dataset.tone !== name) element.dataset.tone = name;
}

/** Makes the children of a list match texts without touching those that do. */
function list(element, items, make) {
  while (element.children.length > items.length) element.lastElementChild.remove();
  items.forEach((item, i) => {
    let child = element.children[i];
    if (!child) element.append((child = document.createElement("li")));
    make(child, item);
  });
}

// ── a room ──

class Room {
  constructor(location) {
    const card = $("room-template").content.firstElementChild.cloneNode(true);
    this.card = card;
    this.location = location;
    card.dataset.location = location;
    this.find = (selector) => card.querySelector(selector);
    const title = this.find("h2");
    title.textContent = location.replaceAll("_", " ");
    title.id = `room-${location}`;
    card.setAttribute("aria-labelledby", title.id);
    this.measures = new Map();
    this.charts = {};
    this.failovers = [];
    $("rooms").append(card);
  }

  show(now, shard, view) {
    const [name, text] = condition(shard, now);
    tone(this.card, name);
    tone(this.find(".pill"), name);
    set(this.find(".pill"), text);
    this.failovers = view.failovers.map((m) => Date.parse(m.at));
    for (const reading of view.readings) this.measure(reading).show(reading, now);
    for (const [type, measure] of this.measures) {
      if (!view.readings.some((r) => r.type === type)) { measure.box.remove(); this.measures.delete(type); }
    }
    // a room with many kinds of sensors takes more of the screen
    this.card.dataset.kinds = view.readings.length > 4 ? "many" : "few";
    this.sensors(view.readings);
    this.servers(shard, view);
  }

  measure(reading) {
    if (!this.measures.has(reading.type)) this.measures.set(reading.type, new Measure(this, reading));
    return this.measures.get(reading.type);
  }

  sensors(readings) {
    const listed = readings.filter((r) => Object.keys(r.sensors).length > 1);
    this.find(".each").hidden = !listed.length;
    if (!this.find(".each").open) return;
    const body = this.find(".each tbody");
    while (body.children.length > listed.length) body.lastElementChild.remove();
    listed.forEach((reading, i) => {
      let row = body.children[i];
      if (!row) {
        body.append((row = document.createElement("tr")));
        row.append(Object.assign(document.createElement("th"), { scope: "row" }), document.createElement("td"));
        row.lastElementChild.append(document.createElement("ul"));
      }
      set(row.firstElementChild, types[reading.type].title);
      list(row.querySelector("ul"), Object.entries(reading.sensors), (item, [id, number]) => {
        if (!item.children.length) item.append(document.createElement("small"), document.createElement("span"));
        set(item.firstElementChild, id);
        set(item.lastElementChild, value(reading.type, number));
      });
    });
  }

  servers(shard, view) {
    const nodes = this.find(".nodes");
    const names = [...new Set([...view.nodes, ...Object.keys(shard.roles)])];
    names.forEach((name, i) => {
      let line = nodes.children[i + 1];
      if (!line) {
        line = document.createElement("dd");
        line.className = "node";
        for (const part of ["role", "name", "lag"]) line.append(Object.assign(document.createElement("span"), { className: part }));
        nodes.append(line);
      }
      const [role, said, lag] = node(name, shard);
      line.dataset.role = role;
      set(line.querySelector(".role"), said);
      set(line.querySelector(".name"), name);
      set(line.querySelector(".lag"), lag);
    });
    while (nodes.children.length - 1 > names.length) nodes.lastElementChild.remove();

    const answering = view.sentinels.filter((s) => shard.sentinels.includes(s));
    const silent = view.sentinels.filter((s) => !shard.sentinels.includes(s));
    const cell = this.find(".sentinels");
    const text = `${answering.length} of ${view.sentinels.length}${silent.length ? `, not ${silent.join(", ")}` : ""}`;
    if (cell.dataset.text !== text) {
      cell.dataset.text = text;
      const dots = Object.assign(document.createElement("span"), { className: "dots", ariaHidden: "true" });
      for (const s of view.sentinels) {
        dots.append(Object.assign(document.createElement("span"), { textContent: silent.includes(s) ? "○" : "●", className: silent.includes(s) ? "off" : "" }));
      }
      cell.replaceChildren(dots, ` ${text}`);
    }

    const depth = shard.waiting;
    set(this.find(".waiting"), depth.batches ? `${count(depth.readings)} readings, ${duration(shard.age)}` : "nothing");
    const last = view.failovers.at(-1);
    set(this.find(".failover"), last ? `${moment(Date.parse(last.at))}, ${duration(last.gap_ms / 1000)}` : "none");
  }

  draw(charts, now) {
    this.charts = charts;
    for (const [type, measure] of this.measures) if (charts[type]) measure.chart.draw(charts[type], step(charts[type]), now, this.failovers);
  }
}

class Measure {
  constructor(room, reading) {
    const box = $("measure-template").content.firstElementChild.cloneNode(true);
    const { title, symbol, kind, span, colour } = types[reading.type];
    box.dataset.type = reading.type;
    box.style.setProperty("--colour", colour);
    this.box = box;
    set(box.querySelector("h3"), title);
    set(box.querySelector(".unit"), symbol);
    this.number = box.querySelector(".value .number");
    this.spread = box.querySelector(".spread");
    this.told = null;
    this.chart = new Chart(box.querySelector(".chart"), {
      kind,
      span,
      label: `${title} in ${room.location.replaceAll("_", " ")}`,
      format: (v) => charted(reading.type, v),
      clock,
      tell: (text) => { this.told = text; this.note(); },
    });
    room.find(".measures").append(box);
    if (room.charts[reading.type]) this.chart.draw(room.charts[reading.type], step(room.charts[reading.type]), Date.now(), room.failovers);
  }

  show(reading, now) {
    const { kind } = types[reading.type];
    const text = kind === "state" ? `${Math.round(reading.value * reading.count)} of ${reading.count}` : value(reading.type, reading.value);
    set(this.number, text);
    this.box.classList.toggle("long", kind === "state" || text.length > 6);
    this.number.title = reading.count > 1 && kind !== "state" ? `mean of ${count(reading.count)} sensors` : "";
    const age = now.now - reading.at;
    const stale = age > Math.max(STALE_MS, 3 * now.interval);
    this.box.classList.toggle("stale", stale);
    this.text = stale ? `${duration(age / 1000)} ago` : this.spreads(reading, kind);
    this.note();
  }

  spreads(reading, kind) {
    if (kind === "counter") return this.chart.points.length ? `${charted(reading.type, this.chart.points.at(-1)[1])} in ${duration(this.chart.length / 1000)}` : "";
    if (reading.count < 2 || kind === "state") return "";
    return `${value(reading.type, reading.low)} – ${value(reading.type, reading.high)}`;
  }

  note() {
    // what the cursor is on is read out; what changes every second is not
    this.spread.ariaLive = this.told === null ? "off" : "polite";
    set(this.spread, this.told ?? this.text ?? "");
  }
}

function step(points) {
  let least = 5000;
  if (points.length > 1) least = Math.min(...points.slice(1).map((p, i) => p[0] - points[i][0]));
  return least;
}

function condition(shard, now) {
  const mine = now.daemon.conditions.filter((c) => c.location === shard.location);
  if (mine.length && mine[0].severity === "error") return ["bad", `✕ ${mine[0].name.replaceAll("_", " ")}`];
  if (shard.master === null) return ["warn", "↻ no master"];
  if (!shard.settled) return ["warn", "↻ failing over"];
  if (mine.length) return ["warn", `! ${mine[0].name.replaceAll("_", " ")}`];
  return ["good", "✓ writing"];
}

function node(name, shard) {
  const role = shard.roles[name];
  if (role === "master") return name === shard.master ? ["master", "master", ""] : ["down", "believes it is master", "gets nothing"];
  if (role === "slave") return ["replica", "replica", name in shard.lag ? `${bytes(shard.lag[name])} behind` : "not connected"];
  return ["down", "no answer", ""];
}

// ── the whole ──

function show(now) {
  const daemon = now.daemon;
  const shards = new Map(daemon.shards.map((s) => [s.location, s]));
  for (const [location, room] of rooms) {
    if (!shards.has(location)) { room.card.remove(); rooms.delete(location); }
  }
  for (const view of now.locations) {
    if (!rooms.has(view.location)) rooms.set(view.location, new Room(view.location));
    rooms.get(view.location).show(now, shards.get(view.location), view);
  }
  headline(now);
  facts(now, daemon.shards);
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
  return c.location ? `${c.location.replaceAll("_", " ")}: ${c.detail}` : c.detail;
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

function failovers(views) {
  const failovers = views.flatMap((v) => v.failovers.map((m) => [v.location, m])).sort((a, b) => (a[1].at < b[1].at ? 1 : -1)).slice(0, 8);
  $("failovers").hidden = !failovers.length;
  $("no-failovers").hidden = failovers.length > 0;
  const text = JSON.stringify(failovers);
  const body = $("failovers").tBodies[0];
  if (body.dataset.text === text) return;
  body.dataset.text = text;
  body.replaceChildren(...failovers.map(([location, m]) => {
    const row = document.createElement("tr");
    const short = (name) => name.replace(`redis-${location}-`, "");
    const cells = [moment(Date.parse(m.at)), location.replaceAll("_", " "), `${short(m.source)} → ${short(m.target)}`, duration(m.gap_ms / 1000)];
    cells.forEach((cell, i) => row.append(Object.assign(document.createElement("td"), { textContent: cell, className: i === 3 ? "number" : "", title: i === 2 ? m.reason : "" })));
    return row;
  }));
}

function durableLog(daemon) {
  const sum = (pick) => daemon.shards.reduce((total, s) => total + pick(s), 0);
  const wrong = daemon.conditions.find((c) => c.name.startsWith("log_") && c.severity === "error");
  set($("log-state"), wrong?.detail ?? "every reading that was taken, until the archive provably has it");
  set($("log-waiting"), bytes(sum((s) => s.waiting.bytes)));
  set($("log-unarchived"), bytes(sum((s) => s.unarchived.bytes)));
  set($("log-replayed"), `${count(sum((s) => s.replayed))} batches`);
  set($("log-held"), count(sum((s) => s.held)));
  $("memory").max = daemon.memory_limit;
  $("memory").value = daemon.memory_used;
  set($("memory-text"), `${bytes(daemon.memory_used)} of ${bytes(daemon.memory_limit)}`);
}

function archive(now, daemon) {
  const said = daemon.archive;
  set($("archive-store"), said.store ? (said.trouble ?? said.store) : "off");
  set($("archive-points"), count(said.archived));
  set($("archive-retries"), count(said.retries));
  set($("archive-rejected"), count(said.rejected));
  const behind = Object.fromEntries(daemon.shards.map((s) => [s.location, s.unarchived.readings]));
  list($("archive-rooms"), Object.entries(said.locations ?? {}), (item, [location, l]) => {
    if (!item.children.length) item.append(document.createElement("span"), document.createElement("span"));
    set(item.firstElementChild, location.replaceAll("_", " "));
    const upto = l.watermark === null ? "not yet" : `up to ${moment(l.watermark)}`;
    set(item.lastElementChild, `${upto}, ${count(behind[location] ?? 0)} to go`);
  });
}

// ── live ──

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("now", (e) => {
    shown = JSON.parse(e.data);
    types = shown.types;
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
