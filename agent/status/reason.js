// Why: the agent's reasons in the language of the page. The agent speaks English and gives the
// figures beside; what it says of a single case is shown in its own words and marked as such.

import { duration, grouped, kw, kwh, sentence } from "/format.js";
import { language, word } from "/words.js";

const MODES = new Set(["blind", "failsafe", "no_purchase"]);

export const percent = (share) => word("percent", { share: grouped(100 * share, 0) });

// With several meter points the agent puts the name of the one it speaks of before its sentence.
function pointOf(words, points) {
  if ((points ?? []).length < 2) return "";
  const found = points.find((point) => words.startsWith(`${point.meter_point}: `));
  return found ? `${found.meter_point}: ` : "";
}

function ofPurchase(mode, numbers, capW) {
  const values = {
    left: kwh(Math.max(0, numbers.left_wh)), bought: kwh(numbers.purchased_wh), flow: kwh(numbers.stop_flow_wh),
    time: duration(numbers.time_left_s), cap: kw(capW),
  };
  if (mode !== "shedding") return word("reason_following", values);
  return word(numbers.left_wh <= numbers.stop_flow_wh ? "reason_shedding" : "reason_edge", values);
}

export function reason(mode, because, capW, points = []) {
  const name = pointOf(because.words, points);
  if (language() === "en") return name + sentence(because.words.slice(name.length));
  if (MODES.has(mode)) return name + word(`reason_${mode}`);
  if (because.limit === "purchase" && "left_wh" in because.numbers) {
    return name + ofPurchase(mode, because.numbers, capW);
  }
  return name + word("reason_limit", { kind: word(`kind_${because.limit}`), source: because.source, cap: kw(capW) });
}

export function aheadWords(ahead, points) {
  const values = {
    share: percent(ahead.controllable_share), least: kwh(ahead.least_wh),
    bought: kwh(ahead.purchased_wh), losable: percent(ahead.losable_share),
  };
  const name = pointOf(ahead.words, points);
  if (language() === "en") return name + sentence(ahead.words.slice(name.length));
  return name + word(ahead.can_comply ? "ahead_words_yes" : "ahead_words_no", values);
}

export const limitWords = (limit) => (language() === "en" ? sentence(limit.words) : word(`about_${limit.kind}`));

export function deliveryWords(delivery) {
  if (language() === "en") return sentence(delivery.words);
  if (delivery.broker === "off") return word("delivery_off");
  if (delivery.unsent === 0) return word("delivery_all");
  return word("delivery_some", { count: grouped(delivery.unsent) });
}

// Where a machine is told to be: "asleep", or boards and profile.
export function targetWords(target) {
  if (target === null) return "–";
  if (target === "asleep") return word("target_asleep");
  const boards = /^(\d+) boards? at (.*)$/.exec(target);
  if (!boards) return target;
  const profile = boards[2] === "its profile" ? word("target_own") : boards[2];
  return word("target_boards", { count: boards[1], profile });
}

export function commandWords(row) {
  const stage = row.stage === null ? "" : word(`stage_${row.stage}`);
  return [row.target === null ? "" : targetWords(row.target), stage].filter(Boolean).join(" · ") || "–";
}

// The agent's own words on a machine: its reason often tells the fault already.
export const agentWords = (row, why = row.why) => (
  [row.fault === null || why.includes(row.fault) ? "" : row.fault, why].filter(Boolean).map(sentence).join(" "));

// Why a machine runs as it does, without what binds the whole site: that stands above all of them.
export function machineWhy(row) {
  if (language() === "en") return agentWords(row, row.why_short ?? row.why);
  if (row.fault !== null) return `${word("why_fault")} ${row.fault}`;
  if (["refused", "unknown", "ineffective"].includes(row.stage)) {
    return word("why_disobeys", { target: targetWords(row.target) });
  }
  if (row.activity === null) return word("why_unread");
  if (row.state === "hashing") return word("why_full");
  return row.target === null ? word("why_found") : word("why_told", { target: targetWords(row.target) });
}
