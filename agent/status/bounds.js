// What bounds the site beside the energy of now: the next window, the limits in kW, the relays.

import { byId, facts, setAttribute, setText, showTable } from "/dom.js";
import { dayOrShort, duration, grouped, kw, kwh } from "/format.js";
import { aheadWords, limitWords, percent } from "/reason.js";
import { word } from "/words.js";

const IDS_SHOWN = 3;

const listed = (ids) => (ids.length > IDS_SHOWN ? `${ids.slice(0, IDS_SHOWN).join(", ")} …` : ids.join(", "));

export function showAhead(ahead, nowMs, points) {
  const [tone, verdict] = ahead === null ? ["idle", word("ahead_none")]
    : ahead.can_comply ? ["good", word("ahead_yes")] : ["bad", word("ahead_no")];
  setAttribute(byId("ahead"), "data-tone", tone);
  setText(byId("ahead-verdict"), verdict);
  setText(byId("ahead-words"), ahead === null ? "" : aheadWords(ahead, points));
  byId("ahead-facts").hidden = ahead === null;
  if (ahead === null) return;
  const left = duration(Math.max(0, (ahead.start_ms - nowMs) / 1000));
  facts(byId("ahead-facts"), [
    [word("ahead_start"), word("ahead_in", { time: dayOrShort(ahead.start_ms, nowMs), left })],
    [word("ahead_bought"), kwh(ahead.purchased_wh)],
    [word("ahead_least"), kwh(ahead.least_wh)],
    [word("ahead_obey"), percent(ahead.controllable_share)],
    [word("ahead_losable"), percent(ahead.losable_share)],
    [word("ahead_stop"), word("ahead_floor", { left: duration(Math.ceil(ahead.stop_s)), kwh: kwh(ahead.stop_wh) })],
    [word("ahead_ids", { count: ahead.transactions.length }), listed(ahead.transactions)],
  ]);
}

function span(limit, nowMs) {
  // What rules without times of its own, as a purchase or the meter, rules now; a rating for good.
  if (limit.from_ms === null && limit.until_ms === null) {
    return limit.kind === "connection" ? word("limit_always") : word("limit_now");
  }
  const from = limit.from_ms === null ? word("limit_now") : dayOrShort(limit.from_ms, nowMs);
  const until = limit.until_ms === null ? word("limit_open") : dayOrShort(limit.until_ms, nowMs);
  return word("window", { start: from, end: until });
}

export function showLimits(limits, nowMs) {
  const columns = [[word("col_limit"), "name"], [word("col_power"), "number"], [word("col_window"), ""],
    [word("col_after"), "number"], [word("col_source"), ""], [word("col_why"), "why"]];
  showTable("limit", columns, limits, (row) => `${row.kind} ${row.id}`, (row) => [
    row.is_ruling ? { text: word("limit_rules", { kind: word(`kind_${row.kind}`) }), tone: "state-word ruling" } : word(`kind_${row.kind}`),
    kw(row.power_w),
    span(row, nowMs),
    row.until_ms === null ? "–" : kw(row.safe_w),
    row.source === row.id ? row.id : `${row.source} · ${row.id}`,
    limitWords(row),
  ], word("limits_none"));
}

// A site without relays has nothing to show of them.
export function showRelays(relays) {
  byId("relays").hidden = relays.length === 0;
  const columns = [[word("col_relay"), "name"], [word("col_state"), ""], [word("col_openings"), "number"],
    [word("col_behind"), "number"], [word("col_machines"), "why"]];
  showTable("relay", columns, relays, (row) => row.relay_id, (row) => [
    row.relay_id,
    { text: word(`relay_${row.state}`), tone: row.state === "closed" ? "good" : row.state === "open" ? "warn" : "bad" },
    grouped(row.openings_24h),
    grouped(row.miners.length),
    row.miners.join(", "),
  ], "–");
}
