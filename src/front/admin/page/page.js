"use strict";
// The inbox: what waits for a person, and what was decided. All text is put in as text; nothing is ever parsed as markup.

const $ = (id) => document.getElementById(id);
const KEY = "tollgate-key";

const state = {
  key: sessionStorage.getItem(KEY),
  me: null,
  skew: 0,
  view: "pending",
  approvals: new Map(),
  history: [],
  // Null: none yet. Empty: what was chosen is gone, and nothing takes its place until a person chooses.
  chosen: null,
  forms: new Map(),
  sent: new Map(),
  more: new Map(),
  items: new Map(),
  agents: new Map(),
  policies: new Map(),
  stream: null,
  // A field has gone while somebody typed in it: what they go on typing is no command.
  cut: false,
};

// --- making elements -------------------------------------------------------------------------------------------------

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const FIELDS = "input, textarea, select";

// Makes these nodes the children of an element. What is there already is not moved: it keeps focus, caret and selection,
// and a click that began on it ends on it.
function place(parent, nodes) {
  const kept = new Set(nodes);
  const gone = [...parent.childNodes].filter((child) => !kept.has(child));
  const focused = gone.some((child) => child.contains(document.activeElement)) ? document.activeElement : null;
  for (const child of gone) child.remove();
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  if (!focused) return;
  // The keyboard stays where its user was.
  state.cut ||= focused.matches(FIELDS);
  $("detail").focus({ preventScroll: true });
}

// Numbers keep their digits: an approver agrees to what is sent, and a double cannot hold every number that JSON can write.
class Exact {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
}

// A name that nobody else knows, so that no text can pass for a number.
const EXACT = `number ${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;

function parse(text) {
  const marked = text.replace(TOKENS, (token) =>
    token[0] === '"' || String(Number(token)) === token ? token : `{"${EXACT}":"${token}"}`,
  );
  return JSON.parse(marked, (_, value) =>
    value !== null && typeof value === "object" && EXACT in value ? new Exact(value[EXACT]) : value,
  );
}

// The same the other way.
function written(value) {
  const mark = (_, item) => (item instanceof Exact ? `${EXACT}${item.text}` : item);
  return JSON.stringify(value, mark).replace(new RegExp(`"${EXACT}([^"]*)"`, "g"), "$1");
}

