// The inbox: what waits for a person, and what was decided. The list of it, and which of it is in front.

import { api } from "./api.js";
import { headline, differences } from "./headline.js";
import { $, announce, chip, confirm, countdown, counted, el, notice, place, shown, when } from "./dom.js";
import { forgetDetail, forgetAllDetails, renderDetail, risks } from "./detail.js";
import { state } from "./state.js";

export const inbox: any = {
  // Approvals by id: those that wait, and those that ended while they were on the screen.
  approvals: new Map(),
  history: [],
  // Whether more wait than are listed, and the cursor behind the history that is listed.
  more: { pending: false, history: null },
  // Null: none yet. Empty: what was chosen is gone, and nothing takes its place until a person chooses.
  chosen: null,
  // On a narrow screen one of them is shown: the list or what was chosen.
  pane: "list",
  // Ids of those that are marked, to be rejected together.
  marked: new Set(),
  // Ids of those that a link of a notification led to.
  linked: new Set(),
};

// Lines of the list by id.
const items = new Map();

export const record = (id) => inbox.approvals.get(id) || inbox.history.find((one) => one.id === id);
export const chosen = () => (inbox.chosen && record(inbox.chosen)) || null;

// --- reading ---------------------------------------------------------------------------------------------------------

const MOST = 1000;

