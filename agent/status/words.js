// Every word of the page that the agent does not send itself, in the language that was chosen.
// A language is a module of the agent's own; a placeholder is a name in braces.

const NAMES = { en: "English", ru: "Русский", kk: "Қазақша", fr: "Français" };
const KEPT_AS = "kwota-language";
const LATER_MS = 3000;

const tables = new Map();
const listeners = [];

async function load(code) {
  if (!tables.has(code)) tables.set(code, (await import(`/words-${code}.js`)).default);
  return tables.get(code);
}

// Where a browser keeps nothing for this page, the choice lasts until the page is closed.
function kept() {
  try { return localStorage.getItem(KEPT_AS); } catch { return null; }
}

function keep(code) {
  try { localStorage.setItem(KEPT_AS, code); } catch { /* the page works without a memory */ }
}

const wanted = [kept(), ...navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase())];
let current = wanted.find((code) => code in NAMES) ?? "en";
let table = await load(current);

// The others come while nobody waits, so that they can be chosen when the agent is gone.
setTimeout(() => { for (const code of Object.keys(NAMES)) load(code).catch(() => {}); }, LATER_MS);

export const language = () => current;
export const languages = Object.entries(NAMES);
export const onLanguage = (listener) => listeners.push(listener);

export async function chooseLanguage(code) {
  table = await load(code);
  current = code;
  keep(code);
  for (const listener of listeners) listener();
}

// The word for a key, with its placeholders filled. An unknown key shows itself: a mode or state
// that this page has never heard of must not vanish.
export function word(key, values = {}) {
  const text = table.words[key] ?? key.replace(/^[a-z]+_/, "");
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? "–"));
}

// What is known of an alarm by its code; a code that ends in a number has the text of its kind.
export const alarmText = (code) => table.alarms[code] ?? table.alarms[code.replace(/_[^_]*$/, "")] ?? null;
