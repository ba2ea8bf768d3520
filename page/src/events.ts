// Events: the record searched, and of one trace the answers to five questions.

import { api } from "./api.js";
import { $, announce, chip, counted, el, facts, opened, shown, table, td, when } from "./dom.js";
import { written } from "./exact.js";
import { duration, parted, usd, whole } from "./figures.js";
import { state } from "./state.js";

interface Found {
  events: any[];
  truncated: boolean;
  next: unknown;
}

const PAGE = 50;
const TYPES = ["agent_decision", "agent_side_effect", "agent_start", "approval_requested", "approval_decided", "approval_expired", "approval_cancelled", "grant_made", "grant_ended", "alert", "policy_activated", "policy_rejected", "admin_action", "auth_failed", "tool_quarantined", "tool_accepted", "frozen", "unfrozen", "note"];
const DECISIONS = ["allow", "allow_with_constraints", "deny", "pending_approval", "approved", "rejected", "expired", "remediate", "suggest", "throttle"];

let asked = 0;
let found: any[] = [];
let next: unknown = null;
let left: string[] = [];

const choice = (name: string, words: string, all: string[]) => el("select", { name }, el("option", { value: "" }, words), all.map((value) => el("option", { value }, value.replaceAll("_", " ")))) as HTMLSelectElement;
const text = (name: string, hint = "") => el("input", { name, spellcheck: "false", autocapitalize: "none", placeholder: hint || false }) as HTMLInputElement;

const fields = {
  since: el("input", { name: "since", spellcheck: "false", placeholder: "7d, 2026-11-20" }) as HTMLInputElement,
  until: el("input", { name: "until", spellcheck: "false", placeholder: "now" }) as HTMLInputElement,
  event_type: choice("event_type", "every type", TYPES),
  decision: choice("decision", "every decision", DECISIONS),
  agent_id: text("agent_id", "planner-*"),
  tool: text("tool", "files__*"),
  policy_id: text("policy_id"),
  person: text("person"),
  user: text("user"),
  workflow_id: text("workflow_id"),
  trace_id: text("trace_id"),
  call_id: text("call_id"),
  approval_id: text("approval_id"),
};
type Name = keyof typeof fields;
const NAMES = Object.keys(fields) as Name[];
const LABELS: Record<Name, string> = { since: "From", until: "To", event_type: "Type", decision: "Decision", agent_id: "Agent", tool: "Tool", policy_id: "Policy", person: "Person who acted", user: "For the user", workflow_id: "Workflow", trace_id: "Trace", call_id: "Call", approval_id: "Approval" };
const FIRST: Name[] = ["since", "until", "event_type", "decision", "agent_id", "tool"];

const label = (name: Name) => el("label", {}, LABELS[name], fields[name]);
const more = el("details", {}, el("summary", {}, "More: policy, person, workflow, trace, call, approval"), el("div", { class: "grid" }, ...NAMES.filter((name) => !FIRST.includes(name)).map(label)));
const empty = el("button", { type: "button" }, "Clear");
const form = el("form", { class: "search", role: "search", "aria-label": "Search the record" }, el("div", { class: "grid" }, ...FIRST.map(label)), more, el("div", { class: "buttons" }, el("button", { type: "submit", class: "primary" }, "Search"), empty)) as HTMLFormElement;
const problem = el("p", { class: "error", role: "alert", hidden: true });
const body = el("div", { class: "stack" });
const verify = el("button", { type: "button", id: "verify" }, "Verify the record") as HTMLButtonElement;
const verified = el("div", { id: "verified", role: "status" });

// What was found stands until somebody asks again: it is of the record as it was then.
verify.addEventListener("click", async () => {
  verify.disabled = true;
  verified.replaceChildren(el("p", { class: "soft" }, "Verifying every record…"));
  try {
    let found = await api("audit/verify");
    while (found.running) {
      verified.replaceChildren(el("p", { class: "soft" }, "Verifying every record since ", when(found.began_at), "…"));
      found = await api("audit/verify");
    }
    verified.replaceChildren(told(found));
  } catch (error) {
    verified.replaceChildren(el("p", { class: "error" }, (error as Error).message));
  } finally {
    verify.disabled = false;
  }
});

