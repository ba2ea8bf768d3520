// The page: signing in and out, its views, what comes live, and keys.

import * as alerts from "./alerts.js";
import { api, onSignOut } from "./api.js";
import * as budgets from "./budgets.js";
import * as deadletters from "./deadletters.js";
import { formInFront } from "./detail.js";
import { $, announce, FIELDS, notice, typing } from "./dom.js";
import { parse } from "./exact.js";
import * as explain from "./explain.js";
import * as freeze from "./freeze.js";
import * as grants from "./grants.js";
import { choose, chosen, done, forgetAll, inbox, loadHistory, loadPending, quiet, render, step, take, tellNews } from "./inbox.js";
import * as pins from "./pins.js";
import * as policies from "./policies.js";
import { openNext } from "./sent.js";
import * as spend from "./spend.js";
import { hasRole, KEY, state } from "./state.js";

// --- views -----------------------------------------------------------------------------------------------------------

const READERS = ["approver", "admin", "auditor", "auditor-full"];

// Which roles see a view, where it is, and what is read when it is opened.
const VIEWS = {
  pending: { title: "Approvals that wait", roles: READERS, section: "inbox", open: () => render() },
  history: { title: "Approvals of before", roles: READERS, section: "inbox", open: openHistory },
  grants: { title: "Standing grants", roles: READERS, section: "grants", open: grants.open },
  budgets: { title: "Budgets", roles: READERS, section: "budgets", open: budgets.open },
  explain: { title: "Explain a decision", roles: explain.ROLES, section: "explain", open: explain.open },
  policies: { title: "Policies", roles: READERS, section: "policies", open: policies.open },
  spend: { title: "Spend", roles: READERS, section: "spend", open: spend.open },
  deadletters: { title: "Dead letters", roles: deadletters.ROLES, section: "deadletters", open: deadletters.open },
  alerts: { title: "Alerts", roles: READERS, section: "alerts", open: alerts.open },
  freeze: { title: "Freeze", roles: READERS, section: "freeze", open: freeze.open },
  quarantine: { title: "Quarantine", roles: READERS, section: "quarantine", open: pins.open },
};

const maySee = (view) => Object.hasOwn(VIEWS, view) && hasRole(...VIEWS[view].roles);
const buttons = () => document.querySelectorAll("nav [data-view]");

function openHistory() {
  inbox.history = [];
  inbox.more.history = null;
  loadHistory();
  // A view shows at once, whenever its answer comes.
  render();
}

function draw() {
  const section = VIEWS[state.view].section;
  for (const { section: other } of Object.values(VIEWS)) $(other).hidden = other !== section;
  for (const button of buttons()) {
    button.hidden = !maySee(button.dataset.view);
    if (button.dataset.view === state.view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
}

export function show(view, given) {
  if (!maySee(view)) return;
  const isOther = state.view !== view;
  state.view = view;
  Object.assign(inbox, { chosen: null, pane: "list" });
  inbox.marked.clear();
  for (const [id, one] of inbox.approvals) {
    if (one.here && view !== "pending") inbox.approvals.delete(id);
  }
  notice("");
  if (isOther) done("");
  draw();
  const hash = view === "pending" ? "#/" : `#/${view}`;
  if (location.hash !== hash) history.pushState(null, "", hash);
  render();
  VIEWS[view].open(given);
  if (isOther) announce(VIEWS[view].title);
  // What had the keyboard may be in the view of before.
  if (document.activeElement === document.body) $("main").focus({ preventScroll: true });
}

document.addEventListener("tollgate-explain", ({ detail: one }) => {
  show("explain", { agent: one.agent_id, tool: one.tool, arguments: one.arguments, user: one.user, workflow: one.workflow, masked: one.redacted || !one.arguments_complete });
});

for (const button of buttons()) button.addEventListener("click", () => show(button.dataset.view));

// A link to a view (`#/` and its name), or of a notification: `#` and the approval.
async function follow() {
  const link = location.hash.slice(1);
  if (!state.me) return;
  if (link === "" || link.startsWith("/")) {
    const view = link.slice(1) || "pending";
    if (view !== state.view) show(view);
    return;
  }
  // The link that goes past the head of the page.
  if (link === "main") return;
  try {
    const id = decodeURIComponent(link);
    const one = await api(`approvals/${encodeURIComponent(id)}`);
    // Another link was followed meanwhile.
    if (location.hash.slice(1) !== link) return;
    one.here = one.status !== "pending";
    inbox.approvals.set(id, one);
    inbox.linked.add(id);
    state.view = "pending";
    draw();
    choose(id, false);
    inbox.pane = "detail";
    notice("");
    render();
  } catch (error) {
    notice(`The approval of this link cannot be shown: ${error.message}`);
  }
}
window.addEventListener("hashchange", follow);

// --- signing in and out ----------------------------------------------------------------------------------------------

// What is in force, as the views name it.
async function loadBundle() {
  const [agents, bundle] = await Promise.all([api("agents"), api("policies")]);
  state.agents = new Map(agents.agents.map((agent) => [agent.id, agent]));
  state.policies = new Map(bundle.policies.map((policy) => [policy.id, policy]));
}

async function enter() {
  const me = await api("me");
  state.me = me;
  state.skew = new Date(me.now).getTime() - Date.now();
  $("person").textContent = me.id;
  $("environment").textContent = me.environment;
  if (!maySee("pending")) {
    const roles = (me.roles || []).join(", ") || "none";
    state.me = null;
    throw new Error(`This page has no view for your roles (${roles}).`);
  }
  for (const id of ["environment", "nav", "who"]) $(id).hidden = false;
  $("login").hidden = true;
  state.view = "pending";
  draw();
  await loadBundle();
  await loadPending();
  await freeze.changed();
  quiet();
  await follow();
  listen();
}

function leave(why) {
  sessionStorage.removeItem(KEY);
  if (stream) stream.abort();
  stream = null;
  Object.assign(state, { key: null, me: null, view: "pending", agents: new Map(), policies: new Map() });
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  forgetAll();
  for (const view of [alerts, budgets, deadletters, explain, freeze, grants, pins, policies, spend]) view.clear();
  for (const { section } of Object.values(VIEWS)) $(section).hidden = true;
  for (const id of ["environment", "nav", "who"]) $(id).hidden = true;
  $("login").hidden = false;
  showLoginError(why);
  notice("");
  $("announce").replaceChildren();
  document.title = "Tollgate: approvals";
  $("key").focus();
}
onSignOut(leave);

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
    // Where the field was there is nothing now.
    if (document.activeElement === document.body || document.activeElement === null) $("main").focus({ preventScroll: true });
  } catch (error) {
    // What was typed stays.
    state.key = null;
    showLoginError(error.status === 401 ? "Nobody has this key." : error.message);
    $("key").select();
  }
});
$("leave").addEventListener("click", () => leave(""));

