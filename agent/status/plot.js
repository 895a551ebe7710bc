// The paper that a chart is drawn on: SVG with a scale on the left and times below.

import { grouped } from "/format.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 180;
const EDGE = { left: 48, right: 10, top: 18, bottom: 22 };

export function node(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text) made.textContent = text;
  return made;
}

// Three to six round steps. Power keeps the gap between it and its cap visible; energy starts at 0.
export function scaleOf(numbers, isFromZero) {
  const high = Math.max(1000, ...numbers);
  const low = isFromZero ? 0 : Math.min(high, ...numbers);
  const span = isFromZero ? high : Math.max(high - low, high * 0.1) * 1.4;
  const unit = 10 ** Math.floor(Math.log10(span / 3));
  const step = [1, 2, 5, 10].map((size) => size * unit).find((size) => span / size <= 4);
  const bottom = isFromZero ? 0 : Math.max(0, Math.floor((high - span) / step) * step);
  const top = Math.ceil((high * 1.01) / step) * step;
  const count = Math.round((top - bottom) / step);
  const marks = Array.from({ length: count + 1 }, (_, index) => bottom + index * step);
  return { bottom, top, marks, digits: step < 100 ? 2 : step < 1000 ? 1 : 0 };
}

// `times` are [instant, text] along the lower edge; the first stands left, the last right.
export function paper(box, { fromMs, toMs, scale, unit, times }) {
  const width = Math.max(240, box.clientWidth);
  const inner = width - EDGE.left - EDGE.right;
  const tall = HEIGHT - EDGE.top - EDGE.bottom;
  const x = (atMs) => EDGE.left + Math.min(1, Math.max(0, (atMs - fromMs) / (toMs - fromMs))) * inner;
  const y = (value) => HEIGHT - EDGE.bottom - ((value - scale.bottom) / (scale.top - scale.bottom)) * tall;
  const svg = node("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
  for (const mark of scale.marks) {
    svg.append(node("line", { class: "rule", x1: EDGE.left, x2: width - EDGE.right, y1: y(mark), y2: y(mark) }));
    const label = grouped(mark / 1000, scale.digits);
    svg.append(node("text", { x: EDGE.left - 6, y: y(mark) + 4, "text-anchor": "end" }, label));
  }
  times.forEach(([atMs, text], index) => {
    const anchor = index === 0 ? "start" : index === times.length - 1 ? "end" : "middle";
    svg.append(node("text", { x: x(atMs), y: HEIGHT - 5, "text-anchor": anchor }, text));
  });
  svg.append(node("text", { x: EDGE.left, y: 11 }, unit));
  return { svg, x, y };
}

// The line of a series of [instant, value]; a missing value, or a silence that is longer than
// `gapMs`, ends it. Steps hold until the next.
export function line(series, { x, y }, { gapMs, isStepped }) {
  let drawn = "";
  let previous = null;
  for (const [atMs, value] of series) {
    if (value === null) { previous = null; continue; }
    const isOpen = previous !== null && atMs - previous <= gapMs;
    const at = x(atMs).toFixed(1);
    const height = y(value).toFixed(1);
    if (!isOpen) drawn += `M${at} ${height}`;
    else drawn += isStepped ? `H${at}V${height}` : `L${at} ${height}`;
    previous = atMs;
  }
  return drawn;
}