// What nobody sees, or what changes how others are shown: the gateway's own list, but for line feeds and tabs.
const HIDDEN =
  /[\u{0}-\u{8}\u{b}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{34f}\u{61c}\u{115f}-\u{1160}\u{17b4}-\u{17b5}\u{180b}-\u{180f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{3164}\u{fe00}-\u{fe0f}\u{feff}\u{ffa0}\u{fff0}-\u{fffb}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/u;
const SPECIAL = new RegExp(`(\\[(?:redacted|hash):[^\\]]*\\]|\\n|${HIDDEN.source})`, "u");

// Text as it is, with masks, line breaks and characters that nobody sees marked. It keeps its reading direction to itself.
function shown(text) {
  const out = el("bdi", {});
  let run = null;
  for (const part of String(text).split(SPECIAL)) {
    if (!part) continue;
    if (HIDDEN.test(part) && part.length <= 2) {
      const name = `\\u{${part.codePointAt(0).toString(16)}}`;
      if (run && run.name === name) {
        run.count += 1;
        run.mark.textContent = `${name} × ${run.count}`;
      } else {
        run = { name, count: 1, mark: el("mark", { title: "a character that nobody sees" }, name) };
        out.append(run.mark);
      }
      continue;
    }
    run = null;
    if (part === "\n") {
      // A line of a text cannot pass for a line of the page.
      out.append(el("mark", { title: "a line break" }, "\\n"), "\n");
    } else if (SPECIAL.test(part)) {
      out.append(el("mark", { title: "masked: what it was, and how long" }, part));
    } else {
      out.append(part);
    }
  }
  return out;
}

// What is too long to stand open: a person opens it before they approve.
const MOST_ENTRIES = 500;
const MOST_TEXT = 4000;

function folded(words, make) {
  const details = el("details", { class: "folded", "data-unseen": true }, el("summary", {}, words));
  details.addEventListener("toggle", () => {
    if (!details.open || !details.hasAttribute("data-unseen")) return;
    details.removeAttribute("data-unseen");
    details.append(make());
    const one = state.chosen && record(state.chosen);
    if (one) formOf(one);
  });
  return details;
}

function quoted(text) {
  if (text.length <= MOST_TEXT) return [`"`, shown(text), `"`];
  let at = MOST_TEXT;
  // Not between the halves of one character.
  if (/[\ud800-\udbff]/.test(text[at - 1])) at += 1;
  const rest = folded(`… ${text.length - at} more characters`, () => shown(text.slice(at)));
  return [`"`, shown(text.slice(0, at)), rest, `"`];
}

const isTree = (value) => value !== null && typeof value === "object" && !(value instanceof Exact);

function tree(value, depth = 0) {
  const list = el("ul", { class: depth ? "tree" : "tree top" });
  const entries = Array.isArray(value) ? value.map((item, at) => [at, item]) : Object.entries(value);
  if (!entries.length) list.append(el("li", {}, Array.isArray(value) ? "[] (empty)" : "{} (empty)"));
  const lines = (some) => some.map(([name, item]) => line(name, item, depth));
  list.append(...lines(entries.slice(0, MOST_ENTRIES)));
  const rest = entries.slice(MOST_ENTRIES);
  if (rest.length) {
    const make = () => el("ul", { class: "tree" }, ...lines(rest));
    list.append(el("li", {}, folded(`… ${rest.length} more of ${entries.length}`, make)));
  }
  return list;
}

function line(name, item, depth) {
  const label = el("span", { class: "name" }, shown(name));
  if (!isTree(item)) {
    const text = typeof item === "string" ? quoted(item) : [String(item)];
    return el("li", {}, label, ": ", el("span", { class: "value" }, ...text));
  }
  const size = Array.isArray(item) ? `[${item.length}]` : `{${Object.keys(item).length}}`;
  return el("li", {}, el("details", { open: true }, el("summary", {}, label, ` ${size}`), tree(item, depth + 1)));
}

const asTree = (value) => (isTree(value) ? tree(value) : tree({ value }));

function facts(pairs) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, value instanceof Node ? value : shown(value)));
  }
  return list;
}

const when = (time) => (time ? new Date(time).toLocaleString() : "");
const now = () => Date.now() + state.skew;

function left(until) {
  const seconds = Math.floor((new Date(until).getTime() - now()) / 1000);
  if (seconds <= 0) return "expired";
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = `${String(seconds % 60).padStart(2, "0")} s`;
  if (hours) return `${hours} h ${minutes} min left`;
  return minutes ? `${minutes} min ${rest} left` : `${rest} left`;
}

const countdown = (until) => el("span", { "data-until": until }, left(until));

const COLOURS = { approved: "good", consumed: "good", rejected: "bad", expired: "warn", cancelled: "warn", pending: "" };
const WORDS = { consumed: "approved and used" };
const chip = (status) => el("span", { class: `chip ${COLOURS[status] || ""}` }, WORDS[status] || status);

// --- the API ---------------------------------------------------------------------------------------------------------

class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function api(path, body) {
  const headers = { Authorization: `Bearer ${state.key}` };
  if (body) Object.assign(headers, { "Content-Type": "application/json", "Tollgate-Inbox": "1" });
  let answer;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
    });
  } catch {
    throw new ApiError(0, "The gateway does not answer. Nothing was changed; try again.");
  }
  const read = await answer.text().then(parse).catch(() => null);
  if (answer.ok) return read;
  const message = read && read.error ? read.error.message : `HTTP status ${answer.status}`;
  if (answer.status === 401 && state.me) leave("Your key is no longer valid.");
  throw new ApiError(answer.status, message);
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text || "";
}

// --- signing in and out ----------------------------------------------------------------------------------------------

async function enter() {
  const me = await api("me");
  state.me = me;
  state.skew = new Date(me.now).getTime() - Date.now();
  $("person").textContent = me.id;
  $("environment").textContent = me.environment;
  for (const id of ["environment", "nav", "who", "inbox"]) $(id).hidden = false;
  $("login").hidden = true;
  const [agents, policies] = await Promise.all([api("agents"), api("policies")]);
  state.agents = new Map(agents.agents.map((agent) => [agent.id, agent]));
  state.policies = new Map(policies.policies.map((policy) => [policy.id, policy]));
  await loadPending();
  await follow();
  listen();
}

