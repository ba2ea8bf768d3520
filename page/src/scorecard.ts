// The scorecard by which a gateway is judged, and how far governance has come.

import { api } from "./api.js";
import { $, announce, el, facts, shown, table, td, when } from "./dom.js";
import { duration, share, whole } from "./figures.js";
import { state } from "./state.js";

let asked = 0;
const SPANS: [string, string][] = [["1d", "the last day"], ["7d", "the last 7 days"], ["30d", "the last 30 days"]];
const span = el("select", { name: "since" }, SPANS.map(([value, words]) => el("option", { value }, words))) as HTMLSelectElement;
span.value = "7d";
span.addEventListener("change", () => read());
const form = el("form", { class: "filters" }, el("label", {}, "Of ", span));
form.addEventListener("submit", (event: Event) => event.preventDefault());
const head = [el("h2", {}, "Scorecard and maturity"), form];
const body = el("div", { class: "stack" });

export function clear(): void {
  asked += 1;
  span.value = "7d";
  $("scorecard").replaceChildren();
}

export async function open(): Promise<void> {
  $("scorecard").replaceChildren(...head, body);
  $("scorecard").focus({ preventScroll: true });
  await read();
}

async function read(): Promise<void> {
  const mine = ++asked;
  body.replaceChildren(el("p", { class: "soft" }, "Adding up what is recorded…"));
  const parts = await Promise.allSettled([api(`report/scorecard?since=${span.value}`), api(`report/maturity?since=${span.value}`)]);
  if (mine !== asked || state.view !== "scorecard") return;
  const [card, level] = parts;
  const failed = (part: PromiseRejectedResult) => el("p", { class: "error" }, (part.reason as Error).message);
  body.replaceChildren(
    ...(level.status === "fulfilled" ? maturity(level.value) : [failed(level)]),
    ...(card.status === "fulfilled" ? scorecard(card.value) : [failed(card)]),
  );
  if (level.status === "fulfilled") announce(`Level ${level.value.level} of 4.`);
}

const number = (value: unknown): number => Number(value ?? 0);
const percent = (value: unknown): string => share(number(value));
const waited = (value: unknown): string => (value === null || value === undefined ? "–" : duration(number(value)));

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

function maturity(report: any): Node[] {
  const level = number(report.level);
  const steps = [0, 1, 2, 3, 4].map((step) => el("li", { class: step <= level ? "reached" : "", "aria-current": step === level ? "step" : false }, String(step)));
  const controls: any[] = report.controls ?? [];
  const rows = controls.map((one) => [
    td(String(one.level)),
    td(el("span", { class: `chip ${one.met ? "good" : "warn"}` }, one.met ? "✓ stands" : "missing")),
    el("td", { class: "text" }, shown(one.control)),
    el("td", { class: "text" }, shown(one.found)),
    el("td", { class: "text" }, one.met ? "" : shown(one.advice)),
  ]);
  const missing: any[] = report.missing ?? [];
  return [
    el(
      "section",
      { class: "panel" },
      el("h3", {}, `Maturity: level ${level} of 4`),
      el("ol", { class: "levels", "aria-label": `Level ${level} of 4` }, ...steps),
      el("p", {}, shown(capital(report.title ?? "")), "."),
      missing.length ? el("p", {}, `For level ${level + 1}:`) : el("p", {}, "Nothing is missing."),
      missing.length ? el("ul", { class: "plain" }, ...missing.map((one) => el("li", {}, shown(one.control), ": ", el("span", { class: "soft" }, shown(one.advice))))) : null,
      rows.length ? el("details", {}, el("summary", {}, `All ${rows.length} controls`), table("Controls", ["Level", "Stands", "What has to be", "What was found", "What to do"], rows)) : null,
    ),
  ];
}

// Parts of a whole as one bar, with the same in the table below.
function bar(parts: [string, number, string][]): HTMLElement {
  const all = parts.reduce((sum, [, value]) => sum + value, 0) || 1;
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 1000 24", preserveAspectRatio: "none", class: "parts", "aria-hidden": "true" })) svg.setAttribute(name, value);
  let at = 0;
  for (const [, value, kind] of parts) {
    const rect = document.createElementNS(space, "rect");
    const width = (value / all) * 1000;
    for (const [name, text] of Object.entries({ x: String(at), y: "0", width: String(Math.max(width - 2, 0)), height: "24", class: `part-${kind}` })) rect.setAttribute(name, text);
    svg.append(rect);
    at += width;
  }
  return el("div", {}, svg, el("p", { class: "soft" }, parts.filter(([, value]) => value).map(([name, value]) => `${name} ${share(value / all)}`).join(" · ") || "nothing yet"));
}

