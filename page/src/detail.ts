// One approval in front of a person: who asks for what and why, all that is sent, and their answer.

import { api } from "./api.js";
import { $, brief, chip, countdown, counted, el, facts, FIELDS, opened, place, shown, table, td, when, whenText } from "./dom.js";
import { written } from "./exact.js";
import { giving } from "./giving.js";
import { advance, back, chosen, following, inbox, record, render, take } from "./inbox.js";
import { asTree, forgetAllSent, forgetSent, openNext, sentBy, unseen } from "./sent.js";
import { state } from "./state.js";

// By approval: the form with what was typed, and what was read when it was looked at.
const forms = new Map();
const more = new Map();

export const detailCounts = () => [forms.size, more.size];

// Forgets what belongs to an approval; `changed`: only what was read of it.
export function forgetDetail(id, changed = false) {
  more.delete(id);
  if (changed) return;
  forms.delete(id);
  forgetSent(id);
}

export function forgetAllDetails() {
  forms.clear();
  more.clear();
  forgetAllSent();
}

// What was drawn of the record in front, so that it is drawn again only where the record has changed.
let drawn: any = { one: null, who: [], why: [], end: null };

export function renderDetail() {
  const one = chosen();
  if (!one) {
    const gone = "What you looked at has ended, or has left this list. Choose another.";
    const text = inbox.chosen === "" ? gone : "Choose an approval to see it whole.";
    drawn = { one: null };
    place($("detail"), [el("p", { class: "soft" }, text)], $("detail"));
    return;
  }
  if (drawn.one !== one) drawn = { one, who: headOf(one), why: whyOf(one), end: decisions(one) };
  const form = formOf(one);
  const parts = [...drawn.who, sentBy(one), ...drawn.why, drawn.end, form && form.fields, ...moreOf(one), form && form.bar];
  place($("detail"), parts.filter(Boolean), $("detail"));
}

// --- what it is ------------------------------------------------------------------------------------------------------

// Asked under other policies than those in force: no answer to it lets anything through.
const isOutdated = (one) => one.policies_in_force === false || (one.status === "cancelled" && !one.covered_by);

// What may come of a call, in a word or two each.
export function risks(one) {
  const words: any[] = [];
  const add = (word, colour = "") => words.push(el("span", { class: `chip ${colour}` }, word));
  if (one.traits) {
    if (one.traits.destructive) add("may destroy", "bad");
    else if (!one.traits.read_only) add("changes something", "warn");
    else add("read-only", "good");
    if (one.traits.open_world) add("reaches outside", "warn");
  }
  if (one.redacted) add("masked values", "warn");
  if (one.frozen && one.frozen.length) add("frozen", "bad");
  if (one.status === "pending") {
    if (one.evidence_required) add("needs evidence");
    const open = one.requirements.filter((need) => need.quorum > 1);
    for (const need of open) add(`${need.approved_by} of ${need.quorum} agreed`);
    if (isOutdated(one)) add("the policies have changed", "warn");
  }
  return words;
}

function takenAs(traits) {
  return [
    traits.read_only ? "read-only" : "changes something",
    traits.destructive ? "may destroy" : "destroys nothing",
    traits.idempotent ? "a repeat does no more" : "a repeat acts again",
    traits.open_world ? "reaches outside" : "stays inside",
  ].join(", ");
}

function headOf(one) {
  const agent = state.agents.get(one.agent_id);
  const changes = one.action.startsWith(`${one.upstream}:`) ? one.tool : `${one.tool}, as ${one.action}`;
  const open = !["consumed", "rejected", "expired"].includes(one.status);
  let banner = "";
  if (one.covered_by) banner = `A standing grant (${one.covered_by}) has let its call through while it waited: nobody has to answer it any more.`;
  else if (open && isOutdated(one)) banner = "The policies have changed since this was asked for: no answer to it lets the call through. The agent has to make the call again.";
  const frozen = one.frozen && one.frozen.length ? `${one.frozen.join(", ")} is frozen: the call is refused, approved or not, until an admin lifts that.` : "";
  return [
    el("button", { type: "button", class: "back", onclick: back }, "← All asks"),
    el("h2", {}, shown(one.tool), " ", chip(one.status)),
    frozen ? el("p", { class: "banner", "data-frozen": "" }, shown(frozen, true)) : null,
    banner ? el("p", { class: "banner" }, banner) : null,
    el("p", { class: "chips" }, ...risks(one)),
    el("h3", {}, "Who"),
    facts([
      ["Agent", one.agent_id],
      ["Owner", agent && agent.owner],
      ["Operator", one.operator],
      ["Role", agent && agent.role],
      ["For", one.user === one.operator ? null : one.user],
      ["Workflow", one.workflow],
    ]),
    el("h3", {}, "What"),
    facts([
      ["Tool", changes],
      ["Upstream", one.upstream],
      ["It is taken as", one.traits && takenAs(one.traits)],
      ["Labels", one.labels.join(", ")],
    ]),
  ].filter(Boolean);
}