// A link from a notification: `#` and the approval.
async function follow() {
  const link = location.hash.slice(1);
  if (!link || !state.me) return;
  try {
    const id = decodeURIComponent(link);
    const one = await api(`approvals/${encodeURIComponent(id)}`);
    // Another link was followed meanwhile.
    if (location.hash.slice(1) !== link) return;
    one.here = one.status !== "pending";
    state.approvals.set(id, one);
    state.view = "pending";
    choose(id, false);
    notice("");
  } catch (error) {
    notice(`The approval of this link cannot be shown: ${error.message}`);
  }
}
window.addEventListener("hashchange", follow);

function leave(why) {
  sessionStorage.removeItem(KEY);
  if (state.stream) state.stream.abort();
  Object.assign(state, { key: null, me: null, chosen: null, history: [], stream: null });
  for (const kept of [state.approvals, state.forms, state.sent, state.more, state.items]) kept.clear();
  for (const id of ["environment", "nav", "who", "inbox"]) $(id).hidden = true;
  $("list").replaceChildren();
  $("detail").replaceChildren();
  $("login").hidden = false;
  showLoginError(why);
  notice("");
  $("key").focus();
}

function showLoginError(text) {
  $("login-error").hidden = !text;
  $("login-error").textContent = text || "";
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  showLoginError("");
  state.key = $("key").value.trim();
  try {
    await enter();
    sessionStorage.setItem(KEY, state.key);
    $("key").value = "";
  } catch (error) {
    // What was typed stays.
    state.key = null;
    showLoginError(error.status === 401 ? "Nobody has this key." : error.message);
    $("key").select();
  }
});
$("leave").addEventListener("click", () => leave(""));

// --- lists -----------------------------------------------------------------------------------------------------------

async function loadPending() {
  const found = await api("approvals?status=pending&limit=1000");
  const ids = new Set(found.approvals.map((record) => record.id));
  for (const [id, record] of state.approvals) {
    if (record.status !== "pending" || ids.has(id)) continue;
    if (id !== state.chosen) {
      forget(id);
      continue;
    }
    // What somebody looks at stays, with what has become of it.
    try {
      take(await api(`approvals/${encodeURIComponent(id)}`));
    } catch (error) {
      if (error.status === 404) forget(id);
    }
  }
  found.approvals.forEach(take);
  render();
}

// How often the history was asked for and answered: an answer to an earlier question says nothing new.
let asked = 0;
let answered = 0;

async function loadHistory() {
  const query = new URLSearchParams({ status: $("f-status").value, limit: "500" });
  const agent = $("f-agent").value.trim();
  if (agent) query.set("agent_id", agent);
  const mine = ++asked;
  let said = "";
  const found = await api(`approvals?${query}`).catch((error) => {
    said = error.message;
    return null;
  });
  if (mine !== asked || !state.me) return;
  answered = mine;
  if (found) state.history = found.approvals;
  notice(said);
  render();
}

function forget(id) {
  for (const kept of [state.approvals, state.forms, state.sent, state.more, state.items]) kept.delete(id);
}

function pending() {
  const all = [...state.approvals.values()].filter((record) => record.status === "pending" || record.here);
  // What this person may decide first, and what ends soonest first.
  return all.sort((a, b) => b.may_decide - a.may_decide || a.expires_at.localeCompare(b.expires_at));
}

function listed() {
  if (state.view === "pending") return pending();
  const tool = $("f-tool").value.trim().toLowerCase();
  return state.history.filter((record) => record.tool.toLowerCase().includes(tool));
}

const record = (id) => state.approvals.get(id) || state.history.find((one) => one.id === id);

function render() {
  const all = listed();
  const waiting = pending().filter((one) => one.status === "pending");
  $("count").textContent = String(waiting.length);
  document.title = waiting.length ? `(${waiting.length}) Tollgate: approvals` : "Tollgate: approvals";
  $("show-pending").setAttribute("aria-pressed", String(state.view === "pending"));
  $("show-history").setAttribute("aria-pressed", String(state.view === "history"));
  $("filters").hidden = state.view !== "history";
  $("empty").hidden = all.length > 0;
  const none = asked === answered ? "No approval fits these filters." : "Reading the history…";
  $("empty").textContent = state.view === "pending" ? "Nothing waits for approval." : none;
  if (!all.some((one) => one.id === state.chosen)) {
    state.chosen = state.chosen === null ? (all.length ? all[0].id : null) : "";
  }
  const items = all.map(item);
  const listedIds = new Set(all.map((one) => one.id));
  for (const id of state.items.keys()) if (!listedIds.has(id)) state.items.delete(id);
  place($("list"), items);
  renderDetail();
}

