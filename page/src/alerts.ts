// What somebody should look at: alerts, seen or said to be none; incidents, closed with a note; duties.

import { api } from "./api.js";
import { $, announce, brief, chip, confirm, counted, el, facts, notice, place, shown, table, td, when } from "./dom.js";
import { written } from "./exact.js";
import { hasRole, state } from "./state.js";

let asked = 0;
let known: any = null;
let all = false;

export function clear() {
  asked += 1;
  known = null;
  all = false;
  $("alerts").replaceChildren();
}

export async function open() {
  draw();
  $("alerts").focus({ preventScroll: true });
  await changed();
}

// Read again, where the view is open.
export async function changed() {
  if (state.view !== "alerts") return;
  const mine = ++asked;
  try {
    const [alerts, incidents, duties] = await Promise.all([
      api(all ? "alerts" : "alerts?status=open,acked"),
      api("incidents"),
      api("duties"),
    ]);
    if (mine !== asked) return;
    const fresh = { ...alerts, ...incidents, ...duties };
    // What is the same stays as it is, with focus and selection.
    if (known && written(fresh) === written(known)) return;
    known = fresh;
    draw();
  } catch (error) {
    if (mine === asked) place($("alerts"), [el("h2", {}, "Alerts"), el("p", { class: "error" }, error.message)], $("alerts"));
  }
}

const which = el("input", { type: "checkbox", id: "alerts-all" });
which.addEventListener("change", () => {
  all = which.checked;
  known = null;
  changed();
});

function draw() {
  which.checked = all;
  const choice = el("label", {}, which, " also those that are over or were none");
  const head = [el("h2", {}, "Alerts"), choice];
  if (!known) {
    place($("alerts"), [...head, el("p", { class: "soft" }, "Being read…")], $("alerts"));
    return;
  }
  const { alerts, incidents, duties, tunings, next } = known;
  const list = alerts.length
    ? el("ul", { class: "cards" }, ...alerts.map(card))
    : el("p", { id: "no-alerts" }, all ? "There is none." : "Nobody has to look at anything. Alerts are raised by what is recorded; `alerts` in bundle.yaml says at which thresholds.");
  const more = next ? el("p", { class: "soft" }, "There are more: `tollgate alerts list` shows them.") : null;
  const open = incidents.filter((one) => all || one.status === "open");
  const shownIncidents = open.length
    ? [el("h2", {}, "Incidents"), el("ul", { class: "cards" }, ...open.map(incident))]
    : [];
  place($("alerts"), [...head, list, more, tuned(tunings), ...shownIncidents, ...due(duties)].filter(Boolean), $("alerts"));
}

function card(one) {
  const buttons: HTMLElement[] = [];
  if (hasRole("admin") && one.status !== "acked" && one.status !== "false") {
    const ack = el("button", { type: "button", "aria-label": `Seen: ${one.id}` }, "Seen…");
    ack.addEventListener("click", () => say(one, "ack"));
    buttons.push(ack);
  }
  if (hasRole("admin") && one.status !== "false") {
    const none = el("button", { type: "button", "aria-label": `False alarm: ${one.id}` }, "False alarm…");
    none.addEventListener("click", () => say(one, "false"));
    buttons.push(none);
  }
  return el(
    "li",
    { class: "panel", "data-alert": one.id },
    el("h3", {}, `${one.kind.replaceAll("_", " ")} `, chip(one.status), " ", el("span", { class: `chip ${one.severity === "high" ? "bad" : "warn"}` }, one.severity)),
    el("p", {}, brief(one.reason, 400)),
    facts([
      ["Of", one.subject],
      ["Raised", when(one.at)],
      ["Again", one.repeats ? `in ${counted(one.repeats, "window", "windows")}, last` : ""],
      ["Last", one.repeats ? when(one.last) : ""],
      ["Over since", when(one.over)],
      ["Tool", one.tool],
      ["Trace", one.trace_id],
      ["Incident", one.incident],
      ["Said by", one.by],
      ["Note", one.note],
      ["Counts until", when(one.until)],
      ["Id", one.id],
    ]),
    buttons.length ? el("div", { class: "buttons" }, ...buttons) : null,
  );
}

async function say(one, action) {
  const isFalse = action === "false";
  const done = await confirm({
    title: isFalse ? "A false alarm?" : "Seen?",
    body: [
      el("p", {}, brief(one.reason, 400)),
      el("p", {}, isFalse ? "It takes more to raise the next one of its subject, for a time." : "Repeats are not told while it lasts."),
    ],
    reason: "Note",
    required: false,
    action: isFalse ? "It was none" : "I have seen it",
    run: (note) => api(`alerts/${encodeURIComponent(one.id)}`, note ? { action, note } : { action }),
  });
  if (!done) return;
  announce(isFalse ? "Said to be none." : "Seen.");
  notice("");
  await changed();
}

// What makes it take more to raise an alert.
function tuned(tunings) {
  if (!tunings.length) return null;
  const rows = tunings.map((one) => [
    td(one.kind.replaceAll("_", " ")),
    td(shown(one.subject, true)),
    td(`${one.factor.toFixed(1)} ×`),
    td(when(one.until)),
    td(shown(one.by, true)),
  ]);
  return el("div", {}, el("h3", {}, "Takes more to be raised"), table("Takes more to be raised", ["Kind", "Of", "How much more", "Until", "Said by"], rows));
}

function incident(one) {
  const close = el("button", { type: "button", "aria-label": `Close ${one.id}` }, "Close…");
  close.addEventListener("click", () => askClose(one));
  return el(
    "li",
    { class: "panel", "data-incident": one.id },
    el("h3", {}, `${one.id} `, chip(one.status)),
    el("p", {}, brief(one.reason, 400)),
    facts([
      ["Of", one.subject],
      ["Opened", when(one.opened_at)],
      ["To be closed until", when(one.due)],
      ["Alerts", String(one.alerts.length)],
      ["Closed by", one.by],
      ["Note", one.note],
    ]),
    one.status === "open" && hasRole("admin") ? el("div", { class: "buttons" }, close) : null,
  );
}

async function askClose(one) {
  const done = await confirm({
    title: "Close the incident?",
    body: [el("p", {}, brief(one.reason, 400))],
    reason: "What it was, and what came of it",
    required: true,
    action: "Close it",
    run: (note) => api(`incidents/${encodeURIComponent(one.id)}`, { action: "close", note }),
  });
  if (!done) return;
  announce("The incident is closed.");
  notice("");
  await changed();
}

function due(duties) {
  if (!duties.length) return [];
  const rows = duties.map((one) => {
    const done = el("button", { type: "button", "aria-label": `${one.name} is done` }, "Done…");
    done.addEventListener("click", () => askDone(one));
    return [
      td(shown(one.name, true)),
      td(one.owner ? shown(one.owner, true) : ""),
      td(one.done ? when(one.done) : "never"),
      td(when(one.due), ...(one.late ? [" ", el("span", { class: "chip bad" }, "late")] : [])),
      td(hasRole("admin") ? done : ""),
    ];
  });
  return [el("h2", {}, "Duties"), table("Duties", ["Duty", "Owner", "Done", "Due", "Answer"], rows)];
}

async function askDone(one) {
  const done = await confirm({
    title: `Is ${one.name} done?`,
    body: [],
    reason: "What was done and found",
    required: true,
    action: "It is done",
    run: (note) => api(`duties/${encodeURIComponent(one.name)}`, { action: "done", note }),
  });
  if (!done) return;
  announce("Done.");
  notice("");
  await changed();
}
