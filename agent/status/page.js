// Shows what the agent tells at every tick, or asks once a second. Never hides that the data is old.

import { showAlarms } from "/alarms.js";
import { showAhead, showLimits, showRelays } from "/bounds.js";
import { drawCharts, noteForCharts, startCharts } from "/chart.js";
import { byId, element, facts, setAttribute, setBar, setText, showTable } from "/dom.js";
import {
  age, clock, dayAndClock, dayOrShort, duration, grouped, hashrate, kw, kwh, sentence, short, useZone, zoneName,
} from "/format.js";
import { linkedMac } from "/machine.js";
import { render, showMiners, startMiners } from "/miners.js";
import { deliveryWords, reason } from "/reason.js";
import { addDecisions, addHistory, addTick } from "/samples.js";
import { watchScrolls } from "/scroll.js";
import { follow, isTelling } from "/stream.js";
import { chooseLanguage, language, languages, onLanguage, word } from "/words.js";

const POLL_MS = 1000;
const ANSWER_MS = 4000;
const STALE_S = 5;

const HISTORY_MS = 60_000;
const PART_ROWS = 1000;
// The lists may take this share of the time at most: a telephone with thousands of machines asks less.
const LISTS_SHARE = 0.2;

const seen = { atMs: null, changedAt: null, answeredAt: performance.now(), failure: null, sign: "" };
const last = { status: null, meters: null, transactions: null, decisions: null };
const due = { lists: 0, history: 0 };

class NotReady extends Error {}

async function ask(name) {
  const answer = await fetch(`/api/v1/${name}`, { signal: AbortSignal.timeout(ANSWER_MS), cache: "no-cache" });
  const body = await answer.json();
  if (!answer.ok) throw new NotReady(body.error ?? answer.statusText);
  const rows = Number(answer.headers.get("X-Total-Count") ?? 0);
  return { body, rows, sentAtMs: Date.parse(answer.headers.get("Date") ?? "") };
}

// Thousands of machines come in parts, so that none of them holds the page up.
async function askMiners() {
  const miners = [];
  for (let rows = Infinity; miners.length < rows;) {
    const part = await ask(`miners?limit=${PART_ROWS}&offset=${miners.length}`);
    rows = part.rows;
    miners.push(...part.body);
    if (part.body.length === 0) break;
  }
  return miners;
}

let isAsking = false;

// With `told` the status is here already; the lists are asked for, which costs nothing if unchanged.
async function refresh(told) {
  if (isAsking) return;
  isAsking = true;
  try {
    const { body: status, sentAtMs } = told ? { body: told, sentAtMs: NaN } : await ask("status");
    noteAnswer(status, sentAtMs);
    last.status = status;
    useZone(status.zone);
    showStatus(status);
    showAge();
    addTick(status);
    noteForCharts({ status });
    // A hidden page keeps its chart going and spares the agent the rest.
    if (!document.hidden) {
      if (performance.now() >= due.lists) await refreshLists();
      if (performance.now() >= due.history) await refreshHistory();
      drawCharts();
    }
  } catch (error) {
    seen.failure = error;
  }
  isAsking = false;
  showAge();
}

async function refreshLists() {
  const startedAt = performance.now();
  const names = ["meters", "transactions", "decisions"];
  const [miners, ...answers] = await Promise.all([askMiners(), ...names.map(ask)]);
  names.forEach((name, index) => { last[name] = answers[index].body; });
  addDecisions(last.decisions);
  noteForCharts({ transactions: last.transactions });
  showLists();
  showMiners(miners);
  const spentMs = performance.now() - startedAt;
  due.lists = performance.now() + (spentMs < POLL_MS * LISTS_SHARE ? 0 : spentMs / LISTS_SHARE);
}

async function refreshHistory() {
  const [history, statements] = await Promise.all([ask("history"), ask("statements")]);
  addHistory(history.body);
  noteForCharts({ statements: statements.body });
  due.history = performance.now() + HISTORY_MS;
}

function showLists() {
  if (last.decisions === null) return;
  showMeters(last.meters);
  showPurchases(last.transactions, last.status.at_ms);
  showDecisions(last.decisions);
}