function told(found: any): HTMLElement {
  const records = counted(Number(found.records), "record", "records");
  if (found.bad !== null) {
    const place = Number(found.bad.seq) === 0 ? "The store does not verify: " : `Record ${found.bad.seq} does not verify: `;
    return el("p", { class: "error" }, place, shown(found.bad.problem), ` (${records} before it do).`);
  }
  if (found.contradicted !== null) return el("p", { class: "error" }, "A checkpoint says otherwise: ", shown(found.contradicted));
  const held = Number(found.checkpoints) === 0 ? "No checkpoint is kept yet." : `${counted(Number(found.checkpoints), "checkpoint holds", "checkpoints hold")}.`;
  return el("p", {}, `The chain is whole: ${records}. ${held} `, when(found.at));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(query());
});
empty.addEventListener("click", () => {
  for (const name of NAMES) fields[name].value = "";
  go(query());
});

function query(): URLSearchParams {
  const filters = new URLSearchParams();
  for (const name of NAMES) {
    const value = fields[name].value.trim();
    if (value) filters.set(name, value);
  }
  return filters;
}

// What is searched stands in the address: a link to it finds the same.
function go(filters: URLSearchParams): void {
  const hash = filters.size ? `#/events?${filters}` : "#/events";
  if (location.hash !== hash) history.pushState(null, "", hash);
  state.rest = hash.slice("#/events".length);
  void search(filters);
}

export function clear(): void {
  asked += 1;
  found = [];
  next = null;
  verified.replaceChildren();
  for (const name of NAMES) fields[name].value = "";
  $("events").replaceChildren();
}

// `rest` is what the address says behind the view: filters, or a trace.
export async function open(_given?: unknown, rest = ""): Promise<void> {
  const trace = /^\/([0-9a-fA-F-]{32,36})$/.exec(rest);
  if (trace) {
    await tell(trace[1]!);
    return;
  }
  const filters = new URLSearchParams(rest.replace(/^\?/, ""));
  for (const name of NAMES) fields[name].value = filters.get(name) ?? "";
  (more as HTMLDetailsElement).open = NAMES.some((name) => !FIRST.includes(name) && filters.has(name));
  $("events").replaceChildren(el("h2", {}, "Events"), form, el("div", { class: "buttons" }, verify), verified, problem, body);
  $("events").focus({ preventScroll: true });
  await search(query());
}

function say(words: string): void {
  problem.hidden = !words;
  problem.textContent = words;
}

async function page(filters: URLSearchParams, before: unknown): Promise<Found> {
  const asks = new URLSearchParams(filters);
  asks.set("limit", String(PAGE));
  if (before !== null) asks.set("before_seq", String(before));
  return api(`events?${asks}`);
}

async function search(filters: URLSearchParams): Promise<void> {
  const mine = ++asked;
  say("");
  body.replaceChildren(el("p", { class: "soft" }, "Searching…"));
  try {
    const read = await page(filters, null);
    if (mine !== asked || state.view !== "events") return;
    found = read.events;
    next = read.truncated ? read.next : null;
    left = (read as any).left_out ?? [];
  } catch (error) {
    if (mine !== asked || state.view !== "events") return;
    body.replaceChildren();
    say((error as Error).message);
    return;
  }
  draw(filters);
  announce(found.length ? `${counted(found.length, "event", "events")}${next === null ? "" : ", and more"}.` : "Nothing is found.");
}

// Who acted, where it was a person: as `person` of a search finds it. In the records of a call an agent acts.
function person(event: any): string | null {
  if (["agent_start", "agent_decision", "agent_side_effect"].includes(event.event_type)) return null;
  const named = [event.detail?.person, event.detail?.by].find((name) => typeof name === "string" && name !== "");
  return named ?? null;
}

