// What tells one call from another at a glance: the arguments that matter most.

import { brief, el, shown } from "./dom.js";
import { isTree, written } from "./exact.js";

// Names that say what a call is about, the weightiest first.
const WEIGHTY = [
  "command", "cmd", "sql", "query", "path", "file_path", "filepath", "file", "filename", "uri", "url", "to", "recipient", "recipients",
  "destination", "target", "amount", "account", "name", "id", "title", "subject", "key", "table", "branch", "repo", "repository",
  "channel", "host", "user", "message", "text",
];
const WEIGHTS = new Map(WEIGHTY.map((name, at) => [name, WEIGHTY.length - at]));
// What is looked at of a call, and compared of a value.
const MOST_MEMBERS = 60;
const MOST_COMPARED = 200;
const MOST_SHOWN = 2;
const MOST_TEXT = 70;
const MOST_NAME = 40;

const known = new WeakMap();

// The members of a call's arguments, two levels deep, each with the start of its value.
function members(one) {
  const kept = known.get(one);
  if (kept) return kept;
  const list: any[] = [];
  const add = (name, value) => {
    if (list.length >= MOST_MEMBERS) return;
    const text = typeof value === "string" ? value.slice(0, MOST_COMPARED) : String(value);
    list.push({ name, value, text, size: typeof value === "string" ? value.length : 0 });
  };
  const top = isTree(one.arguments) && !Array.isArray(one.arguments) ? Object.entries(one.arguments) : [["value", one.arguments]];
  for (const [name, value] of top.slice(0, MOST_MEMBERS)) {
    if (!isTree(value)) add(name, value);
    else if (Array.isArray(value) && value.length && value.length <= 5 && value.every((item) => !isTree(item))) {
      add(name, value.map(String).join(", "));
    } else if (!Array.isArray(value)) {
      for (const [inner, item] of Object.entries(value).slice(0, 20)) if (!isTree(item)) add(`${name}.${inner}`, item);
    }
  }
  const found = { list, total: one.arguments === null ? 0 : top.length };
  known.set(one, found);
  return found;
}

// The names whose values are not the same in all of these calls.
function differing(calls) {
  const values = new Map();
  for (const call of calls) {
    for (const { name, text, size } of members(call).list) {
      if (!values.has(name)) values.set(name, new Map());
      const seen = values.get(name);
      const value = `${size} ${text}`;
      seen.set(value, (seen.get(value) || 0) + 1);
    }
  }
  const differs = new Set();
  for (const [name, seen] of values) if (seen.size > 1 || [...seen.values()][0] < calls.length) differs.add(name);
  return differs;
}

// The names that differ among calls of one tool, for each tool.
export function differences(all) {
  const byTool = new Map();
  for (const one of all) {
    if (!byTool.has(one.tool)) byTool.set(one.tool, []);
    byTool.get(one.tool).push(one);
  }
  return new Map([...byTool].map(([tool, calls]) => [tool, calls.length > 1 ? differing(calls) : new Set()]));
}

// The names that are shown of a call, and how many of its arguments are not.
export function telling(one, differs) {
  const { list, total } = members(one);
  const weight = ({ name, text }) => {
    const last = name.split(".").pop().toLowerCase();
    const same = text === "" ? -50 : 0;
    return (differs && differs.has(name) ? 100 : 0) + (WEIGHTS.get(last) || 0) + same;
  };
  const best = list.map((member, at) => ({ member, at, weight: weight(member) }));
  best.sort((a, b) => b.weight - a.weight || a.at - b.at);
  const picked = best.slice(0, MOST_SHOWN).map(({ member }) => member);
  const tops = new Set(picked.map(({ name }) => (isTree(one.arguments) && Object.hasOwn(one.arguments, name) ? name : name.split(".")[0])));
  return { picked, more: Math.max(total - tops.size, 0) };
}

// The same as a line.
export function headline(one, differs) {
  const { picked, more } = telling(one, differs);
  if (!picked.length && !more) return el("span", { class: "headline" }, "no arguments");
  const parts: any[] = [];
  for (const { name, value } of picked) {
    if (parts.length) parts.push(" ");
    const text = typeof value === "string" ? ['"', ...brief(value, MOST_TEXT), '"'] : [shown(String(value))];
    parts.push(el("span", { class: "pair" }, el("span", { class: "name" }, ...brief(name, MOST_NAME)), ": ", ...text));
  }
  if (!picked.length) parts.push(...brief(written(one.arguments), MOST_TEXT));
  else if (more) parts.push(" ", el("span", { class: "soft" }, `+ ${more} more`));
  return el("span", { class: "headline" }, ...parts);
}