// The line of an approval is made once, and filled again where its record has changed.
function item(one) {
  let line = state.items.get(one.id);
  if (!line) {
    const button = el("button", { type: "button", "data-id": one.id, onclick: () => choose(one.id) });
    line = { node: el("li", {}, button), button, one: null };
    state.items.set(one.id, line);
  }
  line.button.setAttribute("aria-current", String(one.id === state.chosen));
  if (line.one === one) return line.node;
  line.one = one;
  const side =
    one.status === "pending" ? countdown(one.expires_at) : el("span", {}, when(decidedAt(one) || one.created_at));
  line.button.replaceChildren(
    el("span", { class: "tool" }, shown(one.tool)),
    el("span", { class: "row" }, el("span", {}, shown(one.agent_id)), side),
    el("span", { class: "row" }, chip(one.status), one.may_decide ? el("strong", {}, "yours to decide") : ""),
  );
  return line.node;
}

const decidedAt = (one) => (one.decisions.length ? one.decisions[one.decisions.length - 1].at : null);

function choose(id, focus = true) {
  state.chosen = id;
  render();
  if (focus) {
    $("detail").focus({ preventScroll: true });
    $("detail").scrollIntoView({ block: "nearest" });
  }
}

function step(by) {
  const all = listed();
  const at = all.findIndex((one) => one.id === state.chosen);
  const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
  if (next) {
    choose(next.id, false);
    const button = $("list").querySelector('[aria-current="true"]');
    if (button) button.focus();
  }
}

// --- one approval ----------------------------------------------------------------------------------------------------

// What was drawn of the record in front, so that it is drawn again only where the record has changed.
let drawn = { one: null, head: [], end: null };

function renderDetail() {
  const one = state.chosen && record(state.chosen);
  if (!one) {
    const gone = "What you looked at has ended, or has left this list. Choose another.";
    const text = state.chosen === "" ? gone : "Choose an approval to see it whole.";
    drawn = { one: null, head: [], end: null };
    place($("detail"), [el("p", { class: "soft" }, text)]);
    return;
  }
  if (drawn.one !== one) drawn = { one, head: headOf(one), end: decisions(one) };
  const sent = sentBy(one);
  const [who, why] = drawn.head;
  const parts = [...who, sent, ...why, drawn.end, formOf(one), ...moreOf(one)];
  place($("detail"), parts.filter(Boolean));
}

// Before and after what is sent.
function headOf(one) {
  const agent = state.agents.get(one.agent_id);
  const policy = state.policies.get(one.policy_id);
  const changes = one.action.startsWith(`${one.upstream}:`) ? one.tool : `${one.tool}, as ${one.action}`;
  const needs = one.requirements.map((need) => {
    const who = need.approvers.length ? need.approvers.join(", ") : "any approver";
    const evidence = need.evidence_required ? ", with evidence" : "";
    const later = need.escalate ? `; from ${when(need.escalate.at)} also ${need.escalate.to.join(", ")}` : "";
    return el("li", {}, shown(`${need.approved_by} of ${need.quorum} by ${who}${evidence}${later} (policy ${need.policy_id}: ${need.reason})`));
  });
  const who = [
    el("h2", {}, shown(one.tool), " ", chip(one.status)),
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
      ["Its server says", one.description],
      ["It is taken as", one.traits && takenAs(one.traits)],
      ["Labels", one.labels.join(", ")],
    ]),
  ];
  const why = [
    el("h3", {}, "Why it was stopped"),
    facts([
      ["Policy", one.policy_id],
      ["Rule", one.rule_id],
      ["Reason", one.reason],
      ["Purpose of the policy", policy && policy.description],
      ["Policy owner", policy && policy.owner],
    ]),
    el("h3", {}, "Cost and time"),
    facts([
      ["Estimated cost", `${one.cost_estimate_usd} USD`],
      ["Asked", when(one.created_at)],
      ["Time left", one.status === "pending" ? countdown(one.expires_at) : null],
    ]),
    el("h3", {}, "Needs"),
    el("ul", {}, ...needs),
  ];
  return [who, why];
}

