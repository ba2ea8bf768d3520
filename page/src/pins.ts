// What servers list that is not as it was pinned, and taking it for what it is.

import { api, allPages } from "./api.js";
import { $, announce, confirm, counted, el, facts, notice, opened, place, shown, when } from "./dom.js";
import { written } from "./exact.js";
import { hasRole, state } from "./state.js";

let asked = 0;

const head = [
  el("h2", {}, "Quarantine"),
  el("p", { class: "soft" }, "Tools, prompts, resources, templates and skills that are not as they were pinned. Agents neither see nor call them until somebody accepts them."),
];

export function clear() {
  asked += 1;
  $("quarantine").replaceChildren();
}

export async function open() {
  place($("quarantine"), [...head, el("p", { class: "soft" }, "Reading what has changed…")]);
  $("quarantine").focus({ preventScroll: true });
  await read();
}

// Something is held, or was accepted.
export async function changed() {
  if (state.view === "quarantine") await read();
}

async function read() {
  const mine = ++asked;
  let found: any = null;
  try {
    found = await allPages("pins", "changes", "findings");
  } catch (error) {
    if (mine === asked && state.view === "quarantine") place($("quarantine"), [...head, el("p", { class: "error" }, error.message)], $("quarantine"));
    return;
  }
  if (mine !== asked || state.view !== "quarantine") return;
  const none = el("p", { id: "no-pins" }, "Everything is as it was pinned.");
  const list = el("ul", { class: "cards" }, ...found.changes.map(card));
  // What is held shows its findings in its own card.
  const held = new Set(found.changes.map(key));
  const served = (found.findings || []).filter((one) => !held.has(key(one)));
  place($("quarantine"), [...head, found.changes.length ? list : none, ...findingsOf(served, found.truncated)], $("quarantine"));
}

const key = (one) => JSON.stringify([one.upstream, one.kind, one.name]);

// What was found in what is served.
function findingsOf(items, truncated) {
  const title = el("h3", {}, "Found in what is served");
  const soft = (text) => el("p", { class: "soft" }, text);
  if (!items.length) return [title, soft("Nothing was found in the names, texts and schemas of what is served.")];
  const one = (item) =>
    el(
      "li",
      { class: "panel", "data-found": `${item.upstream}/${item.kind}/${item.name}` },
      el("h3", {}, shown(item.exposed, true), " ", el("span", { class: "chip warn" }, item.state === "asks" ? "each use asks" : "served")),
      facts([
        ["Server", item.upstream],
        ["Kind", item.kind],
        ["Its own name", item.name === item.exposed ? null : item.name],
      ]),
      el("ul", { class: "findings", "aria-label": "What was found" }, ...item.findings.map(finding)),
    );
  return [
    title,
    soft("It is as it was pinned, and agents can use it. `findings = \"quarantine\"` of a server in servers.toml holds such items until somebody accepts them; a freeze stops them at once."),
    el("ul", { class: "cards" }, ...items.map(one)),
    truncated ? soft("There is more: `tollgate servers inspect` shows it by server.") : null,
  ].filter(Boolean);
}

const STATES = {
  changed: "changed since it was pinned",
  new: "new, not accepted yet",
  flagged: "held because of what was found in it",
  gone: "not listed any more",
};

// What was and what is, word by word.
function compared(parts) {
  const part = ({ op, text }) => {
    if (op === "removed") return el("del", {}, el("span", { class: "unseen" }, "removed: "), shown(text));
    if (op === "added") return el("ins", {}, el("span", { class: "unseen" }, "added: "), shown(text));
    return shown(text);
  };
  return el("div", { class: "words" }, ...parts.map(part));
}

function difference(one) {
  const at = one.at || "/";
  if (one.changes && one.changes.length) return el("li", {}, el("span", { class: "name" }, shown(at, true)), compared(one.changes));
  const value = (value) => (value === null || value === undefined ? "nothing" : shown(written(value)));
  return el("li", {}, el("span", { class: "name" }, shown(at, true)), " ", value(one.before), " → ", value(one.after));
}

function finding(one) {
  return el("li", {}, el("span", { class: "chip warn" }, one.kind), " ", shown(one.what, true), one.text ? [": ", shown(one.text, true)] : null);
}

const whole = (words, value) => (value === null || value === undefined ? null : opened(words, () => el("pre", {}, shown(written(value)))));

function card(change) {
  const accept = el("button", { type: "button", class: "primary", "aria-label": `Accept ${change.exposed} of ${change.upstream}` }, "Accept…");
  accept.addEventListener("click", () => askAccept(change));
  const may = hasRole("admin") && change.state !== "gone";
  const pinned = change.pinned;
  return el(
    "li",
    { class: "panel", "data-pin": `${change.upstream}/${change.kind}/${change.name}` },
    el("h3", {}, shown(change.exposed, true), " ", el("span", { class: `chip ${change.state === "gone" ? "" : "bad"}` }, STATES[change.state] || change.state)),
    facts([
      ["Server", change.upstream],
      ["Kind", change.kind],
      ["Its own name", change.name === change.exposed ? null : change.name],
      ["Held since", when(change.since)],
      ["Pinned", pinned && el("span", {}, when(pinned.at), pinned.by ? [" by ", shown(pinned.by, true)] : " as it was listed")],
    ]),
    change.note ? el("p", { class: "soft" }, shown(change.note)) : null,
    change.findings.length ? el("ul", { class: "findings", "aria-label": "What was found" }, ...change.findings.map(finding)) : null,
    change.differences.length ? el("ul", { class: "bounds", "aria-label": "What differs" }, ...change.differences.map(difference)) : null,
    whole("As it was pinned", change.before),
    whole("As it is listed", change.after),
    may ? el("div", { class: "buttons" }, accept) : null,
  );
}

async function askAccept(change) {
  const done = await confirm({
    title: "Accept this as it is listed now?",
    body: [
      el("p", {}, "Agents in whose scope it is can use ", shown(change.exposed, true), " of ", shown(change.upstream, true), " again, as it is shown here."),
      change.findings.length ? el("p", { class: "error" }, `${counted(change.findings.length, "thing was", "things were")} found in it.`) : "",
    ],
    action: "Accept",
    danger: true,
    run: async () => {
      await api("pins/accept", { upstream: change.upstream, name: change.name, kind: change.kind, fingerprint: change.fingerprint });
      return true;
    },
  });
  if (!done) return;
  announce(`Accepted: ${change.exposed} of ${change.upstream}.`);
  notice("");
  await read();
  $("quarantine").focus({ preventScroll: true });
}