function whyOf(one) {
  const policy = state.policies.get(one.policy_id);
  const needs = one.requirements.map((need) => {
    const who = need.approvers.length ? need.approvers.join(", ") : "any approver";
    const evidence = need.evidence_required ? ", with evidence" : "";
    const separate = need.separate ? ", and never the agent's operator" : "";
    const later = need.escalate ? `; from ${whenText(need.escalate.at)} also ${need.escalate.to.join(", ")}` : "";
    return el("li", {}, shown(`${need.approved_by} of ${need.quorum} by ${who}${evidence}${separate}${later} (policy ${need.policy_id}: ${need.reason})`));
  });
  const snapshot = one.policy_snapshot.slice(0, 12);
  const explain = el("button", { type: "button" }, "Explain it under the policies of now");
  explain.addEventListener("click", () => document.dispatchEvent(new CustomEvent("tollgate-explain", { detail: one })));
  return [
    el("h3", {}, "Why it was stopped"),
    facts([
      ["Policy", one.policy_id],
      ["Rule", one.rule_id],
      ["Reason", one.reason],
      ["Purpose of the policy", policy && policy.description],
      ["Policy owner", policy && policy.owner],
      ["Policies of then", el("span", { title: one.policy_snapshot }, `${snapshot} (${isOutdated(one) ? "not in force any more" : "in force"})`)],
    ]),
    el("div", { class: "buttons" }, explain),
    el("h3", {}, "Cost and time"),
    facts([
      ["Estimated cost", `${one.cost_estimate_usd} USD`],
      ["Asked", when(one.created_at)],
      [one.status === "pending" ? "Ends" : "Would have ended", when(one.expires_at)],
      ["Time left", one.status === "pending" ? countdown(one.expires_at) : null],
    ]),
    el("h3", {}, "Needs"),
    el("ul", {}, ...needs),
  ];
}

function decisions(one) {
  if (!one.decisions.length) return null;
  const rows = one.decisions.map((answer) => [
    td(chip(answer.decision === "approve" ? "approved" : "rejected")),
    td(shown(answer.person)),
    td(when(answer.at), el("div", { class: "soft" }, `by ${answer.channel}`)),
    el("td", { class: "text" }, shown(answer.comment || ""), answer.evidence ? el("div", {}, "Evidence: ", shown(answer.evidence)) : "", answer.grant ? el("div", {}, "With a standing grant: ", ...brief(written(answer.grant))) : ""),
  ]);
  return el("div", {}, el("h3", {}, "Decisions"), table("Decisions", ["Answer", "Who", "When", "What they said"], rows));
}

// --- the answer ------------------------------------------------------------------------------------------------------

// The form of an approval is made once, so that nothing typed is lost when something else changes.
function formOf(one) {
  let form = forms.get(one.id);
  if (!form) {
    if (one.status !== "pending") return null;
    form = newForm(one);
    forms.set(one.id, form);
  }
  const open = one.status === "pending" && one.may_decide && !form.busy;
  const parts = unseen(one);
  form.approve.disabled = !open || parts > 0;
  form.reject.disabled = !open;
  // What is sent already is not changed by what is typed after it.
  for (const field of [form.comment, form.evidence]) field.readOnly = form.busy;
  const shut = one.status === "pending" && !one.may_decide && !form.busy;
  form.fields.hidden = one.status !== "pending" && !form.comment.value && !form.evidence.value;
  form.bar.hidden = one.status !== "pending" && form.fields.hidden;
  form.hint.hidden = !open || parts === 0;
  form.words.textContent = `To approve it, open what is not shown yet: ${counted(parts, "part", "parts")}.`;
  if ((shut || one.status !== "pending") && !form.busy && one.why_not) say(form, `You cannot decide it: ${one.why_not}.`);
  return form;
}

