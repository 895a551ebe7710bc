// The machines where they stand: one block per rack, one tile per machine. Only the tiles near what
// is on the screen exist; the other blocks keep their height, so that thousands scroll like ten.

import { byId, element, keyed, setAttribute, setText } from "/dom.js";
import { kw } from "/format.js";
import { machineWhy } from "/reason.js";
import { word } from "/words.js";

const BLOCK_MAX = 200;
const TILE = { width: 62, height: 40, gap: 4 }; // as in page.css
const NEAR = "400px";
const SIGNS = { ramping: "▲", throttled: "◐", sleeping: "z", faulty: "✕", unread: "?" };

const collator = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => collator.compare(a, b);

let shown = [];
let order = [];
let blocks = [];
let current = null;
let tilesPerLine = null;
let tellChosen = () => {};

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.isNear = isIntersecting;
    drawTiles(target);
  }
  offerStop();
}, { root: byId("miner-map"), rootMargin: NEAR });

export function showMap(rows) {
  const isSame = rows.length === shown.length
    && rows.every((row, index) => row.miner_id === shown[index].miner_id && row.rack === shown[index].rack);
  shown = rows;
  if (isSame) {
    const rowOf = new Map(rows.map((row) => [row.miner_id, row]));
    for (const block of blocks) block.rows = block.rows.map((row) => rowOf.get(row.miner_id));
  } else {
    regroup();
  }
  setAttribute(byId("miner-map"), "aria-label", word("map_label"));
  keyed(byId("miner-map"), blocks, (block) => block.key, createBlock, (node, block) => {
    node.block = block;
    const name = block.rack === null ? word("rack_none") : word("rack", { name: block.rack });
    const title = block.part === "" ? name : `${name} · ${block.part}`;
    setText(node.firstChild.firstChild, title);
    setText(node.firstChild.lastChild, word("rack_note", { count: block.rows.length, kw: kw(sum(block.rows)) }));
    setAttribute(node, "aria-label", title);
    drawTiles(node);
  });
  offerStop();
}

// A sum without those that nobody can read says less than the rack draws: unknown, then.
const sum = (rows) => rows.reduce((total, row) => (total === null || row.power_w === null ? null : total + row.power_w), 0);

function regroup() {
  const racks = new Map();
  for (const row of shown) {
    const name = row.rack ?? null;
    if (!racks.has(name)) racks.set(name, []);
    racks.get(name).push(row);
  }
  const names = [...racks.keys()].sort((a, b) => (a === null ? 1 : b === null ? -1 : byName(a, b)));
  blocks = names.flatMap((rack) => {
    const rows = racks.get(rack).sort((a, b) => byName(a.miner_id, b.miner_id));
    const count = Math.ceil(rows.length / BLOCK_MAX);
    return Array.from({ length: count }, (_, index) => {
      const part = rows.slice(index * BLOCK_MAX, (index + 1) * BLOCK_MAX);
      const ends = count === 1 ? "" : `${part[0].miner_id} – ${part[part.length - 1].miner_id}`;
      return { key: `${rack} ${index}`, rack, part: ends, rows: part };
    });
  });
  order = blocks.flatMap((block) => block.rows.map((row) => row.miner_id));
}

function createBlock() {
  const node = element("section", "rack");
  node.setAttribute("role", "group");
  const head = element("h3");
  head.append(element("span"), element("small", "quiet"));
  node.append(head, element("ul"));
  node.isNear = false;
  observer.observe(node);
  return node;
}

// All racks are equally wide. To measure each of them would lay the page out as often.
function perLine() {
  if (tilesPerLine === null) {
    const width = byId("miner-map").querySelector(".rack ul").clientWidth;
    tilesPerLine = Math.max(1, Math.floor((width + TILE.gap) / (TILE.width + TILE.gap)));
  }
  return tilesPerLine;
}

