// The machines: a map for the eye, a table for the reasons, a search for both.

import { byId, element, keyed, setAttribute, setText, tableHead, tableRows } from "/dom.js";
import { hashrate, watts } from "/format.js";
import { showLinked, showMachine } from "/machine.js";
import { showMap, startMap } from "/map.js";
import { commandWords, machineWhy } from "/reason.js";
import { word } from "/words.js";

const STATES = ["hashing", "ramping", "throttled", "sleeping", "faulty", "unread"];
const PAGE_ROWS = 100;

const columns = () => [
  [word("col_miner"), "name"], [word("col_state"), ""], [word("col_power"), "number"],
  [word("col_expected"), "number"], [word("col_hashrate"), "number"], [word("col_boards"), "number"],
  [word("col_command"), "command"], [word("col_why"), "why"],
];

let rows = [];
let chosenState = null;
let rowsShown = PAGE_ROWS;
let chosen = null;

function stateOf(row) {
  if (row.fault !== null || row.activity === "fault") return "faulty";
  if (row.activity === null) return "unread";
  if (row.activity === "sleeping" || row.activity === "stopped") return "sleeping";
  if (row.activity === "ramping") return "ramping";
  if (row.boards_on !== null && row.board_count !== null && row.boards_on < row.board_count) {
    return "throttled";
  }
  return "hashing";
}

const boards = (row) => word("boards", { on: row.boards_on ?? "–", count: row.board_count ?? "–" });

// What the search looks at; built once per row and tick only while something is searched for.
const searchText = (row) => [
  row.miner_id, row.address, row.family, row.model, row.mac, row.serial, row.firmware, row.profile,
  row.target, row.stage, row.why, row.fault, row.state, row.rack, row.pinned_mac, ...row.complaints,
  ...row.pools.flatMap((pool) => [pool.url, pool.user]),
].join(" ").toLowerCase();

export function showMiners(list) {
  for (const row of list) row.state = stateOf(row);
  rows = list;
  render();
}

export function render() {
  const needles = byId("miner-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => needles.length === 0
    || needles.every((needle) => searchText(row).includes(needle)));
  const shown = found.filter((row) => chosenState === null || row.state === chosenState);
  setText(byId("miners-title"), word("miners_count", { count: rows.length }));
  showStates(found);
  showMap(shown);
  const note = shown.length === 0 && rows.length > 0 ? word("miners_none")
    : shown.length < rows.length ? word("miners_shown", { shown: shown.length, count: rows.length }) : "";
  setText(byId("grid-note"), note);
  showTable(shown);
  showChosen();
  showLinked(rows);
}

// The card stays on the machine that was chosen, also while a search hides its tile.
function showChosen() {
  const row = rows.find((one) => one.miner_id === chosen);
  byId("miner-card").hidden = row === undefined;
  if (row) showMachine(byId("miner-card"), row);
}

function showStates(found) {
  const counts = new Map(STATES.map((state) => [state, 0]));
  for (const row of found) counts.set(row.state, counts.get(row.state) + 1);
  setAttribute(byId("miner-states"), "aria-label", word("filter_states"));
  const items = STATES.filter((state) => counts.get(state) > 0 || state === chosenState);
  keyed(byId("miner-states"), items, (state) => state, (state) => {
    const chip = element("button", `chip is-${state}`);
    chip.type = "button";
    chip.addEventListener("click", () => {
      chosenState = chosenState === state ? null : state;
      render();
    });
    return chip;
  }, (chip, state) => {
    setText(chip, `${word(`state_${state}`)} ${counts.get(state)}`);
    setAttribute(chip, "aria-pressed", chosenState === state);
  });
}

function showTable(shown) {
  tableHead(byId("miner-head"), columns());
  // What is broken comes first: that is what somebody looks for.
  const rank = (row) => (row.state === "faulty" ? 0 : row.state === "unread" ? 1 : 2);
  const sorted = [...shown].sort((a, b) => rank(a) - rank(b));
  tableRows(byId("miner-rows"), columns(), sorted.slice(0, rowsShown), (row) => row.miner_id, (row) => [
    row.miner_id,
    { text: word(`state_${row.state}`), tone: `state-word is-${row.state}` },
    watts(row.power_w), watts(row.expected_w), hashrate(row.hashrate_hs), boards(row),
    commandWords(row),
    [machineWhy(row), ...row.complaints].filter(Boolean).join(" "),
  ]);
  const left = shown.length - rowsShown;
  const more = byId("miner-more");
  more.hidden = left <= 0;
  setText(more, word("show_more", { count: Math.min(left, PAGE_ROWS) }));
}

export function startMiners() {
  startMap((minerId) => {
    chosen = minerId;
    showChosen();
  });
  byId("miner-search").addEventListener("input", () => {
    rowsShown = PAGE_ROWS;
    render();
  });
  byId("miner-more").addEventListener("click", () => {
    rowsShown += PAGE_ROWS;
    render();
  });
}
