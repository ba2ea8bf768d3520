// Side effects that failed, or of which nobody knows whether they happened: looked at, made again, dismissed.

import { api } from "./api.js";
import { $, announce, confirm, el, facts, notice, place, shown, when } from "./dom.js";
import { written } from "./exact.js";
import { state } from "./state.js";

export const ROLES = ["admin"];

let asked = 0;
let known: any[] = [];
let next: number | null = null;
let all = false;

export function clear() {
  asked += 1;
  known = [];
  next = null;
  all = false;
  $("deadletters").replaceChildren();
}

export async function open() {
  draw();
  $("deadletters").focus({ preventScroll: true });
  await changed();
}

// Read again, where the view is open.
export async function changed(before: string | null = null) {
  if (state.view !== "deadletters") return;
  const mine = ++asked;
  try {
    const query = new URLSearchParams({ ...(all ? { status: "all" } : {}), ...(before ? { before_seq: before } : {}) });
    const found = await api(query.size ? `deadletters?${query}` : "deadletters");
    if (mine !== asked) return;
    known = before ? [...known, ...found.deadletters] : found.deadletters;
    next = found.next;
    draw();
  } catch (error) {
    if (mine === asked) place($("deadletters"), [el("h2", {}, "Dead letters"), el("p", { class: "error" }, error.message)], $("deadletters"));
  }
}

const which = el("input", { type: "checkbox", id: "deadletters-all" });
which.addEventListener("change", () => {
  all = which.checked;
  changed();
});

function draw() {
  const intro = el(
    "p",
    { class: "soft" },
    "Calls that were made and failed, or of which nobody knows whether their server acted. Nothing is made again by itself.",
  );
  which.checked = all;
  const choice = el("label", {}, which, " also those that were dealt with");
  const list = el("ul", { class: "cards" }, ...known.map(card));
  const none = el("p", { id: "no-deadletters" }, next ? "None in this part of the record." : all ? "There is none." : "None is open.");
  const more = next ? el("button", { type: "button", id: "more-deadletters" }, "Look further back in the record") : null;
  if (more) more.addEventListener("click", () => changed(String(next)));
  place($("deadletters"), [el("h2", {}, "Dead letters"), intro, choice, known.length ? list : none, more].filter(Boolean), $("deadletters"));
}

function card(one) {
  const isOpen = one.status === "open";
  const look = el("button", { type: "button", "aria-label": `Show the arguments of ${one.call_id}` }, "Arguments");
  const arguments_ = el("pre", { class: "text", hidden: true, tabindex: "0" });
  look.addEventListener("click", () => inspect(one, look, arguments_));
  const replay = el("button", { type: "button", class: "approve", "aria-label": `Make ${one.call_id} again` }, "Make it again…");
  replay.addEventListener("click", () => askReplay(one));
  const dismiss = el("button", { type: "button", "aria-label": `Dismiss ${one.call_id}` }, "Dismiss…");
  dismiss.addEventListener("click", () => askDismiss(one));
  return el(
    "li",
    { class: "panel", "data-deadletter": one.call_id },
    el("h3", {}, shown(`${one.tool} ${one.outcome}`, true)),
    facts(
      [
        ["Why", one.reason || "nothing is known of it"],
        ["When", el("span", {}, when(one.at))],
        ["Agent", one.agent || ""],
        ["Call", one.call_id],
        ["Status", one.status],
      ].filter(([, value]) => value) as [string, any][],
    ),
    arguments_,
    el("div", { class: "buttons" }, look, ...(isOpen && one.replayable ? [replay] : []), ...(isOpen ? [dismiss] : [])),
  );
}

async function inspect(one, button, into) {
  if (!into.hidden) {
    into.hidden = true;
    return;
  }
  button.disabled = true;
  try {
    const whole = await api(`deadletters/${encodeURIComponent(one.call_id)}`);
    into.replaceChildren(shown(written(whole.arguments ?? null)));
    into.hidden = false;
  } catch (error) {
    notice(error.message);
  } finally {
    button.disabled = false;
  }
}

async function askReplay(one) {
  const done = await confirm({
    title: `Make ${one.tool} again?`,
    body: [
      el("p", {}, "It is a new call of the same agent with the same arguments, decided by the policies in force."),
      one.outcome === "unknown" ? el("p", {}, "Nobody knows whether the first one happened: it may happen twice.") : null,
    ].filter(Boolean),
    action: "Make it again",
    run: () => api(`deadletters/${encodeURIComponent(one.call_id)}`, { action: "replay" }),
  });
  if (!done) return;
  announce(`Made again: ${one.tool}.`);
  notice("");
  await changed();
}

async function askDismiss(one) {
  const done = await confirm({
    title: `Dismiss ${one.tool}?`,
    body: [el("p", {}, "It is not made again, and leaves this list. The record keeps it, with your reason.")],
    reason: "Why",
    required: true,
    action: "Dismiss",
    run: (reason) => api(`deadletters/${encodeURIComponent(one.call_id)}`, { action: "dismiss", reason }),
  });
  if (!done) return;
  announce(`Dismissed: ${one.tool}.`);
  notice("");
  await changed();
}