function moved(name: string, one: any): HTMLElement[] {
  return [el("th", { scope: "row" }, name), td(percent(one.before)), td(percent(one.now)), td(one.drifts ? el("span", { class: "chip warn" }, "drifts") : "")];
}

function scorecard(card: any): Node[] {
  const flows = Object.entries(card.decision_distribution as Record<string, any>).sort((one, other) => number(other[1].calls) - number(one[1].calls));
  const words: [string, string, string][] = [["allow", "allow", "good"], ["allow_with_constraints", "with constraints", "calm"], ["pending_approval", "asked", "warn"], ["remediate", "changed", "calm"], ["suggest", "proposed", "calm"], ["throttle", "throttled", "warn"], ["deny", "refused", "bad"]];
  const sum = (key: string) => flows.reduce((all, [, one]) => all + number(one[key]), 0);
  const rows = flows.slice(0, 100).map(([name, one]) => [el("th", { scope: "row" }, shown(name, true)), td(whole(number(one.calls))), td(percent(one.allow_rate)), td(percent(one.deny_rate)), td(whole(number(one.pending_approval))), td(percent(one.remediate_rate))]);
  const asks = card.approval_integrity;
  const risky = card.constraint_usage;
  const complete = card.audit_completeness;
  const drift = card.drift_indicators;
  const agents = Object.entries((drift.agents ?? {}) as Record<string, any>).slice(0, 100);
  return [
    el("p", { class: "soft" }, "Between ", when(card.since), " and ", when(card.until), ". Drift holds it against the same time before."),
    el(
      "section",
      { class: "panel" },
      el("h3", {}, "How calls are decided"),
      bar(words.map(([key, name, kind]) => [name, sum(key), kind])),
      rows.length ? table("Decisions by workflow", ["Workflow", "Calls", "Allowed", "Refused", "Asked", "Changed"], rows) : el("p", {}, "No call was decided in this time."),
    ),
    el(
      "div",
      { class: "two" },
      el("section", { class: "panel" }, el("h3", {}, "Whether approvals hold"), facts([
        ["Asked", whole(number(asks.asked))],
        ["Approved", whole(number(asks.approved))],
        ["Rejected", whole(number(asks.rejected))],
        ["Ran out", whole(number(asks.expirations))],
        ["Cancelled", whole(number(asks.cancelled))],
        ["Of another snapshot", whole(number(asks.mismatches))],
        ["Answered within", `${waited(asks.latency.p50_ms)} (half), ${waited(asks.latency.p90_ms)} (9 of 10)`],
      ])),
      el("section", { class: "panel" }, el("h3", {}, "What is risky"), facts([
        ["Risky calls", whole(number(risky.high_risk))],
        ["Under limits", whole(number(risky.constrained))],
        ["Asked about", whole(number(risky.asked))],
        ["Stopped", whole(number(risky.stopped))],
        ["As they were", whole(number(risky.plain))],
        ["Held back or limited", percent(risky.mitigated_rate)],
      ])),
      el("section", { class: "panel" }, el("h3", {}, "Whether the record is complete"), facts([
        ["Went upstream", whole(number(complete.dispatched))],
        ["With their end", whole(number(complete.complete))],
        ["End unknown", whole(number(complete.unknown))],
        ["End missing", whole(number(complete.missing))],
        ["Under way", whole(number(complete.under_way))],
        ["Complete", percent(complete.complete_rate)],
      ])),
      el("section", { class: "panel" }, el("h3", {}, "What drifts"), table("Drift", ["Rate", "Before", "Now", "Verdict"], [moved("Refused", drift.deny_rate), moved("Lacking metadata", drift.missing_metadata), moved("Failed", drift.failures), ...agents.flatMap(([name, one]) => [moved(`${name}: refused`, one.deny_rate), moved(`${name}: failed`, one.failures)])])),
    ),
  ];
}