async function poll() {
  if (!isTelling()) await refresh(null);
  setTimeout(poll, POLL_MS);
}

function noteAnswer(status, sentAtMs) {
  const now = performance.now();
  seen.failure = null;
  seen.answeredAt = now;
  if (status.at_ms === seen.atMs) return;
  // The first answer may already be old: its own Date header, of the same clock, tells how much.
  const isFirst = seen.atMs === null;
  const ageMs = isFirst && Number.isFinite(sentAtMs) ? Math.max(0, sentAtMs - status.at_ms) : 0;
  seen.atMs = status.at_ms;
  seen.changedAt = now - ageMs;
}

function showAge() {
  const now = performance.now();
  const silentS = Math.floor((now - seen.answeredAt) / 1000);
  const oldS = seen.changedAt === null ? null : Math.floor((now - seen.changedAt) / 1000);
  let words = "";
  if (seen.failure instanceof NotReady) words = word("banner_not_ready");
  else if (silentS >= STALE_S || (seen.failure && oldS === null)) words = word("banner_no_answer");
  else if (oldS !== null && oldS >= STALE_S) words = word("banner_frozen");
  const isStale = words !== "";
  const shown = seen.atMs === null ? "" : word("age_old", { time: dayAndClock(seen.atMs), age: age(oldS) });
  setText(byId("banner"), isStale ? `${words} ${sentence(shown)}`.trim() : "");
  byId("banner").hidden = !isStale;
  setText(byId("data-age"), oldS === null ? word("age_none") : isStale ? shown : word("age_now", { s: oldS }));
  document.body.classList.toggle("is-stale", isStale);
  // Old figures must not go on claiming that all is well.
  const state = last.status === null ? "" : stateOf(last.status)[2];
  setText(byId("state-sign"), isStale ? "?" : seen.sign);
  setText(byId("state-word"), isStale && state !== "" ? word("last_known", { words: state }) : state);
  document.body.classList.toggle("is-empty", seen.atMs === null);
}

function stateOf(status) {
  if (status.over_wh > 0) return ["bad", "✕", word("mode_over", { kwh: kwh(status.over_wh) })];
  const tones = {
    following: ["good", "✓"], shedding: ["warn", "▼"], blind: ["bad", "?"],
    failsafe: ["warn", "‖"], no_purchase: ["idle", "–"],
  };
  const [tone, sign] = tones[status.mode] ?? ["warn", "!"];
  const isAbove = status.power_w !== null && status.power_cap_w !== null && status.power_w > status.power_cap_w * 1.01;
  if (status.mode === "following" && isAbove) return ["warn", "▲", word("mode_over_cap")];
  return [tone, sign, word(`mode_${status.mode}`)];
}

function showStatus(status) {
  const [tone, sign, words] = stateOf(status);
  setAttribute(byId("state"), "data-tone", tone);
  seen.sign = sign;
  setText(byId("state-why"), reason(status.mode, status.because, status.power_cap_w, status.meter_points));
  const { limit, source } = status.because;
  setText(byId("state-source"), word("state_source", { limit: word(`kind_${limit}`), source }));
  document.title = `${words} · ${status.farm} · kwota`;
  setText(byId("site-name"), `${status.farm} / ${status.agent}`);
  setText(byId("site-time"), dayAndClock(status.at_ms));
  setAttribute(byId("site-time"), "datetime", new Date(status.at_ms).toISOString());
  setText(byId("site-zone"), zoneName());
  setText(byId("site-shadow"), status.is_shadow ? word("shadow_run") : "");
  setText(byId("site-clock"), status.is_clock_trusted ? "" : word("clock_untrusted"));
  setText(byId("build"), word("build", { version: status.version, time: dayAndClock(status.started_at_ms) }));
  const farm = { hashrate: hashrate(status.hashrate_hs), switches: grouped(status.board_switches), restarts: grouped(status.mining_restarts) };
  setText(byId("farm-note"), word("farm_note", farm));
  showPower(status);
  showEnergy(status.window);
  showTime(status.window, status.at_ms);
  showPoints(status.meter_points);
  showAlarms(status.alarms, status.at_ms, ofPoint);
  showAhead(status.preflight, status.at_ms, status.meter_points);
  showLimits(status.limits, status.at_ms);
  showRelays(status.relays);
  showDelivery(status.delivery, status.at_ms);
}

