// People and agents: who may decide, who may call what, and which standing grants they have.

import { api, allPages } from "./api.js";
import { $, announce, counted, el, shown, table, td, when } from "./dom.js";
import { state } from "./state.js";

let asked = 0;
const find = el("input", { type: "search", name: "find", spellcheck: "false", autocapitalize: "none" }) as HTMLInputElement;
find.addEventListener("input", () => draw());
const form = el("form", { class: "filters" }, el("label", {}, "Names with ", find));
form.addEventListener("submit", (event: Event) => event.preventDefault());
const head = [el("h2", {}, "People and agents"), form];
const body = el("div", { class: "stack" });

// A list is drawn so far; the search finds the rest.
const MOST = 100;

interface Known {
  people: any[];
  agents: any[];
  capabilities: any[];
  workflows: any[];
  grants: any[];
  more: boolean;
}
let known: Known | null = null;

export function clear(): void {
  asked += 1;
  known = null;
  find.value = "";
  $("people").replaceChildren();
}

export async function open(): Promise<void> {
  body.replaceChildren(el("p", { class: "soft" }, "Reading…"));
  $("people").replaceChildren(...head, body);
  $("people").focus({ preventScroll: true });
  const mine = ++asked;
  try {
    const [people, map, grants] = await Promise.all([allPages("people", "people"), allPages("agents", "agents"), api("grants?limit=1000")]);
    if (mine !== asked || state.view !== "people") return;
    known = { people: people.people, agents: map.agents, capabilities: map.capabilities, workflows: map.workflows, grants: grants.grants, more: grants.truncated };
  } catch (error) {
    if (mine === asked && state.view === "people") body.replaceChildren(el("p", { class: "error" }, (error as Error).message));
    return;
  }
  draw();
  announce(`${counted(known.people.length, "person", "people")} and ${counted(known.agents.length, "agent", "agents")}.`);
}

const chips = (names: string[] | null) => el("span", { class: "chips" }, ...(names ?? []).map((name) => el("span", { class: "chip" }, shown(name, true))));

function part(title: string, label: string, columns: string[], all: any[], row: (one: any) => HTMLElement[], none: string): HTMLElement {
  const words = find.value.trim().toLowerCase();
  const fits = all.filter((one) => !words || JSON.stringify(one).toLowerCase().includes(words));
  const told = fits.slice(0, MOST);
  const rest = fits.length > told.length ? el("p", { class: "soft" }, `${fits.length - told.length} more: the field above finds them.`) : null;
  const nothing = el("p", {}, all.length ? "None has that in its name." : none);
  return el("section", { class: "panel" }, el("h3", {}, `${title} (${words ? `${fits.length} of ` : ""}${all.length})`), told.length ? table(label, columns, told.map(row)) : nothing, rest);
}

function draw(): void {
  if (!known) return;
  const { people, agents, capabilities, workflows, grants, more } = known;
  const live = (key: "agent" | "approver", name: string) => grants.filter((grant) => grant[key] === name || grant[`${key}_id`] === name).length;
  body.replaceChildren(
    part("People", "People", ["Person", "Roles", "Groups", "Keys", "Live grants"], people, (one) => [
      el("th", { scope: "row" }, shown(one.id, true)),
      td(chips(one.roles)),
      td(chips(one.groups)),
      td(String(one.keys)),
      td(String(live("approver", one.id) || "")),
    ], "There is nobody. `people` in authority.yaml names who may decide, read and administer; `tollgate people add NAME` prints a key."),
    part("Agents", "Agents", ["Agent", "Owner", "Role", "Autonomy", "May call", "For", "Keys", "Live grants"], agents, (one) => [
      el("th", { scope: "row" }, shown(one.id, true)),
      td(shown(one.owner, true)),
      td(shown(one.role, true)),
      td(shown(one.autonomy, true)),
      td(chips(one.capabilities.slice(0, 12)), one.capabilities.length > 12 ? ` and ${one.capabilities.length - 12} more` : ""),
      td(one.operator === null ? "" : shown(one.operator, true)),
      td(String(one.keys)),
      td(String(live("agent", one.id) || "")),
    ], "There is no agent. `agents` in authority.yaml names who may call, and as what."),
    part("Capabilities", "Capabilities", ["Capability", "Tools", "Resources", "Prompts", "Autonomy"], capabilities, (one) => [
      el("th", { scope: "row" }, shown(one.id, true), one.conditional ? el("span", { class: "chip" }, "on a condition") : null),
      td(chips(one.tools)),
      td(chips(one.resources)),
      td(chips(one.prompts)),
      td(one.autonomy === null ? "" : shown(one.autonomy, true)),
    ], "There is no capability. `capabilities` in authority.yaml says which tools belong together."),
    part("Workflows", "Workflows", ["Workflow", "Owner", "Answers within", "Capabilities"], workflows, (one) => [
      el("th", { scope: "row" }, shown(one.id, true)),
      td(one.owner === null ? "" : shown(one.owner, true)),
      td(one.approval_sla === null ? "" : shown(one.approval_sla, true)),
      td(chips(one.capabilities)),
    ], "There is no workflow. `workflows` in authority.yaml says what agents work on, and within which time people answer."),
    part("Standing grants", "Standing grants", ["Agent", "Tool", "Given by", "Uses left", "Until"], grants, (one) => [
      el("th", { scope: "row" }, shown(one.agent ?? one.agent_id, true)),
      td(shown(one.tool, true)),
      td(shown(one.approver, true)),
      td(String(one.uses_left ?? "")),
      td(when(one.expires_at) ?? ""),
    ], "No grant is live. Whoever approves a call may grant it for a while: calls like it then pass without a question."),
    more ? el("p", { class: "soft" }, "There are more grants than are read here: the view Grants pages through all.") : "",
  );
}
