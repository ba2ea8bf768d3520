// Upstreams: how each stands, what it offers, how much goes there and how long it takes.

import { allPages } from "./api.js";
import { Chart, type Drawing } from "./chart.js";
import { $, announce, counted, el, facts, shown } from "./dom.js";
import { counts, duration, series, share, whole, type Group, type Series } from "./figures.js";
import { state } from "./state.js";

let asked = 0;
let charts: { latency: Chart; calls: Chart } | null = null;

const again = el("button", { type: "button" }, "Read again");
again.addEventListener("click", () => read());

export function clear(): void {
  asked += 1;
  for (const chart of Object.values(charts ?? {})) chart.destroy();
  charts = null;
  $("upstreams").replaceChildren();
}

const list = el("div", { class: "stack" });

export async function open(): Promise<void> {
  charts ??= {
    latency: new Chart("95 of 100 calls end within", "the last day, by upstream", "No call went to an upstream in the last day."),
    calls: new Chart("Calls", "the last day, by upstream", "No call was decided in the last day."),
  };
  list.replaceChildren(el("p", { class: "soft" }, "Asking…"));
  $("upstreams").replaceChildren(el("h2", {}, "Upstreams"), el("div", { class: "buttons" }, again), list, el("div", { class: "charts" }, charts.latency.node, charts.calls.node));
  $("upstreams").focus({ preventScroll: true });
  await read();
}

const p95 = (read: Series): Drawing => ({
  at: read.at,
  step: read.step_seconds,
  format: duration,
  unit: read.unit,
  lines: read.groups.map((group) => ({ name: group.name ?? "no upstream", values: group.p95.values, total: group.p95.total === null ? "–" : duration(group.p95.total) })),
});

async function read(): Promise<void> {
  const mine = ++asked;
  const ask = (name: string) => series({ name, by: "upstream", since: "1d", step: "30m", groups: "8" });
  try {
    const [all, calls, latency, errors] = await Promise.all([allPages("upstreams", "upstreams"), ask("calls"), ask("latency"), ask("errors")]);
    if (mine !== asked || state.view !== "upstreams" || !charts) return;
    const of = (from: Series, name: string): Group | undefined => from.groups.find((group) => group.name === name && !group.rest);
    const cards = all.upstreams.map((one: any) => card(one, of(calls, one.name), of(latency, one.name), of(errors, one.name)));
    list.replaceChildren(
      cards.length ? el("ul", { class: "cards" }, ...cards) : el("p", {}, "There is no upstream. `tollgate init` takes over the servers of your clients, and `[upstreams.NAME]` in servers.toml adds one; its health and latency are then here."),
    );
    charts.latency.draw(p95(latency));
    charts.calls.draw(counts(calls, whole, "no upstream"));
    announce(counted(all.upstreams.length, "upstream", "upstreams"));
  } catch (error) {
    if (mine === asked && state.view === "upstreams") list.replaceChildren(el("p", { class: "error" }, (error as Error).message));
  }
}

const GOOD = ["ready", "connected", "healthy", "up", "ok", "closed"];

function card(one: any, calls?: Group, latency?: Group, errors?: Group): HTMLElement {
  const isGood = GOOD.includes(one.state) || GOOD.includes(one.health);
  const ended = latency ? latency.p95.total : null;
  const offers = ["tools", "resources", "resource_templates", "prompts", "skills"].filter((kind) => Number(one[kind]) > 0).map((kind) => counted(Number(one[kind]), kind.replace("_", " ").slice(0, -1), kind.replace("_", " ")));
  const total = calls?.total ?? 0;
  return el(
    "li",
    { class: "panel", "data-upstream": one.name },
    el("h3", {}, shown(one.name, true), " ", el("span", { class: `chip ${isGood ? "good" : "bad"}` }, `${isGood ? "✓" : "✕"} ${one.state}`)),
    one.reason ? el("p", { class: "error" }, shown(one.reason)) : null,
    one.said ? el("p", { class: "soft" }, shown(one.said)) : null,
    facts([
      ["Offers", offers.join(", ") || "nothing"],
      ["Calls today", total ? whole(total) : "none"],
      ["Failed", errors && total ? `${whole(errors.total)} (${share(errors.total / total)})` : null],
      ["p50, p95", latency && ended !== null ? `${duration(latency.p50.total ?? 0)}, ${duration(ended)}` : null],
      ["Failed attempts", Number(one.failed_attempts) ? String(one.failed_attempts) : null],
      ["Server", one.server_info ? `${one.server_info.name ?? ""} ${one.server_info.version ?? ""}` : null],
      ["Protocol", one.era],
      ["Transport", one.transport ? `${one.transport}${one.isolation ? `, ${one.isolation}` : ""}` : null],
      ["Contained", one.contained ? (one.containment?.by ?? []).join(", ") || "yes" : "no"],
      ["Labels", (one.labels ?? []).join(", ")],
      ["Missing", (one.missing ?? []).join(", ")],
    ]),
  );
}
