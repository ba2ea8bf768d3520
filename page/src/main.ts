// The page: signing in and out, its views, what comes live, and keys.

import * as alerts from "./alerts.js";
import { api, onSignOut, allPages } from "./api.js";
import * as budgets from "./budgets.js";
import * as catalog from "./catalog.js";
import * as connections from "./connections.js";
import * as deadletters from "./deadletters.js";
import { formInFront } from "./detail.js";
import { $, announce, el, FIELDS, notice, shown, typing } from "./dom.js";
import { parse } from "./exact.js";
import * as events from "./events.js";
import * as explain from "./explain.js";
import * as freeze from "./freeze.js";
import * as grants from "./grants.js";
import { choose, chosen, done, forgetAll, inbox, loadHistory, loadPending, quiet, render, step, take, tellNews } from "./inbox.js";
import * as labels from "./labels.js";
import * as matrix from "./matrix.js";
import * as now from "./now.js";
import * as people from "./people.js";
import * as pins from "./pins.js";
import * as policies from "./policies.js";
import * as scorecard from "./scorecard.js";
import { openNext } from "./sent.js";
import * as spend from "./spend.js";
import { credentials, hasRole, KEY, state } from "./state.js";
import * as upstreams from "./upstreams.js";

// --- views -----------------------------------------------------------------------------------------------------------

// Who reads records, and who reads counts.
const READERS = ["approver", "admin", "auditor", "auditor-full"];
// What has counts alone.
const COUNTERS = [...READERS, "viewer"];

// Which roles see a view, where it is, and what is read when it is opened.
interface View {
  title: string;
  roles: string[];
  section: string;
  open: (given?: any, rest?: string) => unknown;
}
const VIEWS: Record<string, View> = {
  pending: { title: "Approvals that wait", roles: READERS, section: "inbox", open: () => render() },
  history: { title: "Approvals of before", roles: READERS, section: "inbox", open: openHistory },
  grants: { title: "Standing grants", roles: READERS, section: "grants", open: grants.open },
  budgets: { title: "Budgets", roles: READERS, section: "budgets", open: budgets.open },
  explain: { title: "Explain a decision", roles: explain.ROLES, section: "explain", open: explain.open },
  policies: { title: "Policies", roles: READERS, section: "policies", open: policies.open },
  now: { title: "Now", roles: COUNTERS, section: "now", open: now.open },
  matrix: { title: "Agents and tools", roles: COUNTERS, section: "matrix", open: matrix.open },
  upstreams: { title: "Upstreams", roles: COUNTERS, section: "upstreams", open: upstreams.open },
  catalog: { title: "Catalog", roles: READERS, section: "catalog", open: catalog.open },
  connections: { title: "Connections", roles: COUNTERS, section: "connections", open: connections.open },
  people: { title: "People and agents", roles: READERS, section: "people", open: people.open },
  events: { title: "Events", roles: READERS, section: "events", open: events.open },
  scorecard: { title: "Scorecard and maturity", roles: COUNTERS, section: "scorecard", open: scorecard.open },
  spend: { title: "Spend", roles: COUNTERS, section: "spend", open: spend.open },
  deadletters: { title: "Dead letters", roles: deadletters.ROLES, section: "deadletters", open: deadletters.open },
  labels: { title: "Labels of data", roles: READERS, section: "labels", open: labels.open },
  alerts: { title: "Alerts", roles: READERS, section: "alerts", open: alerts.open },
  freeze: { title: "Freeze", roles: READERS, section: "freeze", open: freeze.open },
  quarantine: { title: "Quarantine", roles: READERS, section: "quarantine", open: pins.open },
};

// What stands where somebody is led who may not see it.
const LOST: View = { title: "Not for your role", roles: [], section: "lost", open: () => {} };
const viewOf = (name: string): View => (Object.hasOwn(VIEWS, name) ? VIEWS[name]! : LOST);

