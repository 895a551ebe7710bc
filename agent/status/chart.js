// Power against its cap, and energy against what was bought: over ten minutes, over the window that
// is open, or over the last day.

import { byId, element, keyed, setAttribute, setText } from "/dom.js";
import { dayOrShort, kw, kwh, short } from "/format.js";
import { line, node, paper, scaleOf } from "/plot.js";
import { energySamples, powerSamples } from "/samples.js";
import { word } from "/words.js";

const MINUTES_MS = 600_000;
const DAY_MS = 86_400_000;
const QUARTER_MS = 900_000;
const GAP_MS = 15_000; // a longer silence is drawn as a gap, not as a line
const GAP_DAY_MS = 150_000;
const SPANS = ["minutes", "window", "day"];

let span = "minutes";
let known = { status: null, transactions: [], statements: [] };

export function startCharts() {
  keyed(byId("chart-spans"), SPANS, (name) => name, (name) => {
    const button = element("button", "chip");
    button.type = "button";
    button.addEventListener("click", () => { span = name; drawCharts(); });
    return button;
  }, () => {});
}

export function noteForCharts(more) {
  known = { ...known, ...more };
}

export function drawCharts() {
  for (const [name, button] of byId("chart-spans").keyedNodes) {
    setText(button, word(`span_${name}`));
    setAttribute(button, "aria-pressed", name === span);
  }
  setAttribute(byId("chart-spans"), "aria-label", word("chart_span"));
  if (known.status === null) return;
  drawPower();
  if (span === "day") drawBought();
  else drawEnergy();
}

function rangeOf(status) {
  if (span === "day") return [status.at_ms - DAY_MS, status.at_ms];
  if (span === "minutes" || status.window === null) return [status.at_ms - MINUTES_MS, status.at_ms];
  return [status.window.start_ms, endOf(status.window)];
}

// What is bought without an end is shown up to now.
const endOf = (window) => Math.max(window.start_ms + 1000, window.time_left_s > 0 ? window.end_ms : known.status.at_ms);

function timesOf(fromMs, toMs) {
  const nowMs = known.status.at_ms;
  return [0, 0.5, 1].map((share) => {
    const atMs = fromMs + share * (toMs - fromMs);
    return [atMs, share === 0.5 ? short(atMs) : dayOrShort(atMs, nowMs)];
  });
}

// Where the agent has no samples of its own any more, its statements say what a quarter drew.
function quarters(fromMs, untilMs) {
  const sums = new Map();
  for (const row of known.statements) {
    if (row.start_ms < fromMs || row.end_ms > untilMs) continue;
    sums.set(row.start_ms, (sums.get(row.start_ms) ?? 0) + row.metered_wh + row.unknown_wh);
  }
  const series = [...sums].sort((a, b) => a[0] - b[0]);
  return series.flatMap(([startMs, wh]) => {
    const watts = (wh * 3_600_000) / QUARTER_MS;
    return [[startMs, watts], [startMs + QUARTER_MS, watts]];
  });
}

function drawPower() {
  const box = byId("chart-power");
  const [fromMs, toMs] = rangeOf(known.status);
  const samples = powerSamples(fromMs, toMs);
  const means = span === "day" ? quarters(fromMs, samples[0]?.atMs ?? toMs) : [];
  const powers = samples.map((sample) => [sample.atMs, sample.power]);
  const caps = samples.map((sample) => [sample.atMs, sample.cap]);
  const numbers = [...powers, ...caps, ...means].map(([, value]) => value).filter((value) => value !== null);
  byId("key-mean").hidden = means.length === 0;
  if (numbers.length < 2) {
    box.textContent = word("chart_empty");
    box.setAttribute("aria-label", word("chart_empty"));
    return;
  }
  const gapMs = span === "day" ? GAP_DAY_MS : Math.max(GAP_MS, ...samples.map((sample) => sample.spanMs * 2.5));
  const times = timesOf(fromMs, toMs);
  const drawn = paper(box, { fromMs, toMs, scale: scaleOf(numbers, false), unit: word("unit_kw"), times });
  const lines = [["line-mean", means, { gapMs: QUARTER_MS, isStepped: true }], ["line-cap", caps, { gapMs, isStepped: true }],
    ["line-power", powers, { gapMs, isStepped: false }]];
  for (const [name, series, how] of lines) drawn.svg.append(node("path", { class: name, d: line(series, drawn, how) }));
  box.replaceChildren(drawn.svg);
  const seen = powers.map(([, value]) => value).filter((value) => value !== null);
  const values = {
    span: word(`span_${span}`), kw: kw(known.status.power_w), cap: kw(known.status.power_cap_w),
    low: kw(seen.length ? Math.min(...seen) : null), high: kw(seen.length ? Math.max(...seen) : null),
  };
  setAttribute(box, "aria-label", word("chart_text", values));
}

