// Making elements. All text is put in as text; nothing is ever parsed as markup.

import { state } from "./state.js";

// What stands in index.html: a field has a value, a dialog is opened.
export const $ = (id: string): any => document.getElementById(id);

export type Child = Node | string | null | undefined | Child[];

export function el(tag: string, attributes?: Record<string, any> | null, ...children: Child[]): any {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...(children.flat(2) as Child[]).filter((child): child is Node | string => child !== null && child !== undefined));
  return node;
}

export const FIELDS = "input, textarea, select";

// Whether a field has gone while somebody typed in it: what they go on typing is no command.
export const typing = { cut: false };

// Makes these nodes the children of an element. What is there already is not moved: it keeps focus, caret and selection,
// and a click that began on it ends on it. Where what had the focus goes, `refuge` gets it.
export function place(parent: HTMLElement, nodes: Node[], refuge?: HTMLElement): void {
  const kept = new Set(nodes);
  const gone = [...parent.childNodes].filter((child) => !kept.has(child));
  const focused = gone.some((child) => child.contains(document.activeElement)) ? (document.activeElement as HTMLElement) : null;
  for (const child of gone) child.remove();
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next as Node | null);
  }
  if (!focused || !refuge) return;
  // The keyboard stays where its user was.
  typing.cut ||= focused.matches(FIELDS);
  refuge.focus({ preventScroll: true });
}

// What nobody sees, or what changes how others are shown: the gateway's own list, but for line feeds and tabs.
const HIDDEN =
  /[\u{0}-\u{8}\u{b}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{34f}\u{61c}\u{115f}-\u{1160}\u{17b4}-\u{17b5}\u{180b}-\u{180f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{3164}\u{fe00}-\u{fe0f}\u{feff}\u{ffa0}\u{fff0}-\u{fffb}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/u;
const SPECIAL = new RegExp(`(\\[(?:redacted|hash):[^\\]]*\\]|\\n|${HIDDEN.source})`, "u");

// Text as it is, with masks, line breaks and characters that nobody sees marked. It keeps its reading direction to itself.
// Within one line (`inline`) a line break is only marked.
export function shown(text: unknown, inline = false): HTMLElement {
  const out = el("bdi", {});
  let run: { name: string; count: number; mark: HTMLElement } | null = null;
  for (const part of String(text).split(SPECIAL)) {
    if (!part) continue;
    if (HIDDEN.test(part) && part.length <= 2) {
      const name = `[U+${part.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`;
      if (run && run.name === name) {
        run.count += 1;
        run.mark.textContent = `${name} × ${run.count}`;
      } else {
        run = { name, count: 1, mark: el("mark", { title: "a character that nobody sees" }, name) };
        out.append(run.mark);
      }
      continue;
    }
    run = null;
    if (part === "\n") {
      // A line of a text cannot pass for a line of the page.
      out.append(el("mark", { title: "a line break" }, "\\n"), inline ? " " : "\n");
    } else if (SPECIAL.test(part)) {
      out.append(el("mark", { title: "masked: what it was, and how long" }, part));
    } else {
      out.append(part);
    }
  }
  return out;
}

// The start of a text, not cut between the halves of one character, and how much is left.
export function cutAt(text: string, most: number): { start: string; rest: string } {
  if (text.length <= most) return { start: text, rest: "" };
  const at = /[\ud800-\udbff]/.test(text[most - 1]!) ? most + 1 : most;
  return { start: text.slice(0, at), rest: text.slice(at) };
}

// One line of a text, with what is left of it counted.
export function brief(text: unknown, most = 160): Child[] {
  const { start, rest } = cutAt(String(text), most);
  return rest ? [shown(start, true), ` … (${rest.length} more characters)`] : [shown(start, true)];
}

export function facts(pairs: [string, any][]): HTMLElement {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, value instanceof Node ? value : shown(value)));
  }
  return list;
}

// What is made when somebody opens it.
export function opened(words: string, make: () => Child): HTMLElement {
  const details = el("details", {}, el("summary", {}, words));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...([make()].flat() as Node[]));
  });
  return details;
}

// A table that is wider than its place is moved sideways by itself, by the keyboard too. On a phone each row of it is a card,
// with the names of the columns beside their values; grids and the tables of charts stay as they are.
const GRIDS = ["matrix", "figures"];
export function table(label: string, columns: Child[] | null, rows: Child[][], attributes: Record<string, any> = {}): HTMLElement {
  const names: HTMLElement[] = (columns ?? []).map((name) => el("th", { scope: "col", role: "columnheader" }, name));
  const head = columns && el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...names));
  const body = el("tbody", { role: "rowgroup" }, ...rows.map((cells) => el("tr", { role: "row" }, ...cells)));
  const whole = el("table", { role: "table", ...attributes }, head, body);
  if (columns && !GRIDS.includes(attributes.class)) stacks(whole, names);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, whole);
}