function takenAs(traits) {
  return [
    traits.read_only ? "read-only" : "changes something",
    traits.destructive ? "may destroy" : "destroys nothing",
    traits.idempotent ? "a repeat does no more" : "a repeat acts again",
    traits.open_world ? "reaches outside" : "stays inside",
  ].join(", ");
}

const masked = (one, title) => (one.redacted ? `${title} (sensitive values masked)` : title);
const some = (members) => members && Object.keys(members).length > 0;

function sections(one, sent) {
  const parts = [el("h3", {}, masked(one, "Arguments")), asTree(sent.arguments)];
  if (some(sent.meta)) parts.push(el("h3", {}, masked(one, "Metadata that is sent with it (_meta)")), asTree(sent.meta));
  if (some(sent.params)) parts.push(el("h3", {}, masked(one, "Other parameters that are sent with it")), asTree(sent.params));
  return parts;
}

// Everything that is sent. It never changes, so it is made once: what somebody has opened stays open.
function sentBy(one) {
  const made = state.sent.get(one.id);
  if (made) return made;
  const node = el("div", { class: "sent" }, ...sections(one, one));
  if (!one.arguments_complete) {
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const all = el("button", { type: "button" }, "Show all of it");
    const cut = el("div", { class: "cut", "data-unseen": true }, el("p", {}, "It is too long: some is cut here."), all, error);
    all.addEventListener("click", async () => {
      all.disabled = true;
      try {
        const whole = await readWhole(one);
        node.replaceChildren(...sections(one, whole));
      } catch (problem) {
        all.disabled = false;
        error.hidden = false;
        error.textContent = `It cannot be shown: ${problem.message}`;
      }
      if (state.chosen === one.id) renderDetail();
    });
    node.prepend(cut);
  }
  state.sent.set(one.id, node);
  return node;
}

// The decision's record has what the list of approvals cuts.
async function readWhole(one) {
  const trace = await api(`traces/${one.trace_id}`);
  const decided = trace.events.find((event) => event.approval_id === one.id && event.event_type === "agent_decision" && event.detail);
  if (!decided) throw new Error("the record of its decision is not there");
  return decided.detail;
}

const unseen = (one) => {
  const node = state.sent.get(one.id);
  return node ? node.querySelectorAll("[data-unseen]").length : 0;
};

function decisions(one) {
  if (!one.decisions.length) return null;
  const rows = one.decisions.map((answer) =>
    el(
      "tr",
      {},
      el("td", {}, chip(answer.decision === "approve" ? "approved" : "rejected")),
      el("td", {}, shown(answer.person)),
      el("td", {}, when(answer.at)),
      el("td", { class: "text" }, shown(answer.comment || ""), answer.evidence ? el("div", {}, "Evidence: ", shown(answer.evidence)) : ""),
    ),
  );
  return el("div", {}, el("h3", {}, "Decisions"), el("table", {}, el("tbody", {}, ...rows)));
}

// The form of an approval is made once, so that nothing typed is lost when something else changes.
function formOf(one) {
  let form = state.forms.get(one.id);
  if (!form) {
    if (one.status !== "pending") return null;
    const comment = el("textarea", { id: `comment-${one.id}`, name: "comment", maxlength: 4000 });
    const evidence = el("textarea", { id: `evidence-${one.id}`, name: "evidence", maxlength: 4000 });
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const hint = el("p", { class: "soft", hidden: true });
    const approve = el("button", { type: "submit", class: "approve", value: "approve" }, "Approve");
    const reject = el("button", { type: "submit", class: "reject", value: "reject" }, "Reject");
    const node = el(
      "form",
      { class: "decide", novalidate: true, "aria-label": "Your decision" },
      el("label", {}, "Comment", comment),
      el("label", {}, one.evidence_required ? "Evidence (needed to approve)" : "Evidence", evidence),
      hint,
      error,
      el("div", { class: "buttons" }, approve, reject),
    );
    form = { node, comment, evidence, error, hint, approve, reject, busy: false };
    node.addEventListener("submit", (event) => {
      event.preventDefault();
      decide(one.id, event.submitter ? event.submitter.value : "");
    });
    state.forms.set(one.id, form);
  }
  const open = one.status === "pending" && one.may_decide && !form.busy;
  const parts = unseen(one);
  form.approve.disabled = !open || parts > 0;
  form.reject.disabled = !open;
  // What is sent already is not changed by what is typed after it.
  for (const field of [form.comment, form.evidence]) field.readOnly = form.busy;
  form.hint.hidden = !open || parts === 0;
  form.hint.textContent = `To approve it, open what is not shown yet: ${parts === 1 ? "1 part" : `${parts} parts`}.`;
  if (!one.may_decide && !form.busy && one.why_not) say(form, `You cannot decide it: ${one.why_not}.`);
  return form.node;
}

