// What is no room's: how to begin, what is held, sources, failovers, the log, the archive.

import { $, age, bytes, count, duration, list, moment, set, share, title } from "/text.js";

const SOURCES = 24;

/** How to bring a sensor, while there is none. */
export function begin(now) {
  const simulated = now.daemon.sources.some((source) => source.location !== null);
  const nobody = !simulated && now.locations.every((view) => !view.sensors && !view.readings.length);
  $("begin").hidden = !nobody;
  if (!nobody) return;
  const example = JSON.stringify({ type: "temperature", location: now.locations[0]?.location ?? "", sensor: "north", value: 21.3 });
  const token = now.ingest?.token ? " -H 'Authorization: Bearer TOKEN'" : "";
  set($("begin-how"), now.ingest ? "Hand one over:" : "Let iotd listen for readings: write this into its configuration, and run iotd reload:");
  set($("begin-command"), now.ingest ? `curl${token} ${now.ingest.url}/readings -d '${example}'` : '[ingest]\nlisten = "127.0.0.1:9109"');
}

export function held(now) {
  const { held: all, held_limit: limit } = now.daemon;
  const shown = Object.entries(all).filter(([, its]) => its.count || its.let_go);
  $("held-none").hidden = shown.length > 0;
  $("held-how").hidden = !shown.length;
  list($("held"), shown.slice(0, SOURCES), (item, [source, its]) => {
    if (!item.children.length) {
      for (const part of ["strong", "span", "meter", "ul"]) item.append(document.createElement(part));
      Object.assign(item.children[2], { min: 0, max: 1, high: 0.5 });
    }
    const [name, text, meter, reasons] = item.children;
    set(name, source);
    const oldest = its.oldest === null ? "" : `, the oldest for ${age(now.now, its.oldest)}`;
    set(text, `${count(its.count)} held${oldest}, ${share(its.bytes / limit)} of the limit${its.let_go ? `; ${count(its.let_go)} let go` : ""}`);
    meter.value = its.bytes / limit;
    meter.ariaLabel = `how full what is held of ${source} is`;
    const why = Object.entries(its.reasons).sort((a, b) => b[1] - a[1]);
    list(reasons, why.slice(0, 8), (line, [reason, n]) => set(line, `${count(n)} × ${reason}`));
  });
}

export function sources(now) {
  const all = now.daemon.sources;
  $("no-sources").hidden = all.length > 0;
  $("sources").hidden = !all.length;
  $("more-sources").hidden = all.length <= SOURCES;
  set($("more-sources"), `and ${count(all.length - SOURCES)} more`);
  const body = $("sources").tBodies[0];
  const listed = all.slice(0, SOURCES);
  while (body.children.length > listed.length) body.lastElementChild.remove();
  listed.forEach((source, i) => {
    let row = body.children[i];
    if (!row) {
      body.append((row = document.createElement("tr")));
      row.append(Object.assign(document.createElement("th"), { scope: "row" }));
      for (const label of ["taken", "held", "no value", "timed here", "last spoke"]) {
        const cell = Object.assign(document.createElement("td"), { className: "number" });
        cell.dataset.label = label;
        row.append(cell);
      }
    }
    const spoke = source.quiet_s === null ? "not yet" : source.quiet_s < 5 ? "now" : `${duration(source.quiet_s)} ago`;
    const cells = [source.name, count(source.taken), count(source.held), count(source.nothing), count(source.timeless), spoke];
    cells.forEach((cell, n) => set(row.children[n], cell));
  });
}

export function failovers(views) {
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
    const cells = [moment(Date.parse(m.at)), title(location), `${short(m.source)} → ${short(m.target)}`, duration(m.gap_ms / 1000)];
    cells.forEach((cell, i) => row.append(Object.assign(document.createElement("td"), { textContent: cell, className: i === 3 ? "number" : "", title: i === 2 ? m.reason : "" })));
    return row;
  }));
}

export function durableLog(daemon) {
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

export function archive(now, daemon) {
  const said = daemon.archive;
  set($("archive-store"), said.store ? (said.trouble ?? said.store) : "off");
  set($("archive-points"), count(said.archived));
  set($("archive-retries"), count(said.retries));
  set($("archive-rejected"), count(said.rejected));
  const behind = Object.fromEntries(daemon.shards.map((s) => [s.location, s.unarchived.readings]));
  list($("archive-rooms"), Object.entries(said.locations ?? {}), (item, [location, l]) => {
    if (!item.children.length) item.append(document.createElement("span"), document.createElement("span"));
    set(item.firstElementChild, title(location));
    const upto = l.watermark === null ? "not yet" : `up to ${moment(l.watermark)}`;
    set(item.lastElementChild, `${upto}, ${count(behind[location] ?? 0)} to go`);
  });
}