// One meter point is the site itself, and has no table of its own.
function showPoints(points) {
  byId("points").hidden = points.length < 2;
  const columns = [[word("col_point"), "name"], [word("col_decision"), ""], [word("col_power"), "number"],
    [word("col_cap"), "number"], [word("col_left"), "number"], [word("col_why"), "why"]];
  showTable("point", columns, points, (point) => point.meter_point, (point) => [
    point.meter_point, word(`mode_short_${point.mode}`), kw(point.power_w), kw(point.power_cap_w),
    kwh(point.window?.left_wh ?? null), reason(point.mode, point.because, point.power_cap_w),
  ], "–");
}

// What a row is about, where it is about a meter point and that does not go without saying.
function ofPoint(row, text) {
  return byId("points").hidden || row.meter_point === null ? text : `${row.meter_point}: ${text}`;
}

function showPower(status) {
  const { power_w: power, power_cap_w: cap } = status;
  const max = Math.max(power ?? 0, cap ?? 0, 1) * 1.08;
  setText(byId("power-now"), kw(power));
  setText(byId("power-cap"), cap === null ? word("power_cap_none") : word("power_cap", { kw: kw(cap) }));
  setText(byId("power-note"), word("power_note", { kw: kw(status.planned_w), base: kw(status.base_load_w) }));
  const tone = power === null || cap === null ? "idle" : power > cap * 1.01 ? "bad" : "good";
  const text = word("power_text", { kw: kw(power), cap: kw(cap) });
  setBar(byId("power-bar"), { fills: [(power ?? 0) / max], mark: cap === null ? null : cap / max, now: power ?? 0, max, text, tone });
}

function showEnergy(window) {
  if (window === null) {
    setText(byId("energy-left"), kwh(null));
    setText(byId("energy-of"), "");
    setText(byId("energy-note"), word("energy_none"));
    setBar(byId("energy-bar"), { fills: [0, 0], mark: null, now: 0, max: 1, text: word("energy_none"), tone: "idle" });
    return;
  }
  const { purchased_wh: bought, used_wh: used, used_upper_wh: upper } = window;
  const totalS = (window.end_ms - window.start_ms) / 1000;
  setText(byId("energy-left"), kwh(window.left_wh));
  setText(byId("energy-of"), word("energy_of", { kwh: kwh(bought) }));
  setText(byId("energy-note"), word("energy_note", { kwh: kwh(used), upper: kwh(upper) }));
  const text = word("energy_text", { used: kwh(used), purchased: kwh(bought) });
  const max = Math.max(1, bought);
  // The mark is where an even pace would stand now.
  const mark = totalS > 0 ? 1 - window.time_left_s / totalS : null;
  setBar(byId("energy-bar"), { fills: [upper / max, used / max], mark, now: used, max, text, tone: used > bought ? "bad" : "good" });
}

function showTime(window, nowMs) {
  const left = window === null ? null : duration(window.time_left_s);
  setText(byId("time-left"), left ?? "–");
  setText(byId("time-end"), window === null ? "" : word("time_end", { time: dayOrShort(window.end_ms, nowMs) }));
  const ids = window?.transactions ?? [];
  const listed = ids.length > 3 ? `${ids.slice(0, 3).join(", ")} …` : ids.join(", ");
  const note = { time: window && dayOrShort(window.start_ms, nowMs), count: ids.length, ids: listed };
  setText(byId("time-note"), window === null ? word("energy_none") : word("time_note", note));
  const totalS = window === null ? 1 : Math.max(1, (window.end_ms - window.start_ms) / 1000);
  const doneS = window === null ? 0 : totalS - window.time_left_s;
  const text = word("time_text", { left: left ?? "–" });
  setBar(byId("time-bar"), { fills: [doneS / totalS], mark: null, now: doneS, max: totalS, text, tone: "idle" });
}

