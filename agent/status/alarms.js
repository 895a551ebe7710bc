// What a person should know: what it means in the language of the page, what the agent says of this
// very case, the usual cause, and what to do.

import { byId, element, keyed, setAttribute, setText } from "/dom.js";
import { dayOrShort, sentence } from "/format.js";
import { alarmText, language, word } from "/words.js";

export function showAlarms(alarms, nowMs, named) {
  const title = alarms.length === 0 ? word("alarms_none") : alarms.length === 1 ? word("alarms_one")
    : word("alarms_many", { count: alarms.length });
  setText(byId("alarms-title"), title);
  byId("alarms").classList.toggle("is-none", alarms.length === 0);
  const isCritical = alarms.some((alarm) => alarm.severity === "critical");
  setAttribute(byId("alarms"), "data-tone", isCritical ? "bad" : alarms.length ? "warn" : "good");
  const sorted = [...alarms].sort((a, b) => (a.severity === b.severity ? b.first_seen_ms - a.first_seen_ms
    : a.severity === "critical" ? -1 : 1));
  keyed(byId("alarm-list"), sorted, (alarm) => `${alarm.meter_point} ${alarm.code} ${alarm.source}`, () => {
    const item = element("li");
    item.append(element("strong"), element("span", "what"), element("span", "words"), element("span", "remedy"),
      element("span", "cause quiet"), element("small", "quiet"));
    return item;
  }, (item, alarm) => {
    const [severity, what, words, remedy, cause, since] = item.children;
    const text = alarmText(alarm.code);
    setAttribute(item, "data-severity", alarm.severity);
    setText(severity, word(`severity_${alarm.severity}`));
    setText(what, named(alarm, text === null ? alarm.code : text.text));
    setText(words, sentence(alarm.words));
    if (language() !== "en") setAttribute(words, "lang", "en");
    else words.removeAttribute("lang");
    setText(remedy, text === null ? sentence(alarm.remedy) : text.remedy);
    setText(cause, text === null ? "" : word("alarm_cause", { cause: text.cause }));
    const seen = { time: dayOrShort(alarm.first_seen_ms, nowMs), count: alarm.count, source: alarm.source };
    setText(since, word("alarm_since", seen));
  });
}
