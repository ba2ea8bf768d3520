// What data has reached workflows and agents, by its labels, and taking it away.

import { api } from "./api.js";
import { $, announce, confirm, el, facts, notice, place, shown, when } from "./dom.js";
import { hasRole, state } from "./state.js";

let asked = 0;
let known: any[] = [];
let next: string | null = null;

const head = [
  el("h2", {}, "Labels"),
  el(
    "p",
    { class: "soft" },
    "What data has reached workflows and agents. Policies read it as session.labels. Labels only grow until their time is over; an admin takes them away.",
  ),
];

export function clear() {
  asked += 1;
  known = [];
  next = null;
  $("labels").replaceChildren();
}

export async function open() {
  place($("labels"), [...head, el("p", { class: "soft" }, "Reading the labels…")]);
  $("labels").focus({ preventScroll: true });
  await read(null);
}

async function read(after: string | null) {
  const mine = ++asked;
  let found: any = null;
  try {
    found = await api(after ? `labels?${new URLSearchParams({ after })}` : "labels");
  } catch (error) {
    if (mine === asked && state.view === "labels") place($("labels"), [...head, el("p", { class: "error" }, error.message)], $("labels"));
    return;
  }
  if (mine !== asked || state.view !== "labels") return;
  known = after ? [...known, ...found.labels] : found.labels;
  next = found.next;
  draw();
}

// Labels by whom they follow: `agent planner-01`, in the order of the listing.
function holders() {
  const all = new Map<string, any>();
  for (const one of known) {
    const kind = Object.hasOwn(one, "agent") ? "agent" : "workflow";
    const key = `${kind} ${one[kind]}`;
    if (!all.has(key)) all.set(key, { kind, name: one[kind], labels: [] });
    all.get(key).labels.push(one);
  }
  return [...all.values()];
}

function draw() {
  const list = el("ul", { class: "cards" }, ...holders().map(card));
  const none = el("p", { id: "no-labels" }, "No labelled data has reached a workflow or an agent. `labels` of servers in servers.toml and the classes of data.yaml say which data has which.");
  const more = el("button", { type: "button", id: "more-labels" }, "Show more");
  more.addEventListener("click", () => read(next));
  place($("labels"), [...head, known.length ? list : none, next ? more : null].filter(Boolean), $("labels"));
}

function card(holder) {
  const words = `${holder.kind} ${holder.name}`;
  const clear = el("button", { type: "button", class: "reject", "aria-label": `Clear the labels of ${words}` }, "Clear…");
  clear.addEventListener("click", () => askClear(holder, words));
  const line = (one) => [
    one.label,
    el("span", {}, "since ", when(one.since), ", until ", when(one.until), ", first by trace ", shown(one.trace_id, true)),
  ];
  return el(
    "li",
    { class: "panel", "data-holder": words },
    el("h3", {}, shown(words, true)),
    facts(holder.labels.map(line)),
    hasRole("admin") ? el("div", { class: "buttons" }, clear) : null,
  );
}

async function askClear(holder, words) {
  const also = holder.kind === "workflow" ? "Agents that have seen the data keep their own labels: clear theirs, too, where that is meant." : "Its sessions start again without labels. Workflows that it acts in keep theirs.";
  const done = await confirm({
    title: `Clear the labels of ${words}?`,
    body: [el("p", {}, "Policies treat it from then on as if the data had not reached it. "), el("p", {}, also)],
    reason: "Why",
    required: true,
    action: "Clear",
    danger: true,
    run: (reason) => api("labels/clear", { [holder.kind]: holder.name, reason }),
  });
  if (!done) return;
  announce(`Cleared: the labels of ${words}.`);
  notice("");
  await read(null);
  $("labels").focus({ preventScroll: true });
}
