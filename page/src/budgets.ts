// Budgets: what is used, what calls in flight hold, what is left and when it frees; set back by an admin.

import { api, allPages } from "./api.js";
import { Chart, type Line } from "./chart.js";
import { $, announce, confirm, countdown, counted, el, facts, notice, place, shown, when } from "./dom.js";
import { usd, whole } from "./figures.js";
import { hasRole, state } from "./state.js";

let asked = 0;
let charts: Chart[] = [];
// So many cards have their charts at once; those of others are drawn when somebody asks.
const DRAWN = 12;
const head = [
  el("h2", {}, "Budgets"),
  el("p", { class: "soft" }, "Caps on calls, tokens and money, each counter by itself. Calls in flight hold what they may take until they end."),
];
const again = el("button", { type: "button" }, "Read again");
again.addEventListener("click", () => read());

function forget() {
  for (const chart of charts) chart.destroy();
  charts = [];
}

export function clear() {
  asked += 1;
  forget();
  $("budgets").replaceChildren();
}

export async function open() {
  place($("budgets"), [...head, el("p", { class: "soft" }, "Reading the budgets…")]);
  $("budgets").focus({ preventScroll: true });
  await read();
}

async function read() {
  const mine = ++asked;
  let found: any = null;
  try {
    found = await allPages("budgets", "budgets");
  } catch (error) {
    if (mine === asked && state.view === "budgets") place($("budgets"), [...head, el("p", { class: "error" }, error.message)], $("budgets"));
    return;
  }
  if (mine !== asked || state.view !== "budgets") return;
  forget();
  const none = el("p", { id: "no-budgets" }, "There is no budget: policies/budgets.yaml sets caps on calls, tokens and money, by agent, workflow and more. How each is used is then drawn here.");
  const list = el("ul", { class: "cards" }, ...found.budgets.map((budget, at) => card(budget, at < DRAWN)));
  place($("budgets"), [...head, el("div", { class: "buttons" }, again), found.budgets.length ? list : none], $("budgets"));
}

const UNITS: [string, string, string][] = [
  ["calls", "Calls", ""],
  ["tokens", "Tokens", ""],
  ["cost_usd", "Money", " USD"],
];
const WINDOWS = { minute: "in the last 60 s", hour: "this hour", day: "this day", month: "this month", ever: "in all" };
const ABOVE = { throttle: "calls wait", deny: "calls are refused", require_approval: "a person is asked" };

// One counter for all has no name of its own.
const named = (budget): string => (budget.scope === "global" ? "all together" : budget.key);

function card(budget, draws: boolean) {
  const name = budget.key === null ? "nothing counted yet" : named(budget);
  const reset = el("button", { type: "button", class: "reject", "aria-label": `Set back ${budget.id} of ${name}` }, "Set back…");
  reset.addEventListener("click", () => askReset(budget));
  const span = WINDOWS[budget.window] || budget.window;
  return el(
    "li",
    { class: "panel", "data-budget": budget.id },
    el("h3", {}, shown(budget.id, true), " ", el("span", { class: "chip" }, `per ${budget.scope}`)),
    el("p", {}, shown(name, true), ` ${span}${budget.zone ? ` (${budget.zone})` : ""}`),
    ...UNITS.flatMap((unit) => [bar(budget, unit), pace(budget, unit)]),
    burnt(budget, draws),
    facts([
      ["Above", ABOVE[budget.on_exceed] || budget.on_exceed],
      ["Frees", budget.frees_at && el("span", {}, when(budget.frees_at), " (", countdown(budget.frees_at), ")")],
      ["Alerts at", budget.alert_at.length ? budget.alert_at.map((step) => `${step} %`).join(", ") : null],
    ]),
    budget.key !== null && hasRole("admin") ? el("div", { class: "buttons" }, reset) : null,
  );
}

// One cap as a bar, with the same in words.
function bar(budget, [unit, label, of]: [string, string, string]) {
  const limit = budget.limit[unit];
  const held = Number(budget.reserved[unit]);
  const used = Number(budget.used[unit]);
  if (limit === null && !used && !held) return null;
  const flight = held ? `, ${held}${of} held by calls in flight` : "";
  if (limit === null) return el("p", {}, `${label}: ${used}${of}${flight}`);
  const most = Number(limit);
  const words = `${label}: ${used} of ${most}${of}${flight}, ${Number(budget.left[unit])}${of} left`;
  const meter = el("meter", { min: "0", max: String(Math.max(most, 1e-6)), high: String(most * 0.8), optimum: "0", value: String(Math.min(used + held, most)), "aria-label": words });
  return el("p", { class: "meter" }, el("span", {}, words), meter);
}

// How fast a cap is used, and where that ends: of windows that have a beginning and an end.
function pace(budget, [unit, , of]: [string, string, string]) {
  const used = Number(budget.used[unit]);
  const most = budget.limit[unit] === null ? null : Number(budget.limit[unit]);
  if (most === null || !used || !budget.window_start || !budget.frees_at) return null;
  const [start, end, now] = [new Date(budget.window_start).getTime(), new Date(budget.frees_at).getTime(), Date.now() + state.skew];
  // Of the first moments nothing can be told.
  if (now - start < (end - start) / 50 || now >= end) return null;
  const hour = (used / (now - start)) * 3600e3;
  const whole = (used / (now - start)) * (end - start);
  const words = `At this pace ${figure(hour)}${of} an hour, and ${unit === "cost_usd" ? figure(whole) : Math.round(whole).toLocaleString()}${of} by the end (${Math.round((whole / most) * 100)} % of the cap).`;
  if (whole <= most) return el("p", { class: "soft pace" }, words);
  const gone = used >= most ? null : new Date(start + ((now - start) * most) / used).toISOString();
  return el("p", { class: "pace" }, el("span", { class: "chip bad" }, "over"), ` ${words} `, gone ? el("span", {}, "It is used up ", when(gone), ".") : "It is used up.");
}

