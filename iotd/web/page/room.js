// A room: its newest readings by type, its sensors, its servers.

import { Chart } from "/chart.js";
import { $, age, bytes, charted, clock, count, duration, known, list, moment, set, short, title, tone, value, worded } from "/text.js";

export class Room {
  constructor(location) {
    const card = $("room-template").content.firstElementChild.cloneNode(true);
    this.card = card;
    this.location = location;
    card.dataset.location = location;
    this.find = (selector) => card.querySelector(selector);
    const heading = this.find("h2");
    heading.id = `room-${location}`;
    card.setAttribute("aria-labelledby", heading.id);
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
    set(this.find("h2"), view.name);
    set(this.find(".slug"), this.location);
    this.find(".slug").hidden = view.name === this.location.replaceAll("_", " ");
    this.find(".nobody").hidden = view.sensors > 0 || view.readings.length > 0;
    this.silent(view, now);
    this.failovers = view.failovers.map((m) => Date.parse(m.at));
    for (const reading of view.readings) this.measure(reading).show(reading, now);
    for (const [type, measure] of this.measures) {
      if (!view.readings.some((r) => r.type === type)) { measure.box.remove(); this.measures.delete(type); }
    }
    // a room with many kinds of sensors takes more of the screen
    this.card.dataset.kinds = view.readings.length > 4 ? "many" : "few";
    this.sensors(view.readings, now);
    this.servers(shard, view);
  }

  measure(reading) {
    if (!this.measures.has(reading.type)) this.measures.set(reading.type, new Measure(this, reading));
    return this.measures.get(reading.type);
  }

  silent(view, now) {
    const box = this.find(".silent");
    box.hidden = !view.silent_in_all;
    const others = view.silent_in_all - view.silent.length;
    list(box, others > 0 ? [...view.silent, null] : view.silent, (item, one) => {
      if (one === null) { set(item, `and ${count(others)} more: iotd sensors lists them`); return; }
      const said = [`${one.types.map((type) => known.types[type]?.title ?? type).join(", ")} silent for ${age(now.now, one.since)}`];
      if (one.battery !== null) said.push(`battery ${Math.round(one.battery)} %`);
      if (one.rssi !== null) said.push(`${Math.round(one.rssi)} dBm`);
      set(item, `${one.name || one.sensor}: ${said.join(", ")}`);
      item.title = one.sensor;
    });
  }

  sensors(readings, now) {
    const listed = readings.filter((r) => r.sensors.length + r.more > 1 || r.sensors.some((s) => s.name || s.silent));
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
      set(row.firstElementChild, known.types[reading.type].title);
      list(row.querySelector("ul"), reading.more ? [...reading.sensors, null] : reading.sensors, (item, one) => {
        if (item.children.length < 3) for (const part of ["small", "span", "em"]) item.append(document.createElement(part));
        const [name, shown, note] = item.children;
        set(name, one ? one.name || one.id : "");
        set(shown, one ? worded(reading.type, one.value) : `and ${count(reading.more)} more`);
        const old = one && (one.silent || (reading.stale_ms !== null && now.now - one.at > reading.stale_ms));
        set(note, old ? `${one.silent ? "silent for " : ""}${age(now.now, one.at)}${one.silent ? "" : " ago"}` : "");
        item.className = one?.silent ? "missed" : "";
        item.title = one ? `${one.id}, ${age(now.now, one.at)} ago` : "";
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
    for (const [type, measure] of this.measures) if (charts[type]) measure.draw(charts[type], now, this.failovers);
  }
}

class Measure {
  constructor(room, reading) {
    const box = $("measure-template").content.firstElementChild.cloneNode(true);
    const { title: name, kind, span, colour } = known.types[reading.type];
    box.dataset.type = reading.type;
    box.style.setProperty("--colour", colour);
    this.box = box;
    this.kind = kind;
    set(box.querySelector("h3"), name);
    this.number = box.querySelector(".value .number");
    this.unit = box.querySelector(".value .unit");
    this.spread = box.querySelector(".spread");
    this.told = null;
    this.grown = "";
    this.chart = new Chart(box.querySelector(".chart"), {
      kind,
      span,
      label: `${name} in ${title(room.location)}`,
      format: (v) => charted(reading.type, v),
      short: (v) => short(reading.type, v),
      clock,
      duration,
      tell: (text) => { this.told = text; this.note(); },
    });
    room.find(".measures").append(box);
    if (room.charts[reading.type]) this.draw(room.charts[reading.type], Date.now(), room.failovers);
  }

  draw(chart, now, failovers) {
    this.box.classList.toggle("undrawn", !chart.points.length);
    this.chart.draw(chart, now, failovers);
    const points = chart.points;
    this.grown = points.length > 1 ? `${this.chart.format(points.at(-1)[1])} in ${duration((points.at(-1)[0] - points[0][0]) / 1000)}` : "";
  }

  show(reading, now) {
    const [text, unit] = this.newest(reading);
    set(this.number, text);
    set(this.unit, unit);
    this.box.classList.toggle("long", this.kind === "state" || text.length > 6);
    const how = { gauge: "mean", counter: "newest", state: "" }[this.kind];
    this.number.title = how && reading.count > 1 ? `${how} of ${count(reading.count)} sensors` : "";
    const stale = reading.stale_ms !== null && now.now - reading.at > reading.stale_ms;
    this.box.classList.toggle("stale", stale);
    this.text = stale ? `${age(now.now, reading.at)} ago` : this.more(reading, now);
    this.note();
  }

  /** What stands large, and what behind it. */
  newest(reading) {
    const { symbol, words } = known.types[reading.type];
    if (this.kind === "state") {
      return reading.count === 1 ? [worded(reading.type, reading.last), ""] : [`${count(reading.on)} of ${count(reading.count)}`, words[1]];
    }
    // what several meters show has no mean and no sum
    if (this.kind === "counter") return [value(reading.type, reading.last), symbol];
    return [value(reading.type, reading.mean), symbol];
  }

  more(reading, now) {
    if (this.kind === "state") {
      return `${reading.count > 1 ? `last: ${worded(reading.type, reading.last)}, ` : ""}${age(now.now, reading.at)} ago`;
    }
    if (this.kind === "counter") return this.grown || (reading.count > 1 ? `newest of ${count(reading.count)}` : "");
    return reading.count < 2 ? "" : `${value(reading.type, reading.low)} – ${value(reading.type, reading.high)}`;
  }

  note() {
    // what the cursor is on is read out; what changes every second is not
    this.spread.ariaLive = this.told === null ? "off" : "polite";
    set(this.spread, this.told ?? this.text ?? "");
  }
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
