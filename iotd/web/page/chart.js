// A small live chart as SVG: of gauges the mean of a room's sensors, and the band from the smallest to the largest; of
// counters what was added; of states how many are on, in steps. A gap in the readings is a gap in the line. Pointer or
// arrow keys read one point.

const NS = "http://www.w3.org/2000/svg";
const W = 300, H = 70, RIGHT = 3, TOP = 4, BOTTOM = 4;

function make(name, attributes = {}, parent = null) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

export class Chart {
  /** span: the least that the axis spans, as a sensor at rest must not look like one in turmoil.
      tell(text or null): what the cursor is on. format(value), short(value), clock(ms), duration(s): as text. */
  constructor(host, { kind, span, label, format, short, clock, duration, tell }) {
    this.kind = kind;
    this.span = span;
    this.label = label;
    this.format = format;
    this.short = short;
    this.clock = clock;
    this.duration = duration;
    this.tell = tell;
    this.points = [];
    this.at = null;
    const svg = (this.svg = make("svg", {
      viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", tabindex: "0",
    }));
    make("line", { class: "grid", x1: 0, x2: W - RIGHT, y1: TOP, y2: TOP }, svg);
    make("line", { class: "grid", x1: 0, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM }, svg);
    this.band = make("path", { class: "band" }, svg);
    this.marks = make("g", {}, svg);
    this.mean = make("path", { class: "mean" }, svg);
    this.cursor = make("line", { class: "cursor", y1: 0, y2: H, visibility: "hidden" }, svg);
    host.append(svg);
    // text would be stretched with the picture: it lies over it
    this.high = label_(host, "high");
    this.low = label_(host, "low");
    svg.addEventListener("pointermove", (e) => this.point(e));
    svg.addEventListener("pointerleave", () => this.leave());
    svg.addEventListener("blur", () => this.leave());
    svg.addEventListener("keydown", (e) => this.key(e));
  }

  draw({ points, bucket, length }, now, failovers) {
    this.points = points;
    if (!points.length) return;
    this.end = Math.max(now, points.at(-1)[0] + bucket);
    this.begin = this.end - length;
    let low = Math.min(...points.map((p) => p[2])), high = Math.max(...points.map((p) => p[3]));
    const lacks = this.span - (high - low);
    if (lacks > 0 && this.kind === "counter") high += lacks;
    else if (lacks > 0) { low -= lacks / 2; high += lacks / 2; }
    if (this.kind === "state") [low, high] = [0, Math.max(1, high)];
    this.lowest = low;
    this.highest = high;
    let mean = "", band = "";
    for (const run of runs(points, bucket)) {
      if (this.kind === "state") { mean += this.steps(run, bucket); continue; }
      mean += run.map((p, i) => `${i ? "L" : "M"}${this.x(p[0])} ${this.y(p[1])}`).join("");
      if (run.length === 1) mean += "h0.1";
      if (this.kind === "counter") continue;
      band += run.map((p, i) => `${i ? "L" : "M"}${this.x(p[0])} ${this.y(p[3])}`).join("");
      band += run.toReversed().map((p) => `L${this.x(p[0])} ${this.y(p[2])}`).join("") + "Z";
    }
    this.mean.setAttribute("d", mean);
    this.band.setAttribute("d", band);
    this.marks.replaceChildren();
    for (const at of failovers) {
      if (at < this.begin || at > this.end) continue;
      const line = make("line", { class: "mark", x1: this.x(at), x2: this.x(at), y1: 0, y2: H }, this.marks);
      make("title", {}, line).textContent = `failover at ${this.clock(at)}`;
    }
    this.high.textContent = this.short(high);
    this.low.textContent = this.short(low);
    const last = points.at(-1);
    this.svg.setAttribute("aria-label",
      `${this.label}, last ${this.duration(length / 1000)}: between ${this.format(Math.min(...points.map((p) => p[2])))} and ` +
      `${this.format(Math.max(...points.map((p) => p[3])))}, now ${this.format(last[1])}. Arrow keys read single points.`);
    if (this.at !== null) this.show();
  }

  /** A value that holds until the next one. */
  steps(run, bucket) {
    const to = (ms) => Math.min(W - RIGHT, this.x(ms));
    return run.map((p, i) => `${i ? `H${to(p[0])}V` : `M${to(p[0])} `}${this.y(p[1])}`).join("") + `H${to(run.at(-1)[0] + bucket)}`;
  }

  x(ms) { return round(((ms - this.begin) / (this.end - this.begin)) * (W - RIGHT)); }
  y(value) {
    return round(TOP + (1 - (value - this.lowest) / (this.highest - this.lowest)) * (H - TOP - BOTTOM));
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const ms = this.begin + ((event.clientX - box.left) / box.width) * (W / (W - RIGHT)) * (this.end - this.begin);
    let best = null;
    for (const p of this.points) if (best === null || Math.abs(p[0] - ms) < Math.abs(best - ms)) best = p[0];
    this.at = best;
    this.show();
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") this.leave();
    if (step === undefined || !this.points.length) return;
    event.preventDefault();
    const last = this.points.length - 1;
    const here = this.at === null ? last : this.points.findIndex((p) => p[0] >= this.at);
    this.at = this.points[Math.min(last, Math.max(0, (here < 0 ? last : here) + step))][0];
    this.show();
  }

  show() {
    const p = this.points.find((q) => q[0] === this.at);
    if (!p) return this.leave();
    const x = this.x(p[0]);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.cursor.setAttribute("visibility", "visible");
    this.tell(`${this.clock(p[0])}: ${this.format(p[1])}`);
  }

  leave() {
    this.at = null;
    this.cursor.setAttribute("visibility", "hidden");
    this.tell(null);
  }
}

function label_(host, name) {
  const span = document.createElement("span");
  span.className = `axis ${name}`;
  span.ariaHidden = "true";
  host.append(span);
  return span;
}

function* runs(points, bucket) {
  let run = [];
  for (const p of points) {
    if (run.length && p[0] - run.at(-1)[0] > 1.5 * bucket) { yield run; run = []; }
    run.push(p);
  }
  if (run.length) yield run;
}

function round(number) { return Math.round(number * 10) / 10; }
