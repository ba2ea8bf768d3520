// The catalog: every tool that upstreams list, how it stands by its pin, what is taken of it, what it costs and who may call it.

import { allPages } from "./api.js";
import { $, announce, counted, el, shown, table, td } from "./dom.js";
import { parted, usd } from "./figures.js";
import { state } from "./state.js";

let asked = 0;
let tools: any[] | null = null;
const find = el("input", { type: "search", name: "find", spellcheck: "false", autocapitalize: "none" }) as HTMLInputElement;
find.addEventListener("input", () => draw());
const form = el("form", { class: "filters" }, el("label", {}, "Names with ", find));
form.addEventListener("submit", (event: Event) => event.preventDefault());
const head = [el("h2", {}, "Catalog"), form];
const body = el("div", { class: "stack" });

// A list is drawn so far; the search finds the rest.
const MOST = 200;

const PINS: Record<string, [string, string]> = {
  pinned: ["pinned", "good"],
  unpinned: ["not pinned", ""],
  asks: ["each use asks", "warn"],
  changed: ["held: changed", "bad"],
  new: ["held: new", "bad"],
  flagged: ["held: flagged", "bad"],
};

export function clear(): void {
  asked += 1;
  tools = null;
  find.value = "";
  $("catalog").replaceChildren();
}

export async function open(): Promise<void> {
  body.replaceChildren(el("p", { class: "soft" }, "Reading…"));
  $("catalog").replaceChildren(...head, body);
  $("catalog").focus({ preventScroll: true });
  await read();
}

// Something is held, or was accepted.
export async function changed(): Promise<void> {
  if (state.view === "catalog") await read();
}

async function read(): Promise<void> {
  const mine = ++asked;
  try {
    const found = await allPages("tools", "tools");
    if (mine !== asked || state.view !== "catalog") return;
    tools = found.tools;
  } catch (error) {
    if (mine === asked && state.view === "catalog") body.replaceChildren(el("p", { class: "error" }, (error as Error).message));
    return;
  }
  draw();
  announce(counted(tools!.length, "tool", "tools"));
}

const chips = (names: string[], kind = "") => el("span", { class: "chips" }, ...names.map((name) => el("span", { class: `chip ${kind}` }, shown(name, true))));

// What an agent's call of it is taken for.
const traits = (one: any): string[] => [one.read_only ? "reads" : "changes", one.destructive ? "may destroy" : "", one.open_world ? "reaches outside" : "", one.usable ? "" : "its arguments cannot be checked"].filter(Boolean);

function draw(): void {
  if (!tools) return;
  if (!tools.length) {
    body.replaceChildren(el("p", {}, "No upstream lists a tool. `[upstreams.NAME]` in servers.toml adds a server; the view Upstreams says how each stands."));
    return;
  }
  const words = find.value.trim().toLowerCase();
  const fits = tools.filter((one) => !words || `${one.name} ${one.upstream} ${one.action}`.toLowerCase().includes(words));
  const rows = fits.slice(0, MOST).map((one) => {
    const [pin, colour] = PINS[one.state] ?? ["not known", ""];
    const found = (one.findings ?? []).map((finding: any) => finding.kind);
    const link = el("a", { href: `#/events?${new URLSearchParams({ tool: one.full_name })}` }, parted(one.name));
    return [
      el("th", { scope: "row" }, link),
      td(shown(one.upstream, true)),
      td(el("span", { class: `chip ${colour}` }, pin)),
      td(found.length ? chips([...new Set<string>(found)], "warn") : ""),
      td(traits(one).join(", ")),
      td(chips(one.labels)),
      td(one.cost === null ? (Number(one.cost_usd) ? usd(Number(one.cost_usd)) : "") : "by its arguments"),
      td(one.agents.length ? chips(one.agents.slice(0, 8)) : "nobody", one.agents.length > 8 ? ` and ${one.agents.length - 8} more` : ""),
    ];
  });
  const held = tools.filter((one) => ["changed", "new", "flagged"].includes(one.state)).length;
  const parts = [
    held ? el("p", { class: "banner" }, `${counted(held, "tool is", "tools are")} held until somebody accepts ${held === 1 ? "it" : "them"}: see `, el("a", { href: "#/quarantine" }, "Quarantine"), ".") : null,
    rows.length ? table("Tools", ["Tool", "Upstream", "Pin", "Found in it", "What it does", "Labels", "Price", "Who may call it"], rows, { id: "catalog-tools" }) : el("p", {}, "None has that in its name."),
    el("p", { class: "soft" }, fits.length > rows.length ? `${rows.length} of ${counted(fits.length, "tool", "tools")}: the field above finds the others.` : `${counted(fits.length, "tool", "tools")}. A name leads to its records.`),
  ];
  body.replaceChildren(...parts.filter((part) => part !== null));
}
