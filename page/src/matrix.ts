// Agents by tools: who calls what, and what is decided.

import { api } from "./api.js";
import { $, announce, counted, el, facts, shown, table, td } from "./dom.js";
import { DECISIONS, parted, share, usd, whole } from "./figures.js";
import { state } from "./state.js";

interface Cell {
  agent: string | null;
  tool: string | null;
  decisions: Record<string, unknown>;
  ended: unknown;
  failed: unknown;
  cost_usd: unknown;
}

interface Matrix {
  agents: (string | null)[];
  tools: (string | null)[];
  cells: Cell[];
  truncated: boolean;
  partial: boolean;
}

const SPANS: [string, string][] = [["1h", "hour"], ["1d", "day"], ["7d", "7 days"], ["30d", "30 days"], ["365d", "year"]];
const REFUSED = ["deny", "rejected", "expired"];
const HELD = ["pending_approval", "throttle", "remediate", "suggest"];

let asked = 0;
let matrix: Matrix | null = null;

const span = el("select", { name: "since" }, SPANS.map(([value, words]) => el("option", { value }, words))) as HTMLSelectElement;
span.value = "7d";
span.addEventListener("change", () => read());
const shows = el("select", { name: "shows" }, ["calls", "refused", "held", "failed", "cost"].map((value) => el("option", { value }, value === "held" ? "asked or held" : value))) as HTMLSelectElement;
shows.addEventListener("change", () => draw());
const form = el("form", { class: "filters" }, el("label", {}, "The last ", span), " ", el("label", {}, "showing ", shows));
form.addEventListener("submit", (event: Event) => event.preventDefault());
const head = [el("h2", {}, "Agents and tools"), form];
const body = el("div", { class: "stack" });
const detail = el("div", { class: "panel", hidden: true, tabindex: "-1", role: "region", "aria-label": "The chosen agent and tool" });

export function clear(): void {
  asked += 1;
  matrix = null;
  span.value = "7d";
  shows.value = "calls";
  $("matrix").replaceChildren();
}

export async function open(): Promise<void> {
  body.replaceChildren(el("p", { class: "soft" }, "Counting…"));
  detail.hidden = true;
  $("matrix").replaceChildren(...head, body, detail);
  $("matrix").focus({ preventScroll: true });
  await read();
}

async function read(): Promise<void> {
  const mine = ++asked;
  try {
    const found = await api(`matrix?since=${span.value}`);
    if (mine !== asked || state.view !== "matrix") return;
    matrix = found as Matrix;
  } catch (error) {
    if (mine === asked && state.view === "matrix") body.replaceChildren(el("p", { class: "error" }, (error as Error).message));
    return;
  }
  draw();
  announce(`${counted(matrix.agents.length, "agent", "agents")} and ${counted(matrix.tools.length, "tool", "tools")}.`);
}

const number = (value: unknown): number => Number(value ?? 0);
const sum = (cell: Cell, words: string[]): number => words.reduce((all, word) => all + number(cell.decisions[word]), 0);
const calls = (cell: Cell): number => Object.entries(cell.decisions).reduce((all, [word, count]) => all + (["approved", "rejected", "expired"].includes(word) ? 0 : number(count)), 0);

function value(cell: Cell): number {
  switch (shows.value) {
    case "refused":
      return sum(cell, REFUSED);
    case "held":
      return sum(cell, HELD);
    case "failed":
      return number(cell.failed);
    case "cost":
      return number(cell.cost_usd);
    default:
      return calls(cell);
  }
}

// What agents named and no upstream has stands in one column.
const UNKNOWN = "(unknown)";
const named = (name: string | null): string => (name === UNKNOWN ? "unknown" : (name ?? "(no tool)"));

// The shade says how much; a mark says whether policy denied any of it.
function shade(part: number): string {
  return `heat heat-${part <= 0 ? 0 : Math.min(5, Math.max(1, Math.ceil(Math.sqrt(part) * 5)))}`;
}