function tellEnergy(name, used, bought) {
  const values = { span: word(`span_${name}`), used: kwh(used), bought: kwh(bought) };
  setAttribute(byId("chart-energy"), "aria-label", word("chart_energy_text", values));
}

function drawEnergy() {
  const box = byId("chart-energy");
  const { window, at_ms: nowMs } = known.status;
  byId("key-pace").hidden = false;
  if (window === null) {
    box.textContent = word("energy_none");
    box.setAttribute("aria-label", word("energy_none"));
    return;
  }
  const [fromMs, toMs] = [window.start_ms, endOf(window)];
  const used = [[fromMs, 0], ...energySamples(fromMs), [nowMs, window.used_wh]];
  const scale = scaleOf([window.purchased_wh, window.used_wh], true);
  const drawn = paper(box, { fromMs, toMs, scale, unit: word("unit_kwh"), times: timesOf(fromMs, toMs) });
  const endless = { gapMs: Infinity, isStepped: false };
  const lines = [["line-pace", [[fromMs, 0], [toMs, window.purchased_wh]]],
    ["line-cap", [[fromMs, window.purchased_wh], [toMs, window.purchased_wh]]], ["line-power", used]];
  for (const [name, series] of lines) drawn.svg.append(node("path", { class: name, d: line(series, drawn, endless) }));
  drawn.svg.append(node("circle", { class: "dot-now", cx: drawn.x(nowMs), cy: drawn.y(window.used_wh), r: 4 }));
  box.replaceChildren(drawn.svg);
  tellEnergy("window", window.used_wh, window.purchased_wh);
}

// Of a day: every window as what was bought in it, filled by what was used of it.
function drawBought() {
  const box = byId("chart-energy");
  const [fromMs, toMs] = rangeOf(known.status);
  const windows = new Map();
  for (const row of known.transactions) {
    if (row.end_ms === null || row.end_ms <= fromMs || row.start_ms >= toMs) continue;
    const sum = windows.get(`${row.start_ms} ${row.end_ms}`) ?? { from: row.start_ms, to: row.end_ms, bought: 0, used: 0 };
    sum.bought += row.energy_wh;
    sum.used += row.allocated_wh;
    windows.set(`${row.start_ms} ${row.end_ms}`, sum);
  }
  byId("key-pace").hidden = true;
  const bars = [...windows.values()];
  if (bars.length === 0) {
    box.textContent = word("purchases_none");
    box.setAttribute("aria-label", word("purchases_none"));
    return;
  }
  const scale = scaleOf(bars.map((bar) => bar.bought), true);
  const drawn = paper(box, { fromMs, toMs, scale, unit: word("unit_kwh"), times: timesOf(fromMs, toMs) });
  for (const bar of bars) {
    const [left, width] = [drawn.x(bar.from), Math.max(1.5, drawn.x(bar.to) - drawn.x(bar.from) - 1)];
    for (const [name, energy] of [["bar-bought", bar.bought], ["bar-used", bar.used]]) {
      const top = drawn.y(energy);
      drawn.svg.append(node("rect", { class: name, x: left, y: top, width, height: Math.max(0, drawn.y(0) - top) }));
    }
  }
  box.replaceChildren(drawn.svg);
  tellEnergy("day", bars.reduce((sum, bar) => sum + bar.used, 0), bars.reduce((sum, bar) => sum + bar.bought, 0));
}
