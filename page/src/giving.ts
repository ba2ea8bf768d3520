// An approval that is answered with a standing grant: within what its rules allow.

import { counted, el, shown } from "./dom.js";
import { isTree, parse, written } from "./exact.js";

const UNITS = { ms: 0.001, s: 1, sec: 1, m: 60, min: 60, h: 3600, hour: 3600, d: 86400, day: 86400, w: 604800, week: 604800, month: 2629746, year: 31556952 };

// A duration as the gateway writes it ("8h", "1h 30m", "2days"), in seconds.
export function seconds(text) {
  let sum = 0;
  for (const [, number, unit] of String(text).matchAll(/(\d+)\s*([a-z]+)/g)) {
    sum += Number(number) * (UNITS[unit] ?? UNITS[unit.replace(/s$/, "")] ?? 0);
  }
  return sum;
}

const SPANS = ["15m", "1h", "4h", "8h", "1d", "7d", "30d"];
const NAMES = { "15m": "15 minutes", "1h": "1 hour", "4h": "4 hours", "8h": "8 hours", "1d": "1 day", "7d": "7 days", "30d": "30 days" };

// What all rules that ask allow; null: no grant may be given.
function limits(one) {
  return one.grants ? { duration: one.grants.max_duration, uses: Number(one.grants.max_uses) } : null;
}

const field = (label, input) => el("label", {}, label, input);

// What one argument may be in later calls.
function bounded(name, value) {
  const text = typeof value === "string" ? value : written(value);
  const kind = el(
    "select",
    { "aria-label": `${name} may be` },
    el("option", { value: "same" }, "as it is now"),
    typeof value === "string" ? el("option", { value: "within" }, "within a path") : null,
    typeof value === "string" ? el("option", { value: "glob" }, "like a pattern") : null,
    el("option", { value: "any" }, "anything"),
  );
  const input = el("input", { spellcheck: "false", autocapitalize: "none", "aria-label": `${name}: the path or pattern`, hidden: true });
  kind.addEventListener("change", () => {
    input.hidden = !["within", "glob"].includes(kind.value);
    if (kind.value === "within" && !input.value) input.value = text.replace(/\/[^/]*$/, "") || "/";
    if (kind.value === "glob" && !input.value) input.value = text;
  });
  const node = el("div", { class: "bound" }, el("span", { class: "name" }, shown(name, true)), kind, input);
  const read = () => {
    if (kind.value === "same") return null;
    return kind.value === "any" ? { any: true } : { [kind.value]: input.value.trim() };
  };
  const set = (rule) => {
    const found = ["within", "glob"].find((word) => isTree(rule) && Object.hasOwn(rule, word));
    kind.value = found || (isTree(rule) && rule.any === true ? "any" : "same");
    input.value = found ? String(rule[found]) : "";
    kind.dispatchEvent(new Event("change"));
  };
  return { name, node, kind, input, read, set };
}

const MOST_BOUNDED = 50;

// The part of the form with which an approval becomes a grant; null where its rules allow none. `value` is what goes with the
// answer, or null; `changed` hears whether there is one.
export function giving(one, changed) {
  const most = limits(one);
  if (!most) return null;
  const on = el("input", { type: "checkbox", name: "grant" });
  const spans = SPANS.filter((span) => seconds(span) < seconds(most.duration));
  const duration = el(
    "select",
    { name: "duration" },
    ...spans.map((span) => el("option", { value: span }, NAMES[span])),
    el("option", { value: most.duration.replace(/\s+/g, "") }, `${most.duration} (the most)`),
  );
  const uses = el("input", { name: "uses", type: "number", min: 1, max: most.uses, step: 1, inputmode: "numeric" });
  uses.value = String(Math.min(10, most.uses));
  const args = isTree(one.arguments) && !Array.isArray(one.arguments) ? Object.entries(one.arguments) : [];
  const rows = args.slice(0, MOST_BOUNDED).map(([name, value]) => bounded(name, value));
  const beyond = args.length - rows.length;
  const body = el(
    "div",
    { class: "giving", hidden: true },
    el("div", { class: "grid" }, field("For at most", duration), field(`Calls, at most ${most.uses}`, uses)),
    el("p", { class: "soft" }, "Later calls of this agent, with this tool, whose arguments are:"),
    ...rows.map((row) => row.node),
    beyond > 0 ? el("p", { class: "soft" }, `${counted(beyond, "more argument", "more arguments")}: as now.`) : null,
    el("p", { class: "soft" }, "This call goes by its own approval. What another rule denies or asks about is not covered."),
  );
  const toggle = () => {
    body.hidden = !on.checked;
    changed(on.checked);
  };
  on.addEventListener("change", toggle);
  const set = (grant) => {
    on.checked = true;
    toggle();
    const fits = [...duration.options].find((option) => seconds(option.value) === seconds(grant.duration));
    if (fits) duration.value = fits.value;
    if (grant.uses) uses.value = String(Math.min(Number(grant.uses), most.uses));
    for (const row of rows) row.set((grant.arguments || {})[row.name]);
  };
  const proposal = el("div", { class: "proposal", hidden: true });
  // Somebody has answered calls of this shape the same way again and again: what would spare them the next ones.
  const propose = (grant) => {
    const fill = el("button", { type: "button", onclick: () => set(grant) }, "Fill in what is proposed");
    const who = `${grant.approver} has approved calls of this shape ${counted(grant.times, "time", "times")}. A grant would spare the next ones.`;
    proposal.replaceChildren(el("p", { class: "soft" }, shown(who)), fill);
    proposal.hidden = false;
  };
  const node = el(
    "fieldset",
    {},
    el("legend", {}, "Calls like this"),
    proposal,
    el("label", { class: "check" }, on, " Let calls like this through for a while"),
    body,
  );
  const value = () => {
    if (!on.checked) return null;
    const bounds = rows.map((row) => [row.name, row.read()]).filter(([, rule]) => rule !== null);
    return { duration: duration.value, uses: parse(uses.value || "0"), arguments: Object.fromEntries(bounds) };
  };
  return { node, value, propose };
}