// What somebody sees first.
const firstView = () => Object.keys(VIEWS).find(maySee);
const maySee = (view) => Object.hasOwn(VIEWS, view) && hasRole(...VIEWS[view].roles);
const buttons = () => document.querySelectorAll<HTMLElement>("nav [data-view]");

function openHistory() {
  inbox.history = [];
  inbox.more.history = null;
  loadHistory();
  // A view shows at once, whenever its answer comes.
  render();
}

function draw() {
  const { section } = viewOf(state.view);
  for (const { section: other } of [...Object.values(VIEWS), LOST]) $(other).hidden = other !== section;
  for (const button of buttons()) {
    button.hidden = !maySee(button.dataset.view);
    if (button.dataset.view === state.view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  for (const group of document.querySelectorAll<HTMLElement>("nav [role=group]")) group.hidden = !group.querySelector("button:not([hidden])");
  // Where views stand in a row that is moved sideways, the one that is open is in sight.
  const nav = $("nav");
  const current = nav.querySelector("[aria-current]");
  if (current && nav.scrollWidth > nav.clientWidth) nav.scrollLeft = current.offsetLeft - nav.clientWidth / 2;
}

// Says that a link leads to what is not for who follows it, and where else to go.
function lose(link: string, what: string, roles: string[] | null) {
  state.view = "lost";
  state.rest = link;
  notice("");
  draw();
  const mine = state.me!.roles?.join(", ") || "none";
  const why = roles
    ? el("p", {}, what, ` is for people with a role of ${roles.join(", ")}; yours: ${mine}. Roles stand in authority.yaml, under people: whoever administers it can give you another.`)
    : el("p", {}, `This page has no view of the name “`, shown(what, true), "”.");
  const links = [...buttons()].filter((button) => maySee(button.dataset.view)).map((button) => el("li", {}, el("a", { href: `#/${button.dataset.view === "pending" ? "" : button.dataset.view}` }, viewOf(button.dataset.view!).title)));
  const title = roles ? "This is not for your role" : "There is no such view";
  $("lost").replaceChildren(el("h2", {}, title), why, el("p", {}, "You can go to:"), el("ul", { class: "plain" }, ...links));
  announce(title);
  $("lost").focus({ preventScroll: true });
}

// `rest` is what an address says behind the view, for the view itself.
export function show(view: string, given?: any, rest = "") {
  if (!maySee(view)) return;
  const isOther = state.view !== view;
  state.view = view;
  state.rest = rest;
  Object.assign(inbox, { chosen: null, pane: "list" });
  inbox.marked.clear();
  for (const [id, one] of inbox.approvals) {
    if (one.here && view !== "pending") inbox.approvals.delete(id);
  }
  notice("");
  if (isOther) done("");
  draw();
  const hash = view === "pending" ? "#/" : `#/${view}${rest}`;
  if (location.hash !== hash) history.pushState(null, "", hash);
  render();
  VIEWS[view].open(given, rest);
  if (isOther) {
    announce(VIEWS[view].title);
    scrollTo(0, 0);
  }
  // What had the keyboard may be in the view of before.
  if (document.activeElement === document.body) $("main").focus({ preventScroll: true });
}

document.addEventListener("tollgate-explain", ({ detail: one }: any) => {
  show("explain", { agent: one.agent_id, tool: one.tool, arguments: one.arguments, user: one.user, workflow: one.workflow, masked: one.redacted || !one.arguments_complete });
});

for (const button of buttons()) button.addEventListener("click", () => show(button.dataset.view!));

// The link of a message: its token, which the gateway knows the approval of.
const tokenOf = () => /^\/ask\/([\w-]+)$/.exec(location.pathname)?.[1] ?? null;

// From the link of a message to the approval that it leads to, once somebody has signed in.
async function followToken(token: string) {
  const { approval_id: id } = await api(`asks/${token}`);
  history.replaceState(null, "", `/#${encodeURIComponent(id)}`);
}

// A link to a view (`#/` and its name), or of a notification: `#` and the approval.
async function follow() {
  if (!state.me) return;
  const token = tokenOf();
  if (token) {
    if (!maySee("pending")) {
      history.replaceState(null, "", "/#/");
      return lose("/", "The approval of this link", VIEWS.pending!.roles);
    }
    try {
      await followToken(token);
    } catch (error) {
      history.replaceState(null, "", "/#/");
      await follow();
      return notice(`Nothing was opened: ${error.message}`);
    }
  }
  const link = location.hash.slice(1);
  if (link === "" || link.startsWith("/")) {
    const [, name, rest] = /^([a-z]*)(.*)$/s.exec(link.slice(1)) as RegExpExecArray;
    const view = name || firstView()!;
    if (!maySee(view)) lose(link, Object.hasOwn(VIEWS, view) ? VIEWS[view]!.title : view, Object.hasOwn(VIEWS, view) ? VIEWS[view]!.roles : null);
    else if (view !== state.view || rest !== state.rest) show(view, undefined, rest);
    return;
  }
  // The link that goes past the head of the page.
  if (link === "main") return;
  if (!maySee("pending")) return lose(link, "The approval of this link", VIEWS.pending!.roles);
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
  const [agents, bundle] = await Promise.all([allPages("agents", "agents"), allPages("policies", "policies")]);
  state.agents = new Map(agents.agents.map((agent) => [agent.id, agent]));
  state.policies = new Map(bundle.policies.map((policy) => [policy.id, policy]));
}

async function enter() {
  const me = await api("me");
  state.me = me;
  state.skew = new Date(me.now).getTime() - Date.now();
  $("person").textContent = me.id;
  $("environment").textContent = me.environment;
  state.csrf = me.csrf;
  if (!firstView()) {
    const roles = (me.roles || []).join(", ") || "none";
    state.me = null;
    throw new Error(`This page has no view for your roles (${roles}).`);
  }
  for (const id of ["environment", "nav", "who"]) $(id).hidden = false;
  for (const id of ["login", "login-why"]) $(id).hidden = true;
  state.view = firstView()!;
  draw();
  if (!maySee("pending")) {
    // Counts have no stream.
    live("signed in", "good");
    VIEWS[state.view].open();
    return follow();
  }
  await loadBundle();
  await loadPending();
  await freeze.changed();
  quiet();
  await follow();
  listen();
}

function leave(why) {
  if (!state.key && state.csrf) endSession();
  sessionStorage.removeItem(KEY);
  if (stream) stream.abort();
  stream = null;
  Object.assign(state, { key: null, csrf: null, me: null, view: "pending", rest: "", agents: new Map(), policies: new Map() });
  for (const dialog of document.querySelectorAll<HTMLDialogElement>("dialog[open]")) dialog.close();
  forgetAll();
  for (const view of [alerts, budgets, catalog, connections, deadletters, events, explain, freeze, grants, labels, matrix, now, people, pins, policies, scorecard, spend, upstreams]) view.clear();
  for (const { section } of Object.values(VIEWS)) $(section).hidden = true;
  for (const id of ["environment", "nav", "who"]) $(id).hidden = true;
  $("login").hidden = false;
  showLoginError(why);
  notice("");
  $("announce").replaceChildren();
  document.title = "Tollgate: approvals";
  $("key").focus();
}
onSignOut((why) => {
  // What is over needs no end.
  state.csrf = null;
  leave(why);
});

// The browser forgets who is signed in, and so does the gateway. Nobody waits for it.
function endSession() {
  fetch("/api/v1/session", { method: "DELETE", cache: "no-store", ...credentials("DELETE") }).catch(() => {});
}

function showLoginError(text) {
  $("login-error").hidden = !text;
  $("login-error").textContent = text || "";
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  showLoginError("");
  state.key = $("key").value.trim();
  document.documentElement.classList.add("entered");
  try {
    await enter();
    sessionStorage.setItem(KEY, state.key!);
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

let stream: any = null;

// However many changes come, the page is drawn a few times a second.
let due: any = null;
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
      const answer = await fetch("/api/v1/stream", { cache: "no-store", signal: mine.signal, ...credentials() });
      if (answer.status === 401) {
        const why = state.key ? "Your key is no longer valid." : "Your session is over.";
        state.csrf = null;
        return leave(why);
      }
      if (!answer.ok) throw new Error(`HTTP status ${answer.status}`);
      // What changed while nobody listened.
      await loadPending();
      await freeze.changed();
      tellNews();
      live("live", "good");
      pause = 500;
      await read(answer.body!.getReader());
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
    text = messages.pop()!;
    for (const message of messages) {
      const lines = message.split("\n");
      const kind = lines.find((line) => line.startsWith("event: "));
      const data = lines.find((line) => line.startsWith("data: "));
      if (!kind || !data) continue;
      if (kind === "event: approval") {
        take(parse(data.slice(6)));
        now.changed();
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
  now.changed();
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
    else if (kind[1].startsWith("tool_")) await Promise.all([pins.changed(), catalog.changed()]);
    else await grants.changed();
  } catch {
    // The next look at the view reads it again.
  }
}

// What other processes freeze and raise is on no stream of this one.
setInterval(() => state.me && maySee("freeze") && Promise.all([freeze.changed(), alerts.changed()]).catch(() => {}), 5000);

// --- keys ------------------------------------------------------------------------------------------------------------

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("f-status").addEventListener("change", () => loadHistory());
$("f-agent").addEventListener("change", () => loadHistory());
$("f-tool").addEventListener("input", render);
$("keys").addEventListener("click", () => $("help").showModal());
$("shortcuts").addEventListener("change", () => (state.shortcuts = $("shortcuts").checked));

for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, () => (state.touched = performance.now()), { capture: true, passive: true });
}

// What somebody does on purpose ends it.
document.addEventListener("keydown", () => {
  if (state.me) document.documentElement.classList.remove("entered");
});

for (const kind of ["pointerdown", "focusin"]) {
  document.addEventListener(kind, (event) => {
    if (event.target !== $("detail")) typing.cut = false;
  });
}

document.addEventListener("keydown", (event: any) => {
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
  const isInbox = viewOf(state.view).section === "inbox";
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
    i: () => show("alerts"),
    d: () => show("deadletters"),
    q: () => show("quarantine"),
    t: () => show("labels"),
    w: () => show("now"),
    x: () => show("matrix"),
    u: () => show("upstreams"),
    l: () => show("people"),
    v: () => show("events"),
    y: () => show("scorecard"),
    z: () => show("catalog"),
    "?": () => $("help").showModal(),
    ...(isInbox ? ofInbox : {}),
  }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
});

// Where in the page somebody was led who is at the issuer.
const LINK = "tollgate-link";

// Where people sign in by an issuer, somebody may be signed in already, or have just come back from it.
async function begin() {
  $("login-why").hidden = !tokenOf();
  const hash = sessionStorage.getItem(LINK);
  sessionStorage.removeItem(LINK);
  if (hash && location.pathname === "/" && location.hash.length < 2) history.replaceState(null, "", hash);
  if (state.key) return enter();
  $("key").focus();
  const ways = await api("signin");
  $("issuer").hidden = !ways.oidc;
  if (!ways.oidc) return;
  await enter().catch((error) => {
    if (error.status !== 401) throw error;
  });
}
$("issuer-sign-in").addEventListener("click", () => {
  const token = tokenOf();
  if (!token && location.hash.length > 1) sessionStorage.setItem(LINK, location.hash);
  location.assign(token ? `/signin?ask=${token}` : "/signin");
});
begin().catch((error) => (error.status === 401 ? leave("") : leave(error.message)));

// What the tests of the page look at.
export * as detail from "./detail.js";
export * as diff from "./diff.js";
export * as exact from "./exact.js";
export * as inbox from "./inbox.js";
export * as sent from "./sent.js";
export * as state from "./state.js";