function newForm(one) {
  const id = `answer-${one.id}`;
  const comment = el("textarea", { name: "comment", maxlength: 4000, rows: 2 });
  const evidence = el("textarea", { name: "evidence", maxlength: 4000, rows: 2 });
  const grant = giving(one, (on) => (approve.textContent = on ? "Approve with a grant" : "Approve"));
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const words = el("span", {});
  const next = el("button", { type: "button", onclick: () => openNext(record(one.id) || one) }, "Show the next part");
  const hint = el("p", { class: "hint", id: `hint-${one.id}`, hidden: true }, words, " ", next);
  const button = (kind, text) => el("button", { type: "submit", form: id, class: kind, value: kind, "aria-describedby": `hint-${one.id}` }, text);
  const approve = button("approve", "Approve");
  const reject = button("reject", "Reject");
  const fields = el(
    "form",
    { id, class: "decide", novalidate: true, "aria-label": "Your decision" },
    el("label", {}, "Comment", comment),
    el("label", {}, one.evidence_required ? "Evidence (needed to approve)" : "Evidence", evidence),
    grant && grant.node,
  );
  const bar = el("div", { class: "bar", role: "group", "aria-label": "Decide" }, hint, error, el("div", { class: "buttons" }, reject, approve));
  for (const one of [approve, reject]) {
    // The second click of a double click, and a key that is held down, are meant for what was here before.
    one.addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
    one.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
  }
  fields.addEventListener("submit", (event) => {
    event.preventDefault();
    decide(one.id, event.submitter ? event.submitter.value : "");
  });
  return { fields, bar, comment, evidence, grant, error, hint, words, approve, reject, busy: false };
}

// The parts of the form in front, for the keys that go there.
export const formInFront = () => forms.get(inbox.chosen);

function say(form, text) {
  form.error.hidden = !text;
  form.error.textContent = text || "";
}

export async function decide(id, decision) {
  const form = forms.get(id);
  const one = record(id);
  if (!form || !one || form.busy || !["approve", "reject"].includes(decision)) return;
  if (decision === "approve" && unseen(one) > 0) return;
  if (decision === "approve" && one.evidence_required && !form.evidence.value.trim()) {
    say(form, "This approval needs evidence: say what shows that the call is right.");
    form.evidence.focus();
    return;
  }
  form.busy = true;
  say(form, "");
  // As it stands when the answer is given: it may come live that it was, before this request is answered.
  const rest = following(id);
  // A button that cannot be pressed keeps no focus, and keys that are pressed on it may be lost.
  const inForm = form.fields.contains(document.activeElement) || form.bar.contains(document.activeElement);
  const pressed = inForm ? (document.activeElement as HTMLElement) : null;
  if (pressed && !pressed.matches(FIELDS)) $("detail").focus({ preventScroll: true });
  renderDetail();
  try {
    const body: any = { decision };
    if (form.comment.value.trim()) body.comment = form.comment.value.trim();
    if (form.evidence.value.trim()) body.evidence = form.evidence.value.trim();
    const grant = form.grant && decision === "approve" ? form.grant.value() : null;
    if (grant) body.grant = grant;
    const decided = await api(`approvals/${encodeURIComponent(id)}/decision`, body, "POST", { link: inbox.linked.has(id) });
    form.busy = false;
    forms.delete(id);
    take(decided);
    advance(record(id) || decided, rest);
  } catch (error) {
    form.busy = false;
    if (!state.me) return;
    // Somebody was first: what they decided is shown, and what was typed stays.
    if (error.status === 409) {
      const fresh = await api(`approvals/${encodeURIComponent(id)}`).catch(() => null);
      if (fresh) take(fresh);
      render();
    }
    renderDetail();
    say(form, error.message);
    if (pressed && inbox.chosen === id && document.activeElement === $("detail")) pressed.focus();
  }
}