function showDelivery(delivery, nowMs) {
  setText(byId("delivery-words"), deliveryWords(delivery));
  const receipt = delivery.last_receipt_ms;
  const pairs = [
    ["broker", word(`broker_${delivery.broker}`)],
    ["unsent", grouped(delivery.unsent)],
    ["last_receipt", receipt === null ? word("receipt_none") : `${clock(receipt)} (${age(Math.max(0, (nowMs - receipt) / 1000))})`],
    ["cosigned", grouped(delivery.cosigned_size)],
    ["journal", grouped(delivery.journal_size)],
    ["log_name", delivery.origin],
  ];
  facts(byId("delivery"), pairs.map(([name, text]) => [word(name), text]));
}

function showMeters(meters) {
  const columns = [[word("col_meter"), "name"], [word("col_power"), "number"], [word("col_energy"), "number"],
    [word("col_quality"), ""], [word("col_age"), "number"], [word("col_note"), "why"]];
  showTable("meter", columns, meters, (row) => row.meter_id, (row) => [
    row.meter_id, kw(row.power_w), kwh(row.energy_import_wh),
    { text: row.quality === null ? "–" : word(`quality_${row.quality}`), tone: row.quality === "G" ? "good" : "bad" },
    { text: age(row.age_s), tone: row.age_s === null || row.age_s > STALE_S ? "bad" : "" },
    row.fault ?? `${row.profile} · ${row.address}`,
  ], "–");
}

function showPurchases(transactions, nowMs) {
  const columns = [[word("col_purchase"), "name"], [word("col_status"), ""], [word("col_window"), ""],
    [word("col_used"), "number progress"], [word("col_bought"), "number"], [word("col_price"), "number"]];
  showTable("purchase", columns, transactions, (row) => row.transaction_id, (row) => [
    ofPoint(row, row.transaction_id),
    { text: word(`tx_${row.status}`), tone: row.status === "open" ? "good" : row.status === "exhausted" ? "warn" : "" },
    word("window", { start: dayOrShort(row.start_ms, nowMs), end: row.end_ms === null ? word("open_ended") : short(row.end_ms) }),
    `${kwh(row.allocated_wh)} · ${grouped((100 * row.allocated_wh) / Math.max(1, row.energy_wh), 1)} %`,
    kwh(row.energy_wh),
    word("price", { price: row.price_kzt_per_kwh }),
  ], word("purchases_none"));
  const share = new Map(transactions.map((row) => [row.transaction_id, row.allocated_wh / Math.max(1, row.energy_wh)]));
  for (const [key, node] of byId("purchase-rows").keyedNodes) {
    node.children[3].style.setProperty("--share", `${100 * Math.min(1, share.get(key) ?? 0)}%`);
  }
}

function showDecisions(decisions) {
  const columns = [[word("col_time"), "name"], [word("col_decision"), ""], [word("col_power"), "number"],
    [word("col_cap"), "number"], [word("col_commands"), "number"], [word("col_why"), "why"]];
  showTable("decision", columns, decisions.slice(0, 20), (row) => `${row.at_ms} ${row.meter_point}`, (row) => [
    clock(row.at_ms), word(`mode_short_${row.mode}`), kw(row.power_w), kw(row.power_cap_w), grouped(row.commands), ofPoint(row, reason(row.mode, row.because, row.power_cap_w)),
  ], word("decisions_none"));
}

function showWords() {
  document.documentElement.lang = language();
  for (const node of document.querySelectorAll("[data-word]")) setText(node, word(node.dataset.word));
  setAttribute(byId("language"), "aria-label", word("language"));
  byId("language").value = language();
}

function showAgain() {
  showWords();
  if (last.status !== null) showStatus(last.status);
  showLists();
  render();
  drawCharts();
  showAge();
}

for (const [code, name] of languages) {
  const option = element("option", "", name);
  option.value = code;
  option.lang = code;
  byId("language").append(option);
}
// Without the agent a language that was never loaded cannot be had: the old one stays.
byId("language").addEventListener("change", (event) => {
  chooseLanguage(event.target.value).catch(showWords);
});
onLanguage(showAgain);
showWords();
startMiners();
startCharts();
watchScrolls();
byId("site-link").hidden = linkedMac() === null;
setInterval(showAge, 1000);
addEventListener("resize", drawCharts);
document.addEventListener("visibilitychange", () => { if (!document.hidden) drawCharts(); });
follow(refresh);
poll();
