// Explain: what would be decided of a call, and why. Nothing is recorded, counted or sent.

import { api, allPages } from "./api.js";
import { $, announce, brief, chip, counted, el, facts, opened, shown, table, td, when } from "./dom.js";
import { isTree, parse, written } from "./exact.js";
import { asTree } from "./sent.js";
import { state } from "./state.js";

export const ROLES = ["approver", "admin", "auditor", "auditor-full"];

let form: any = null;

export function clear() {
  form = null;
  $("explain").replaceChildren();
}

const field = (label, input, help?: string) => {
  if (!help) return el("label", {}, label, input);
  const id = `help-${input.name}`;
  input.setAttribute("aria-describedby", id);
  return el("div", { class: "field" }, el("label", {}, label, input), el("p", { class: "soft", id }, help));
};

function build() {
  const agent = el("select", { name: "agent", required: true });
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

// The agents of the authority map in force, and the one that is chosen.
function offerAgents({ agent }, chosen) {
  const ids = new Set([...state.agents.keys(), ...(chosen ? [chosen] : [])]);
  agent.replaceChildren(...[...ids].map((id) => el("option", { value: id }, id)));
  if (chosen) agent.value = chosen;
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
  offerAgents(mine, given ? given.agent : mine.agent.value);
  if (given) fill(mine, given);
  $("explain").focus({ preventScroll: true });
  const listed = await allPages("tools", "tools").catch(() => null);
  if (listed && form === mine) {
    const names = [...new Set(listed.tools.map((tool) => tool.name))];
    mine.tools.replaceChildren(...names.map((name) => el("option", { value: name })));
  }
}

function fill(form, given) {
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
  const body: any = { agent: form.agent.value, tool: form.tool.value.trim() };
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

// --- the answer ------------------------------------------------------------------------------------------------------

const names = (all) => (all || []).join(", ");
const some = (value) => isTree(value) && Object.keys(value).length > 0;
const ruled = (policy, rule) => (rule ? `${policy}, rule ${rule}` : policy);
const item = (...children) => el("li", {}, ...children);
const section = (title, items) => (items.length ? [el("h3", {}, title), el("ul", { class: "plain" }, ...items)] : []);

// What came of a rule or a condition: a mark that is seen, and the word for it.
const MARKS = {
  applies: ["✓", "good", "applies"],
  does_not_apply: ["✗", "", "does not apply"],
  error: ["!", "bad", "error"],
  masked: ["?", "warn", "masked"],
  not_reached: ["–", "", "not reached"],
  true: ["✓", "good", "true"],
  false: ["✗", "", "false"],
};

function came(result) {
  const [mark, colour, word] = MARKS[result] || ["", "", String(result)];
  return el("span", { class: `chip ${colour}` }, el("span", { "aria-hidden": "true" }, `${mark} `), word);
}

// A condition with what each part of it came to.
function part(one) {
  const values = (one.values || []).map(({ name, value }) => `${name} = ${value}`);
  const below = one.parts || [];
  return item(
    came(one.result),
    " ",
    el("code", {}, shown(one.text)),
    values.length ? el("span", { class: "soft" }, " where ", shown(values.join(", "))) : null,
    one.error ? el("span", { class: "error" }, " ", shown(one.error)) : null,
    below.length ? el("ul", { class: "steps" }, ...below.map(part)) : null,
  );
}

const condition = (one) => (one.condition ? el("ul", { class: "steps" }, part(one.condition)) : null);

function rule(one) {
  const says = one.decision ? [" → ", chip(one.decision)] : [];
  const always = one.condition ? "" : " always";
  return item(came(one.result), " ", el("strong", {}, shown(one.rule_id || "this policy")), always, ...says, condition(one));
}

function policy(one) {
  const shadow = one.mode === "enforce" ? "" : ` (${one.mode})`;
  const outcome = one.decision ? chip(one.decision) : el("span", { class: "soft" }, "no outcome");
  return item(
    el("strong", {}, shown(one.policy_id)),
    shadow,
    el("span", { class: "soft" }, " in ", shown(one.file || "")),
    ": ",
    outcome,
    one.rules && one.rules.length ? el("ul", { class: "steps" }, ...one.rules.map(rule)) : null,
  );
}

function evaluation(one, title) {
  const all = one.policies || [];
  const concerned = all.filter((other) => other.concerns);
  const others = all.filter((other) => !other.concerns);
  const capabilities = (one.capabilities || []).map((other) => item(came(other.result), " ", el("strong", {}, shown(other.capability)), condition(other)));
  return [
    title ? el("h4", {}, title, ": ", shown(one.name || "", true), " ", chip(one.decision)) : null,
    capabilities.length ? el("h4", {}, "Capabilities") : null,
    capabilities.length ? el("ul", { class: "steps" }, ...capabilities) : null,
    concerned.length ? el("h4", {}, "Policies that concern the call") : null,
    concerned.length ? el("ul", { class: "steps" }, ...concerned.map(policy)) : null,
    others.length ? opened(`${counted(others.length, "policy does", "policies do")} not concern it`, () => el("ul", { class: "plain" }, ...others.map((other) => item(shown(other.policy_id), ": ", shown(other.why_not || ""))))) : null,
  ].filter(Boolean);
}

const OUTCOMES = {
  allow: "Allowed",
  approved: "Allowed",
  allow_with_constraints: "Allowed with limits",
  pending_approval: "Asked about",
  remediate: "Made safer",
  suggest: "Returned as a proposal",
  throttle: "Held back",
  deny: "Denied",
};

const change = (one) =>
  item(
    el("strong", {}, OUTCOMES[one.decision] || one.decision, " if "),
    shown(one.if),
    el("span", { class: "soft" }, " (by ", shown(ruled(one.policy_id, one.rule_id)), "; tried ", ...brief(written(one.arguments)), ")"),
  );

function wouldBeAsked(one) {
  const who = one.approvers.length ? one.approvers.join(" or ") : "everyone with the role approver";
  const more = [
    one.quorum > 1 ? `${one.quorum} people must agree` : "",
    one.evidence_required ? "with evidence" : "",
    one.separate ? "never the agent's operator" : "",
    `within ${one.expires_in}`,
  ].filter(Boolean);
  return item(shown(who), " (now: ", shown(names(one.people) || "nobody"), "), for ", shown(ruled(one.policy_id, one.rule_id)), `; ${more.join("; ")}`);
}

function limit(key, value, sources) {
  const from = sources.filter((source) => Object.hasOwn(source.constraints, key)).map((source) => ruled(source.policy_id, source.rule_id));
  return item(el("strong", {}, key), ": ", shown(isTree(value) ? written(value) : String(value)), from.length ? el("span", { class: "soft" }, " from ", shown(from.join("; "))) : "");
}

function counter(one) {
  const parts = [
    [one.max_calls === 1 ? "call" : "calls", one.used_calls, one.max_calls],
    [one.max_tokens === 1 ? "token" : "tokens", one.used_tokens, one.max_tokens],
    ["USD", one.used_cost_usd, one.max_cost_usd],
  ];
  const text = parts.filter(([, , most]) => most !== null && most !== undefined).map(([what, used, most]) => (used === null ? `at most ${most} ${what}` : `${used} of ${most} ${what}`));
  return item(el("strong", {}, shown(one.policy_id)), ` (${one.key}, per ${one.window}): ${text.join(", ")}; above it `, chip(one.above), one.full ? " and it is full" : "");
}

function loop(one) {
  const seen = one.seen === null ? `at most ${one.max}` : `${one.seen} of ${one.max}`;
  const whose = one.kind === "fan_out" ? `, ${one.of}` : "";
  return item(el("strong", {}, "loop"), ` (${one.kind}${whose}, per ${one.window_s} s): ${seen}; above it `, chip("throttle"), one.full ? " and it is full" : "");
}

function step(one) {
  return [td(chip(one.decision)), td(shown(ruled(one.policy_id, one.rule_id))), el("td", { class: "text" }, shown(one.reason || ""))];
}

function drawn(answer) {
  const call = answer.call;
  const sources = answer.constraint_sources || [];
  const limits = Object.entries(answer.constraints || {}).map(([key, value]) => limit(key, value, sources));
  const all = answer.evaluations || [];
  const titles = all.length > 1 ? ["The call as it came", "As rules changed it"] : [];
  const said = (answer.steps || []).map(step);
  return [
    el("h3", {}, "The decision"),
    el("p", { class: "verdict" }, chip(answer.decision), " ", shown(answer.reason || "")),
    facts([
      ["Policy", answer.policy_id],
      ["Rule", answer.rule_id],
      ["Who would be asked", names(answer.approvers)],
      ["Capability", answer.capability],
      ["Estimated cost", call && `${call.cost_estimate_usd} USD`],
      ["Decided at", call && when(call.now)],
      ["Policies", answer.policy_snapshot && el("code", { title: answer.policy_snapshot }, answer.policy_snapshot.slice(0, 12))],
    ]),
    ...section("What other arguments would change", (answer.changes || []).map(change)),
    ...section("Who would be asked", (answer.approvals || []).map(wouldBeAsked)),
    ...section("Limits", [...limits, ...(answer.limits || []).map(counter), ...(answer.loops || []).map(loop)]),
    ...(some(answer.remediation) ? [el("h3", {}, "The safer call"), asTree(answer.remediation)] : []),
    el("h3", {}, "How it comes to that"),
    ...all.flatMap((one, at) => evaluation(one, titles[at])),
    said.length ? table("What was said, in order; the strictest counts", ["Outcome", "By", "Why"], said) : el("p", { class: "soft" }, "No rule was asked."),
    ...section("Notes", (answer.notes || []).map((note) => item(shown(note)))),
  ].filter(Boolean);
}
