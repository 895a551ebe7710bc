// Changes to the document. Text always goes in through textContent, so nothing that a device or a
// purchase says can become markup. Nodes are kept and only touched where something changed: focus,
// selection and a screen reader's place survive every tick.

export const byId = (id) => document.getElementById(id);

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

// Make the children of a container follow the items: one node per key, in order.
export function keyed(container, items, keyOf, create, update) {
  const old = container.keyedNodes ?? new Map();
  const nodes = new Map();
  let place = container.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (nodes.has(key)) continue;
    const node = old.get(key) ?? create(item);
    nodes.set(key, node);
    if (node === place) place = place.nextSibling;
    else container.insertBefore(node, place);
    update(node, item);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
  container.keyedNodes = nodes;
}

// A list of facts: [label, text] each.
export function facts(list, pairs) {
  keyed(list, pairs, ([label]) => label, ([label]) => {
    const pair = element("div");
    pair.append(element("dt", "", label), element("dd"));
    return pair;
  }, (pair, [, text]) => setText(pair.lastChild, text));
}

// Heads of a table: the columns are [label, class].
export function tableHead(row, columns) {
  keyed(row, columns, ([label]) => label, () => {
    const cell = element("th");
    cell.scope = "col";
    return cell;
  }, (cell, [label, className]) => {
    setText(cell, label);
    cell.className = className;
  });
}

// Rows of a table: cellsOf gives one text, or {text, tone}, per column. The first is the row's head.
export function tableRows(body, columns, items, keyOf, cellsOf) {
  keyed(body, items, keyOf, () => {
    const row = element("tr");
    columns.forEach(([, className], index) => {
      const cell = element(index === 0 ? "th" : "td", className);
      if (index === 0) cell.scope = "row";
      cell.append(element("span"));
      row.append(cell);
    });
    return row;
  }, (row, item) => {
    cellsOf(item).forEach((value, index) => {
      const cell = row.children[index];
      if (cell.dataset.label !== columns[index][0]) cell.dataset.label = columns[index][0];
      const span = cell.firstChild;
      const { text, tone } = typeof value === "object" ? value : { text: value, tone: "" };
      setText(span, text);
      if (span.className !== tone) span.className = tone;
    });
  });
}

// A whole table of the page by its name; without any item it says so in its first cell.
export function showTable(name, columns, items, keyOf, cellsOf, emptyText) {
  tableHead(byId(`${name}-head`), columns);
  const rows = items.length > 0 ? items : [null];
  const keys = (item) => (item === null ? "empty" : keyOf(item));
  const blank = columns.map((_, index) => (index === 0 ? emptyText : ""));
  tableRows(byId(`${name}-rows`), columns, rows, keys, (item) => (item === null ? blank : cellsOf(item)));
}

// A bar: fills and a mark, given as shares of its width.
export function setBar(bar, { fills, mark, now, max, text, tone }) {
  [...bar.querySelectorAll(".fill")].forEach((fill, index) => {
    fill.style.width = `${100 * Math.min(1, Math.max(0, fills[index] ?? 0))}%`;
  });
  const line = bar.querySelector(".mark");
  if (line) {
    line.hidden = mark === null;
    if (mark !== null) line.style.left = `${100 * Math.min(1, Math.max(0, mark))}%`;
  }
  setAttribute(bar, "aria-valuemin", 0);
  setAttribute(bar, "aria-valuemax", Math.round(max));
  setAttribute(bar, "aria-valuenow", Math.round(now));
  setAttribute(bar, "aria-valuetext", text);
  setAttribute(bar, "data-tone", tone);
}
