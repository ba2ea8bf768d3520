// Now: calls, decisions, spend, failures, what waits and how long calls take, as they come.

import { Chart } from "./chart.js";
import { $, el, notice } from "./dom.js";
import { counts, duration, latencies, series, share, usd, whole, type Series } from "./figures.js";
import { state } from "./state.js";

const SPANS: [string, string, string][] = [
  ["30m", "1m", "30 minutes"],
  ["2h", "1m", "2 hours"],
  ["12h", "10m", "12 hours"],
  ["2d", "30m", "2 days"],
  ["14d", "6h", "2 weeks"],
  ["90d", "1d", "90 days"],
];
const BYS: [string, string][] = [
  ["decision", "decision"],
  ["agent", "agent"],
  ["tool", "tool"],
  ["upstream", "upstream"],
  ["workflow", "workflow"],
];

// Between two looks while calls come, and while none do: other processes' calls are on no stream of this one.
const SOON = 3000;
const LATER = 15000;

let asked = 0;
let charts: Record<"calls" | "spend" | "latency" | "pending" | "errors" | "tokens", Chart> | null = null;
let timer: ReturnType<typeof setTimeout> | null = null;
let due = 0;

const span = el("select", { name: "since" }, SPANS.map(([value, , words]) => el("option", { value }, words))) as HTMLSelectElement;
const by = el("select", { name: "by" }, BYS.map(([value, words]) => el("option", { value }, words))) as HTMLSelectElement;
span.value = "2h";
span.addEventListener("change", () => read());
by.addEventListener("change", () => read());
const form = el("form", { class: "filters" }, el("label", {}, "The last ", span), " ", el("label", {}, "by ", by));
form.addEventListener("submit", (event: Event) => event.preventDefault());
const tiles = el("dl", { class: "tiles" });
const partial = el("p", { class: "banner", hidden: true }, "Figures of older parts of the record are still being made: they will be here in a moment.");

export function clear(): void {
  asked += 1;
  if (timer) clearTimeout(timer);
  timer = null;
  for (const chart of Object.values(charts ?? {})) chart.destroy();
  charts = null;
  tiles.replaceChildren();
  span.value = "2h";
  by.value = "decision";
  $("now").replaceChildren();
}

export async function open(): Promise<void> {
  if (!charts) {
    charts = {
      calls: new Chart("Calls", "decided", "No call was made in this time. Connect a client with `tollgate connect`, and its calls appear here as they are decided."),
      spend: new Chart("Spend", "by agent", "Nothing was spent in this time. prices.yaml says what tools and tokens cost; what calls cost is drawn here."),
      latency: new Chart("Time upstream", "p50, p95, p99", "No call went to an upstream in this time: how long they take is drawn here."),
      pending: new Chart("Approvals that wait", "by agent", "Nothing waits for a person. Rules with `require_approval` put calls before people; how many wait is drawn here."),
      errors: new Chart("Failed calls", "by tool", "No call failed in this time."),
      tokens: new Chart("Tokens", "by tool", "No tokens were counted in this time: those of arguments and results are drawn here."),
    };
  }
  const all = el("div", { class: "charts" }, ...Object.values(charts).map((chart) => chart.node));
  $("now").replaceChildren(el("h2", {}, "Now"), form, partial, tiles, all);
  $("now").focus({ preventScroll: true });
  await read();
}

// Something happened: the next look is soon, however much comes.
export function changed(): void {
  if (state.view !== "now") return;
  plan(SOON);
}

function plan(wait: number): void {
  const at = Date.now() + wait;
  if (timer && due <= at) return;
  if (timer) clearTimeout(timer);
  due = at;
  timer = setTimeout(() => {
    timer = null;
    if (state.view !== "now" || !state.me) return;
    if (document.hidden) plan(LATER);
    else void read();
  }, wait);
}

async function read(): Promise<void> {
  const mine = ++asked;
  const since = span.value;
  const step = SPANS.find(([value]) => value === since)![1];
  const ask = (name: string, by: string): Promise<Series> => series({ name, by, since, step, groups: "7" });
  let found: Series[];
  try {
    found = await Promise.all([ask("calls", by.value), ask("spend_usd", "agent"), ask("latency", "none"), ask("pending", "agent"), ask("errors", "tool"), ask("tokens", "tool"), ask("denies", "none")]);
  } catch (error) {
    if (mine === asked && state.view === "now") notice((error as Error).message);
    return;
  } finally {
    if (mine === asked) plan(LATER);
  }
  if (mine !== asked || state.view !== "now" || !charts) return;
  notice("");
  const [calls, spend, latency, pending, errors, tokens, denies] = found as [Series, Series, Series, Series, Series, Series, Series];
  partial.hidden = !found.some((one) => one.partial);
  if (!partial.hidden) plan(SOON);
  charts.calls.draw(counts(calls, whole, "calls"));
  charts.spend.draw(counts(spend, usd, "spend"));
  charts.latency.draw(latencies(latency));
  charts.pending.draw(counts(pending, whole, "waiting"));
  charts.errors.draw(counts(errors, whole, "failed"));
  charts.tokens.draw(counts(tokens, whole, "tokens"));
  const sum = (one: Series): number => one.groups.reduce((all, group) => all + group.total, 0);
  const p95 = latency.groups[0]?.p95.total ?? null;
  const all = sum(calls);
  const tile = (name: string, value: string, words = "") => el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value, words && el("span", { class: "soft" }, words)));
  tiles.replaceChildren(
    tile("Calls", whole(all)),
    tile("Refused", whole(sum(denies)), all ? ` ${share(sum(denies) / all)}` : ""),
    tile("Failed", whole(sum(errors))),
    tile("Waiting now", whole(sum(pending))),
    tile("Spent", usd(sum(spend))),
    tile("p95 upstream", p95 === null ? "–" : duration(p95)),
  );
}