function draw(filters: URLSearchParams): void {
  if (!found.length) {
    const words = filters.size ? "No event is like this. Names take `*`; a time is one like 2026-11-20T08:00:00Z, a day, or how long ago, like 7d." : "Nothing is recorded yet. Every call leaves a record of what was decided before it is made, and one of what came of it.";
    body.replaceChildren(el("p", { id: "no-events" }, words));
    return;
  }
  const rows = found.map((event) => {
    const open = event.trace_id === null ? null : el("a", { href: `#/events/${event.trace_id}`, "aria-label": `The trace of record ${event.seq}` }, String(event.seq));
    // What Tollgate itself records of an agent, like that an alert is over, the agent did not do.
    const acted = person(event) ?? (event.actor.type === "agent" ? event.agent_id : null) ?? event.actor.type;
    return [
      td(open ?? String(event.seq)),
      td(when(event.timestamp) ?? ""),
      td(event.event_type.replaceAll("_", " ")),
      td(acted === null ? "" : parted(acted)),
      td(parted(event.tool ?? event.action ?? "")),
      td(event.decision === null ? (event.outcome === null ? "" : el("span", { class: `chip ${event.outcome === "succeeded" ? "good" : "bad"}` }, event.outcome)) : chip(event.decision)),
      el("td", { class: "text" }, event.policy_id === null ? "" : el("span", { class: "soft" }, shown(event.policy_id, true), " "), event.reason === null ? "" : shown(event.reason)),
    ];
  });
  const older = el("button", { type: "button" }, "Show older ones");
  older.addEventListener("click", async () => {
    older.disabled = true;
    const mine = asked;
    const from = found.length;
    try {
      const read = await page(filters, next);
      if (mine !== asked) return;
      found = found.concat(read.events);
      next = read.truncated ? read.next : null;
    } catch (error) {
      say((error as Error).message);
      older.disabled = false;
      return;
    }
    draw(filters);
    (body.querySelectorAll("tbody tr")[from] as HTMLElement | undefined)?.querySelector("a")?.focus();
  });
  const parts = [
    left.length ? el("p", { class: "banner" }, `${counted(left.length, "record does", "records do")} not verify and ${left.length === 1 ? "is" : "are"} left out: see \`tollgate audit verify\`.`) : null,
    table("Events, newest first", ["Record", "When", "Type", "Who", "What", "Decision", "Why"], rows, { id: "events-found" }),
    el("p", { class: "soft" }, `${counted(found.length, "event", "events")}, newest first${next === null ? ": all of them" : ""}. The number of a record opens its trace.`),
    next === null ? null : el("div", { class: "buttons" }, older),
  ];
  body.replaceChildren(...parts.filter((part) => part !== null));
}

// --- the five questions ----------------------------------------------------------------------------------------------

async function tell(trace: string): Promise<void> {
  const mine = ++asked;
  const back = el("a", { href: "#/events" }, "← Search");
  const place = el("div", { class: "stack" }, el("p", { class: "soft" }, "Reading the trace…"));
  $("events").replaceChildren(el("p", {}, back), el("h2", {}, "Trace ", el("span", { class: "code" }, trace)), place);
  $("events").focus({ preventScroll: true });
  let report: any;
  try {
    report = await api(`traces/${encodeURIComponent(trace)}`);
  } catch (error) {
    if (mine === asked && state.view === "events") place.replaceChildren(el("p", { class: "error" }, (error as Error).message));
    return;
  }
  if (mine !== asked || state.view !== "events") return;
  const notes = (report.notes ?? []).map((note: any) => el("li", {}, when(note.at), note.by === null ? "" : [" ", shown(note.by, true)], ": ", note.text === null ? "" : shown(note.text)));
  const nodes: (Node | null)[] = [
    report.truncated ? el("p", { class: "banner" }, "These are the newest records of this trace: `tollgate audit show` tells all.") : null,
    notes.length ? el("section", { class: "panel" }, el("h3", {}, "Notes"), el("ul", { class: "plain" }, ...notes)) : null,
    ...report.calls.map(call),
    report.calls.length ? null : el("p", {}, "No call was decided in this trace."),
    report.other.length ? el("section", { class: "panel" }, el("h3", {}, "Other records"), evidence(report.other)) : null,
    opened(`All ${counted(report.events.length, "record", "records")} as they are kept`, () => report.events.map((event: any) => el("pre", { tabindex: "0" }, shown(written(event, 2))))),
  ];
  place.replaceChildren(...nodes.filter((node) => node !== null));
  announce(`${counted(report.calls.length, "call", "calls")} in this trace.`);
}

const question = (number: number, words: string, ...answer: (Node | string | null)[]) => el("section", { class: "question" }, el("h4", {}, `${number}. ${words}`), ...answer.filter((part) => part !== null));

const json = (words: string, value: any): Node | null => (value === null || value === undefined ? null : opened(words, () => el("pre", { tabindex: "0" }, shown(written(value, 2)))));

