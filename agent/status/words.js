// Every word of the page that the agent does not send itself. A language is one more table with
// the same keys; a placeholder is a name in braces.

const en = {
  page_title: "Power and energy of the site",
  skip: "To the machines",
  age_now: "data {s} s old",
  age_none: "no data yet",
  clock_untrusted: "clock not trusted",
  shadow_run: "shadow run: nothing is sent",

  banner_no_answer: "The agent does not answer. The figures below are old. Check that the kwota service runs.",
  banner_frozen: "The agent answers, but its data does not change: its control loop stands still.",
  last_known: "Last known: {words}",
  banner_not_ready: "The agent is starting. {sentence}",

  mode_following: "Inside budget",
  mode_shedding: "Shedding: the end of the budget is near",
  mode_blind: "Meter silent: assuming the worst",
  mode_failsafe: "Failsafe: nothing may rise",
  mode_no_purchase: "No purchase is open",
  mode_over: "Over budget by {kwh}",
  mode_over_cap: "Inside budget, power above the cap",
  state_source: "{limit} · {source}",

  power_now: "Power now",
  power_cap: "cap {kw}",
  power_cap_none: "no cap",
  power_note: "{kw} planned · base load {base}",
  power_text: "{kw} of {cap}",
  energy_left: "Energy left",
  energy_of: "of {kwh}",
  energy_note: "{kwh} used by the meter · at most {upper}",
  energy_text: "{used} used of {purchased}",
  energy_none: "no open purchase",
  time_left: "Time left",
  time_end: "until {time}",
  time_note: "since {time} · {count} open: {ids}",
  time_text: "{left} left",

  alarms_none: "No alarm",
  alarms_one: "1 alarm",
  alarms_many: "{count} alarms",
  alarm_since: "since {time}, seen {count}×, {source}",
  severity_warning: "warning",
  severity_critical: "critical",

  ahead: "Next window",
  ahead_none: "no window opens in the next 15 minutes",
  ahead_yes: "can be kept",
  ahead_no: "cannot be kept",
  ahead_start: "Opens",
  ahead_in: "{time}, in {left}",
  ahead_bought: "Bought",
  ahead_least: "Flows at least",
  ahead_obey: "Watts that obey now",
  ahead_losable: "May cease to obey",
  ahead_stop: "To the floor",
  ahead_floor: "{left}, {kwh}",
  ahead_ids: "Purchases: {count}",
  percent: "{share} %",

  limits: "Limits",
  limits_none: "Nothing limits the power.",
  limit_rules: "{kind} rules",
  limit_always: "always",
  limit_now: "now",
  limit_open: "until lifted",
  kind_purchase: "Purchase", kind_no_purchase: "No purchase", kind_meter: "Meter",
  kind_connection: "Connection", kind_cap: "Cap", kind_profile: "Hours",
  kind_dispatch_order: "Grid order", kind_manual: "Manual",

  relays: "Relays",
  relay_open: "open: no feed", relay_closed: "closed", relay_unknown: "not known",

  chart_title: "Power against cap, last 10 minutes",
  chart_power: "power",
  chart_cap: "cap",
  chart_text: "Power {kw}, cap {cap}. Lowest {low}, highest {high} in the last 10 minutes.",
  chart_empty: "Not enough samples yet.",

  miners_count: "Machines: {count}",
  miners_caption: "Machines, their state and why they run as they do",
  farm_note: "{hashrate} · {switches} board switches · {restarts} mining restarts",
  search: "Search",
  filter_states: "Show only this state",
  miners_shown: "{shown} of {count} shown",
  miners_none: "No machine fits the search.",
  show_more: "Show {count} more",
  state_hashing: "hashing",
  state_ramping: "ramping",
  state_throttled: "throttled",
  state_sleeping: "sleeping",
  state_faulty: "faulty",
  state_unread: "not read yet",
  boards: "{on}/{count}",
  tile: "{id}: {state}, {watts}, boards {boards}",

  col_miner: "Machine", col_state: "State", col_power: "Power", col_expected: "Expected",
  col_hashrate: "Hashrate", col_boards: "Boards", col_command: "Command", col_why: "Why", col_note: "Note",
  col_meter: "Meter", col_energy: "Energy register", col_quality: "Quality", col_age: "Age",
  col_purchase: "Purchase", col_window: "Window", col_used: "Used", col_bought: "Bought",
  col_price: "Price", col_status: "Status",
  col_limit: "Limit", col_after: "Afterwards", col_source: "Source",
  col_relay: "Relay", col_openings: "Openings in 24 h", col_behind: "Behind it", col_machines: "Machines",
  col_point: "Meter point", col_left: "Left",
  col_time: "Time", col_decision: "Mode", col_cap: "Cap", col_commands: "Commands",

  meters: "Meters",
  quality_G: "good", quality_T: "timed out", quality_S: "suspect", quality_F: "faulty",
  points: "Meter points",
  purchases: "Purchases",
  purchases_none: "The agent knows of no purchase.",
  price: "{price} ₸/kWh",
  open_ended: "open-ended",
  window: "{start} – {end}",
  tx_planned: "planned", tx_open: "open", tx_exhausted: "exhausted", tx_closed: "closed",
  decisions: "Recent decisions",
  decisions_none: "No decision yet.",
  mode_short_following: "following", mode_short_shedding: "shedding", mode_short_blind: "blind",
  mode_short_failsafe: "failsafe", mode_short_no_purchase: "no purchase",

  delivery: "Evidence delivery",
  broker: "Broker", broker_connected: "connected", broker_connecting: "connecting",
  broker_off: "off",
  journal: "Records in the log", cosigned: "Cosigned by the pool", unsent: "Waiting",
  last_receipt: "Last receipt", receipt_none: "none yet", log_name: "Log",

  build: "kwota {version}, running since {time}",
  left_h: "{h} h {m} min", left_m: "{m} min {s} s", left_s: "{s} s",
  age_s: "{s} s", age_m: "{m} min", age_h: "{h} h",
};

const TABLES = { en };
const LANGUAGE = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag in TABLES) ?? "en";
const TABLE = TABLES[LANGUAGE];

export const language = LANGUAGE;

// The word for a key, with its placeholders filled. An unknown key shows itself: a mode or state
// that this page has never heard of must not vanish.
export function word(key, values = {}) {
  const text = TABLE[key] ?? en[key] ?? key.replace(/^[a-z]+_/, "");
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? "–"));
}