function drawTiles(node) {
  const list = node.lastChild;
  if (!node.isNear && !node.contains(document.activeElement)) {
    if (list.firstChild === null && list.keptFor === node.block.rows.length) return;
    const lines = Math.ceil(node.block.rows.length / perLine());
    list.style.minHeight = `${lines * (TILE.height + TILE.gap) - TILE.gap}px`;
    list.keptFor = node.block.rows.length;
    keyed(list, [], (row) => row.miner_id, () => null, () => {});
    return;
  }
  keyed(list, node.block.rows, (row) => row.miner_id, createTile, drawTile);
}

function createTile(row) {
  const item = element("li");
  const tile = element("button");
  tile.type = "button";
  tile.tabIndex = -1;
  tile.dataset.miner = row.miner_id;
  const sign = element("i");
  sign.setAttribute("aria-hidden", "true");
  tile.append(element("b"), sign, " ", element("span"));
  item.append(tile);
  return item;
}

function drawTile(item, row) {
  const tile = item.firstChild;
  const className = `tile is-${row.state}${row.miner_id === current ? " is-chosen" : ""}`;
  if (tile.className !== className) tile.className = className;
  const [name, sign, power] = tile.children;
  const isPlaced = row.rack && row.miner_id.startsWith(row.rack);
  setText(name, isPlaced ? row.miner_id.slice(row.rack.length).replace(/^[-_./:]/, "") : row.miner_id);
  setAttribute(sign, "data-sign", SIGNS[row.state] ?? "");
  setText(power, kw(row.power_w));
  const why = machineWhy(row);
  // The name begins as the tile reads, so that it can be called by voice (WCAG 2.2, 2.5.3).
  const values = { id: row.miner_id, kw: kw(row.power_w), state: word(`state_${row.state}`), why };
  setAttribute(tile, "aria-label", word("tile", values));
  if (tile.title !== why) tile.title = why;
}

const tileOf = (minerId) => byId("miner-map").querySelector(`.tile[data-miner="${CSS.escape(minerId)}"]`);

// One stop of the tabulator for the whole map; the arrows move inside.
function offerStop() {
  const tile = (current && tileOf(current)) ?? byId("miner-map").querySelector(".tile");
  if (!tile || tile.tabIndex === 0) return;
  for (const other of byId("miner-map").querySelectorAll('.tile[tabindex="0"]')) other.tabIndex = -1;
  tile.tabIndex = 0;
}

function choose(minerId) {
  const before = current === null ? null : tileOf(current);
  if (before) before.classList.remove("is-chosen");
  current = minerId;
  tileOf(minerId)?.classList.add("is-chosen");
  offerStop();
  tellChosen(minerId);
}

function goTo(minerId) {
  const at = blocks.findIndex((block) => block.rows.some((row) => row.miner_id === minerId));
  const node = byId("miner-map").children[at];
  if (!tileOf(minerId)) {
    node.isNear = true;
    drawTiles(node);
  }
  tileOf(minerId).focus();
}

function onKey(event) {
  const index = order.indexOf(document.activeElement?.dataset.miner);
  if (index < 0) return;
  const line = perLine();
  const page = document.activeElement.closest("ul").children.length;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: line, ArrowUp: -line, PageDown: page, PageUp: -page };
  const target = event.key === "Home" ? 0 : event.key === "End" ? order.length - 1
    : event.key in moves ? Math.min(order.length - 1, Math.max(0, index + moves[event.key])) : null;
  if (target === null) return;
  event.preventDefault();
  goTo(order[target]);
}

export function startMap(onChosen) {
  tellChosen = onChosen;
  const map = byId("miner-map");
  map.addEventListener("keydown", onKey);
  for (const kind of ["focusin", "click"]) {
    map.addEventListener(kind, (event) => {
      const tile = event.target.closest(".tile");
      if (tile && tile.dataset.miner !== current) choose(tile.dataset.miner);
    });
  }
  addEventListener("resize", () => {
    tilesPerLine = null;
    for (const node of map.children) { node.lastChild.keptFor = null; drawTiles(node); }
  });
}