function call(one: any): HTMLElement {
  const who = one.initiated;
  const did = one.executed;
  return el(
    "section",
    { class: "panel call", "data-call": one.call_id },
    el("h3", {}, one.tool === null ? "A call" : shown(one.tool, true), " ", el("span", { class: "soft" }, when(who.at))),
    question(1, "Who initiated it?", facts([
      ["Agent", who.agent_id],
      ["Acts as", who.actor.role === null ? who.actor.type : `${who.actor.role} (${who.actor.type})`],
      ["For the user", who.user],
      ["Person at the client", who.operator],
      ["Workflow", who.workflow_id],
      ["Tenant", who.tenant],
      ["Action", who.action],
    ]), json("Arguments, as they may be recorded", who.arguments)),
    question(2, "What was decided, and why?", ...(one.decided.length ? one.decided.map(decided) : ["Nothing is recorded."])),
    question(3, "Was approval required, and who approved?", ...(one.approvals.length || one.grants.length ? [...one.approvals.map(approval), ...one.grants.map(grant)] : [el("p", { class: "soft" }, "No person was asked.")])),
    question(4, "What was executed, where, and within which limits?", did ? executed(did) : el("p", { class: "soft" }, "Nothing went to an upstream.")),
    question(5, "Where is the evidence?", evidence(one.evidence)),
  );
}

function decided(one: any): HTMLElement {
  return el(
    "div",
    { class: "answer" },
    el("p", {}, one.decision === null ? "" : chip(one.decision), " ", one.reason === null ? "" : shown(one.reason)),
    facts([
      ["When", when(one.at)],
      ["Policy", one.policy_id === null ? null : `${one.policy_id}${one.rule_id === null ? "" : `, rule ${one.rule_id}`}`],
      ["Capability", one.capability_id],
      ["Estimated", one.cost_estimate_usd === null ? null : usd(Number(one.cost_estimate_usd))],
      ["Labels", (one.labels ?? []).join(", ")],
      ["Of its session", (one.session_labels ?? []).join(", ")],
      ["Counted", one.counted ? `${one.counted.count} alike` : null],
      ["Snapshot", one.policy_snapshot],
    ]),
    json("Limits and counters that were in force", one.limits),
  );
}

function approval(one: any): HTMLElement {
  const answers = (one.decisions ?? []).map((answer: any) => el("li", {}, shown(answer.person, true), ": ", chip(answer.decision), " ", when(answer.at), ` by ${answer.channel}`, answer.comment ? [", “", shown(answer.comment), "”"] : ""));
  return el(
    "div",
    { class: "answer" },
    el("p", {}, one.status === null ? "" : chip(one.status), " ", one.reason === null ? "" : shown(one.reason)),
    facts([
      ["Asked", when(one.created_at)],
      ["Approvers", (one.approvers ?? []).join(", ")],
      ["Needed", one.quorum === null ? null : counted(Number(one.quorum), "approval", "approvals")],
      ["Until", when(one.expires_at)],
    ]),
    answers.length ? el("ul", { class: "plain" }, ...answers) : el("p", { class: "soft" }, "Nobody has answered."),
    el("p", {}, el("a", { href: `#${encodeURIComponent(one.id)}` }, "The approval")),
  );
}

function grant(one: any): HTMLElement {
  return el("div", { class: "answer" }, el("p", {}, one.used ? "It went by a standing grant." : "It made a standing grant."), facts([["Grant", one.id], ["Given by", (one.approvers ?? []).join(", ")], ["Made", when(one.made_at)], ["Until", when(one.expires_at)]]));
}

function executed(one: any): HTMLElement {
  return el(
    "div",
    { class: "answer" },
    el("p", {}, one.outcome === null ? "It is under way, or its end is not recorded." : el("span", { class: `chip ${one.outcome === "succeeded" ? "good" : "bad"}` }, one.outcome), " ", one.reason === null ? "" : shown(one.reason)),
    facts([
      ["Upstream", one.upstream],
      ["As agents call it", one.tool],
      ["When", when(one.at)],
      ["Took", one.duration_ms === null ? null : duration(Number(one.duration_ms))],
      ["Cost", one.cost_usd === null ? null : usd(Number(one.cost_usd))],
      ["Result", one.result ? `${whole(Number(one.result.bytes))} bytes` : null],
      ["Labels", (one.labels ?? []).join(", ")],
    ]),
    json("What was sent, as it may be recorded", one.arguments),
    json("Limits", one.limits),
  );
}

function evidence(all: any[]): HTMLElement {
  const rows = all.map((one) => [td(String(one.seq)), td(one.event_type.replaceAll("_", " ")), td(when(one.at) ?? ""), el("td", { class: "code" }, one.hash ?? el("span", { class: "soft" }, "withheld from your role"))]);
  return table("Records that prove it", ["Record", "Type", "When", "Hash"], rows);
}
