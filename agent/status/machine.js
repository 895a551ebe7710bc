// One machine in full: under the map for the tile that was chosen, on top for a label's link.

import { byId, element, facts, setAttribute, setText } from "/dom.js";
import { age, grouped, hashrate, watts } from "/format.js";
import { agentWords, commandWords, machineWhy } from "/reason.js";
import { language, word } from "/words.js";

const LINK = /^\/m\/([0-9a-f:-]{12,17})$/i;

const digitsOf = (mac) => mac.replace(/[:-]/g, "").toLowerCase();

export const macOf = (row) => row.pinned_mac ?? row.mac;

// The MAC that the address of this page names, if it is a machine's own.
export const linkedMac = () => {
  const found = LINK.exec(location.pathname);
  return found === null ? null : digitsOf(found[1]);
};

const poolText = (pool) => `${pool.url} ${pool.user}`;

function pairsOf(row) {
  return [
    ["state", `${word(`state_${row.state}`)} · ${age(row.age_s)}`],
    ["power", watts(row.power_w)], ["expected", watts(row.expected_w)],
    ["hashrate", hashrate(row.hashrate_hs)],
    ["boards", word("boards", { on: row.boards_on ?? "–", count: row.board_count ?? "–" })],
    ["command", commandWords(row)], ["rack", row.rack ?? "–"],
    ["address", row.address], ["mac", macOf(row) ?? "–"],
    ["model", row.model ?? row.family], ["firmware", row.firmware ?? "–"], ["serial", row.serial ?? "–"],
    ["fans", row.fan_speeds_rpm.map((rpm) => grouped(rpm)).join(" · ")],
    ["pools", row.pools.map(poolText).join(", ")], ["complaints", row.complaints.join("; ")],
  ].filter(([, text]) => text !== "");
}

function parts(card) {
  if (card.children.length === 0) {
    const link = element("a", "machine-link");
    card.append(element("h3"), element("p", "lead"), element("dl", "facts"), element("p", "quiet own"), link);
  }
  return card.children;
}

export function showMachine(card, row) {
  const [title, why, list, own, link] = parts(card);
  setText(title, word("machine_title", { id: row.miner_id }));
  const isForeign = language() !== "en";
  setText(why, isForeign ? machineWhy(row) : agentWords(row));
  facts(list, pairsOf(row).map(([name, text]) => [word(`col_${name}`), text]));
  setText(own, isForeign ? `${word("agent_words")}: ${agentWords(row)}` : "");
  const mac = macOf(row);
  link.hidden = mac === null;
  if (mac !== null) setAttribute(link, "href", `/m/${digitsOf(mac)}`);
  setText(link, word("machine_link"));
}

// The machine of the page's own address, if that is one; nothing else is on the site's own page.
export function showLinked(rows) {
  const wanted = linkedMac();
  byId("machine").hidden = wanted === null;
  if (wanted === null || rows.length === 0) return;
  const row = rows.find((one) => macOf(one) !== null && digitsOf(macOf(one)) === wanted);
  byId("machine-card").hidden = row === undefined;
  setText(byId("machine-none"), row === undefined ? word("machine_unknown", { mac: wanted }) : "");
  if (row) showMachine(byId("machine-card"), row);
}