function draw(): void {
  if (!matrix) return;
  const { agents, tools, cells } = matrix;
  detail.hidden = true;
  if (!cells.length) {
    body.replaceChildren(el("p", {}, "No agent made a call in this time. Each call adds to the row of its agent and the column of its tool, with what was decided."));
    return;
  }
  const key = (agent: string | null, tool: string | null) => JSON.stringify([agent, tool]);
  const known = new Map(cells.map((cell) => [key(cell.agent, cell.tool), cell]));
  const most = Math.max(...cells.map(value), 0.000001);
  const money = shows.value === "cost";
  const rows = agents.map((agent) => [
    el("th", { scope: "row" }, parted(named(agent))),
    ...tools.map((tool) => {
      const cell = known.get(key(agent, tool));
      if (!cell) return el("td", { class: "heat heat-0" }, "");
      const figure = value(cell);
      const refused = sum(cell, REFUSED);
      const denied = number(cell.decisions.deny);
      const words = `${named(agent)} and ${named(tool)}: ${counted(calls(cell), "call", "calls")}${refused ? `, ${whole(refused)} refused` : ""}`;
      const button = el("button", { type: "button", class: shade(figure / most), "aria-label": words, title: words }, money ? figure.toFixed(2) : whole(figure), denied && shows.value === "calls" ? el("span", { class: "refused", "aria-hidden": "true" }, "×") : null);
      button.addEventListener("click", () => tell(cell));
      return el("td", {}, button);
    }),
  ]);
  const grid = table("Agents by tools", ["Agent", ...tools.map((tool) => parted(named(tool)))], rows, { class: "matrix" });
  const notes = [el("p", { class: "soft" }, "The stronger, the more. × marks where policy denied some. A cell opens what was decided."), tools.includes(UNKNOWN) ? el("p", { class: "soft" }, "Under unknown are calls of names that no upstream has.") : null, matrix.truncated ? el("p", { class: "soft" }, "There are more agents or tools than are told apart: they are (other).") : null, matrix.partial ? el("p", { class: "banner" }, "Older parts of the record are not counted yet: read again in a moment.") : null];
  body.replaceChildren(grid, ...notes.filter((note) => note !== null));
}

function tell(cell: Cell): void {
  const all = calls(cell);
  const rows = Object.entries(cell.decisions)
    .map(([word, count]): [string, number] => [word, number(count)])
    .sort((one, other) => other[1] - one[1])
    .map(([word, count]) => [td(DECISIONS[word]?.words ?? word), td(whole(count)), td(all ? share(count / all) : "")]);
  const look = el("button", { type: "button" }, "Find its records");
  const filters = new URLSearchParams();
  if (cell.agent !== null) filters.set("agent_id", cell.agent);
  if (cell.tool === UNKNOWN) filters.set("policy_id", "scope");
  else if (cell.tool !== null) filters.set("tool", cell.tool);
  filters.set("since", span.value);
  look.addEventListener("click", () => (location.hash = `#/events?${filters}`));
  const isRest = cell.agent === "(other)" || cell.tool === "(other)";
  detail.replaceChildren(
    el("h3", {}, shown(named(cell.agent), true), " × ", shown(named(cell.tool), true)),
    table("Decisions", ["Decision", "How many", "Of the calls"], rows),
    facts([
      ["Ended upstream", whole(number(cell.ended))],
      ["Failed", whole(number(cell.failed))],
      ["Cost", usd(number(cell.cost_usd))],
    ]),
    isRest || !mayFind() ? "" : el("div", { class: "buttons" }, look),
  );
  detail.hidden = false;
  detail.focus();
  detail.scrollIntoView({ block: "nearest" });
}

// Who sees counts alone has no records to look at.
const mayFind = (): boolean => ["approver", "admin", "auditor", "auditor-full"].some((role) => (state.me as any)?.roles?.includes(role));
