// Text and lists: what is shown of numbers, times and names, and how it is put in place.

/** What the daemon said last. types: how values of each are shown (title, symbol, kind, decimals, span, colour, words);
    titles: what people call each room. */
export const known = { types: {}, titles: {} };

export const $ = (id) => document.getElementById(id);
const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dateFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const count = (n) => n.toLocaleString();
export const clock = (ms) => clockFormat.format(ms);
export const moment = (ms) => (Date.now() - ms < 43_200_000 ? clockFormat : dateFormat).format(ms);

export function bytes(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024) return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(1)} GiB`;
}

export function duration(seconds) {
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

export function value(type, number) {
  const { decimals } = known.types[type];
  return number.toLocaleString(undefined, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** A value with its unit, or the word for a state. */
export function worded(type, number) {
  const { kind, words, symbol } = known.types[type];
  return kind === "state" ? words[number >= 0.5 ? 1 : 0] : `${value(type, number)} ${symbol}`;
}

/** A value in a chart: of a state how many sensors are on, of a counter what was added. */
export function charted(type, number) {
  const { kind } = known.types[type];
  if (kind === "state") return count(number);
  return `${kind === "counter" ? "+" : ""}${value(type, number)}`;
}

/** The same for the edge of a chart, where six characters have room. */
export function short(type, number) {
  const text = charted(type, number);
  if (text.length <= 6) return text;
  const sign = known.types[type].kind === "counter" ? "+" : "";
  return sign + number.toLocaleString(undefined, { notation: "compact", maximumSignificantDigits: 3 });
}

export const title = (location) => known.titles[location] ?? location.replaceAll("_", " ");
export const age = (now, ms) => duration(Math.max(0, now - ms) / 1000);
export const share = (part) => `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`;

export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tone(element, name) {
  if (element.dataset.tone !== name) element.dataset.tone = name;
}

/** Makes the children of a list match texts without touching those that do. */
export function list(element, items, make) {
  while (element.children.length > items.length) element.lastElementChild.remove();
  items.forEach((item, i) => {
    let child = element.children[i];
    if (!child) element.append((child = document.createElement("li")));
    make(child, item);
  });
}
