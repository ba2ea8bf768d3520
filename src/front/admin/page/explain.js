// Explain: what would be decided of a call, and why. Nothing is recorded, counted or sent.

import { api } from "./api.js";
import { $, announce, chip, el, facts, shown } from "./dom.js";
import { isTree, parse, written } from "./exact.js";
import { asTree } from "./sent.js";
import { state } from "./state.js";

export const ROLES = ["approver", "admin", "auditor", "auditor-full"];

let form = null;

export function clear() {
  form = null;
  $("explain").replaceChildren();
}

const field = (label, input, help) => {
  if (!help) return el("label", {}, label, input);
  const id = `help-${input.name}`;
  input.setAttribute("aria-describedby", id);
  return el("div", { class: "field" }, el("label", {}, label, input), el("p", { class: "soft", id }, help));
};

function build() {
  const agent = el("select", { name: "agent", required: true }, ...[...state.agents.keys()].map((id) => el("option", { value: id }, id)));
  const tool = el("input", { name: "tool", required: true, list: "tools", spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
  const args = el("textarea", { name: "arguments", rows: 6, spellcheck: "false", class: "code" });
  args.value = "{}";
  const user = el("input", { name: "user", spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
  const workflow = el("input", { name: "workflow", spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
  const at = el("input", { name: "at", type: "datetime-local", step: "1" });
  const snapshot = el("input", { name: "snapshot", spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
  const tools = el("datalist", { id: "tools" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const note = el("p", { class: "banner", hidden: true }, "Masked or cut values stand here as they are shown: put in what was really sent, where a rule looks at it.");
  const go = el("button", { type: "submit", class: "primary" }, "Explain");
  const result = el("section", { class: "result", tabindex: "-1", "aria-label": "The decision", hidden: true });
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const node = el(
    "form",
    { class: "explain", novalidate: true },
    el("div", { class: "grid" }, field("Agent", agent), field("Tool", tool)),
    field("Arguments", args, "A JSON object, as the agent would send it."),
    el(
      "details",
      {},
      el("summary", {}, "More: person, workflow, time, policies"),
      el(
        "div",
        { class: "grid" },
        field("For the person", user),
        field("Workflow", workflow),
        field("At", at, `Empty: now. In your zone, ${zone}.`),
        field("Policy snapshot", snapshot, "Empty: the one in force."),
      ),
    ),
    tools,
    note,
    error,
    el("div", { class: "buttons" }, go),
  );
  const made = { node, agent, tool, args, user, workflow, at, snapshot, tools, note, error, go, result, asked: 0 };
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    run(made);
  });
  // The keys for a new line stay; with Ctrl the form is sent.
  args.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) node.requestSubmit();
  });
  return made;
}

// `given`: a call to be explained.
export async function open(given) {
  if (!form) {
    form = build();
    $("explain").replaceChildren(
      el("h2", {}, "Explain a decision"),
      el("p", { class: "soft" }, "What would be decided of a call under the policies, and why. Nothing is recorded, counted or sent."),
      form.node,
      form.result,
    );
  }
  const mine = form;
  if (given) fill(mine, given);
  $("explain").focus({ preventScroll: true });
  const listed = await api("tools").catch(() => null);
  if (listed && form === mine) {
    const names = [...new Set(listed.tools.map((tool) => tool.name))];
    mine.tools.replaceChildren(...names.map((name) => el("option", { value: name })));
  }
}

function fill(form, given) {
  if (![...form.agent.options].some((option) => option.value === given.agent)) form.agent.append(el("option", { value: given.agent }, given.agent));
  form.agent.value = given.agent;
  form.tool.value = given.tool;
  form.args.value = written(given.arguments ?? {}, 2);
  form.user.value = given.user || "";
  form.workflow.value = given.workflow || "";
  form.at.value = form.snapshot.value = "";
  form.result.hidden = true;
  say(form, "");
  form.note.hidden = !given.masked;
}

function say(form, text) {
  form.error.hidden = !text;
  form.error.textContent = text || "";
}

async function run(form) {
  say(form, "");
  const body = { agent: form.agent.value, tool: form.tool.value.trim() };
  if (!body.tool) {
    say(form, "Name a tool.");
    form.tool.focus();
    return;
  }
  try {
    body.arguments = parse(form.args.value.trim() || "{}");
  } catch (problem) {
    say(form, `The arguments are no JSON: ${problem.message}`);
    form.args.focus();
    return;
  }
  if (!isTree(body.arguments) || Array.isArray(body.arguments)) {
    say(form, "The arguments must be a JSON object, like {\"path\": \"/a\"}.");
    form.args.focus();
    return;
  }
  for (const name of ["user", "workflow", "snapshot"]) {
    const text = form[name].value.trim();
    if (text) body[name] = text;
  }
  if (form.at.value) body.at = new Date(form.at.value).toISOString();
  const mine = ++form.asked;
  form.go.disabled = true;
  try {
    const answer = await api("explain", body);
    if (mine !== form.asked) return;
    form.result.replaceChildren(...drawn(answer));
    form.result.hidden = false;
    form.result.focus();
    announce(`Decision: ${answer.decision}.`);
  } catch (error) {
    if (mine === form.asked) say(form, error.message);
  } finally {
    form.go.disabled = false;
  }
}

const list = (value) => (Array.isArray(value) && value.length ? value.map((one) => (isTree(one) ? written(one) : String(one))).join(", ") : null);
const some = (value) => isTree(value) && Object.keys(value).length > 0;

function drawn(answer) {
  const known = ["decision", "policy_id", "rule_id", "reason", "steps", "constraints", "approvers"];
  const rest = Object.fromEntries(Object.entries(answer).filter(([name, value]) => !known.includes(name) && value !== null));
  return [
    el("h3", {}, "The decision"),
    el("p", { class: "verdict" }, chip(answer.decision), " ", shown(answer.reason || "")),
    facts([
      ["Policy", answer.policy_id],
      ["Rule", answer.rule_id],
      ["Who would be asked", list(answer.approvers)],
    ]),
    some(answer.constraints) ? el("h3", {}, "Limits") : null,
    some(answer.constraints) ? asTree(answer.constraints) : null,
    el("h3", {}, "How it comes to that"),
    steps(answer.steps || []),
    Object.keys(rest).length ? el("details", {}, el("summary", {}, "More of the answer"), asTree(rest)) : null,
  ].filter(Boolean);
}

// The steps as a tree: whatever a step holds is shown.
function steps(all) {
  return el("ul", { class: "steps" }, ...all.map((step) => el("li", {}, isTree(step) ? asTree(step) : shown(step))));
}