$("detail").addEventListener("tollgate-seen", () => {
  const one = chosen();
  if (one) formOf(one);
});

// --- what is read when it is looked at -------------------------------------------------------------------------------

// The trace of the decision, and similar calls.
function moreOf(one) {
  const known = more.get(one.id);
  if (known) return known.parts;
  const parts = [el("p", { class: "soft" }, "Reading the trace…")];
  const mine = { parts };
  more.set(one.id, mine);
  // An answer that comes after the record has changed is of what was before.
  const isMine = () => more.get(one.id) === mine;
  readMore(one).then(
    (read) => {
      if (!isMine()) return;
      mine.parts = read;
      if (inbox.chosen === one.id) renderDetail();
    },
    (error) => {
      if (isMine()) more.delete(one.id);
      parts[0].textContent = `The trace cannot be read: ${error.message}`;
    },
  );
  return parts;
}

const MOST_SIMILAR = 5;

// What each policy said, and the record of it.
function saidOf(decided) {
  const steps = (decided.detail.steps || []).map((step) => [
    td(chip(step.decision)),
    td(shown(step.rule_id ? `${step.policy_id}, rule ${step.rule_id}` : step.policy_id)),
    el("td", { class: "text" }, shown(step.reason || "")),
  ]);
  const reached = (decided.facts && decided.facts.session_labels) || [];
  return [
    facts([
      ["Labels of the data", (decided.labels || []).join(", ")],
      ["Had reached the session", reached.join(", ") || "nothing"],
    ]),
    steps.length ? table("What policies said", ["Outcome", "By", "Why"], steps) : "",
    opened("The record of the decision", () => asTree(decided.detail)),
  ];
}

async function readMore(one) {
  const query = new URLSearchParams({ agent_id: one.agent_id, status: "approved,rejected,expired,consumed", limit: "200" });
  const form = forms.get(one.id);
  const mayGrant = form && form.grant;
  // Only an approval that is read by itself says what grant is proposed.
  const [trace, others, whole] = await Promise.all([
    api(`traces/${one.trace_id}`),
    api(`approvals?${query}`),
    mayGrant ? api(`approvals/${encodeURIComponent(one.id)}`) : null,
  ]);
  if (whole && whole.proposed_grant) form.grant.propose(whole.proposed_grant);
  const decided = trace.events.find(
    (event) => event.approval_id === one.id && event.event_type === "agent_decision" && event.detail,
  );
  const events = () =>
    trace.events.map((event) => [
    td(when(event.timestamp)),
    td(event.event_type),
    td(event.decision || event.outcome || ""),
    el("td", { class: "text" }, shown(event.reason || "")),
  ]);
  const similar = others.approvals.filter((other) => other.tool === one.tool && other.id !== one.id);
  const rows = similar.slice(0, MOST_SIMILAR).map((other) => {
    const last = other.decisions[other.decisions.length - 1];
    return [
      td(chip(other.status)),
      td(when(other.created_at)),
      td(shown(last ? last.person : "")),
      el("td", { class: "text" }, ...brief(written(other.arguments)), last && last.comment ? el("div", {}, shown(last.comment)) : ""),
    ];
  });
  const beyond = similar.length - rows.length;
  const sum = `The trace ${one.trace_id} (${trace.truncated ? "the newest " : ""}${counted(trace.events.length, "event", "events")})`;
  return [
    el("h3", {}, "Similar calls before"),
    rows.length
      ? el("div", { id: "similar" }, table("Similar calls before", ["Answer", "Asked", "By", "Arguments"], rows), beyond ? el("p", { class: "soft" }, `… and ${beyond} more in the history`) : "")
      : el("p", { class: "soft", id: "similar" }, "No such call of this agent was asked about before."),
    el("h3", {}, "How it was decided"),
    decided ? el("div", { id: "trace" }, ...saidOf(decided)) : el("p", { class: "soft", id: "trace" }, "The decision's record has no detail."),
    opened(sum, () => table("Events of the trace", ["When", "What", "Decision", "Reason"], events())),
  ];
}
