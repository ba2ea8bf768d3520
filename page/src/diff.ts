// Arguments that name an old and a new text, and how the two differ.

import { el, opened, shown } from "./dom.js";
import { isTree } from "./exact.js";

// What a name begins or ends with, and what its partner has there.
const PARTNERS = {
  old: ["new"],
  before: ["after"],
  original: ["replacement", "modified", "updated", "new"],
  previous: ["next", "new"],
  current: ["new", "replacement"],
  search: ["replace", "replacement"],
  find: ["replace", "replacement"],
};
const FIRST = new RegExp(`^(${Object.keys(PARTNERS).join("|")})($|[_A-Z-].*$)`);
const LAST = new RegExp(`^(.+[_-])(${Object.keys(PARTNERS).join("|")})$`);

function partner(members, name) {
  const first = FIRST.exec(name);
  const last = first ? null : LAST.exec(name);
  if (!first && !last) return null;
  const candidates = first
    ? PARTNERS[first[1]].map((word) => word + first[2])
    : PARTNERS[last![2]].map((word) => last![1] + word);
  return candidates.find((other) => Object.hasOwn(members, other) && typeof members[other] === "string") || null;
}

// The most edits of one call that are drawn.
const MOST_EDITS = 100;

// Every pair of an old and a new text in a value, with where it stands; and how many more there are.
export function edits(value) {
  const found: any[] = [];
  let more = 0;
  const walk = (item, path) => {
    if (!isTree(item)) return;
    const isList = Array.isArray(item);
    for (const [name, member] of isList ? item.entries() : Object.entries(item)) {
      const at = isList ? `${path}[${name}]` : path ? `${path}.${name}` : name;
      if (typeof member !== "string") walk(member, at);
      else if (!isList) {
        const other = partner(item, name);
        if (other === null) continue;
        if (found.length >= MOST_EDITS) more += 1;
        else found.push({ at, other, before: member, after: item[other] });
      }
    }
  };
  walk(value, "");
  return { found, more };
}

// The most cells of the table that a longest common run of lines is found with.
const MOST_CELLS = 1_000_000;

// The lines of both texts in order: `[sign, line]`, where the sign is "-", "+" or " ".
export function lines(before, after) {
  const a = before === "" ? [] : before.split("\n");
  const b = after === "" ? [] : after.split("\n");
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let endA = a.length;
  let endB = b.length;
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA -= 1;
    endB -= 1;
  }
  const out = a.slice(0, start).map((line) => [" ", line]);
  out.push(...between(a.slice(start, endA), b.slice(start, endB)));
  out.push(...a.slice(endA).map((line) => [" ", line]));
  return out;
}

function between(a, b) {
  const gone = a.map((line) => ["-", line]);
  const come = b.map((line) => ["+", line]);
  if (!a.length || !b.length || a.length * b.length > MOST_CELLS) return [...gone, ...come];
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const at = i * width + j;
      longest[at] = a[i] === b[j] ? longest[at + width + 1] + 1 : Math.max(longest[at + width], longest[at + 1]);
    }
  }
  const out: any[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      out.push([" ", a[i++]]);
      j += 1;
    } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) out.push(["-", a[i++]]);
    else out.push(["+", b[j++]]);
  }
  return [...out, ...gone.slice(i), ...come.slice(j)];
}

// Unchanged lines that stay around what changed.
const AROUND = 3;
// Lines that stand open, and characters of one.
const MOST_LINES = 400;
const MOST_LINE = 2000;

const WORDS = { "-": "removed", "+": "added", " ": "" };
const KINDS = { "-": "gone", "+": "come", " ": "same" };

function line([sign, text]) {
  const words = WORDS[sign] && el("span", { class: "unseen" }, `${WORDS[sign]}: `);
  const cut = text.length > MOST_LINE ? ` … (${text.length - MOST_LINE} more characters, below)` : "";
  return el(
    "div",
    { class: KINDS[sign] },
    el("span", { class: "sign", "aria-hidden": "true" }, sign === "-" ? "−" : sign),
    words,
    shown(text.slice(0, MOST_LINE)),
    cut,
  );
}

const fold = (words, all) => opened(words, () => all.map(line));

// Lines with those that did not change folded away, counted.
function drawn(all) {
  const out: any[] = [];
  let run: any[] = [];
  const flush = (isLast) => {
    const head = out.length ? AROUND : 0;
    const tail = isLast ? 0 : AROUND;
    if (run.length > head + tail + 1) {
      const middle = run.slice(head, run.length - tail);
      out.push(...run.slice(0, head).map(line));
      out.push(fold(`… ${middle.length} unchanged lines`, middle));
      out.push(...run.slice(run.length - tail).map(line));
    } else {
      out.push(...run.map(line));
    }
    run = [];
  };
  for (const one of all.slice(0, MOST_LINES)) {
    if (one[0] === " ") run.push(one);
    else {
      flush(false);
      out.push(line(one));
    }
  }
  flush(all.length <= MOST_LINES);
  if (all.length > MOST_LINES) out.push(fold(`… ${all.length - MOST_LINES} more lines`, all.slice(MOST_LINES)));
  return out;
}

// The changes that a call asks for, each old text beside its new one; null where none of its arguments name any. The arguments
// below have both texts whole.
export function changes(value) {
  const { found, more } = edits(value);
  if (!found.length) return null;
  const groups = found.map(({ at, other, before, after }) => {
    const all = lines(before, after);
    const count = (sign) => all.filter(([kind]) => kind === sign).length;
    const sum = `${count("-")} removed, ${count("+")} added`;
    return el(
      "div",
      { class: "change" },
      el("p", { class: "soft" }, shown(at, true), " → ", shown(other, true), ` (lines: ${sum})`),
      el("div", { class: "diff" }, ...drawn(all)),
    );
  });
  const rest = more ? el("p", { class: "soft" }, `… ${more} more changes: the arguments below have them.`) : null;
  return el("div", { class: "changes" }, el("h3", {}, "What it would change"), ...groups, rest);
}