// How each cap came to be used, with where that leads until the window ends.
function burnt(budget, draws: boolean): HTMLElement | null {
  const units = UNITS.filter(([unit]) => budget.limit[unit] !== null);
  if (budget.kind !== "budget" || budget.window === "minute" || !units.length) return null;
  if (budget.key === null) return el("p", { class: "soft" }, "Its chart begins with the first call that counts.");
  const place = el("div", { class: "stack" });
  if (draws) {
    void burn(budget, units, place);
    return place;
  }
  const button = el("button", { type: "button", class: "small" }, "Draw its use");
  button.addEventListener("click", () => void burn(budget, units, place));
  place.append(button);
  return place;
}

async function burn(budget, units: [string, string, string][], place: HTMLElement): Promise<void> {
  const mine = asked;
  let read: any;
  try {
    read = await api(`budgets/${encodeURIComponent(budget.id)}/burn?${new URLSearchParams({ key: budget.key })}`);
  } catch (error) {
    if (mine === asked) place.replaceChildren(el("p", { class: "error" }, (error as Error).message));
    return;
  }
  if (mine !== asked || state.view !== "budgets") return;
  const drawn = units.map(([unit, label]) => {
    const chart = new Chart(`${label} of ${named(budget)}`, `${budget.id}, ${WINDOWS[budget.window] ?? budget.window}`, "Nothing was used in this window. Each call that counts raises the line.");
    charts.push(chart);
    return [chart, unit] as const;
  });
  place.replaceChildren(...drawn.map(([chart]) => chart.node));
  for (const [chart, unit] of drawn) chart.draw(lines(read, unit));
}

// From the window's beginning to its end: what is used, where it leads at this pace, and the cap.
function lines(read: any, unit: string) {
  const seconds = (time: string): number => Math.floor(new Date(time).getTime() / 1000);
  const [step, now] = [Number(read.step_seconds), seconds(read.now)];
  const format = unit === "cost_usd" ? usd : whole;
  const cap = Number(read.limit[unit]);
  const used: number[] = read.used[unit].map(Number);
  const start = read.window_start === null ? null : seconds(read.window_start);
  const end = read.window_end === null ? null : seconds(read.window_end);
  // A figure is that of the end of its step; the newest is of now.
  const at: number[] = read.at.map((from: unknown) => Number(from) + step);
  at[at.length - 1] = now;
  const values: (number | null)[] = [...used];
  if (start !== null && start < at[0]!) {
    at.unshift(start);
    values.unshift(0);
  }
  const last = used[used.length - 1] ?? 0;
  const pace: (number | null)[] = values.map(() => null);
  let ends: number | null = null;
  // Of the first moments nothing can be told.
  if (start !== null && end !== null && now < end && now - start >= (end - start) / 50) {
    pace[pace.length - 1] = last;
    const leads = (to: number): number => (last * (to - start)) / (now - start);
    const ahead: number[] = [];
    for (let to = now - (now % step) + step; to < end; to += step) ahead.push(to);
    ahead.push(end);
    for (const to of ahead) {
      at.push(to);
      values.push(null);
      pace.push(leads(to));
    }
    ends = leads(end);
  } else if (end !== null && now < end) {
    at.push(end);
    values.push(null);
    pace.push(null);
  }
  const all: Line[] = [
    { name: "used", values, total: format(last), look: 0, filled: true },
    { name: "cap", values: at.map(() => cap), total: format(cap), look: 1 },
  ];
  if (ends !== null) all.splice(1, 0, { name: "at this pace", values: pace, total: `${format(ends)} by the end`, look: 6 });
  return { at, step, lines: all, format, unit: unit === "cost_usd" ? "USD" : unit };
}

const figure = (value) => value.toLocaleString(undefined, value < 0.1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: value < 10 ? 2 : 0 });

async function askReset(budget) {
  const done = await confirm({
    title: "Set this budget back?",
    body: [
      el("p", {}, "What ", shown(named(budget), true), " has used of ", shown(budget.id, true), " in this window counts no more, from the next call on and in every process."),
      el("p", {}, "What calls in flight hold stays counted. The record says who set it back and why."),
    ],
    reason: "Why",
    required: true,
    action: "Set back",
    danger: true,
    run: (reason) => api(`budgets/${encodeURIComponent(budget.id)}/reset`, { key: budget.key, reason }),
  });
  if (!done) return;
  const words = done.reset.length ? `${budget.id} of ${budget.key} is set back: ${counted(done.reset[0].before.calls, "call", "calls")} counted before, ${done.reset[0].after.calls} in flight.` : `${budget.id} of ${budget.key} had counted nothing.`;
  announce(words);
  notice(words);
  await read();
  $("budgets").focus({ preventScroll: true });
}