// --- live ------------------------------------------------------------------------------------------------------------

let stream = null;

// However many changes come, the page is drawn a few times a second.
let due = null;
function refreshSoon() {
  due ??= setTimeout(() => {
    due = null;
    if (!state.me) return;
    render();
    tellNews();
  }, 100);
}

function live(word, colour) {
  if ($("live").textContent !== word) $("live").textContent = word;
  $("live").className = `chip ${colour}`;
}

async function listen() {
  const mine = new AbortController();
  stream = mine;
  let pause = 500;
  while (stream === mine) {
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
      await freeze.changed();
      tellNews();
      live("live", "good");
      pause = 500;
      await read(answer.body.getReader());
    } catch (error) {
      if (stream !== mine) return;
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
      if (!kind || !data) continue;
      if (kind === "event: approval") {
        take(parse(data.slice(6)));
        refreshSoon();
      } else if (kind === "event: event") {
        happened(data);
      }
    }
  }
}

// Events of calls come by the thousand: only those that a view shows are read.
const OF_VIEWS = /"event_type":"(policy_activated|policy_rejected|grant_made|grant_ended|frozen|unfrozen|tool_quarantined|tool_accepted|alert)"|"action":"(?:alert|incident|duty)"/;

async function happened(data) {
  const kind = OF_VIEWS.exec(data);
  if (!kind || !state.me) return;
  try {
    if (kind[1] === "policy_activated") {
      await loadBundle();
      announce("Other policies have come into force.");
      await loadPending();
    }
    if (!kind[1] || kind[1] === "alert") return await alerts.changed();
    if (kind[1].endsWith("frozen")) await freeze.changed();
    else if (kind[1].startsWith("policy_")) await policies.changed();
    else if (kind[1].startsWith("tool_")) await pins.changed();
    else await grants.changed();
  } catch {
    // The next look at the view reads it again.
  }
}

// What other processes freeze and raise is on no stream of this one.
setInterval(() => state.me && Promise.all([freeze.changed(), alerts.changed()]).catch(() => {}), 5000);

// --- keys ------------------------------------------------------------------------------------------------------------

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("f-status").addEventListener("change", () => loadHistory());
$("f-agent").addEventListener("change", () => loadHistory());
$("f-tool").addEventListener("input", render);
$("keys").addEventListener("click", () => $("help").showModal());
$("shortcuts").addEventListener("change", () => (state.shortcuts = $("shortcuts").checked));

// What somebody does on purpose ends it.
for (const kind of ["pointerdown", "focusin"]) {
  document.addEventListener(kind, (event) => {
    if (event.target !== $("detail")) typing.cut = false;
  });
}

document.addEventListener("keydown", (event) => {
  if (!state.me || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const field = event.target.closest(FIELDS);
  if (event.key === "Escape") {
    typing.cut = false;
    if (field) field.blur();
    return;
  }
  const writes = field && field.type !== "checkbox";
  if (writes || typing.cut || !state.shortcuts) return;
  const form = formInFront();
  const isInbox = VIEWS[state.view].section === "inbox";
  const ofInbox = {
    j: () => step(1),
    k: () => step(-1),
    a: () => form && form.approve.focus(),
    r: () => form && form.reject.focus(),
    c: () => form && form.comment.focus(),
    n: () => chosen() && openNext(chosen()),
    m: () => {
      const box = inbox.chosen && $("list").querySelector(`[data-mark="${CSS.escape(inbox.chosen)}"]`);
      if (box && !box.hidden) box.click();
    },
  };
  const does = {
    p: () => show("pending"),
    h: () => show("history"),
    g: () => show("grants"),
    b: () => show("budgets"),
    e: () => show("explain"),
    o: () => show("policies"),
    s: () => show("spend"),
    f: () => show("freeze"),
    l: () => show("alerts"),
    d: () => show("deadletters"),
    q: () => show("quarantine"),
    "?": () => $("help").showModal(),
    ...(isInbox ? ofInbox : {}),
  }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
});

if (state.key) enter().catch((error) => (error.status === 401 ? leave("") : leave(error.message)));
else $("key").focus();
