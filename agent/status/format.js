// Numbers and times for people. An absent number is a dash, never a zero.

import { word } from "/words.js";

const THIN_SPACE = "\u202f"; // the narrow one that does not break a line
const DASH = "–";

let zone = "UTC";
const formats = new Map();

export function useZone(name) {
  if (name === zone) return;
  try {
    new Intl.DateTimeFormat("sv-SE", { timeZone: name });
    zone = name;
  } catch {
    zone = "UTC"; // a zone this browser does not know: say UTC rather than the browser's own
  }
  formats.clear();
}

export const zoneName = () => zone;

export function grouped(number, digits = 0) {
  if (number === null || number === undefined) return DASH;
  const [whole, part] = Math.abs(number).toFixed(digits).split(".");
  const sign = Number(number.toFixed(digits)) < 0 ? "−" : "";
  const groups = whole.replace(/\B(?=(\d{3})+$)/g, THIN_SPACE);
  return sign + groups + (part ? word("decimal_mark") + part : "");
}

const withUnit = (number, scale, digits, unit) =>
  number === null || number === undefined ? DASH : `${grouped(number / scale, digits)}\u00a0${unit}`;

export const kw = (watts) => withUnit(watts, 1000, 1, word("unit_kw"));
export const kwh = (wattHours) => withUnit(wattHours, 1000, 3, word("unit_kwh"));
export const watts = (number) => withUnit(number, 1, 0, word("unit_w"));

export function hashrate(hs) {
  if (hs === null || hs === undefined) return DASH;
  const [scale, unit] = hs >= 1e18 ? [1e18, "EH/s"] : hs >= 1e15 ? [1e15, "PH/s"] : [1e12, "TH/s"];
  return withUnit(hs, scale, scale === 1e12 ? 1 : 2, unit);
}

function format(options) {
  const key = JSON.stringify(options);
  if (!formats.has(key)) {
    // Swedish writes days as ISO 8601 does and counts 24 hours: nobody can misread them.
    formats.set(key, new Intl.DateTimeFormat("sv-SE", { ...options, timeZone: zone }));
  }
  return formats.get(key);
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const SHORT = { hour: "2-digit", minute: "2-digit" };
const DAY = { year: "numeric", month: "2-digit", day: "2-digit" };

export const clock = (ms) => (ms === null ? DASH : format(CLOCK).format(ms));
export const short = (ms) => (ms === null ? DASH : format(SHORT).format(ms));
export const dayAndClock = (ms) => (ms === null ? DASH : `${format(DAY).format(ms)} ${format(CLOCK).format(ms)}`);

// A time today is shown as hours and minutes, another day with its date.
export function dayOrShort(ms, nowMs) {
  const day = format(DAY);
  return day.format(ms) === day.format(nowMs) ? short(ms) : `${day.format(ms)} ${short(ms)}`;
}

export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s >= 3600) return word("left_h", { h: Math.floor(s / 3600), m: Math.floor((s % 3600) / 60) });
  if (s >= 60) return word("left_m", { m: Math.floor(s / 60), s: s % 60 });
  return word("left_s", { s });
}

export function age(seconds) {
  if (seconds === null || seconds === undefined) return DASH;
  if (seconds >= 7200) return word("age_h", { h: Math.floor(seconds / 3600) });
  if (seconds >= 120) return word("age_m", { m: Math.floor(seconds / 60) });
  return word("age_s", { s: grouped(seconds, seconds < 10 ? 1 : 0) });
}

// A sentence of the agent begins with a capital letter where it stands alone; a name stays as it is.
export const sentence = (text) => (/^\p{Ll}+(?=[\s,.:;]|$)/u.test(text) ? text[0].toLocaleUpperCase() + text.slice(1) : text);