function say(form, text) {
  form.error.hidden = !text;
  form.error.textContent = text || "";
}

async function decide(id, decision) {
  const form = state.forms.get(id);
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
  // A button that cannot be pressed keeps no focus, and keys that are pressed on it may be lost.
  const pressed = form.node.contains(document.activeElement) ? document.activeElement : null;
  if (pressed && !pressed.matches(FIELDS)) $("detail").focus({ preventScroll: true });
  renderDetail();
  try {
    const body = { decision };
    if (form.comment.value.trim()) body.comment = form.comment.value.trim();
    if (form.evidence.value.trim()) body.evidence = form.evidence.value.trim();
    const done = await api(`approvals/${encodeURIComponent(id)}/decision`, body);
    form.busy = false;
    if (done.status !== "pending") state.forms.delete(id);
    take(done);
    render();
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
    if (pressed && state.chosen === id && document.activeElement === $("detail")) pressed.focus();
  }
}

// What belongs to an approval and is read when it is looked at: the trace of the decision, and similar calls.
function moreOf(one) {
  const more = state.more.get(one.id);
  if (more) return more.parts;
  const parts = [el("p", { class: "soft" }, "Reading the trace…")];
  const mine = { parts };
  state.more.set(one.id, mine);
  // An answer that comes after the record has changed is of what was before.
  const isMine = () => state.more.get(one.id) === mine;
  readMore(one).then(
    (read) => {
      if (!isMine()) return;
      mine.parts = read;
      if (state.chosen === one.id) renderDetail();
    },
    (error) => {
      if (isMine()) state.more.delete(one.id);
      parts[0].textContent = `The trace cannot be read: ${error.message}`;
    },
  );
  return parts;
}

async function readMore(one) {
  const query = new URLSearchParams({ agent_id: one.agent_id, status: "approved,rejected,expired,consumed", limit: "200" });
  const [trace, others] = await Promise.all([api(`traces/${one.trace_id}`), api(`approvals?${query}`)]);
  const decided = trace.events.find(
    (event) => event.approval_id === one.id && event.event_type === "agent_decision" && event.detail,
  );
  const start = (text) => (text.length > 160 ? `${text.slice(0, 160)}… (cut: ${text.length - 160} more characters)` : text);
  const events = trace.events.map((event) =>
    el(
      "tr",
      {},
      el("td", {}, when(event.timestamp)),
      el("td", {}, event.event_type),
      el("td", {}, event.decision || event.outcome || ""),
      el("td", { class: "text" }, shown(event.reason || "")),
    ),
  );
  const similar = others.approvals.filter((other) => other.tool === one.tool && other.id !== one.id).slice(0, 5);
  const rows = similar.map((other) => {
    const last = other.decisions[other.decisions.length - 1];
    return el(
      "tr",
      {},
      el("td", {}, chip(other.status)),
      el("td", {}, when(other.created_at)),
      el("td", {}, shown(last ? last.person : "")),
      el("td", { class: "text" }, shown(start(written(other.arguments))), last && last.comment ? el("div", {}, shown(last.comment)) : ""),
    );
  });
  return [
    el("h3", {}, "Similar calls before"),
    rows.length
      ? el("table", { id: "similar" }, el("tbody", {}, ...rows))
      : el("p", { class: "soft", id: "similar" }, "No such call of this agent was asked about before."),
    el("h3", {}, "How it was decided"),
    decided ? el("div", { id: "trace" }, asTree(decided.detail)) : el("p", { class: "soft", id: "trace" }, "The decision's record has no detail."),
    el("details", {}, el("summary", {}, `The trace ${one.trace_id} (${trace.truncated ? "the newest " : ""}${trace.events.length} events)`), el("table", {}, el("tbody", {}, ...events))),
  ];
}

