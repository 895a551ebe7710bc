// Power against cap over the last ten minutes, drawn as SVG. The samples live in this browser only;
// the agent's recent decisions fill the picture when the page opens.

import { byId, setAttribute } from "/dom.js";
import { grouped, kw, short } from "/format.js";
import { word } from "/words.js";

const SPAN_MS = 600_000;
const SAMPLES_MAX = 1200;
const GAP_MS = 15_000; // a longer silence is drawn as a gap, not as a line
const HEIGHT = 170;
const EDGE = { left: 44, right: 8, top: 8, bottom: 22 };
const SVG = "http://www.w3.org/2000/svg";

let samples = [];

export function addSample(atMs, power, cap) {
  const last = samples[samples.length - 1];
  if (last && atMs < last.atMs) samples = []; // the clock went back: start over
  else if (last && atMs === last.atMs) return;
  samples.push({ atMs, power, cap });
  samples = samples.filter((sample) => sample.atMs > atMs - SPAN_MS).slice(-SAMPLES_MAX);
}

// The meter points decide at the same instants; what they draw adds up, unless one does not know.
function together(decisions) {
  const instants = new Map();
  for (const { at_ms: atMs, power_w: power, power_cap_w: cap } of decisions) {
    const sum = instants.get(atMs) ?? { atMs, power: 0, cap: 0 };
    instants.set(atMs, { atMs, power: power === null || sum.power === null ? null : sum.power + power, cap: sum.cap + cap });
  }
  return instants;
}

export function addPast(decisions) {
  const first = samples.length ? samples[0].atMs : Infinity;
  const past = [...together(decisions.filter((decision) => decision.at_ms < first)).values()]
    .sort((a, b) => a.atMs - b.atMs);
  samples = [...past, ...samples].slice(-SAMPLES_MAX);
}

function node(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text) made.textContent = text;
  return made;
}

// A scale with three to six round steps that keeps the gap between power and cap visible.
function scaleOf(numbers) {
  const high = Math.max(1000, ...numbers);
  const low = Math.min(...numbers);
  const span = Math.max(high - low, high * 0.1) * 1.4;
  const unit = 10 ** Math.floor(Math.log10(span / 3));
  const step = [1, 2, 5, 10].map((size) => size * unit).find((size) => span / size <= 4);
  const bottom = Math.max(0, Math.floor((high - span) / step) * step);
  const top = Math.ceil((high * 1.01) / step) * step;
  const count = Math.round((top - bottom) / step);
  const marks = Array.from({ length: count + 1 }, (_, index) => bottom + index * step);
  return { bottom, top, marks, digits: step < 1000 ? 1 : 0 };
}

// Lines of one series; a missing number or a long silence ends a line. Steps hold until the next.
function path(series, x, y, isStepped) {
  let line = "";
  let previous = null;
  for (const [atMs, value] of series) {
    const isOpen = previous !== null && value !== null && (isStepped || atMs - previous <= GAP_MS);
    if (value === null) { previous = null; continue; }
    const at = `${x(atMs).toFixed(1)}`;
    const height = y(value).toFixed(1);
    if (!isOpen) line += `M${at} ${height}`;
    else line += isStepped ? `H${at}V${height}` : `L${at} ${height}`;
    previous = atMs;
  }
  return line;
}

export function drawChart() {
  const box = byId("chart");
  const width = Math.max(240, box.clientWidth);
  const shown = samples.filter((sample) => sample.power !== null || sample.cap !== null);
  if (shown.length < 2) {
    box.textContent = word("chart_empty");
    return;
  }
  const end = shown[shown.length - 1].atMs;
  const numbers = shown.flatMap((sample) => [sample.power, sample.cap]).filter((n) => n !== null);
  const { bottom, top, marks, digits } = scaleOf(numbers);
  const inner = width - EDGE.left - EDGE.right;
  const x = (atMs) => EDGE.left + Math.max(0, 1 - (end - atMs) / SPAN_MS) * inner;
  const tall = HEIGHT - EDGE.top - EDGE.bottom;
  const y = (power) => HEIGHT - EDGE.bottom - ((power - bottom) / (top - bottom)) * tall;
  const svg = node("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
  for (const mark of marks) {
    const at = y(mark);
    svg.append(node("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: at, y2: at }));
    const label = grouped(mark / 1000, digits);
    svg.append(node("text", { x: EDGE.left - 6, y: at + 4, "text-anchor": "end" }, label));
  }
  for (const share of [0, 0.5, 1]) {
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    const place = { x: EDGE.left + share * inner, y: HEIGHT - 5, "text-anchor": anchor };
    svg.append(node("text", place, short(end - (1 - share) * SPAN_MS)));
  }
  svg.append(node("text", { x: EDGE.left + 4, y: EDGE.top + 14 }, "kW"));
  const caps = shown.map((sample) => [sample.atMs, sample.cap]);
  const powers = shown.map((sample) => [sample.atMs, sample.power]);
  svg.append(node("path", { class: "line-cap", d: path(caps, x, y, true) }));
  svg.append(node("path", { class: "line-power", d: path(powers, x, y, false) }));
  box.replaceChildren(svg);
  describe(box, shown);
}

function describe(box, shown) {
  const powers = shown.map((sample) => sample.power).filter((power) => power !== null);
  const last = shown[shown.length - 1];
  const low = powers.length ? Math.min(...powers) : null;
  const high = powers.length ? Math.max(...powers) : null;
  const values = { kw: kw(last.power), cap: kw(last.cap), low: kw(low), high: kw(high) };
  setAttribute(box, "aria-label", word("chart_text", values));
}
