// What the charts are drawn of: the agent's history of the last day, its recent decisions, and the
// ticks that this page has seen itself. A sample: {atMs, spanMs, power, cap, used, bought, start}.

const DAY_MS = 86_400_000;
const LIVE_MAX = 1200;
const LIVE_MS = 900_000;

let past = [];
let recent = [];
let live = [];

// The meter points speak of the same instants; what they draw adds up, unless one does not know.
function together(rows) {
  const instants = new Map();
  const add = (a, b) => (a === null || b === null ? null : a + b);
  for (const row of rows) {
    const sum = instants.get(row.atMs);
    instants.set(row.atMs, sum === undefined ? row : {
      ...sum, power: add(sum.power, row.power), cap: add(sum.cap, row.cap),
      used: add(sum.used, row.used), bought: add(sum.bought, row.bought),
    });
  }
  return [...instants.values()].sort((a, b) => a.atMs - b.atMs);
}

// A step of the history stands for its middle.
export function addHistory(rows) {
  past = together(rows.map((row) => ({
    atMs: row.at_ms + row.span_s * 500, spanMs: row.span_s * 1000, power: row.power_w, cap: row.power_cap_w,
    used: row.used_wh, bought: row.purchased_wh, start: row.window_start_ms,
  })));
}

export function addDecisions(rows) {
  recent = together(rows.map((row) => ({
    atMs: row.at_ms, spanMs: 0, power: row.power_w, cap: row.mode === "failsafe" ? null : row.power_cap_w,
    used: null, bought: null, start: null,
  })));
}

export function addTick(status) {
  const atMs = status.at_ms;
  const last = live[live.length - 1];
  if (last && atMs === last.atMs) return;
  if (last && atMs < last.atMs) live = []; // the clock went back: start over
  live.push({
    atMs, spanMs: 0, power: status.power_w, cap: status.power_cap_w,
    used: status.window?.used_wh ?? null, bought: status.window?.purchased_wh ?? null,
    start: status.window?.start_ms ?? null,
  });
  live = live.filter((sample) => sample.atMs > atMs - LIVE_MS).slice(-LIVE_MAX);
}

// Each source speaks until the next, better one begins.
export function powerSamples(fromMs, toMs) {
  const liveFrom = live[0]?.atMs ?? Infinity;
  const recentFrom = Math.min(recent[0]?.atMs ?? Infinity, liveFrom);
  const isDay = toMs - fromMs >= DAY_MS;
  // A day is drawn in steps of one kind, so that it looks the same all along.
  const parts = isDay ? past : [
    ...past.filter((sample) => sample.atMs + sample.spanMs / 2 <= recentFrom),
    ...recent.filter((sample) => sample.atMs < liveFrom), ...live,
  ];
  return parts.filter((sample) => sample.atMs >= fromMs && sample.atMs <= toMs);
}

export function energySamples(startMs) {
  const liveFrom = live[0]?.atMs ?? Infinity;
  const parts = [...past.filter((sample) => sample.atMs + sample.spanMs / 2 <= liveFrom), ...live];
  return parts.filter((sample) => sample.start === startMs && sample.used !== null)
    .map((sample) => [sample.atMs + sample.spanMs / 2, sample.used]);
}
