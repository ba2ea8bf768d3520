// Standing grants: what goes through without being asked, and until when.

import { api } from "./api.js";
import { $, announce, brief, confirm, countdown, counted, el, facts, notice, opened, place, shown, table, td, when } from "./dom.js";
import { isTree, written } from "./exact.js";
import { hasRole, state } from "./state.js";

let asked = 0;

// What was drawn of each grant by id, so that a card is drawn again only where its grant has changed.
const cards = new Map();
const ended = el("input", { type: "checkbox", name: "ended" });
ended.addEventListener("change", () => read());
const head = [
  el("h2", {}, "Standing grants"),
  el("p", { class: "soft" }, "Calls that go through without a person being asked. One use of a grant is one call."),
  el("label", { class: "check" }, ended, " Those that have ended too"),
];

export function clear() {
  asked += 1;
  cards.clear();
  ended.checked = false;
  $("grants").replaceChildren();
}

export async function open() {
  cards.clear();
  place($("grants"), [...head, el("p", { class: "soft" }, "Reading the grants…")]);
  $("grants").focus({ preventScroll: true });
  await read();
}

// A grant was made or has ended.
export async function changed() {
  if (state.view === "grants") await read();
}

async function read() {
  const mine = ++asked;
  let found: any = null;
  try {
    found = await api(ended.checked ? "grants?status=all" : "grants");
  } catch (error) {
    if (mine === asked && state.view === "grants") place($("grants"), [...head, el("p", { class: "error" }, error.message)], $("grants"));
    return;
  }
  if (mine !== asked || state.view !== "grants") return;
  const ids = new Set(found.grants.map((grant) => grant.id));
  for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
  place(list, found.grants.map(cardOf), $("grants"));
  const more = found.truncated ? el("p", { class: "soft" }, `The newest ${ids.size} are listed, and there are more.`) : null;
  const none = el("p", { id: "no-grants" }, "There is no grant. Where a rule has `grants`, whoever approves a call may let calls like it through for a while: what stands is then here.");
  place($("grants"), [...head, ids.size ? list : none, more].filter(Boolean), $("grants"));
}

const list = el("ul", { class: "cards" });

function cardOf(grant) {
  const text = written(grant);
  const before = cards.get(grant.id);
  if (before && before.text === text) return before.node;
  const node = card(grant);
  cards.set(grant.id, { text, node });
  return node;
}

// What an argument may be, in words.
export function bound(rule) {
  if (!isTree(rule)) return written(rule);
  if (Object.hasOwn(rule, "equals")) return `is ${written(rule.equals)}`;
  if (Object.hasOwn(rule, "glob")) return `matches ${written(rule.glob)}`;
  if (Object.hasOwn(rule, "within")) return `lies within ${written(rule.within)}`;
  if (rule.any === true) return "may be anything";
  return written(rule);
}

const MOST_BOUND = 300;

function bounds(grant) {
  const named = isTree(grant.arguments) ? Object.entries(grant.arguments) : [];
  const same = grant.as_asked || [];
  if (!named.length) return el("span", {}, "exactly the arguments that were asked for");
  const line = ([name, rule]) => {
    const text = bound(rule);
    const rest = text.length > MOST_BOUND ? ` … (${text.length - MOST_BOUND} more characters)` : "";
    return el("li", {}, el("span", { class: "name" }, shown(name, true)), " ", shown(text.slice(0, MOST_BOUND), true), rest);
  };
  const rest = same.length ? el("li", {}, shown(same.join(", "), true), same.length === 1 ? " is" : " are", " as it was asked for") : null;
  return el("ul", { class: "bounds" }, ...named.map(line), rest);
}

// Why it counts no more, in a few words.
const ENDS = {
  expired: "expired",
  used_up: "used up",
  revoked: "revoked",
  snapshot: "the policies have changed",
  fingerprint: "the tool has changed",
  capability: "the agent may not use the tool any more",
  lost: "records of its use are lost",
};

function card(grant) {
  const end = grant.ended;
  const mayRevoke = !end && (hasRole("admin") || grant.approvers.includes(state.me!.id));
  const revoke = el("button", { type: "button", class: "reject", "aria-label": `Revoke the grant of ${grant.tool} for ${grant.agent}` }, "Revoke…");
  revoke.addEventListener("click", () => askRevoke(grant));
  const uses = grant.uses_left === null || grant.uses_left === undefined ? null : counted(grant.uses_left, "use", "uses");
  return el(
    "li",
    { class: "panel", "data-grant": grant.id },
    el("h3", {}, shown(grant.tool, true), end ? [" ", el("span", { class: "chip warn" }, ENDS[end.why] || end.why)] : null),
    facts([
      ["Agent", grant.agent],
      ["For", grant.user],
      ["Workflow", grant.workflow],
      ["Lets through", bounds(grant)],
      ["Left", uses],
      ["Ends", end ? null : el("span", {}, when(grant.expires_at), " (", countdown(grant.expires_at), ")")],
      ["Ended", end && el("span", {}, when(end.at), end.by ? [" by ", shown(end.by, true)] : null)],
      ["Why", end && end.reason],
      ["Given by", grant.approver],
    ]),
    opened(`What it has let through (${grant.used ?? 0})`, () => calls(grant)),
    mayRevoke ? el("div", { class: "buttons" }, revoke) : null,
  );
}

// The calls that went by a grant, the newest first.
function calls(grant) {
  const box = el("div", {}, el("p", { class: "soft" }, "Reading the calls…"));
  api(`grants/${encodeURIComponent(grant.id)}`).then(
    (whole) => {
      const rows = whole.calls.map((call) => [td(when(call.at)), el("td", { class: "text" }, ...brief(written(call.arguments ?? null))), td(`${call.cost_estimate_usd} USD`)]);
      const beyond = whole.used - rows.length;
      box.replaceChildren(
        rows.length ? table("What it has let through", ["When", "Arguments", "Estimate"], rows) : el("p", { class: "soft" }, "Nothing yet."),
        beyond > 0 ? el("p", { class: "soft" }, `… and ${beyond} more before`) : "",
      );
    },
    (error) => box.replaceChildren(el("p", { class: "error" }, error.message)),
  );
  return box;
}

async function askRevoke(grant) {
  const done = await confirm({
    title: "Revoke this grant?",
    body: [el("p", {}, "From the next call on ", shown(grant.agent, true), " is asked about again when it calls ", shown(grant.tool, true), ".")],
    reason: "Why",
    action: "Revoke",
    danger: true,
    run: async (reason) => {
      const query = reason ? `?${new URLSearchParams({ reason })}` : "";
      await api(`grants/${encodeURIComponent(grant.id)}${query}`, null, "DELETE");
      return true;
    },
  });
  if (!done) return;
  announce(`Revoked: the grant of ${grant.tool} for ${grant.agent}.`);
  notice("");
  await read();
  $("grants").focus({ preventScroll: true });
}