export async function loadPending() {
  const found = await api(`approvals?status=pending&limit=${MOST}`);
  inbox.more.pending = found.truncated;
  const ids = new Set(found.approvals.map((one) => one.id));
  for (const [id, one] of inbox.approvals) {
    if (one.status !== "pending" || ids.has(id)) continue;
    if (id !== inbox.chosen) {
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
const AT_A_TIME = 200;

// `before`: the cursor of those that follow what is listed already.
export async function loadHistory(before = null) {
  const query = new URLSearchParams({ status: $("f-status").value, limit: String(AT_A_TIME) });
  if (before) query.set("before", before);
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
  if (found) {
    inbox.history = before ? [...inbox.history, ...found.approvals] : found.approvals;
    inbox.more.history = found.next;
  }
  notice(said);
  render();
  if (found && state.view === "history") announce(`${counted(listed().length, "approval", "approvals")} in the history.`);
}

export function forget(id) {
  inbox.approvals.delete(id);
  inbox.marked.delete(id);
  items.delete(id);
  forgetDetail(id);
}

export function forgetAll() {
  inbox.approvals.clear();
  inbox.marked.clear();
  inbox.linked.clear();
  items.clear();
  forgetAllDetails();
  Object.assign(inbox, { history: [], chosen: null, pane: "list" });
  $("list").replaceChildren();
  $("detail").replaceChildren();
  done("");
}

// A record never goes back, so an answer that comes late says nothing new.
const RANK = { pending: 0, approved: 1 };
const rank = (one) => RANK[one.status] ?? 2;
// Approvals that have ended and are kept on the screen.
const MOST_ENDED = 100;

// What has changed since it was told last, for those who do not see the page.
const news = { fresh: 0, ended: [] as any[] };

export function take(one) {
  const before = inbox.approvals.get(one.id);
  if (before && (rank(before) > rank(one) || before.decisions.length > one.decisions.length)) return;
  if (!before && one.status === "pending") news.fresh += 1;
  if (before && before.status === "pending" && one.status !== "pending" && one.id === inbox.chosen) news.ended.push(one);
  // What was on the screen stays there with its new status until the view changes.
  if (one.status !== "pending" && before) one.here = before.here || state.view === "pending";
  if (one.status !== "pending") inbox.marked.delete(one.id);
  inbox.approvals.set(one.id, one);
  const at = inbox.history.findIndex((other) => other.id === one.id);
  if (at >= 0) inbox.history[at] = one;
  if (!before || rank(before) !== rank(one) || before.decisions.length !== one.decisions.length) forgetDetail(one.id, true);
  // A tab that stays open for a week keeps the newest.
  const over = [...inbox.approvals.values()].filter((other) => other.status !== "pending" && other.id !== inbox.chosen);
  for (const other of over.slice(0, Math.max(over.length - MOST_ENDED, 0))) forget(other.id);
}

// Says what has come and gone since the last time.
export function tellNews() {
  const parts: any[] = [];
  if (news.fresh) parts.push(`${counted(news.fresh, "new ask", "new asks")}.`);
  for (const one of news.ended) {
    const last = one.decisions.at(-1);
    if (!last || last.person !== state.me!.id) parts.push(`${one.tool} for ${one.agent_id}: ${one.status}${last ? ` by ${last.person}` : ""}.`);
  }
  const waiting = waits().length;
  if (news.fresh) parts.push(`${counted(waiting, "waits", "wait")} for an answer.`);
  news.fresh = 0;
  news.ended = [];
  if (parts.length) announce(parts.join(" "));
}

export const quiet = () => {
  news.fresh = 0;
};

// --- the list --------------------------------------------------------------------------------------------------------

function pending() {
  const all = [...inbox.approvals.values()].filter((one) => one.status === "pending" || one.here);
  // What this person may decide first, and what ends soonest first.
  return all.sort((a, b) => b.may_decide - a.may_decide || a.expires_at.localeCompare(b.expires_at));
}

const waits = () => [...inbox.approvals.values()].filter((one) => one.status === "pending");
const mine = () => pending().filter((one) => one.status === "pending" && one.may_decide);

export function listed() {
  if (state.view === "pending") return pending();
  const tool = $("f-tool").value.trim().toLowerCase();
  return inbox.history.filter((one) => one.tool.toLowerCase().includes(tool));
}

export function render() {
  const all = listed();
  const waiting = waits();
  const count = String(waiting.length);
  if ($("count").textContent !== count) $("count").textContent = count;
  const title = waiting.length ? `(${waiting.length}) Tollgate: approvals` : "Tollgate: approvals";
  if (document.title !== title) document.title = title;
  if (state.view !== "pending" && state.view !== "history") return;
  $("filters").hidden = state.view !== "history";
  const isHistory = state.view === "history";
  $("more").hidden = !(isHistory ? inbox.more.history : inbox.more.pending);
  const listedSoFar = isHistory ? inbox.history.length : waiting.length;
  const words = `The newest ${listedSoFar} are read, and there are more.`;
  if ($("more-words").textContent !== words) $("more-words").textContent = words;
  $("show-more").hidden = !isHistory;
  $("empty").hidden = all.length > 0;
  const none = asked === answered ? "No approval fits these filters." : "Reading the history…";
  $("empty").textContent = state.view === "pending" ? "Nothing waits for approval. Rules with REQUIRE_APPROVAL put calls here, and you are told when one comes." : none;
  if (!all.some((one) => one.id === inbox.chosen)) {
    inbox.chosen = inbox.chosen === null ? (all.length ? all[0].id : null) : "";
  }
  const differs = differences(all.filter((one) => one.status === "pending"));
  const lines = all.map((one) => item(one, differs.get(one.tool)));
  const ids = new Set(all.map((one) => one.id));
  for (const id of items.keys()) if (!ids.has(id)) items.delete(id);
  place($("list"), lines, $("detail"));
  renderBatch();
  $("inbox").dataset.pane = inbox.pane;
  renderDetail();
}

const decidedAt = (one) => (one.decisions.length ? one.decisions[one.decisions.length - 1].at : null);

// The line of an approval is made once, and filled again where its record has changed, or what tells it from the others.
function item(one, differs) {
  let line = items.get(one.id);
  if (!line) {
    const button = el("button", { type: "button", class: "card", "data-id": one.id, onclick: () => choose(one.id) });
    const mark = el("input", { type: "checkbox", class: "mark", "data-mark": one.id });
    mark.addEventListener("change", () => {
      if (mark.checked) inbox.marked.add(one.id);
      else inbox.marked.delete(one.id);
      renderBatch();
    });
    line = { node: el("li", {}, mark, button), button, mark, one: null, differs: "" };
    items.set(one.id, line);
  }
  line.button.setAttribute("aria-current", String(one.id === inbox.chosen));
  line.mark.checked = inbox.marked.has(one.id);
  const names = differs ? [...differs].join(" ") : "";
  if (line.one === one && line.differs === names) return line.node;
  Object.assign(line, { one, differs: names });
  const open = one.status === "pending" && one.may_decide;
  line.mark.hidden = !open;
  line.mark.setAttribute("aria-label", `Mark ${one.tool} for ${one.agent_id}, asked ${one.created_at}`);
  const time = one.status === "pending" ? countdown(one.expires_at) : when(decidedAt(one) || one.created_at);
  line.button.replaceChildren(
    el("span", { class: "tool" }, shown(one.tool, true)),
    headline(one, differs),
    el("span", { class: "row" }, el("span", {}, shown(one.agent_id, true), one.user && one.user !== one.operator ? [" for ", one.user].join("") : ""), time),
    el(
      "span",
      { class: "chips" },
      chip(one.status),
      ...risks(one),
      el("span", { class: "chip" }, `${one.cost_estimate_usd} USD`),
      one.may_decide ? el("strong", {}, "yours to decide") : null,
    ),
  );
  return line.node;
}

// --- choosing --------------------------------------------------------------------------------------------------------

export function choose(id, focus = true) {
  inbox.chosen = id;
  if (focus) inbox.pane = "detail";
  render();
  if (!focus) return;
  $("detail").focus({ preventScroll: true });
  const { top } = $("detail").getBoundingClientRect();
  // It is read from its head, below what was done last.
  const head = $("done").hidden ? $("detail") : $("done");
  if (top < 0 || top > window.innerHeight / 2) head.scrollIntoView({ block: "start" });
}

export function step(by) {
  const all = listed();
  const at = all.findIndex((one) => one.id === inbox.chosen);
  const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
  if (!next) return;
  choose(next.id, false);
  const button = $("list").querySelector('[aria-current="true"]');
  // Where the list is not shown, what was chosen is.
  if (button && button.checkVisibility()) button.focus();
  else $("detail").focus({ preventScroll: true });
}

export function back() {
  inbox.pane = "list";
  render();
  const button = $("list").querySelector('[aria-current="true"]') || $("list").querySelector("button");
  if (button) button.focus();
}

// What was done last, with a way back to it.
export function done(text, id?: string) {
  $("done").hidden = !text;
  const again = id && state.view === "pending" && el("button", { type: "button", onclick: () => choose(id) }, "Show it");
  $("done").replaceChildren(...(text ? [el("span", {}, text), again || ""] : []));
}

const ENDED = { approved: "Approved", consumed: "Approved", rejected: "Rejected", expired: "Expired", cancelled: "Cancelled" };

// The ids of what is listed, from behind this one on, then those before it.
export function following(id) {
  const ids = pending().map((one) => one.id);
  const at = ids.indexOf(id);
  return [...ids.slice(at + 1), ...ids.slice(0, Math.max(at, 0))];
}

// After an answer, the next ask that waits for this person comes in front, with the keyboard at its head: no key and no click
// that was meant for the last one decides it. `rest`: what followed it, before it was answered.
export function advance(one, rest) {
  const what = `${one.tool} for ${one.agent_id}`;
  const said = one.status === "pending" ? `Recorded, and others must agree: ${what}.` : `${ENDED[one.status] || one.status}: ${what}.`;
  const open = (other) => other && other.status === "pending" && other.may_decide;
  const next = rest.map((id) => inbox.approvals.get(id)).find(open) || mine().find((other) => other.id !== one.id);
  const isInFront = state.view === "pending" && inbox.chosen === one.id;
  if (next && isInFront) {
    done(said, one.id);
    choose(next.id);
    announce(`${said} Next: ${next.tool} for ${next.agent_id}.`);
  } else {
    done(isInFront ? "" : said, one.id);
    announce(next || !isInFront ? said : `${said} Nothing else waits for you.`);
    render();
    if (isInFront) $("detail").focus({ preventScroll: true });
  }
}

// --- several at once -------------------------------------------------------------------------------------------------

const alike = (one) => mine().filter((other) => other.tool === one.tool && other.agent_id === one.agent_id);

function mark(some) {
  for (const one of some) inbox.marked.add(one.id);
  render();
  announce(`${counted(inbox.marked.size, "ask is", "asks are")} marked.`);
}

// Several may be rejected together; each approval is read and given by itself.
function renderBatch() {
  const open = state.view === "pending" ? mine() : [];
  $("batch").hidden = open.length < 2 && !inbox.marked.size;
  const one = chosen();
  const like = one && open.includes(one) ? alike(one) : [];
  const count = inbox.marked.size;
  $("mark-all").textContent = `Mark all ${open.length}`;
  $("mark-alike").hidden = like.length < 2 || like.length === open.length;
  $("mark-alike").textContent = `Mark the ${like.length} like this`;
  $("unmark").hidden = !count;
  $("reject-marked").disabled = !count;
  $("reject-marked").textContent = count ? `Reject ${count}…` : "Reject marked…";
}

const MOST_NAMED = 20;

async function rejectMarked() {
  const some = mine().filter((one) => inbox.marked.has(one.id));
  if (!some.length) return;
  const differs = differences(some);
  const names = some.slice(0, MOST_NAMED).map((one) => el("li", {}, shown(one.tool, true), " for ", shown(one.agent_id, true), ": ", headline(one, differs.get(one.tool))));
  const rest = some.length - names.length;
  const result = await confirm({
    title: `Reject ${counted(some.length, "ask", "asks")}?`,
    body: [el("ul", { class: "plain" }, ...names, rest ? el("li", {}, `… and ${rest} more`) : null)],
    reason: "Comment",
    action: `Reject ${some.length}`,
    danger: true,
    run: async (comment, tell) => {
      const failed: any[] = [];
      let count = 0;
      for (const [at, one] of some.entries()) {
        tell(`Rejecting ${at + 1} of ${some.length}…`);
        try {
          const body = comment ? { decision: "reject", comment } : { decision: "reject" };
          take(await api(`approvals/${encodeURIComponent(one.id)}/decision`, body));
          count += 1;
        } catch (error) {
          if (!state.me) return null;
          failed.push({ one, error });
        }
      }
      return { count, failed };
    },
  });
  if (!result) return;
  const { count, failed } = result;
  const what = failed.map(({ one, error }) => `${one.tool} for ${one.agent_id}: ${error.message}`);
  const said = `Rejected: ${count}.${failed.length ? ` Not rejected: ${failed.length}. ${what.slice(0, 3).join(" ")}` : ""}`;
  done(said);
  // What could not be rejected has changed meanwhile, or will be tried again.
  if (failed.length) await loadPending().catch(() => {});
  render();
  const next = mine()[0];
  if (next && (!chosen() || chosen()!.status !== "pending")) {
    choose(next.id);
    announce(`${said} Next: ${next.tool} for ${next.agent_id}.`);
    return;
  }
  announce(next ? said : `${said} Nothing else waits for you.`);
  // The button that was pressed is none any more.
  if ($("reject-marked").disabled) ($("detail").checkVisibility() ? $("detail") : $("main")).focus({ preventScroll: true });
}

$("show-more").addEventListener("click", () => loadHistory(inbox.more.history));
$("mark-all").addEventListener("click", () => mark(mine()));
$("mark-alike").addEventListener("click", () => chosen() && mark(alike(chosen())));
$("unmark").addEventListener("click", () => {
  inbox.marked.clear();
  render();
  $("mark-all").focus();
});
$("reject-marked").addEventListener("click", rejectMarked);