function stacks(whole: HTMLTableElement, names: HTMLElement[]): void {
  whole.classList.add("stacks");
  for (const row of whole.tBodies[0]!.rows) {
    for (const [at, cell] of [...row.cells].entries()) {
      // What is no table to look at is one to hear.
      cell.setAttribute("role", cell.scope === "row" ? "rowheader" : "cell");
      if (!cell.hasChildNodes() || (!cell.textContent && !cell.querySelector("meter, svg, input"))) cell.classList.add("none");
      const inner = document.createElement("div");
      inner.append(...cell.childNodes);
      cell.append(inner);
      if (cell.scope !== "row") cell.dataset.label = names[at]?.textContent ?? "";
    }
  }
}

export const td = (...children: Child[]): HTMLElement => el("td", {}, ...children);

// --- times -----------------------------------------------------------------------------------------------------------

const FORMAT = new Intl.DateTimeFormat(undefined, {
  year: "numeric",
  month: "short",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});

// A time where the reader is, with its zone.
export const whenText = (time: string | null): string => (time ? FORMAT.format(new Date(time)) : "");
export const when = (time: string | null | undefined): HTMLElement | null => (time ? el("time", { datetime: time, title: time }, whenText(time)) : null);

const now = () => Date.now() + state.skew;

export function left(until: string): string {
  const seconds = Math.floor((new Date(until).getTime() - now()) / 1000);
  if (seconds <= 0) return "expired";
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor((seconds % 86400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days) return `${days} d ${hours} h left`;
  if (hours) return `${hours} h ${minutes} min left`;
  const rest = `${String(seconds % 60).padStart(2, "0")} s`;
  return minutes ? `${minutes} min ${rest} left` : `${rest} left`;
}

export const countdown = (until: string): HTMLElement => el("span", { "data-until": until }, left(until));

setInterval(() => {
  for (const node of document.querySelectorAll<HTMLElement>("[data-until]")) node.textContent = left(node.dataset.until!);
}, 1000);

// --- words -----------------------------------------------------------------------------------------------------------

const COLOURS: Record<string, string> = {
  approved: "good",
  consumed: "good",
  allow: "good",
  allow_with_constraints: "good",
  rejected: "bad",
  deny: "bad",
  expired: "warn",
  cancelled: "warn",
  pending_approval: "warn",
  throttle: "warn",
  remediate: "warn",
  suggest: "warn",
};
const WORDS: Record<string, string> = {
  consumed: "approved and used",
  allow_with_constraints: "allow with constraints",
  pending_approval: "a person is asked",
};
export const chip = (status: string): HTMLElement => el("span", { class: `chip ${COLOURS[status] || ""}` }, WORDS[status] || String(status));

export const counted = (count: number | string, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;

// --- telling ---------------------------------------------------------------------------------------------------------

export function notice(text?: string): void {
  $("notice").hidden = !text;
  $("notice").textContent = text || "";
}

// Says it to those who do not see the page. The same words twice are two things to say.
export function announce(text: string): void {
  const line = el("p", {}, text);
  $("announce").replaceChildren(line);
}

// --- questions before something is done ------------------------------------------------------------------------------

// Asks before something is done. `run(reason, tell)` does it; what it throws is shown, and the dialog stays. The answer: what `run`
// gave, or null where the person left it.
export interface Question {
  title: string;
  body: Child[];
  reason?: string;
  required?: boolean;
  action: string;
  danger?: boolean;
  run: (reason: string, tell: (words: string) => void) => unknown;
}

export function confirm({ title, body, reason, required, action, danger, run }: Question): Promise<any> {
  return new Promise((done) => {
    const field = reason && el("textarea", { name: "reason", maxlength: 4000, required });
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const go = el("button", { type: "submit", class: danger ? "reject" : "primary" }, action);
    const stay = el("button", { type: "button" }, "Cancel");
    const form = el(
      "form",
      { class: "ask", novalidate: true },
      el("h2", { id: "confirm-title" }, title),
      ...body,
      field && el("label", {}, required ? `${reason} (needed)` : reason, field),
      error,
      el("div", { class: "buttons" }, stay, go),
    );
    const dialog = el("dialog", { class: "confirm", "aria-labelledby": "confirm-title" }, form);
    const say = (text: string) => {
      error.hidden = !text;
      error.textContent = text || "";
    };
    if (field) field.addEventListener("input", () => say(""));
    let result: any = null;
    let busy = false;
    stay.addEventListener("click", () => dialog.close());
    dialog.addEventListener("cancel", (event: Event) => busy && event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(result);
    });
    form.addEventListener("submit", async (event: Event) => {
      event.preventDefault();
      if (busy) return;
      const text = field ? field.value.trim() : "";
      if (required && !text) {
        say("Say why: it stands in the record.");
        field.focus();
        return;
      }
      busy = true;
      go.disabled = stay.disabled = true;
      say("");
      try {
        result = await run(text, (words) => (go.textContent = words));
        dialog.close();
      } catch (problem: any) {
        say(problem.message);
        go.textContent = action;
      } finally {
        busy = false;
        go.disabled = stay.disabled = false;
      }
    });
    $("dialogs").append(dialog);
    dialog.showModal();
    // Not in what is read above it, which may be moved by keys where it is long.
    (field || stay).focus();
  });
}
