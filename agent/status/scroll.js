// What scrolls inside the page can be reached and scrolled by keyboard; what fits is no stop on the way.

import { setAttribute } from "/dom.js";

const observer = new ResizeObserver((entries) => {
  const boxes = new Set(entries.map(({ target }) => target.closest(".scroll")));
  for (const box of boxes) {
    const isLonger = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (isLonger) setAttribute(box, "tabindex", 0);
    else box.removeAttribute("tabindex");
  }
});

export function watchScrolls() {
  for (const box of document.querySelectorAll(".scroll")) {
    setAttribute(box, "role", "group");
    setAttribute(box, "aria-labelledby", box.closest("section").getAttribute("aria-labelledby"));
    observer.observe(box);
    for (const inside of box.children) observer.observe(inside);
  }
}
