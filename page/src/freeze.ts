// What is frozen: a banner for everybody while anything is, and the view in which admins freeze and lift.

import { api, allPages } from "./api.js";
import { $, announce, confirm, el, facts, notice, place, shown, when } from "./dom.js";
import { hasRole, state } from "./state.js";

const KINDS = {
  agent: "Agent",
  user: "Person (every call for them)",
  tool: "Tool",
  upstream: "Server",
  capability: "Capability",
};

let asked = 0;
let known: any[] = [];

const kindOf = (one) => Object.keys(KINDS).find((kind) => typeof one[kind] === "string");
const wordsOf = (one) => {
  const kind = kindOf(one);
  return kind ? `${kind} ${one[kind]}` : "everything";
};

export function clear() {
  asked += 1;
  known = [];
  $("frozen").hidden = true;
  $("frozen").replaceChildren();
  $("freeze").replaceChildren();
}

// Read again, for the banner and, where it is open, the view.
export async function changed() {
  const mine = ++asked;
  const found = await allPages("freeze", "freezes");
  if (mine !== asked) return;
  known = found.freezes;
  drawBanner();
  if (state.view === "freeze") draw();
}

function drawBanner() {
  const names = known.slice(0, 3).map(wordsOf).join(", ");
  const rest = known.length > 3 ? ` and ${known.length - 3} more` : "";
  const text = known.length ? `Frozen: ${names}${rest}. Calls of it are refused.` : "";
  if ($("frozen").textContent !== text) $("frozen").replaceChildren(text ? shown(text, true) : "");
  $("frozen").hidden = !text;
}

export async function open() {
  draw();
  $("freeze").focus({ preventScroll: true });
  try {
    await changed();
  } catch (error) {
    if (state.view === "freeze") place($("freeze"), [el("h2", {}, "Freeze"), el("p", { class: "error" }, error.message)], $("freeze"));
  }
}

function draw() {
  const isAdmin = hasRole("admin");
  const intro = el(
    "p",
    { class: "soft" },
    "A freeze stops calls at once, in every process and over every restart: calls in flight are answered and cancelled at their server, approvals and grants count for nothing. The agent is told that it is frozen, not why.",
  );
  const list = el("ul", { class: "cards" }, ...known.map(card));
  const none = el("p", { id: "no-freezes" }, "Nothing is frozen.");
  place($("freeze"), [el("h2", {}, "Freeze"), intro, isAdmin ? everything() : null, isAdmin ? one : null, known.length ? list : none].filter(Boolean), $("freeze"));
}

function everything() {
  const button = el("button", { type: "button", class: "reject big", id: "freeze-all" }, "Freeze everything…");
  button.addEventListener("click", () => ask({ all: true }, "Freeze everything?", "Every call of every agent is refused until an admin lifts this."));
  return el("div", { class: "buttons" }, button);
}

const kind = el("select", { id: "freeze-kind" }, ...Object.entries(KINDS).map(([value, text]) => el("option", { value }, text)));
const name = el("input", { id: "freeze-name", spellcheck: "false", autocapitalize: "none", maxlength: 512, required: true });
const one = el(
  "form",
  { id: "freeze-one", novalidate: true },
  el("h3", {}, "Freeze one thing"),
  el("label", {}, "What ", kind),
  el("label", {}, "Its name ", name),
  el("div", { class: "buttons" }, el("button", { type: "submit", class: "reject" }, "Freeze…")),
);
one.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = name.value.trim();
  if (!given) return name.focus();
  ask({ [kind.value]: given }, `Freeze ${kind.value} ${given}?`, "Its calls are refused until an admin lifts this.");
});

async function ask(target, title, text) {
  const done = await confirm({
    title,
    body: [el("p", {}, text)],
    reason: "Why",
    required: true,
    action: "Freeze",
    danger: true,
    run: (reason) => api("freeze", { ...target, reason }),
  });
  if (!done) return;
  name.value = "";
  announce(done.warning ? `Look at the name: ${done.warning}.` : `Frozen: ${wordsOf(done)}.`);
  notice(done.warning ? `Frozen: ${wordsOf(done)}. But ${done.warning}.` : "");
  await changed();
  $("freeze").focus({ preventScroll: true });
}

function card(freeze) {
  const lift = el("button", { type: "button", "aria-label": `Lift the freeze of ${wordsOf(freeze)}` }, "Lift…");
  lift.addEventListener("click", () => askLift(freeze));
  return el(
    "li",
    { class: "panel", "data-freeze": freeze.id },
    el("h3", {}, shown(wordsOf(freeze), true)),
    facts([
      ["Why", freeze.reason],
      ["Since", el("span", {}, when(freeze.since))],
      ["By", freeze.by || "the local admin"],
    ]),
    hasRole("admin") ? el("div", { class: "buttons" }, lift) : null,
  );
}

async function askLift(freeze) {
  const done = await confirm({
    title: `Lift the freeze of ${wordsOf(freeze)}?`,
    body: [el("p", {}, "Its calls are decided by the policies again, from the next one on.")],
    reason: "Why",
    action: "Lift",
    run: async (reason) => {
      const query = reason ? `?${new URLSearchParams({ reason })}` : "";
      await api(`freeze/${encodeURIComponent(freeze.id)}${query}`, null, "DELETE");
      return true;
    },
  });
  if (!done) return;
  announce(`Lifted: the freeze of ${wordsOf(freeze)}.`);
  notice("");
  await changed();
  $("freeze").focus({ preventScroll: true });
}