// --- live ------------------------------------------------------------------------------------------------------------

// A record never goes back, so an answer that comes late says nothing new.
const RANK = { pending: 0, approved: 1 };
const rank = (one) => RANK[one.status] ?? 2;
// Approvals that have ended and are kept on the screen.
const MOST_ENDED = 100;

function take(one) {
  const before = state.approvals.get(one.id);
  if (before && (rank(before) > rank(one) || before.decisions.length > one.decisions.length)) return;
  // What was on the screen stays there with its new status until the view changes.
  if (one.status !== "pending" && before) one.here = before.here || state.view === "pending";
  state.approvals.set(one.id, one);
  const at = state.history.findIndex((other) => other.id === one.id);
  if (at >= 0) state.history[at] = one;
  if (!before || rank(before) !== rank(one) || before.decisions.length !== one.decisions.length) state.more.delete(one.id);
  // A tab that stays open for a week keeps the newest.
  const over = [...state.approvals.values()].filter((other) => other.status !== "pending" && other.id !== state.chosen);
  for (const other of over.slice(0, Math.max(over.length - MOST_ENDED, 0))) forget(other.id);
}

// However many changes come, the page is drawn a few times a second.
let due = null;
function refreshSoon() {
  due ??= setTimeout(() => {
    due = null;
    if (state.me) render();
  }, 100);
}

function live(word, colour) {
  $("live").textContent = word;
  $("live").className = `chip ${colour}`;
}

async function listen() {
  const mine = new AbortController();
  state.stream = mine;
  let pause = 500;
  while (state.stream === mine) {
    try {
      const answer = await fetch("/api/v1/stream", {
        headers: { Authorization: `Bearer ${state.key}` },
        cache: "no-store",
        credentials: "omit",
        signal: mine.signal,
      });
      if (answer.status === 401) return leave("Your key is no longer valid.");
      if (!answer.ok) throw new Error(`HTTP status ${answer.status}`);
      // What changed while nobody listened.
      await loadPending();
      live("live", "good");
      pause = 500;
      await read(answer.body.getReader());
    } catch (error) {
      if (state.stream !== mine) return;
    }
    live("reconnecting", "warn");
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 10000);
  }
}

async function read(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true });
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const lines = message.split("\n");
      const kind = lines.find((line) => line.startsWith("event: "));
      const data = lines.find((line) => line.startsWith("data: "));
      if (kind === "event: approval" && data) {
        take(parse(data.slice(6)));
        refreshSoon();
      }
    }
  }
}

setInterval(() => {
  for (const node of document.querySelectorAll("[data-until]")) node.textContent = left(node.dataset.until);
}, 1000);

// --- views and keys --------------------------------------------------------------------------------------------------

function show(view) {
  state.view = view;
  state.chosen = null;
  for (const [id, one] of state.approvals) {
    if (one.here && view !== "pending") state.approvals.delete(id);
  }
  if (view === "history") {
    state.history = [];
    loadHistory();
  }
  // A view shows at once, whenever its answer comes.
  render();
}

$("show-pending").addEventListener("click", () => show("pending"));
$("show-history").addEventListener("click", () => show("history"));
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("f-status").addEventListener("change", loadHistory);
$("f-agent").addEventListener("change", loadHistory);
$("f-tool").addEventListener("input", render);
$("keys").addEventListener("click", () => $("help").showModal());

// What somebody does on purpose ends it.
for (const kind of ["pointerdown", "focusin"]) {
  document.addEventListener(kind, (event) => {
    if (event.target !== $("detail")) state.cut = false;
  });
}

document.addEventListener("keydown", (event) => {
  if (!state.me || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const typing = event.target.closest(FIELDS);
  if (event.key === "Escape") {
    state.cut = false;
    if (typing) typing.blur();
    return;
  }
  if (typing || state.cut) return;
  const form = state.forms.get(state.chosen);
  const does = {
    j: () => step(1),
    k: () => step(-1),
    a: () => form && form.approve.focus(),
    r: () => form && form.reject.focus(),
    c: () => form && form.comment.focus(),
    p: () => show("pending"),
    h: () => show("history"),
    "?": () => $("help").showModal(),
  }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
});

if (state.key) enter().catch((error) => (error.status === 401 ? leave("") : leave(error.message)));
else $("key").focus();
