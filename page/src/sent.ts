// Everything that an approved call would send, so that a person sees all of it before they approve.

import { api } from "./api.js";
import { changes } from "./diff.js";
import { $, cutAt, el, shown } from "./dom.js";
import { isTree } from "./exact.js";

// What is too long to stand open: a person opens it before they approve.
const MOST_ENTRIES = 500;
const MOST_TEXT = 4000;

// Made once for each approval: what somebody has opened stays open.
const made = new Map();

export const forgetSent = (id) => made.delete(id);
export const forgetAllSent = () => made.clear();
export const sentCount = () => made.size;

// Tells the page that something more has been seen.
const seen = (node) => node.dispatchEvent(new CustomEvent("tollgate-seen", { bubbles: true }));

function folded(words, make) {
  const details = el("details", { class: "folded", "data-unseen": true }, el("summary", {}, words));
  details.addEventListener("toggle", () => {
    if (!details.open || !details.hasAttribute("data-unseen")) return;
    details.removeAttribute("data-unseen");
    details.append(make());
    seen(details);
  });
  return details;
}

// A text whole, in quotes; what is beyond a bound is opened by hand.
function quoted(text) {
  const { start, rest } = cutAt(text, MOST_TEXT);
  const more = rest ? [folded(`… ${rest.length} more characters`, () => shown(rest))] : [];
  return [`"`, shown(start), ...more, `"`];
}

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

export const asTree = (value) => (isTree(value) ? tree(value) : tree({ value }));

const some = (members) => members && Object.keys(members).length > 0;

function sections(one, sent) {
  const masked = (title) => (one.redacted ? `${title} (sensitive values masked)` : title);
  const parts: any[] = [];
  if (one.description) parts.push(el("h3", {}, "What its server says of the tool"), el("p", { class: "said" }, ...quoted(one.description)));
  const changed = changes(sent.arguments);
  if (changed) parts.push(changed);
  parts.push(el("h3", {}, masked("Arguments")), asTree(sent.arguments));
  if (some(sent.meta)) parts.push(el("h3", {}, masked("Metadata that is sent with it (_meta)")), asTree(sent.meta));
  if (some(sent.params)) parts.push(el("h3", {}, masked("Other parameters that are sent with it")), asTree(sent.params));
  return parts;
}

// Everything that is sent. It never changes, so it is made once.
export function sentBy(one) {
  const before = made.get(one.id);
  if (before) return before;
  const node = el("div", { class: "sent" }, ...sections(one, one));
  if (!one.arguments_complete) {
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const all = el("button", { type: "button" }, "Show all of it");
    const cut = el("div", { class: "cut", "data-unseen": true }, el("p", {}, "It is too long: some is cut here."), all, error);
    all.addEventListener("click", async () => {
      all.disabled = true;
      try {
        const whole = await readWhole(one);
        const hadFocus = node.contains(document.activeElement) || document.activeElement === document.body;
        node.replaceChildren(...sections(one, whole));
        if (hadFocus) $("detail").focus({ preventScroll: true });
        seen(node);
      } catch (problem) {
        all.disabled = false;
        error.hidden = false;
        error.textContent = `It cannot be shown: ${problem.message}`;
      }
    });
    node.prepend(cut);
  }
  made.set(one.id, node);
  return node;
}

// The decision's record has what the list of approvals cuts.
async function readWhole(one) {
  const trace = await api(`traces/${one.trace_id}`);
  const decided = trace.events.find((event) => event.approval_id === one.id && event.event_type === "agent_decision" && event.detail);
  if (!decided) throw new Error("the record of its decision is not there");
  return decided.detail;
}

const parts = (one) => {
  const node = made.get(one.id);
  return node ? [...node.querySelectorAll("[data-unseen]")] : [];
};

// How much of it nobody has opened yet.
export const unseen = (one) => parts(one).length;

// Opens the next part that is not shown yet, and puts the keyboard there.
export function openNext(one) {
  const [next] = parts(one);
  if (!next) return;
  for (let outer = next.parentElement.closest("details"); outer; outer = outer.parentElement.closest("details")) outer.open = true;
  const button = next.querySelector("summary, button");
  button.scrollIntoView({ block: "center" });
  button.focus({ preventScroll: true });
  if (next.matches("details")) next.open = true;
  else button.click();
}
