// Built of page/src by page/build.mjs: do not edit.
var __defProp = Object.defineProperty;
var __export = (target, all2) => {
  for (var name2 in all2)
    __defProp(target, name2, { get: all2[name2], enumerable: true });
};

// src/exact.js
var exact_exports = {};
__export(exact_exports, {
  Exact: () => Exact,
  isTree: () => isTree,
  parse: () => parse,
  written: () => written
});
var Exact = class {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
};
var EXACT = `number ${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
var TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
function parse(text) {
  const marked = text.replace(
    TOKENS,
    (token) => token[0] === '"' || String(Number(token)) === token ? token : `{"${EXACT}":"${token}"}`
  );
  return JSON.parse(
    marked,
    (_, value) => value !== null && typeof value === "object" && EXACT in value ? new Exact(value[EXACT]) : value
  );
}
function written(value, indent) {
  const mark2 = (_, item3) => item3 instanceof Exact ? `${EXACT}${item3.text}` : item3;
  return JSON.stringify(value, mark2, indent).replace(new RegExp(`"${EXACT}([^"]*)"`, "g"), "$1");
}
var isTree = (value) => value !== null && typeof value === "object" && !(value instanceof Exact);

// src/state.js
var state_exports = {};
__export(state_exports, {
  KEY: () => KEY,
  hasRole: () => hasRole,
  state: () => state
});
var KEY = "tollgate-key";
var state = {
  key: sessionStorage.getItem(KEY),
  // The answer of `me`; null: nobody is signed in.
  me: null,
  // How far the gateway's clock is ahead of this one, in milliseconds.
  skew: 0,
  view: "pending",
  // By id: the agents of the authority map, the policies of the bundle in force.
  agents: /* @__PURE__ */ new Map(),
  policies: /* @__PURE__ */ new Map(),
  // Keys of one letter do something.
  shortcuts: true
};
var hasRole = (...roles) => roles.some((role) => state.me && (state.me.roles || []).includes(role));

// src/api.js
var ApiError = class extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
};
var signOut = () => {
};
var onSignOut = (does) => signOut = does;
async function api(path, body, method = body ? "POST" : "GET", link = false) {
  const headers = { Authorization: `Bearer ${state.key}` };
  if (method !== "GET") headers["Tollgate-Inbox"] = link ? "link" : "page";
  if (body) headers["Content-Type"] = "application/json";
  const key = state.key;
  let answer;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      body: body && written(body),
      cache: "no-store",
      credentials: "omit"
    });
  } catch {
    throw new ApiError(0, "The gateway does not answer. Nothing was changed; try again.");
  }
  const read7 = await answer.text().then(parse).catch(() => null);
  if (answer.ok) return read7;
  const message = read7 && read7.error ? read7.error.message : `HTTP status ${answer.status}`;
  if (answer.status === 401 && state.me && state.key === key) signOut("Your key is no longer valid.");
  throw new ApiError(answer.status, message);
}

// src/budgets.js
var budgets_exports = {};
__export(budgets_exports, {
  clear: () => clear,
  open: () => open
});

// src/dom.js
var $ = (id) => document.getElementById(id);
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name2, value] of Object.entries(attributes || {})) {
    if (name2 === "class") node.className = value;
    else if (name2.startsWith("on")) node.addEventListener(name2.slice(2), value);
    else if (value === true) node.setAttribute(name2, "");
    else if (value !== false && value !== null && value !== void 0) node.setAttribute(name2, value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== void 0));
  return node;
}
var FIELDS = "input, textarea, select";
var typing = { cut: false };
function place(parent, nodes, refuge) {
  const kept = new Set(nodes);
  const gone = [...parent.childNodes].filter((child) => !kept.has(child));
  const focused = gone.some((child) => child.contains(document.activeElement)) ? document.activeElement : null;
  for (const child of gone) child.remove();
  let next = parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  if (!focused || !refuge) return;
  typing.cut ||= focused.matches(FIELDS);
  refuge.focus({ preventScroll: true });
}
var HIDDEN = /[\u{0}-\u{8}\u{b}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{34f}\u{61c}\u{115f}-\u{1160}\u{17b4}-\u{17b5}\u{180b}-\u{180f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{3164}\u{fe00}-\u{fe0f}\u{feff}\u{ffa0}\u{fff0}-\u{fffb}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/u;
var SPECIAL = new RegExp(`(\\[(?:redacted|hash):[^\\]]*\\]|\\n|${HIDDEN.source})`, "u");
function shown(text, inline = false) {
  const out = el("bdi", {});
  let run2 = null;
  for (const part2 of String(text).split(SPECIAL)) {
    if (!part2) continue;
    if (HIDDEN.test(part2) && part2.length <= 2) {
      const name2 = `\\u{${part2.codePointAt(0).toString(16)}}`;
      if (run2 && run2.name === name2) {
        run2.count += 1;
        run2.mark.textContent = `${name2} × ${run2.count}`;
      } else {
        run2 = { name: name2, count: 1, mark: el("mark", { title: "a character that nobody sees" }, name2) };
        out.append(run2.mark);
      }
      continue;
    }
    run2 = null;
    if (part2 === "\n") {
      out.append(el("mark", { title: "a line break" }, "\\n"), inline ? " " : "\n");
    } else if (SPECIAL.test(part2)) {
      out.append(el("mark", { title: "masked: what it was, and how long" }, part2));
    } else {
      out.append(part2);
    }
  }
  return out;
}
function cutAt(text, most) {
  if (text.length <= most) return { start: text, rest: "" };
  const at = /[\ud800-\udbff]/.test(text[most - 1]) ? most + 1 : most;
  return { start: text.slice(0, at), rest: text.slice(at) };
}
function brief(text, most = 160) {
  const { start, rest } = cutAt(String(text), most);
  return rest ? [shown(start, true), ` … (${rest.length} more characters)`] : [shown(start, true)];
}
function facts(pairs) {
  const list2 = el("dl", { class: "facts" });
  for (const [name2, value] of pairs) {
    if (value === null || value === void 0 || value === "") continue;
    list2.append(el("dt", {}, name2), el("dd", {}, value instanceof Node ? value : shown(value)));
  }
  return list2;
}
function opened(words, make) {
  const details = el("details", {}, el("summary", {}, words));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...[make()].flat());
  });
  return details;
}
function table(label, columns, rows, attributes = {}) {
  const head5 = columns && el("thead", {}, el("tr", {}, ...columns.map((name2) => el("th", { scope: "col" }, name2))));
  const body = el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells)));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, el("table", attributes, head5, body));
}
var td = (...children) => el("td", {}, ...children);
var FORMAT = new Intl.DateTimeFormat(void 0, {
  year: "numeric",
  month: "short",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short"
});
var whenText = (time) => time ? FORMAT.format(new Date(time)) : "";
var when = (time) => time ? el("time", { datetime: time, title: time }, whenText(time)) : null;
var now = () => Date.now() + state.skew;
function left(until) {
  const seconds2 = Math.floor((new Date(until).getTime() - now()) / 1e3);
  if (seconds2 <= 0) return "expired";
  const days = Math.floor(seconds2 / 86400);
  const hours = Math.floor(seconds2 % 86400 / 3600);
  const minutes = Math.floor(seconds2 % 3600 / 60);
  if (days) return `${days} d ${hours} h left`;
  if (hours) return `${hours} h ${minutes} min left`;
  const rest = `${String(seconds2 % 60).padStart(2, "0")} s`;
  return minutes ? `${minutes} min ${rest} left` : `${rest} left`;
}
var countdown = (until) => el("span", { "data-until": until }, left(until));
setInterval(() => {
  for (const node of document.querySelectorAll("[data-until]")) node.textContent = left(node.dataset.until);
}, 1e3);
var COLOURS = {
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
  suggest: "warn"
};
var WORDS = {
  consumed: "approved and used",
  allow_with_constraints: "allow with constraints",
  pending_approval: "a person is asked"
};
var chip = (status) => el("span", { class: `chip ${COLOURS[status] || ""}` }, WORDS[status] || String(status));
var counted = (count, one2, many) => `${count} ${count === 1 ? one2 : many}`;
function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text || "";
}
function announce(text) {
  const line3 = el("p", {}, text);
  $("announce").replaceChildren(line3);
}
function confirm({ title, body, reason, required, action, danger, run: run2 }) {
  return new Promise((done2) => {
    const field3 = reason && el("textarea", { name: "reason", maxlength: 4e3, required });
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const go = el("button", { type: "submit", class: danger ? "reject" : "primary" }, action);
    const stay = el("button", { type: "button" }, "Cancel");
    const form3 = el(
      "form",
      { class: "ask", novalidate: true },
      el("h2", { id: "confirm-title" }, title),
      ...body,
      field3 && el("label", {}, required ? `${reason} (needed)` : reason, field3),
      error,
      el("div", { class: "buttons" }, stay, go)
    );
    const dialog = el("dialog", { class: "confirm", "aria-labelledby": "confirm-title" }, form3);
    const say3 = (text) => {
      error.hidden = !text;
      error.textContent = text || "";
    };
    if (field3) field3.addEventListener("input", () => say3(""));
    let result = null;
    let busy = false;
    stay.addEventListener("click", () => dialog.close());
    dialog.addEventListener("cancel", (event) => busy && event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      done2(result);
    });
    form3.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (busy) return;
      const text = field3 ? field3.value.trim() : "";
      if (required && !text) {
        say3("Say why: it stands in the record.");
        field3.focus();
        return;
      }
      busy = true;
      go.disabled = stay.disabled = true;
      say3("");
      try {
        result = await run2(text, (words) => go.textContent = words);
        dialog.close();
      } catch (problem) {
        say3(problem.message);
        go.textContent = action;
      } finally {
        busy = false;
        go.disabled = stay.disabled = false;
      }
    });
    $("dialogs").append(dialog);
    dialog.showModal();
    (field3 || stay).focus();
  });
}

// src/budgets.js
var asked = 0;
var head = [
  el("h2", {}, "Budgets"),
  el("p", { class: "soft" }, "Caps on calls, tokens and money, each counter by itself. Calls in flight hold what they may take until they end.")
];
var again = el("button", { type: "button" }, "Read again");
again.addEventListener("click", () => read());
function clear() {
  asked += 1;
  $("budgets").replaceChildren();
}
async function open() {
  place($("budgets"), [...head, el("p", { class: "soft" }, "Reading the budgets…")]);
  $("budgets").focus({ preventScroll: true });
  await read();
}
async function read() {
  const mine2 = ++asked;
  let found = null;
  try {
    found = await api("budgets");
  } catch (error) {
    if (mine2 === asked && state.view === "budgets") place($("budgets"), [...head, el("p", { class: "error" }, error.message)], $("budgets"));
    return;
  }
  if (mine2 !== asked || state.view !== "budgets") return;
  const none = el("p", { id: "no-budgets" }, "There is no budget: policies/budgets.yaml sets them.");
  const list2 = el("ul", { class: "cards" }, ...found.budgets.map(card));
  place($("budgets"), [...head, el("div", { class: "buttons" }, again), found.budgets.length ? list2 : none], $("budgets"));
}
var UNITS = [
  ["calls", "Calls", ""],
  ["tokens", "Tokens", ""],
  ["cost_usd", "Money", " USD"]
];
var WINDOWS = { minute: "in the last 60 s", hour: "this hour", day: "this day", month: "this month", ever: "in all" };
var ABOVE = { throttle: "calls wait", deny: "calls are refused", require_approval: "a person is asked" };
function card(budget) {
  const name2 = budget.key === null ? "nothing counted yet" : budget.key;
  const reset = el("button", { type: "button", class: "reject", "aria-label": `Set back ${budget.id} of ${name2}` }, "Set back…");
  reset.addEventListener("click", () => askReset(budget));
  const span2 = WINDOWS[budget.window] || budget.window;
  return el(
    "li",
    { class: "panel", "data-budget": budget.id },
    el("h3", {}, shown(budget.id, true), " ", el("span", { class: "chip" }, `per ${budget.scope}`)),
    el("p", {}, shown(name2, true), ` ${span2}${budget.zone ? ` (${budget.zone})` : ""}`),
    ...UNITS.map((unit) => bar(budget, unit)),
    facts([
      ["Above", ABOVE[budget.on_exceed] || budget.on_exceed],
      ["Frees", budget.frees_at && el("span", {}, when(budget.frees_at), " (", countdown(budget.frees_at), ")")],
      ["Alerts at", budget.alert_at.length ? budget.alert_at.map((step3) => `${step3} %`).join(", ") : null]
    ]),
    budget.key !== null && hasRole("admin") ? el("div", { class: "buttons" }, reset) : null
  );
}
function bar(budget, [unit, label, of]) {
  const limit2 = budget.limit[unit];
  const held = Number(budget.reserved[unit]);
  const used = Number(budget.used[unit]);
  if (limit2 === null && !used && !held) return null;
  const flight = held ? `, ${held}${of} held by calls in flight` : "";
  if (limit2 === null) return el("p", {}, `${label}: ${used}${of}${flight}`);
  const most = Number(limit2);
  const words = `${label}: ${used} of ${most}${of}${flight}, ${Number(budget.left[unit])}${of} left`;
  const meter = el("meter", { min: "0", max: String(Math.max(most, 1e-6)), high: String(most * 0.8), optimum: "0", value: String(Math.min(used + held, most)), "aria-label": words });
  return el("p", { class: "meter" }, el("span", {}, words), meter);
}
async function askReset(budget) {
  const done2 = await confirm({
    title: "Set this budget back?",
    body: [
      el("p", {}, "What ", shown(budget.key, true), " has used of ", shown(budget.id, true), " in this window counts no more, from the next call on and in every process."),
      el("p", {}, "What calls in flight hold stays counted. The record says who set it back and why.")
    ],
    reason: "Why",
    required: true,
    action: "Set back",
    danger: true,
    run: (reason) => api(`budgets/${encodeURIComponent(budget.id)}/reset`, { key: budget.key, reason })
  });
  if (!done2) return;
  const words = done2.reset.length ? `${budget.id} of ${budget.key} is set back: ${counted(done2.reset[0].before.calls, "call", "calls")} counted before, ${done2.reset[0].after.calls} in flight.` : `${budget.id} of ${budget.key} had counted nothing.`;
  announce(words);
  notice(words);
  await read();
  $("budgets").focus({ preventScroll: true });
}

// src/deadletters.js
var deadletters_exports = {};
__export(deadletters_exports, {
  ROLES: () => ROLES,
  changed: () => changed,
  clear: () => clear2,
  open: () => open2
});
var ROLES = ["admin"];
var asked2 = 0;
var known = [];
var truncated = false;
var all = false;
function clear2() {
  asked2 += 1;
  known = [];
  all = false;
  $("deadletters").replaceChildren();
}
async function open2() {
  draw();
  $("deadletters").focus({ preventScroll: true });
  await changed();
}
async function changed() {
  if (state.view !== "deadletters") return;
  const mine2 = ++asked2;
  try {
    const found = await api(all ? "deadletters?status=all" : "deadletters");
    if (mine2 !== asked2) return;
    known = found.deadletters;
    truncated = found.truncated;
    draw();
  } catch (error) {
    if (mine2 === asked2) place($("deadletters"), [el("h2", {}, "Dead letters"), el("p", { class: "error" }, error.message)], $("deadletters"));
  }
}
var which = el("input", { type: "checkbox", id: "deadletters-all" });
which.addEventListener("change", () => {
  all = which.checked;
  changed();
});
function draw() {
  const intro = el(
    "p",
    { class: "soft" },
    "Calls that were made and failed, or of which nobody knows whether their server acted. Nothing is made again by itself."
  );
  which.checked = all;
  const choice = el("label", {}, which, " also those that were dealt with");
  const list2 = el("ul", { class: "cards" }, ...known.map(card2));
  const none = el("p", { id: "no-deadletters" }, all ? "There is none." : "None is open.");
  const more2 = truncated ? el("p", { class: "soft" }, "There are more: `tollgate deadletters list` shows them.") : null;
  place($("deadletters"), [el("h2", {}, "Dead letters"), intro, choice, known.length ? list2 : none, more2].filter(Boolean), $("deadletters"));
}
function card2(one2) {
  const isOpen = one2.status === "open";
  const look = el("button", { type: "button", "aria-label": `Show the arguments of ${one2.call_id}` }, "Arguments");
  const arguments_ = el("pre", { class: "text", hidden: true, tabindex: "0" });
  look.addEventListener("click", () => inspect(one2, look, arguments_));
  const replay = el("button", { type: "button", class: "approve", "aria-label": `Make ${one2.call_id} again` }, "Make it again…");
  replay.addEventListener("click", () => askReplay(one2));
  const dismiss = el("button", { type: "button", "aria-label": `Dismiss ${one2.call_id}` }, "Dismiss…");
  dismiss.addEventListener("click", () => askDismiss(one2));
  return el(
    "li",
    { class: "panel", "data-deadletter": one2.call_id },
    el("h3", {}, shown(`${one2.tool} ${one2.outcome}`, true)),
    facts(
      [
        ["Why", one2.reason || "nothing is known of it"],
        ["When", el("span", {}, when(one2.at))],
        ["Agent", one2.agent || ""],
        ["Call", one2.call_id],
        ["Status", one2.status]
      ].filter(([, value]) => value)
    ),
    arguments_,
    el("div", { class: "buttons" }, look, ...isOpen && one2.replayable ? [replay] : [], ...isOpen ? [dismiss] : [])
  );
}
async function inspect(one2, button, into) {
  if (!into.hidden) {
    into.hidden = true;
    return;
  }
  button.disabled = true;
  try {
    const whole3 = await api(`deadletters/${encodeURIComponent(one2.call_id)}`);
    into.replaceChildren(shown(written(whole3.arguments ?? null)));
    into.hidden = false;
  } catch (error) {
    notice(error.message);
  } finally {
    button.disabled = false;
  }
}
async function askReplay(one2) {
  const done2 = await confirm({
    title: `Make ${one2.tool} again?`,
    body: [
      el("p", {}, "It is a new call of the same agent with the same arguments, decided by the policies in force."),
      one2.outcome === "unknown" ? el("p", {}, "Nobody knows whether the first one happened: it may happen twice.") : null
    ].filter(Boolean),
    action: "Make it again",
    run: () => api(`deadletters/${encodeURIComponent(one2.call_id)}`, { action: "replay" })
  });
  if (!done2) return;
  announce(`Made again: ${one2.tool}.`);
  notice("");
  await changed();
}
async function askDismiss(one2) {
  const done2 = await confirm({
    title: `Dismiss ${one2.tool}?`,
    body: [el("p", {}, "It is not made again, and leaves this list. The record keeps it, with your reason.")],
    reason: "Why",
    required: true,
    action: "Dismiss",
    run: (reason) => api(`deadletters/${encodeURIComponent(one2.call_id)}`, { action: "dismiss", reason })
  });
  if (!done2) return;
  announce(`Dismissed: ${one2.tool}.`);
  notice("");
  await changed();
}

// src/detail.js
var detail_exports = {};
__export(detail_exports, {
  decide: () => decide,
  detailCounts: () => detailCounts,
  forgetAllDetails: () => forgetAllDetails,
  forgetDetail: () => forgetDetail,
  formInFront: () => formInFront,
  renderDetail: () => renderDetail,
  risks: () => risks
});

// src/giving.js
var UNITS2 = { ms: 1e-3, s: 1, sec: 1, m: 60, min: 60, h: 3600, hour: 3600, d: 86400, day: 86400, w: 604800, week: 604800, month: 2629746, year: 31556952 };
function seconds(text) {
  let sum = 0;
  for (const [, number2, unit] of String(text).matchAll(/(\d+)\s*([a-z]+)/g)) {
    sum += Number(number2) * (UNITS2[unit] ?? UNITS2[unit.replace(/s$/, "")] ?? 0);
  }
  return sum;
}
var SPANS = ["15m", "1h", "4h", "8h", "1d", "7d", "30d"];
var NAMES = { "15m": "15 minutes", "1h": "1 hour", "4h": "4 hours", "8h": "8 hours", "1d": "1 day", "7d": "7 days", "30d": "30 days" };
function limits(one2) {
  return one2.grants ? { duration: one2.grants.max_duration, uses: Number(one2.grants.max_uses) } : null;
}
var field = (label, input) => el("label", {}, label, input);
function bounded(name2, value) {
  const text = typeof value === "string" ? value : written(value);
  const kind3 = el(
    "select",
    { "aria-label": `${name2} may be` },
    el("option", { value: "same" }, "as it is now"),
    typeof value === "string" ? el("option", { value: "within" }, "within a path") : null,
    typeof value === "string" ? el("option", { value: "glob" }, "like a pattern") : null,
    el("option", { value: "any" }, "anything")
  );
  const input = el("input", { spellcheck: "false", autocapitalize: "none", "aria-label": `${name2}: the path or pattern`, hidden: true });
  kind3.addEventListener("change", () => {
    input.hidden = !["within", "glob"].includes(kind3.value);
    if (kind3.value === "within" && !input.value) input.value = text.replace(/\/[^/]*$/, "") || "/";
    if (kind3.value === "glob" && !input.value) input.value = text;
  });
  const node = el("div", { class: "bound" }, el("span", { class: "name" }, shown(name2, true)), kind3, input);
  const read7 = () => {
    if (kind3.value === "same") return null;
    return kind3.value === "any" ? { any: true } : { [kind3.value]: input.value.trim() };
  };
  const set = (rule2) => {
    const found = ["within", "glob"].find((word) => isTree(rule2) && Object.hasOwn(rule2, word));
    kind3.value = found || (isTree(rule2) && rule2.any === true ? "any" : "same");
    input.value = found ? String(rule2[found]) : "";
    kind3.dispatchEvent(new Event("change"));
  };
  return { name: name2, node, kind: kind3, input, read: read7, set };
}
var MOST_BOUNDED = 50;
function giving(one2, changed6) {
  const most = limits(one2);
  if (!most) return null;
  const on = el("input", { type: "checkbox", name: "grant" });
  const spans = SPANS.filter((span2) => seconds(span2) < seconds(most.duration));
  const duration = el(
    "select",
    { name: "duration" },
    ...spans.map((span2) => el("option", { value: span2 }, NAMES[span2])),
    el("option", { value: most.duration.replace(/\s+/g, "") }, `${most.duration} (the most)`)
  );
  const uses = el("input", { name: "uses", type: "number", min: 1, max: most.uses, step: 1, inputmode: "numeric" });
  uses.value = String(Math.min(10, most.uses));
  const args = isTree(one2.arguments) && !Array.isArray(one2.arguments) ? Object.entries(one2.arguments) : [];
  const rows = args.slice(0, MOST_BOUNDED).map(([name2, value2]) => bounded(name2, value2));
  const beyond = args.length - rows.length;
  const body = el(
    "div",
    { class: "giving", hidden: true },
    el("div", { class: "grid" }, field("For at most", duration), field(`Calls, at most ${most.uses}`, uses)),
    el("p", { class: "soft" }, "Later calls of this agent, with this tool, whose arguments are:"),
    ...rows.map((row) => row.node),
    beyond > 0 ? el("p", { class: "soft" }, `${counted(beyond, "more argument", "more arguments")}: as now.`) : null,
    el("p", { class: "soft" }, "This call goes by its own approval. What another rule denies or asks about is not covered.")
  );
  const toggle = () => {
    body.hidden = !on.checked;
    changed6(on.checked);
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
  const propose = (grant) => {
    const fill2 = el("button", { type: "button", onclick: () => set(grant) }, "Fill in what is proposed");
    const who = `${grant.approver} has approved calls of this shape ${counted(grant.times, "time", "times")}. A grant would spare the next ones.`;
    proposal.replaceChildren(el("p", { class: "soft" }, shown(who)), fill2);
    proposal.hidden = false;
  };
  const node = el(
    "fieldset",
    {},
    el("legend", {}, "Calls like this"),
    proposal,
    el("label", { class: "check" }, on, " Let calls like this through for a while"),
    body
  );
  const value = () => {
    if (!on.checked) return null;
    const bounds2 = rows.map((row) => [row.name, row.read()]).filter(([, rule2]) => rule2 !== null);
    return { duration: duration.value, uses: parse(uses.value || "0"), arguments: Object.fromEntries(bounds2) };
  };
  return { node, value, propose };
}

// src/inbox.js
var inbox_exports = {};
__export(inbox_exports, {
  advance: () => advance,
  back: () => back,
  choose: () => choose,
  chosen: () => chosen,
  done: () => done,
  following: () => following,
  forget: () => forget,
  forgetAll: () => forgetAll,
  inbox: () => inbox,
  listed: () => listed,
  loadHistory: () => loadHistory,
  loadPending: () => loadPending,
  quiet: () => quiet,
  record: () => record,
  render: () => render,
  step: () => step,
  take: () => take,
  tellNews: () => tellNews
});

// src/headline.js
var WEIGHTY = [
  "command",
  "cmd",
  "sql",
  "query",
  "path",
  "file_path",
  "filepath",
  "file",
  "filename",
  "uri",
  "url",
  "to",
  "recipient",
  "recipients",
  "destination",
  "target",
  "amount",
  "account",
  "name",
  "id",
  "title",
  "subject",
  "key",
  "table",
  "branch",
  "repo",
  "repository",
  "channel",
  "host",
  "user",
  "message",
  "text"
];
var WEIGHTS = new Map(WEIGHTY.map((name2, at) => [name2, WEIGHTY.length - at]));
var MOST_MEMBERS = 60;
var MOST_COMPARED = 200;
var MOST_SHOWN = 2;
var MOST_TEXT = 70;
var MOST_NAME = 40;
var known2 = /* @__PURE__ */ new WeakMap();
function members(one2) {
  const kept = known2.get(one2);
  if (kept) return kept;
  const list2 = [];
  const add = (name2, value) => {
    if (list2.length >= MOST_MEMBERS) return;
    const text = typeof value === "string" ? value.slice(0, MOST_COMPARED) : String(value);
    list2.push({ name: name2, value, text, size: typeof value === "string" ? value.length : 0 });
  };
  const top = isTree(one2.arguments) && !Array.isArray(one2.arguments) ? Object.entries(one2.arguments) : [["value", one2.arguments]];
  for (const [name2, value] of top.slice(0, MOST_MEMBERS)) {
    if (!isTree(value)) add(name2, value);
    else if (Array.isArray(value) && value.length && value.length <= 5 && value.every((item3) => !isTree(item3))) {
      add(name2, value.map(String).join(", "));
    } else if (!Array.isArray(value)) {
      for (const [inner, item3] of Object.entries(value).slice(0, 20)) if (!isTree(item3)) add(`${name2}.${inner}`, item3);
    }
  }
  const found = { list: list2, total: one2.arguments === null ? 0 : top.length };
  known2.set(one2, found);
  return found;
}
function differing(calls2) {
  const values = /* @__PURE__ */ new Map();
  for (const call of calls2) {
    for (const { name: name2, text, size } of members(call).list) {
      if (!values.has(name2)) values.set(name2, /* @__PURE__ */ new Map());
      const seen2 = values.get(name2);
      const value = `${size} ${text}`;
      seen2.set(value, (seen2.get(value) || 0) + 1);
    }
  }
  const differs = /* @__PURE__ */ new Set();
  for (const [name2, seen2] of values) if (seen2.size > 1 || [...seen2.values()][0] < calls2.length) differs.add(name2);
  return differs;
}
function differences(all2) {
  const byTool = /* @__PURE__ */ new Map();
  for (const one2 of all2) {
    if (!byTool.has(one2.tool)) byTool.set(one2.tool, []);
    byTool.get(one2.tool).push(one2);
  }
  return new Map([...byTool].map(([tool, calls2]) => [tool, calls2.length > 1 ? differing(calls2) : /* @__PURE__ */ new Set()]));
}
function telling(one2, differs) {
  const { list: list2, total } = members(one2);
  const weight = ({ name: name2, text }) => {
    const last = name2.split(".").pop().toLowerCase();
    const same = text === "" ? -50 : 0;
    return (differs && differs.has(name2) ? 100 : 0) + (WEIGHTS.get(last) || 0) + same;
  };
  const best = list2.map((member, at) => ({ member, at, weight: weight(member) }));
  best.sort((a, b) => b.weight - a.weight || a.at - b.at);
  const picked = best.slice(0, MOST_SHOWN).map(({ member }) => member);
  const tops = new Set(picked.map(({ name: name2 }) => isTree(one2.arguments) && Object.hasOwn(one2.arguments, name2) ? name2 : name2.split(".")[0]));
  return { picked, more: Math.max(total - tops.size, 0) };
}
function headline(one2, differs) {
  const { picked, more: more2 } = telling(one2, differs);
  if (!picked.length && !more2) return el("span", { class: "headline" }, "no arguments");
  const parts2 = [];
  for (const { name: name2, value } of picked) {
    if (parts2.length) parts2.push(" ");
    const text = typeof value === "string" ? ['"', ...brief(value, MOST_TEXT), '"'] : [shown(String(value))];
    parts2.push(el("span", { class: "pair" }, el("span", { class: "name" }, ...brief(name2, MOST_NAME)), ": ", ...text));
  }
  if (!picked.length) parts2.push(...brief(written(one2.arguments), MOST_TEXT));
  else if (more2) parts2.push(" ", el("span", { class: "soft" }, `+ ${more2} more`));
  return el("span", { class: "headline" }, ...parts2);
}

// src/inbox.js
var inbox = {
  // Approvals by id: those that wait, and those that ended while they were on the screen.
  approvals: /* @__PURE__ */ new Map(),
  history: [],
  // Whether more wait than are listed, and the cursor behind the history that is listed.
  more: { pending: false, history: null },
  // Null: none yet. Empty: what was chosen is gone, and nothing takes its place until a person chooses.
  chosen: null,
  // On a narrow screen one of them is shown: the list or what was chosen.
  pane: "list",
  // Ids of those that are marked, to be rejected together.
  marked: /* @__PURE__ */ new Set(),
  // Ids of those that a link of a notification led to.
  linked: /* @__PURE__ */ new Set()
};
var items = /* @__PURE__ */ new Map();
var record = (id) => inbox.approvals.get(id) || inbox.history.find((one2) => one2.id === id);
var chosen = () => inbox.chosen && record(inbox.chosen) || null;
var MOST = 1e3;
async function loadPending() {
  const found = await api(`approvals?status=pending&limit=${MOST}`);
  inbox.more.pending = found.truncated;
  const ids = new Set(found.approvals.map((one2) => one2.id));
  for (const [id, one2] of inbox.approvals) {
    if (one2.status !== "pending" || ids.has(id)) continue;
    if (id !== inbox.chosen) {
      forget(id);
      continue;
    }
    try {
      take(await api(`approvals/${encodeURIComponent(id)}`));
    } catch (error) {
      if (error.status === 404) forget(id);
    }
  }
  found.approvals.forEach(take);
  render();
}
var asked3 = 0;
var answered = 0;
var AT_A_TIME = 200;
async function loadHistory(before = null) {
  const query = new URLSearchParams({ status: $("f-status").value, limit: String(AT_A_TIME) });
  if (before) query.set("before", before);
  const agent = $("f-agent").value.trim();
  if (agent) query.set("agent_id", agent);
  const mine2 = ++asked3;
  let said = "";
  const found = await api(`approvals?${query}`).catch((error) => {
    said = error.message;
    return null;
  });
  if (mine2 !== asked3 || !state.me) return;
  answered = mine2;
  if (found) {
    inbox.history = before ? [...inbox.history, ...found.approvals] : found.approvals;
    inbox.more.history = found.next;
  }
  notice(said);
  render();
  if (found && state.view === "history") announce(`${counted(listed().length, "approval", "approvals")} in the history.`);
}
function forget(id) {
  inbox.approvals.delete(id);
  inbox.marked.delete(id);
  items.delete(id);
  forgetDetail(id);
}
function forgetAll() {
  inbox.approvals.clear();
  inbox.marked.clear();
  inbox.linked.clear();
  items.clear();
  forgetAllDetails();
  Object.assign(inbox, { history: [], chosen: null, pane: "list" });
  $("list").replaceChildren();
  $("detail").replaceChildren();
  done("");
}
var RANK = { pending: 0, approved: 1 };
var rank = (one2) => RANK[one2.status] ?? 2;
var MOST_ENDED = 100;
var news = { fresh: 0, ended: [] };
function take(one2) {
  const before = inbox.approvals.get(one2.id);
  if (before && (rank(before) > rank(one2) || before.decisions.length > one2.decisions.length)) return;
  if (!before && one2.status === "pending") news.fresh += 1;
  if (before && before.status === "pending" && one2.status !== "pending" && one2.id === inbox.chosen) news.ended.push(one2);
  if (one2.status !== "pending" && before) one2.here = before.here || state.view === "pending";
  if (one2.status !== "pending") inbox.marked.delete(one2.id);
  inbox.approvals.set(one2.id, one2);
  const at = inbox.history.findIndex((other) => other.id === one2.id);
  if (at >= 0) inbox.history[at] = one2;
  if (!before || rank(before) !== rank(one2) || before.decisions.length !== one2.decisions.length) forgetDetail(one2.id, true);
  const over = [...inbox.approvals.values()].filter((other) => other.status !== "pending" && other.id !== inbox.chosen);
  for (const other of over.slice(0, Math.max(over.length - MOST_ENDED, 0))) forget(other.id);
}
function tellNews() {
  const parts2 = [];
  if (news.fresh) parts2.push(`${counted(news.fresh, "new ask", "new asks")}.`);
  for (const one2 of news.ended) {
    const last = one2.decisions.at(-1);
    if (!last || last.person !== state.me.id) parts2.push(`${one2.tool} for ${one2.agent_id}: ${one2.status}${last ? ` by ${last.person}` : ""}.`);
  }
  const waiting = waits().length;
  if (news.fresh) parts2.push(`${counted(waiting, "waits", "wait")} for an answer.`);
  news.fresh = 0;
  news.ended = [];
  if (parts2.length) announce(parts2.join(" "));
}
var quiet = () => {
  news.fresh = 0;
};
function pending() {
  const all2 = [...inbox.approvals.values()].filter((one2) => one2.status === "pending" || one2.here);
  return all2.sort((a, b) => b.may_decide - a.may_decide || a.expires_at.localeCompare(b.expires_at));
}
var waits = () => [...inbox.approvals.values()].filter((one2) => one2.status === "pending");
var mine = () => pending().filter((one2) => one2.status === "pending" && one2.may_decide);
function listed() {
  if (state.view === "pending") return pending();
  const tool = $("f-tool").value.trim().toLowerCase();
  return inbox.history.filter((one2) => one2.tool.toLowerCase().includes(tool));
}
function render() {
  const all2 = listed();
  const waiting = waits();
  const count = String(waiting.length);
  if ($("count").textContent !== count) $("count").textContent = count;
  const title = waiting.length ? `(${waiting.length}) Tollgate: approvals` : "Tollgate: approvals";
  if (document.title !== title) document.title = title;
  if (state.view !== "pending" && state.view !== "history") return;
  $("filters").hidden = state.view !== "history";
  const isHistory = state.view === "history";
  $("more").hidden = !(isHistory ? inbox.more.history : inbox.more.pending);
  const listedSoFar = isHistory ? inbox.history.length : waiting.length;
  const words = `The newest ${listedSoFar} are read, and there are more.`;
  if ($("more-words").textContent !== words) $("more-words").textContent = words;
  $("show-more").hidden = !isHistory;
  $("empty").hidden = all2.length > 0;
  const none = asked3 === answered ? "No approval fits these filters." : "Reading the history…";
  $("empty").textContent = state.view === "pending" ? "Nothing waits for approval." : none;
  if (!all2.some((one2) => one2.id === inbox.chosen)) {
    inbox.chosen = inbox.chosen === null ? all2.length ? all2[0].id : null : "";
  }
  const differs = differences(all2.filter((one2) => one2.status === "pending"));
  const lines3 = all2.map((one2) => item(one2, differs.get(one2.tool)));
  const ids = new Set(all2.map((one2) => one2.id));
  for (const id of items.keys()) if (!ids.has(id)) items.delete(id);
  place($("list"), lines3, $("detail"));
  renderBatch();
  $("inbox").dataset.pane = inbox.pane;
  renderDetail();
}
var decidedAt = (one2) => one2.decisions.length ? one2.decisions[one2.decisions.length - 1].at : null;
function item(one2, differs) {
  let line3 = items.get(one2.id);
  if (!line3) {
    const button = el("button", { type: "button", class: "card", "data-id": one2.id, onclick: () => choose(one2.id) });
    const mark2 = el("input", { type: "checkbox", class: "mark", "data-mark": one2.id });
    mark2.addEventListener("change", () => {
      if (mark2.checked) inbox.marked.add(one2.id);
      else inbox.marked.delete(one2.id);
      renderBatch();
    });
    line3 = { node: el("li", {}, mark2, button), button, mark: mark2, one: null, differs: "" };
    items.set(one2.id, line3);
  }
  line3.button.setAttribute("aria-current", String(one2.id === inbox.chosen));
  line3.mark.checked = inbox.marked.has(one2.id);
  const names2 = differs ? [...differs].join(" ") : "";
  if (line3.one === one2 && line3.differs === names2) return line3.node;
  Object.assign(line3, { one: one2, differs: names2 });
  const open9 = one2.status === "pending" && one2.may_decide;
  line3.mark.hidden = !open9;
  line3.mark.setAttribute("aria-label", `Mark ${one2.tool} for ${one2.agent_id}, asked ${one2.created_at}`);
  const time = one2.status === "pending" ? countdown(one2.expires_at) : when(decidedAt(one2) || one2.created_at);
  line3.button.replaceChildren(
    el("span", { class: "tool" }, shown(one2.tool, true)),
    headline(one2, differs),
    el("span", { class: "row" }, el("span", {}, shown(one2.agent_id, true), one2.user && one2.user !== one2.operator ? [" for ", one2.user].join("") : ""), time),
    el(
      "span",
      { class: "chips" },
      chip(one2.status),
      ...risks(one2),
      el("span", { class: "chip" }, `${one2.cost_estimate_usd} USD`),
      one2.may_decide ? el("strong", {}, "yours to decide") : null
    )
  );
  return line3.node;
}
function choose(id, focus = true) {
  inbox.chosen = id;
  if (focus) inbox.pane = "detail";
  render();
  if (!focus) return;
  $("detail").focus({ preventScroll: true });
  const { top } = $("detail").getBoundingClientRect();
  const head5 = $("done").hidden ? $("detail") : $("done");
  if (top < 0 || top > window.innerHeight / 2) head5.scrollIntoView({ block: "start" });
}
function step(by) {
  const all2 = listed();
  const at = all2.findIndex((one2) => one2.id === inbox.chosen);
  const next = all2[Math.min(Math.max(at + by, 0), all2.length - 1)];
  if (!next) return;
  choose(next.id, false);
  const button = $("list").querySelector('[aria-current="true"]');
  if (button && button.checkVisibility()) button.focus();
  else $("detail").focus({ preventScroll: true });
}
function back() {
  inbox.pane = "list";
  render();
  const button = $("list").querySelector('[aria-current="true"]') || $("list").querySelector("button");
  if (button) button.focus();
}
function done(text, id) {
  $("done").hidden = !text;
  const again3 = id && state.view === "pending" && el("button", { type: "button", onclick: () => choose(id) }, "Show it");
  $("done").replaceChildren(...text ? [el("span", {}, text), again3 || ""] : []);
}
var ENDED = { approved: "Approved", consumed: "Approved", rejected: "Rejected", expired: "Expired", cancelled: "Cancelled" };
function following(id) {
  const ids = pending().map((one2) => one2.id);
  const at = ids.indexOf(id);
  return [...ids.slice(at + 1), ...ids.slice(0, Math.max(at, 0))];
}
function advance(one2, rest) {
  const what = `${one2.tool} for ${one2.agent_id}`;
  const said = one2.status === "pending" ? `Recorded, and others must agree: ${what}.` : `${ENDED[one2.status] || one2.status}: ${what}.`;
  const open9 = (other) => other && other.status === "pending" && other.may_decide;
  const next = rest.map((id) => inbox.approvals.get(id)).find(open9) || mine().find((other) => other.id !== one2.id);
  const isInFront = state.view === "pending" && inbox.chosen === one2.id;
  if (next && isInFront) {
    done(said, one2.id);
    choose(next.id);
    announce(`${said} Next: ${next.tool} for ${next.agent_id}.`);
  } else {
    done(isInFront ? "" : said, one2.id);
    announce(next || !isInFront ? said : `${said} Nothing else waits for you.`);
    render();
    if (isInFront) $("detail").focus({ preventScroll: true });
  }
}
var alike = (one2) => mine().filter((other) => other.tool === one2.tool && other.agent_id === one2.agent_id);
function mark(some3) {
  for (const one2 of some3) inbox.marked.add(one2.id);
  render();
  announce(`${counted(inbox.marked.size, "ask is", "asks are")} marked.`);
}
function renderBatch() {
  const open9 = state.view === "pending" ? mine() : [];
  $("batch").hidden = open9.length < 2 && !inbox.marked.size;
  const one2 = chosen();
  const like = one2 && open9.includes(one2) ? alike(one2) : [];
  const count = inbox.marked.size;
  $("mark-all").textContent = `Mark all ${open9.length}`;
  $("mark-alike").hidden = like.length < 2 || like.length === open9.length;
  $("mark-alike").textContent = `Mark the ${like.length} like this`;
  $("unmark").hidden = !count;
  $("reject-marked").disabled = !count;
  $("reject-marked").textContent = count ? `Reject ${count}…` : "Reject marked…";
}
var MOST_NAMED = 20;
async function rejectMarked() {
  const some3 = mine().filter((one2) => inbox.marked.has(one2.id));
  if (!some3.length) return;
  const differs = differences(some3);
  const names2 = some3.slice(0, MOST_NAMED).map((one2) => el("li", {}, shown(one2.tool, true), " for ", shown(one2.agent_id, true), ": ", headline(one2, differs.get(one2.tool))));
  const rest = some3.length - names2.length;
  const result = await confirm({
    title: `Reject ${counted(some3.length, "ask", "asks")}?`,
    body: [el("ul", { class: "plain" }, ...names2, rest ? el("li", {}, `… and ${rest} more`) : null)],
    reason: "Comment",
    action: `Reject ${some3.length}`,
    danger: true,
    run: async (comment, tell) => {
      const failed2 = [];
      let count2 = 0;
      for (const [at, one2] of some3.entries()) {
        tell(`Rejecting ${at + 1} of ${some3.length}…`);
        try {
          const body = comment ? { decision: "reject", comment } : { decision: "reject" };
          take(await api(`approvals/${encodeURIComponent(one2.id)}/decision`, body));
          count2 += 1;
        } catch (error) {
          if (!state.me) return null;
          failed2.push({ one: one2, error });
        }
      }
      return { count: count2, failed: failed2 };
    }
  });
  if (!result) return;
  const { count, failed } = result;
  const what = failed.map(({ one: one2, error }) => `${one2.tool} for ${one2.agent_id}: ${error.message}`);
  const said = `Rejected: ${count}.${failed.length ? ` Not rejected: ${failed.length}. ${what.slice(0, 3).join(" ")}` : ""}`;
  done(said);
  if (failed.length) await loadPending().catch(() => {
  });
  render();
  const next = mine()[0];
  if (next && (!chosen() || chosen().status !== "pending")) {
    choose(next.id);
    announce(`${said} Next: ${next.tool} for ${next.agent_id}.`);
    return;
  }
  announce(next ? said : `${said} Nothing else waits for you.`);
  if ($("reject-marked").disabled) ($("detail").checkVisibility() ? $("detail") : $("main")).focus({ preventScroll: true });
}
$("show-more").addEventListener("click", () => loadHistory(inbox.more.history));
$("mark-all").addEventListener("click", () => mark(mine()));
$("mark-alike").addEventListener("click", () => chosen() && mark(alike(chosen())));
$("unmark").addEventListener("click", () => {
  inbox.marked.clear();
  render();
  $("mark-all").focus();
});
$("reject-marked").addEventListener("click", rejectMarked);

// src/sent.js
var sent_exports = {};
__export(sent_exports, {
  asTree: () => asTree,
  forgetAllSent: () => forgetAllSent,
  forgetSent: () => forgetSent,
  openNext: () => openNext,
  sentBy: () => sentBy,
  sentCount: () => sentCount,
  unseen: () => unseen
});

// src/diff.js
var diff_exports = {};
__export(diff_exports, {
  changes: () => changes,
  edits: () => edits,
  lines: () => lines
});
var PARTNERS = {
  old: ["new"],
  before: ["after"],
  original: ["replacement", "modified", "updated", "new"],
  previous: ["next", "new"],
  current: ["new", "replacement"],
  search: ["replace", "replacement"],
  find: ["replace", "replacement"]
};
var FIRST = new RegExp(`^(${Object.keys(PARTNERS).join("|")})($|[_A-Z-].*$)`);
var LAST = new RegExp(`^(.+[_-])(${Object.keys(PARTNERS).join("|")})$`);
function partner(members2, name2) {
  const first = FIRST.exec(name2);
  const last = first ? null : LAST.exec(name2);
  if (!first && !last) return null;
  const candidates = first ? PARTNERS[first[1]].map((word) => word + first[2]) : PARTNERS[last[2]].map((word) => last[1] + word);
  return candidates.find((other) => Object.hasOwn(members2, other) && typeof members2[other] === "string") || null;
}
var MOST_EDITS = 100;
function edits(value) {
  const found = [];
  let more2 = 0;
  const walk = (item3, path) => {
    if (!isTree(item3)) return;
    const isList = Array.isArray(item3);
    for (const [name2, member] of isList ? item3.entries() : Object.entries(item3)) {
      const at = isList ? `${path}[${name2}]` : path ? `${path}.${name2}` : name2;
      if (typeof member !== "string") walk(member, at);
      else if (!isList) {
        const other = partner(item3, name2);
        if (other === null) continue;
        if (found.length >= MOST_EDITS) more2 += 1;
        else found.push({ at, other, before: member, after: item3[other] });
      }
    }
  };
  walk(value, "");
  return { found, more: more2 };
}
var MOST_CELLS = 1e6;
function lines(before, after) {
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
  const out = a.slice(0, start).map((line3) => [" ", line3]);
  out.push(...between(a.slice(start, endA), b.slice(start, endB)));
  out.push(...a.slice(endA).map((line3) => [" ", line3]));
  return out;
}
function between(a, b) {
  const gone = a.map((line3) => ["-", line3]);
  const come = b.map((line3) => ["+", line3]);
  if (!a.length || !b.length || a.length * b.length > MOST_CELLS) return [...gone, ...come];
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i2 = a.length - 1; i2 >= 0; i2 -= 1) {
    for (let j2 = b.length - 1; j2 >= 0; j2 -= 1) {
      const at = i2 * width + j2;
      longest[at] = a[i2] === b[j2] ? longest[at + width + 1] + 1 : Math.max(longest[at + width], longest[at + 1]);
    }
  }
  const out = [];
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
var AROUND = 3;
var MOST_LINES = 400;
var MOST_LINE = 2e3;
var WORDS2 = { "-": "removed", "+": "added", " ": "" };
var KINDS = { "-": "gone", "+": "come", " ": "same" };
function line([sign, text]) {
  const words = WORDS2[sign] && el("span", { class: "unseen" }, `${WORDS2[sign]}: `);
  const cut = text.length > MOST_LINE ? ` … (${text.length - MOST_LINE} more characters, below)` : "";
  return el(
    "div",
    { class: KINDS[sign] },
    el("span", { class: "sign", "aria-hidden": "true" }, sign === "-" ? "−" : sign),
    words,
    shown(text.slice(0, MOST_LINE)),
    cut
  );
}
var fold = (words, all2) => opened(words, () => all2.map(line));
function drawn(all2) {
  const out = [];
  let run2 = [];
  const flush = (isLast) => {
    const head5 = out.length ? AROUND : 0;
    const tail = isLast ? 0 : AROUND;
    if (run2.length > head5 + tail + 1) {
      const middle = run2.slice(head5, run2.length - tail);
      out.push(...run2.slice(0, head5).map(line));
      out.push(fold(`… ${middle.length} unchanged lines`, middle));
      out.push(...run2.slice(run2.length - tail).map(line));
    } else {
      out.push(...run2.map(line));
    }
    run2 = [];
  };
  for (const one2 of all2.slice(0, MOST_LINES)) {
    if (one2[0] === " ") run2.push(one2);
    else {
      flush(false);
      out.push(line(one2));
    }
  }
  flush(all2.length <= MOST_LINES);
  if (all2.length > MOST_LINES) out.push(fold(`… ${all2.length - MOST_LINES} more lines`, all2.slice(MOST_LINES)));
  return out;
}
function changes(value) {
  const { found, more: more2 } = edits(value);
  if (!found.length) return null;
  const groups = found.map(({ at, other, before, after }) => {
    const all2 = lines(before, after);
    const count = (sign) => all2.filter(([kind3]) => kind3 === sign).length;
    const sum = `${count("-")} removed, ${count("+")} added`;
    return el(
      "div",
      { class: "change" },
      el("p", { class: "soft" }, shown(at, true), " → ", shown(other, true), ` (lines: ${sum})`),
      el("div", { class: "diff" }, ...drawn(all2))
    );
  });
  const rest = more2 ? el("p", { class: "soft" }, `… ${more2} more changes: the arguments below have them.`) : null;
  return el("div", { class: "changes" }, el("h3", {}, "What it would change"), ...groups, rest);
}

// src/sent.js
var MOST_ENTRIES = 500;
var MOST_TEXT2 = 4e3;
var made = /* @__PURE__ */ new Map();
var forgetSent = (id) => made.delete(id);
var forgetAllSent = () => made.clear();
var sentCount = () => made.size;
var seen = (node) => node.dispatchEvent(new CustomEvent("tollgate-seen", { bubbles: true }));
function folded(words, make) {
  const details = el("details", { class: "folded", "data-unseen": true }, el("summary", {}, words));
  details.addEventListener("toggle", () => {
    if (!details.open || !details.hasAttribute("data-unseen")) return;
    details.removeAttribute("data-unseen");
    details.append(make());
    seen(details);
  });
  return details;
}
function quoted(text) {
  const { start, rest } = cutAt(text, MOST_TEXT2);
  const more2 = rest ? [folded(`… ${rest.length} more characters`, () => shown(rest))] : [];
  return [`"`, shown(start), ...more2, `"`];
}
function tree(value, depth = 0) {
  const list2 = el("ul", { class: depth ? "tree" : "tree top" });
  const entries = Array.isArray(value) ? value.map((item3, at) => [at, item3]) : Object.entries(value);
  if (!entries.length) list2.append(el("li", {}, Array.isArray(value) ? "[] (empty)" : "{} (empty)"));
  const lines3 = (some3) => some3.map(([name2, item3]) => line2(name2, item3, depth));
  list2.append(...lines3(entries.slice(0, MOST_ENTRIES)));
  const rest = entries.slice(MOST_ENTRIES);
  if (rest.length) {
    const make = () => el("ul", { class: "tree" }, ...lines3(rest));
    list2.append(el("li", {}, folded(`… ${rest.length} more of ${entries.length}`, make)));
  }
  return list2;
}
function line2(name2, item3, depth) {
  const label = el("span", { class: "name" }, shown(name2));
  if (!isTree(item3)) {
    const text = typeof item3 === "string" ? quoted(item3) : [String(item3)];
    return el("li", {}, label, ": ", el("span", { class: "value" }, ...text));
  }
  const size = Array.isArray(item3) ? `[${item3.length}]` : `{${Object.keys(item3).length}}`;
  return el("li", {}, el("details", { open: true }, el("summary", {}, label, ` ${size}`), tree(item3, depth + 1)));
}
var asTree = (value) => isTree(value) ? tree(value) : tree({ value });
var some = (members2) => members2 && Object.keys(members2).length > 0;
function sections(one2, sent) {
  const masked = (title) => one2.redacted ? `${title} (sensitive values masked)` : title;
  const parts2 = [];
  if (one2.description) parts2.push(el("h3", {}, "What its server says of the tool"), el("p", { class: "said" }, ...quoted(one2.description)));
  const changed6 = changes(sent.arguments);
  if (changed6) parts2.push(changed6);
  parts2.push(el("h3", {}, masked("Arguments")), asTree(sent.arguments));
  if (some(sent.meta)) parts2.push(el("h3", {}, masked("Metadata that is sent with it (_meta)")), asTree(sent.meta));
  if (some(sent.params)) parts2.push(el("h3", {}, masked("Other parameters that are sent with it")), asTree(sent.params));
  return parts2;
}
function sentBy(one2) {
  const before = made.get(one2.id);
  if (before) return before;
  const node = el("div", { class: "sent" }, ...sections(one2, one2));
  if (!one2.arguments_complete) {
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const all2 = el("button", { type: "button" }, "Show all of it");
    const cut = el("div", { class: "cut", "data-unseen": true }, el("p", {}, "It is too long: some is cut here."), all2, error);
    all2.addEventListener("click", async () => {
      all2.disabled = true;
      try {
        const whole3 = await readWhole(one2);
        const hadFocus = node.contains(document.activeElement) || document.activeElement === document.body;
        node.replaceChildren(...sections(one2, whole3));
        if (hadFocus) $("detail").focus({ preventScroll: true });
        seen(node);
      } catch (problem) {
        all2.disabled = false;
        error.hidden = false;
        error.textContent = `It cannot be shown: ${problem.message}`;
      }
    });
    node.prepend(cut);
  }
  made.set(one2.id, node);
  return node;
}
async function readWhole(one2) {
  const trace = await api(`traces/${one2.trace_id}`);
  const decided = trace.events.find((event) => event.approval_id === one2.id && event.event_type === "agent_decision" && event.detail);
  if (!decided) throw new Error("the record of its decision is not there");
  return decided.detail;
}
var parts = (one2) => {
  const node = made.get(one2.id);
  return node ? [...node.querySelectorAll("[data-unseen]")] : [];
};
var unseen = (one2) => parts(one2).length;
function openNext(one2) {
  const [next] = parts(one2);
  if (!next) return;
  for (let outer = next.parentElement.closest("details"); outer; outer = outer.parentElement.closest("details")) outer.open = true;
  const button = next.querySelector("summary, button");
  button.scrollIntoView({ block: "center" });
  button.focus({ preventScroll: true });
  if (next.matches("details")) next.open = true;
  else button.click();
}

// src/detail.js
var forms = /* @__PURE__ */ new Map();
var more = /* @__PURE__ */ new Map();
var detailCounts = () => [forms.size, more.size];
function forgetDetail(id, changed6 = false) {
  more.delete(id);
  if (changed6) return;
  forms.delete(id);
  forgetSent(id);
}
function forgetAllDetails() {
  forms.clear();
  more.clear();
  forgetAllSent();
}
var drawn2 = { one: null, who: [], why: [], end: null };
function renderDetail() {
  const one2 = chosen();
  if (!one2) {
    const gone = "What you looked at has ended, or has left this list. Choose another.";
    const text = inbox.chosen === "" ? gone : "Choose an approval to see it whole.";
    drawn2 = { one: null };
    place($("detail"), [el("p", { class: "soft" }, text)], $("detail"));
    return;
  }
  if (drawn2.one !== one2) drawn2 = { one: one2, who: headOf(one2), why: whyOf(one2), end: decisions(one2) };
  const form3 = formOf(one2);
  const parts2 = [...drawn2.who, sentBy(one2), ...drawn2.why, drawn2.end, form3 && form3.fields, ...moreOf(one2), form3 && form3.bar];
  place($("detail"), parts2.filter(Boolean), $("detail"));
}
var isOutdated = (one2) => one2.policies_in_force === false || one2.status === "cancelled" && !one2.covered_by;
function risks(one2) {
  const words = [];
  const add = (word, colour = "") => words.push(el("span", { class: `chip ${colour}` }, word));
  if (one2.traits) {
    if (one2.traits.destructive) add("may destroy", "bad");
    else if (!one2.traits.read_only) add("changes something", "warn");
    else add("read-only", "good");
    if (one2.traits.open_world) add("reaches outside", "warn");
  }
  if (one2.redacted) add("masked values", "warn");
  if (one2.status === "pending") {
    if (one2.evidence_required) add("needs evidence");
    const open9 = one2.requirements.filter((need) => need.quorum > 1);
    for (const need of open9) add(`${need.approved_by} of ${need.quorum} agreed`);
    if (isOutdated(one2)) add("the policies have changed", "warn");
  }
  return words;
}
function takenAs(traits) {
  return [
    traits.read_only ? "read-only" : "changes something",
    traits.destructive ? "may destroy" : "destroys nothing",
    traits.idempotent ? "a repeat does no more" : "a repeat acts again",
    traits.open_world ? "reaches outside" : "stays inside"
  ].join(", ");
}
function headOf(one2) {
  const agent = state.agents.get(one2.agent_id);
  const changes2 = one2.action.startsWith(`${one2.upstream}:`) ? one2.tool : `${one2.tool}, as ${one2.action}`;
  const open9 = !["consumed", "rejected", "expired"].includes(one2.status);
  let banner = "";
  if (one2.covered_by) banner = `A standing grant (${one2.covered_by}) has let its call through while it waited: nobody has to answer it any more.`;
  else if (open9 && isOutdated(one2)) banner = "The policies have changed since this was asked for: no answer to it lets the call through. The agent has to make the call again.";
  return [
    el("button", { type: "button", class: "back", onclick: back }, "← All asks"),
    el("h2", {}, shown(one2.tool), " ", chip(one2.status)),
    banner ? el("p", { class: "banner" }, banner) : null,
    el("p", { class: "chips" }, ...risks(one2)),
    el("h3", {}, "Who"),
    facts([
      ["Agent", one2.agent_id],
      ["Owner", agent && agent.owner],
      ["Operator", one2.operator],
      ["Role", agent && agent.role],
      ["For", one2.user === one2.operator ? null : one2.user],
      ["Workflow", one2.workflow]
    ]),
    el("h3", {}, "What"),
    facts([
      ["Tool", changes2],
      ["Upstream", one2.upstream],
      ["It is taken as", one2.traits && takenAs(one2.traits)],
      ["Labels", one2.labels.join(", ")]
    ])
  ].filter(Boolean);
}
function whyOf(one2) {
  const policy2 = state.policies.get(one2.policy_id);
  const needs = one2.requirements.map((need) => {
    const who = need.approvers.length ? need.approvers.join(", ") : "any approver";
    const evidence = need.evidence_required ? ", with evidence" : "";
    const separate = need.separate ? ", and never the agent's operator" : "";
    const later = need.escalate ? `; from ${whenText(need.escalate.at)} also ${need.escalate.to.join(", ")}` : "";
    return el("li", {}, shown(`${need.approved_by} of ${need.quorum} by ${who}${evidence}${separate}${later} (policy ${need.policy_id}: ${need.reason})`));
  });
  const snapshot = one2.policy_snapshot.slice(0, 12);
  const explain = el("button", { type: "button" }, "Explain it under the policies of now");
  explain.addEventListener("click", () => document.dispatchEvent(new CustomEvent("tollgate-explain", { detail: one2 })));
  return [
    el("h3", {}, "Why it was stopped"),
    facts([
      ["Policy", one2.policy_id],
      ["Rule", one2.rule_id],
      ["Reason", one2.reason],
      ["Purpose of the policy", policy2 && policy2.description],
      ["Policy owner", policy2 && policy2.owner],
      ["Policies of then", el("span", { title: one2.policy_snapshot }, `${snapshot} (${isOutdated(one2) ? "not in force any more" : "in force"})`)]
    ]),
    el("div", { class: "buttons" }, explain),
    el("h3", {}, "Cost and time"),
    facts([
      ["Estimated cost", `${one2.cost_estimate_usd} USD`],
      ["Asked", when(one2.created_at)],
      [one2.status === "pending" ? "Ends" : "Would have ended", when(one2.expires_at)],
      ["Time left", one2.status === "pending" ? countdown(one2.expires_at) : null]
    ]),
    el("h3", {}, "Needs"),
    el("ul", {}, ...needs)
  ];
}
function decisions(one2) {
  if (!one2.decisions.length) return null;
  const rows = one2.decisions.map((answer) => [
    td(chip(answer.decision === "approve" ? "approved" : "rejected")),
    td(shown(answer.person)),
    td(when(answer.at), el("div", { class: "soft" }, `by ${answer.channel}`)),
    el("td", { class: "text" }, shown(answer.comment || ""), answer.evidence ? el("div", {}, "Evidence: ", shown(answer.evidence)) : "", answer.grant ? el("div", {}, "With a standing grant: ", ...brief(written(answer.grant))) : "")
  ]);
  return el("div", {}, el("h3", {}, "Decisions"), table("Decisions", ["Answer", "Who", "When", "What they said"], rows));
}
function formOf(one2) {
  let form3 = forms.get(one2.id);
  if (!form3) {
    if (one2.status !== "pending") return null;
    form3 = newForm(one2);
    forms.set(one2.id, form3);
  }
  const open9 = one2.status === "pending" && one2.may_decide && !form3.busy;
  const parts2 = unseen(one2);
  form3.approve.disabled = !open9 || parts2 > 0;
  form3.reject.disabled = !open9;
  for (const field3 of [form3.comment, form3.evidence]) field3.readOnly = form3.busy;
  const shut = one2.status === "pending" && !one2.may_decide && !form3.busy;
  form3.fields.hidden = one2.status !== "pending" && !form3.comment.value && !form3.evidence.value;
  form3.bar.hidden = one2.status !== "pending" && form3.fields.hidden;
  form3.hint.hidden = !open9 || parts2 === 0;
  form3.words.textContent = `To approve it, open what is not shown yet: ${counted(parts2, "part", "parts")}.`;
  if ((shut || one2.status !== "pending") && !form3.busy && one2.why_not) say(form3, `You cannot decide it: ${one2.why_not}.`);
  return form3;
}
function newForm(one2) {
  const id = `answer-${one2.id}`;
  const comment = el("textarea", { name: "comment", maxlength: 4e3, rows: 2 });
  const evidence = el("textarea", { name: "evidence", maxlength: 4e3, rows: 2 });
  const grant = giving(one2, (on) => approve.textContent = on ? "Approve with a grant" : "Approve");
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const words = el("span", {});
  const next = el("button", { type: "button", onclick: () => openNext(record(one2.id) || one2) }, "Show the next part");
  const hint = el("p", { class: "hint", id: `hint-${one2.id}`, hidden: true }, words, " ", next);
  const button = (kind3, text) => el("button", { type: "submit", form: id, class: kind3, value: kind3, "aria-describedby": `hint-${one2.id}` }, text);
  const approve = button("approve", "Approve");
  const reject = button("reject", "Reject");
  const fields = el(
    "form",
    { id, class: "decide", novalidate: true, "aria-label": "Your decision" },
    el("label", {}, "Comment", comment),
    el("label", {}, one2.evidence_required ? "Evidence (needed to approve)" : "Evidence", evidence),
    grant && grant.node
  );
  const bar2 = el("div", { class: "bar", role: "group", "aria-label": "Decide" }, hint, error, el("div", { class: "buttons" }, reject, approve));
  for (const one3 of [approve, reject]) {
    one3.addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
    one3.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
  }
  fields.addEventListener("submit", (event) => {
    event.preventDefault();
    decide(one2.id, event.submitter ? event.submitter.value : "");
  });
  return { fields, bar: bar2, comment, evidence, grant, error, hint, words, approve, reject, busy: false };
}
var formInFront = () => forms.get(inbox.chosen);
function say(form3, text) {
  form3.error.hidden = !text;
  form3.error.textContent = text || "";
}
async function decide(id, decision) {
  const form3 = forms.get(id);
  const one2 = record(id);
  if (!form3 || !one2 || form3.busy || !["approve", "reject"].includes(decision)) return;
  if (decision === "approve" && unseen(one2) > 0) return;
  if (decision === "approve" && one2.evidence_required && !form3.evidence.value.trim()) {
    say(form3, "This approval needs evidence: say what shows that the call is right.");
    form3.evidence.focus();
    return;
  }
  form3.busy = true;
  say(form3, "");
  const rest = following(id);
  const inForm = form3.fields.contains(document.activeElement) || form3.bar.contains(document.activeElement);
  const pressed = inForm ? document.activeElement : null;
  if (pressed && !pressed.matches(FIELDS)) $("detail").focus({ preventScroll: true });
  renderDetail();
  try {
    const body = { decision };
    if (form3.comment.value.trim()) body.comment = form3.comment.value.trim();
    if (form3.evidence.value.trim()) body.evidence = form3.evidence.value.trim();
    const grant = form3.grant && decision === "approve" ? form3.grant.value() : null;
    if (grant) body.grant = grant;
    const decided = await api(`approvals/${encodeURIComponent(id)}/decision`, body, "POST", inbox.linked.has(id));
    form3.busy = false;
    forms.delete(id);
    take(decided);
    advance(record(id) || decided, rest);
  } catch (error) {
    form3.busy = false;
    if (!state.me) return;
    if (error.status === 409) {
      const fresh = await api(`approvals/${encodeURIComponent(id)}`).catch(() => null);
      if (fresh) take(fresh);
      render();
    }
    renderDetail();
    say(form3, error.message);
    if (pressed && inbox.chosen === id && document.activeElement === $("detail")) pressed.focus();
  }
}
$("detail").addEventListener("tollgate-seen", () => {
  const one2 = chosen();
  if (one2) formOf(one2);
});
function moreOf(one2) {
  const known4 = more.get(one2.id);
  if (known4) return known4.parts;
  const parts2 = [el("p", { class: "soft" }, "Reading the trace…")];
  const mine2 = { parts: parts2 };
  more.set(one2.id, mine2);
  const isMine = () => more.get(one2.id) === mine2;
  readMore(one2).then(
    (read7) => {
      if (!isMine()) return;
      mine2.parts = read7;
      if (inbox.chosen === one2.id) renderDetail();
    },
    (error) => {
      if (isMine()) more.delete(one2.id);
      parts2[0].textContent = `The trace cannot be read: ${error.message}`;
    }
  );
  return parts2;
}
var MOST_SIMILAR = 5;
function saidOf(decided) {
  const steps = (decided.detail.steps || []).map((step3) => [
    td(chip(step3.decision)),
    td(shown(step3.rule_id ? `${step3.policy_id}, rule ${step3.rule_id}` : step3.policy_id)),
    el("td", { class: "text" }, shown(step3.reason || ""))
  ]);
  const reached = decided.facts && decided.facts.session_labels || [];
  return [
    facts([
      ["Labels of the data", (decided.labels || []).join(", ")],
      ["Had reached the session", reached.join(", ") || "nothing"]
    ]),
    steps.length ? table("What policies said", ["Outcome", "By", "Why"], steps) : "",
    opened("The record of the decision", () => asTree(decided.detail))
  ];
}
async function readMore(one2) {
  const query = new URLSearchParams({ agent_id: one2.agent_id, status: "approved,rejected,expired,consumed", limit: "200" });
  const form3 = forms.get(one2.id);
  const mayGrant = form3 && form3.grant;
  const [trace, others, whole3] = await Promise.all([
    api(`traces/${one2.trace_id}`),
    api(`approvals?${query}`),
    mayGrant ? api(`approvals/${encodeURIComponent(one2.id)}`) : null
  ]);
  if (whole3 && whole3.proposed_grant) form3.grant.propose(whole3.proposed_grant);
  const decided = trace.events.find(
    (event) => event.approval_id === one2.id && event.event_type === "agent_decision" && event.detail
  );
  const events = () => trace.events.map((event) => [
    td(when(event.timestamp)),
    td(event.event_type),
    td(event.decision || event.outcome || ""),
    el("td", { class: "text" }, shown(event.reason || ""))
  ]);
  const similar = others.approvals.filter((other) => other.tool === one2.tool && other.id !== one2.id);
  const rows = similar.slice(0, MOST_SIMILAR).map((other) => {
    const last = other.decisions[other.decisions.length - 1];
    return [
      td(chip(other.status)),
      td(when(other.created_at)),
      td(shown(last ? last.person : "")),
      el("td", { class: "text" }, ...brief(written(other.arguments)), last && last.comment ? el("div", {}, shown(last.comment)) : "")
    ];
  });
  const beyond = similar.length - rows.length;
  const sum = `The trace ${one2.trace_id} (${trace.truncated ? "the newest " : ""}${counted(trace.events.length, "event", "events")})`;
  return [
    el("h3", {}, "Similar calls before"),
    rows.length ? el("div", { id: "similar" }, table("Similar calls before", ["Answer", "Asked", "By", "Arguments"], rows), beyond ? el("p", { class: "soft" }, `… and ${beyond} more in the history`) : "") : el("p", { class: "soft", id: "similar" }, "No such call of this agent was asked about before."),
    el("h3", {}, "How it was decided"),
    decided ? el("div", { id: "trace" }, ...saidOf(decided)) : el("p", { class: "soft", id: "trace" }, "The decision's record has no detail."),
    opened(sum, () => table("Events of the trace", ["When", "What", "Decision", "Reason"], events()))
  ];
}

// src/explain.js
var explain_exports = {};
__export(explain_exports, {
  ROLES: () => ROLES2,
  clear: () => clear3,
  open: () => open3
});
var ROLES2 = ["approver", "admin", "auditor", "auditor-full"];
var form = null;
function clear3() {
  form = null;
  $("explain").replaceChildren();
}
var field2 = (label, input, help) => {
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
    el("div", { class: "grid" }, field2("Agent", agent), field2("Tool", tool)),
    field2("Arguments", args, "A JSON object, as the agent would send it."),
    el(
      "details",
      {},
      el("summary", {}, "More: person, workflow, time, policies"),
      el(
        "div",
        { class: "grid" },
        field2("For the person", user),
        field2("Workflow", workflow),
        field2("At", at, `Empty: now. In your zone, ${zone}.`),
        field2("Policy snapshot", snapshot, "Empty: the one in force.")
      )
    ),
    tools,
    note,
    error,
    el("div", { class: "buttons" }, go)
  );
  const made2 = { node, agent, tool, args, user, workflow, at, snapshot, tools, note, error, go, result, asked: 0 };
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    run(made2);
  });
  args.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) node.requestSubmit();
  });
  return made2;
}
function offerAgents({ agent }, chosen2) {
  const ids = /* @__PURE__ */ new Set([...state.agents.keys(), ...chosen2 ? [chosen2] : []]);
  agent.replaceChildren(...[...ids].map((id) => el("option", { value: id }, id)));
  if (chosen2) agent.value = chosen2;
}
async function open3(given) {
  if (!form) {
    form = build();
    $("explain").replaceChildren(
      el("h2", {}, "Explain a decision"),
      el("p", { class: "soft" }, "What would be decided of a call under the policies, and why. Nothing is recorded, counted or sent."),
      form.node,
      form.result
    );
  }
  const mine2 = form;
  offerAgents(mine2, given ? given.agent : mine2.agent.value);
  if (given) fill(mine2, given);
  $("explain").focus({ preventScroll: true });
  const listed2 = await api("tools").catch(() => null);
  if (listed2 && form === mine2) {
    const names2 = [...new Set(listed2.tools.map((tool) => tool.name))];
    mine2.tools.replaceChildren(...names2.map((name2) => el("option", { value: name2 })));
  }
}
function fill(form3, given) {
  form3.tool.value = given.tool;
  form3.args.value = written(given.arguments ?? {}, 2);
  form3.user.value = given.user || "";
  form3.workflow.value = given.workflow || "";
  form3.at.value = form3.snapshot.value = "";
  form3.result.hidden = true;
  say2(form3, "");
  form3.note.hidden = !given.masked;
}
function say2(form3, text) {
  form3.error.hidden = !text;
  form3.error.textContent = text || "";
}
async function run(form3) {
  say2(form3, "");
  const body = { agent: form3.agent.value, tool: form3.tool.value.trim() };
  if (!body.tool) {
    say2(form3, "Name a tool.");
    form3.tool.focus();
    return;
  }
  try {
    body.arguments = parse(form3.args.value.trim() || "{}");
  } catch (problem) {
    say2(form3, `The arguments are no JSON: ${problem.message}`);
    form3.args.focus();
    return;
  }
  if (!isTree(body.arguments) || Array.isArray(body.arguments)) {
    say2(form3, 'The arguments must be a JSON object, like {"path": "/a"}.');
    form3.args.focus();
    return;
  }
  for (const name2 of ["user", "workflow", "snapshot"]) {
    const text = form3[name2].value.trim();
    if (text) body[name2] = text;
  }
  if (form3.at.value) body.at = new Date(form3.at.value).toISOString();
  const mine2 = ++form3.asked;
  form3.go.disabled = true;
  try {
    const answer = await api("explain", body);
    if (mine2 !== form3.asked) return;
    form3.result.replaceChildren(...drawn3(answer));
    form3.result.hidden = false;
    form3.result.focus();
    announce(`Decision: ${answer.decision}.`);
  } catch (error) {
    if (mine2 === form3.asked) say2(form3, error.message);
  } finally {
    form3.go.disabled = false;
  }
}
var names = (all2) => (all2 || []).join(", ");
var some2 = (value) => isTree(value) && Object.keys(value).length > 0;
var ruled = (policy2, rule2) => rule2 ? `${policy2}, rule ${rule2}` : policy2;
var item2 = (...children) => el("li", {}, ...children);
var section = (title, items2) => items2.length ? [el("h3", {}, title), el("ul", { class: "plain" }, ...items2)] : [];
var MARKS = {
  applies: ["✓", "good", "applies"],
  does_not_apply: ["✗", "", "does not apply"],
  error: ["!", "bad", "error"],
  masked: ["?", "warn", "masked"],
  not_reached: ["–", "", "not reached"],
  true: ["✓", "good", "true"],
  false: ["✗", "", "false"]
};
function came(result) {
  const [mark2, colour, word] = MARKS[result] || ["", "", String(result)];
  return el("span", { class: `chip ${colour}` }, el("span", { "aria-hidden": "true" }, `${mark2} `), word);
}
function part(one2) {
  const values = (one2.values || []).map(({ name: name2, value }) => `${name2} = ${value}`);
  const below = one2.parts || [];
  return item2(
    came(one2.result),
    " ",
    el("code", {}, shown(one2.text)),
    values.length ? el("span", { class: "soft" }, " where ", shown(values.join(", "))) : null,
    one2.error ? el("span", { class: "error" }, " ", shown(one2.error)) : null,
    below.length ? el("ul", { class: "steps" }, ...below.map(part)) : null
  );
}
var condition = (one2) => one2.condition ? el("ul", { class: "steps" }, part(one2.condition)) : null;
function rule(one2) {
  const says = one2.decision ? [" → ", chip(one2.decision)] : [];
  const always = one2.condition ? "" : " always";
  return item2(came(one2.result), " ", el("strong", {}, shown(one2.rule_id || "this policy")), always, ...says, condition(one2));
}
function policy(one2) {
  const shadow = one2.mode === "enforce" ? "" : ` (${one2.mode})`;
  const outcome = one2.decision ? chip(one2.decision) : el("span", { class: "soft" }, "no outcome");
  return item2(
    el("strong", {}, shown(one2.policy_id)),
    shadow,
    el("span", { class: "soft" }, " in ", shown(one2.file || "")),
    ": ",
    outcome,
    one2.rules && one2.rules.length ? el("ul", { class: "steps" }, ...one2.rules.map(rule)) : null
  );
}
function evaluation(one2, title) {
  const all2 = one2.policies || [];
  const concerned = all2.filter((other) => other.concerns);
  const others = all2.filter((other) => !other.concerns);
  const capabilities = (one2.capabilities || []).map((other) => item2(came(other.result), " ", el("strong", {}, shown(other.capability)), condition(other)));
  return [
    title ? el("h4", {}, title, ": ", shown(one2.name || "", true), " ", chip(one2.decision)) : null,
    capabilities.length ? el("h4", {}, "Capabilities") : null,
    capabilities.length ? el("ul", { class: "steps" }, ...capabilities) : null,
    concerned.length ? el("h4", {}, "Policies that concern the call") : null,
    concerned.length ? el("ul", { class: "steps" }, ...concerned.map(policy)) : null,
    others.length ? opened(`${counted(others.length, "policy does", "policies do")} not concern it`, () => el("ul", { class: "plain" }, ...others.map((other) => item2(shown(other.policy_id), ": ", shown(other.why_not || ""))))) : null
  ].filter(Boolean);
}
var OUTCOMES = {
  allow: "Allowed",
  approved: "Allowed",
  allow_with_constraints: "Allowed with limits",
  pending_approval: "Asked about",
  remediate: "Made safer",
  suggest: "Returned as a proposal",
  throttle: "Held back",
  deny: "Denied"
};
var change = (one2) => item2(
  el("strong", {}, OUTCOMES[one2.decision] || one2.decision, " if "),
  shown(one2.if),
  el("span", { class: "soft" }, " (by ", shown(ruled(one2.policy_id, one2.rule_id)), "; tried ", ...brief(written(one2.arguments)), ")")
);
function wouldBeAsked(one2) {
  const who = one2.approvers.length ? one2.approvers.join(" or ") : "everyone with the role approver";
  const more2 = [
    one2.quorum > 1 ? `${one2.quorum} people must agree` : "",
    one2.evidence_required ? "with evidence" : "",
    one2.separate ? "never the agent's operator" : "",
    `within ${one2.expires_in}`
  ].filter(Boolean);
  return item2(shown(who), " (now: ", shown(names(one2.people) || "nobody"), "), for ", shown(ruled(one2.policy_id, one2.rule_id)), `; ${more2.join("; ")}`);
}
function limit(key, value, sources) {
  const from = sources.filter((source) => Object.hasOwn(source.constraints, key)).map((source) => ruled(source.policy_id, source.rule_id));
  return item2(el("strong", {}, key), ": ", shown(isTree(value) ? written(value) : String(value)), from.length ? el("span", { class: "soft" }, " from ", shown(from.join("; "))) : "");
}
function counter(one2) {
  const parts2 = [
    ["calls", one2.used_calls, one2.max_calls],
    ["tokens", one2.used_tokens, one2.max_tokens],
    ["USD", one2.used_cost_usd, one2.max_cost_usd]
  ];
  const text = parts2.filter(([, , most]) => most !== null && most !== void 0).map(([what, used, most]) => used === null ? `at most ${most} ${what}` : `${used} of ${most} ${what}`);
  return item2(el("strong", {}, shown(one2.policy_id)), ` (${one2.key}, per ${one2.window}): ${text.join(", ")}; above it `, chip(one2.above), one2.full ? " and it is full" : "");
}
function step2(one2) {
  return [td(chip(one2.decision)), td(shown(ruled(one2.policy_id, one2.rule_id))), el("td", { class: "text" }, shown(one2.reason || ""))];
}
function drawn3(answer) {
  const call = answer.call;
  const sources = answer.constraint_sources || [];
  const limits2 = Object.entries(answer.constraints || {}).map(([key, value]) => limit(key, value, sources));
  const all2 = answer.evaluations || [];
  const titles = all2.length > 1 ? ["The call as it came", "As rules changed it"] : [];
  const said = (answer.steps || []).map(step2);
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
      ["Policies", answer.policy_snapshot && el("code", { title: answer.policy_snapshot }, answer.policy_snapshot.slice(0, 12))]
    ]),
    ...section("What other arguments would change", (answer.changes || []).map(change)),
    ...section("Who would be asked", (answer.approvals || []).map(wouldBeAsked)),
    ...section("Limits", [...limits2, ...(answer.limits || []).map(counter)]),
    ...some2(answer.remediation) ? [el("h3", {}, "The safer call"), asTree(answer.remediation)] : [],
    el("h3", {}, "How it comes to that"),
    ...all2.flatMap((one2, at) => evaluation(one2, titles[at])),
    said.length ? table("What was said, in order; the strictest counts", ["Outcome", "By", "Why"], said) : el("p", { class: "soft" }, "No rule was asked."),
    ...section("Notes", (answer.notes || []).map((note) => item2(shown(note))))
  ].filter(Boolean);
}

// src/freeze.js
var freeze_exports = {};
__export(freeze_exports, {
  changed: () => changed2,
  clear: () => clear4,
  open: () => open4
});
var KINDS2 = {
  agent: "Agent",
  user: "Person (every call for them)",
  tool: "Tool",
  upstream: "Server",
  capability: "Capability"
};
var asked4 = 0;
var known3 = [];
var kindOf = (one2) => Object.keys(KINDS2).find((kind3) => typeof one2[kind3] === "string");
var wordsOf = (one2) => {
  const kind3 = kindOf(one2);
  return kind3 ? `${kind3} ${one2[kind3]}` : "everything";
};
function clear4() {
  asked4 += 1;
  known3 = [];
  $("frozen").hidden = true;
  $("frozen").replaceChildren();
  $("freeze").replaceChildren();
}
async function changed2() {
  const mine2 = ++asked4;
  const found = await api("freeze");
  if (mine2 !== asked4) return;
  known3 = found.freezes;
  drawBanner();
  if (state.view === "freeze") draw2();
}
function drawBanner() {
  const names2 = known3.slice(0, 3).map(wordsOf).join(", ");
  const rest = known3.length > 3 ? ` and ${known3.length - 3} more` : "";
  const text = known3.length ? `Frozen: ${names2}${rest}. Calls of it are refused.` : "";
  if ($("frozen").textContent !== text) $("frozen").replaceChildren(text ? shown(text, true) : "");
  $("frozen").hidden = !text;
}
async function open4() {
  draw2();
  $("freeze").focus({ preventScroll: true });
  try {
    await changed2();
  } catch (error) {
    if (state.view === "freeze") place($("freeze"), [el("h2", {}, "Freeze"), el("p", { class: "error" }, error.message)], $("freeze"));
  }
}
function draw2() {
  const isAdmin = hasRole("admin");
  const intro = el(
    "p",
    { class: "soft" },
    "A freeze stops calls at once, in every process and over every restart: calls in flight are answered and cancelled at their server, approvals and grants count for nothing. The agent is told that it is frozen, not why."
  );
  const list2 = el("ul", { class: "cards" }, ...known3.map(card3));
  const none = el("p", { id: "no-freezes" }, "Nothing is frozen.");
  place($("freeze"), [el("h2", {}, "Freeze"), intro, isAdmin ? everything() : null, isAdmin ? one : null, known3.length ? list2 : none].filter(Boolean), $("freeze"));
}
function everything() {
  const button = el("button", { type: "button", class: "reject big", id: "freeze-all" }, "Freeze everything…");
  button.addEventListener("click", () => ask({ all: true }, "Freeze everything?", "Every call of every agent is refused until an admin lifts this."));
  return el("div", { class: "buttons" }, button);
}
var kind = el("select", { id: "freeze-kind" }, ...Object.entries(KINDS2).map(([value, text]) => el("option", { value }, text)));
var name = el("input", { id: "freeze-name", spellcheck: "false", autocapitalize: "none", maxlength: 512, required: true });
var one = el(
  "form",
  { id: "freeze-one", novalidate: true },
  el("h3", {}, "Freeze one thing"),
  el("label", {}, "What ", kind),
  el("label", {}, "Its name ", name),
  el("div", { class: "buttons" }, el("button", { type: "submit", class: "reject" }, "Freeze…"))
);
one.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = name.value.trim();
  if (!given) return name.focus();
  ask({ [kind.value]: given }, `Freeze ${kind.value} ${given}?`, "Its calls are refused until an admin lifts this.");
});
async function ask(target, title, text) {
  const done2 = await confirm({
    title,
    body: [el("p", {}, text)],
    reason: "Why",
    required: true,
    action: "Freeze",
    danger: true,
    run: (reason) => api("freeze", { ...target, reason })
  });
  if (!done2) return;
  name.value = "";
  announce(`Frozen: ${wordsOf(done2)}.`);
  notice(done2.warning || "");
  await changed2();
  $("freeze").focus({ preventScroll: true });
}
function card3(freeze) {
  const lift = el("button", { type: "button", "aria-label": `Lift the freeze of ${wordsOf(freeze)}` }, "Lift…");
  lift.addEventListener("click", () => askLift(freeze));
  return el(
    "li",
    { class: "panel", "data-freeze": freeze.id },
    el("h3", {}, shown(wordsOf(freeze), true)),
    facts([
      ["Why", freeze.reason],
      ["Since", el("span", {}, when(freeze.since))],
      ["By", freeze.by || "the local admin"]
    ]),
    hasRole("admin") ? el("div", { class: "buttons" }, lift) : null
  );
}
async function askLift(freeze) {
  const done2 = await confirm({
    title: `Lift the freeze of ${wordsOf(freeze)}?`,
    body: [el("p", {}, "Its calls are decided by the policies again, from the next one on.")],
    reason: "Why",
    action: "Lift",
    run: async (reason) => {
      const query = reason ? `?${new URLSearchParams({ reason })}` : "";
      await api(`freeze/${encodeURIComponent(freeze.id)}${query}`, null, "DELETE");
      return true;
    }
  });
  if (!done2) return;
  announce(`Lifted: the freeze of ${wordsOf(freeze)}.`);
  notice("");
  await changed2();
  $("freeze").focus({ preventScroll: true });
}

// src/grants.js
var grants_exports = {};
__export(grants_exports, {
  bound: () => bound,
  changed: () => changed3,
  clear: () => clear5,
  open: () => open5
});
var asked5 = 0;
var cards = /* @__PURE__ */ new Map();
var ended = el("input", { type: "checkbox", name: "ended" });
ended.addEventListener("change", () => read2());
var head2 = [
  el("h2", {}, "Standing grants"),
  el("p", { class: "soft" }, "Calls that go through without a person being asked. One use of a grant is one call."),
  el("label", { class: "check" }, ended, " Those that have ended too")
];
function clear5() {
  asked5 += 1;
  cards.clear();
  ended.checked = false;
  $("grants").replaceChildren();
}
async function open5() {
  cards.clear();
  place($("grants"), [...head2, el("p", { class: "soft" }, "Reading the grants…")]);
  $("grants").focus({ preventScroll: true });
  await read2();
}
async function changed3() {
  if (state.view === "grants") await read2();
}
async function read2() {
  const mine2 = ++asked5;
  let found = null;
  try {
    found = await api(ended.checked ? "grants?status=all" : "grants");
  } catch (error) {
    if (mine2 === asked5 && state.view === "grants") place($("grants"), [...head2, el("p", { class: "error" }, error.message)], $("grants"));
    return;
  }
  if (mine2 !== asked5 || state.view !== "grants") return;
  const ids = new Set(found.grants.map((grant) => grant.id));
  for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
  place(list, found.grants.map(cardOf), $("grants"));
  const more2 = found.truncated ? el("p", { class: "soft" }, `The newest ${ids.size} are listed, and there are more.`) : null;
  const none = el("p", { id: "no-grants" }, "There is no grant.");
  place($("grants"), [...head2, ids.size ? list : none, more2].filter(Boolean), $("grants"));
}
var list = el("ul", { class: "cards" });
function cardOf(grant) {
  const text = written(grant);
  const before = cards.get(grant.id);
  if (before && before.text === text) return before.node;
  const node = card4(grant);
  cards.set(grant.id, { text, node });
  return node;
}
function bound(rule2) {
  if (!isTree(rule2)) return written(rule2);
  if (Object.hasOwn(rule2, "equals")) return `is ${written(rule2.equals)}`;
  if (Object.hasOwn(rule2, "glob")) return `matches ${written(rule2.glob)}`;
  if (Object.hasOwn(rule2, "within")) return `lies within ${written(rule2.within)}`;
  if (rule2.any === true) return "may be anything";
  return written(rule2);
}
var MOST_BOUND = 300;
function bounds(grant) {
  const named = isTree(grant.arguments) ? Object.entries(grant.arguments) : [];
  const same = grant.as_asked || [];
  if (!named.length) return el("span", {}, "exactly the arguments that were asked for");
  const line3 = ([name2, rule2]) => {
    const text = bound(rule2);
    const rest2 = text.length > MOST_BOUND ? ` … (${text.length - MOST_BOUND} more characters)` : "";
    return el("li", {}, el("span", { class: "name" }, shown(name2, true)), " ", shown(text.slice(0, MOST_BOUND), true), rest2);
  };
  const rest = same.length ? el("li", {}, shown(same.join(", "), true), same.length === 1 ? " is" : " are", " as it was asked for") : null;
  return el("ul", { class: "bounds" }, ...named.map(line3), rest);
}
var ENDS = {
  expired: "expired",
  used_up: "used up",
  revoked: "revoked",
  snapshot: "the policies have changed",
  fingerprint: "the tool has changed",
  capability: "the agent may not use the tool any more",
  lost: "records of its use are lost"
};
function card4(grant) {
  const end = grant.ended;
  const mayRevoke = !end && (hasRole("admin") || grant.approvers.includes(state.me.id));
  const revoke = el("button", { type: "button", class: "reject", "aria-label": `Revoke the grant of ${grant.tool} for ${grant.agent}` }, "Revoke…");
  revoke.addEventListener("click", () => askRevoke(grant));
  const uses = grant.uses_left === null || grant.uses_left === void 0 ? null : counted(grant.uses_left, "use", "uses");
  return el(
    "li",
    { class: "panel", "data-grant": grant.id },
    el("h3", {}, shown(grant.tool, true), end ? [" ", el("span", { class: "chip warn" }, ENDS[end.why] || end.why)] : null),
    facts([
      ["Agent", grant.agent],
      ["For", grant.user],
      ["Workflow", grant.workflow],
      ["Lets through", bounds(grant)],
      ["Left", uses],
      ["Ends", end ? null : el("span", {}, when(grant.expires_at), " (", countdown(grant.expires_at), ")")],
      ["Ended", end && el("span", {}, when(end.at), end.by ? [" by ", shown(end.by, true)] : null)],
      ["Why", end && end.reason],
      ["Given by", grant.approver]
    ]),
    opened(`What it has let through (${grant.used ?? 0})`, () => calls(grant)),
    mayRevoke ? el("div", { class: "buttons" }, revoke) : null
  );
}
function calls(grant) {
  const box = el("div", {}, el("p", { class: "soft" }, "Reading the calls…"));
  api(`grants/${encodeURIComponent(grant.id)}`).then(
    (whole3) => {
      const rows = whole3.calls.map((call) => [td(when(call.at)), el("td", { class: "text" }, ...brief(written(call.arguments ?? null))), td(`${call.cost_estimate_usd} USD`)]);
      const beyond = whole3.used - rows.length;
      box.replaceChildren(
        rows.length ? table("What it has let through", ["When", "Arguments", "Estimate"], rows) : el("p", { class: "soft" }, "Nothing yet."),
        beyond > 0 ? el("p", { class: "soft" }, `… and ${beyond} more before`) : ""
      );
    },
    (error) => box.replaceChildren(el("p", { class: "error" }, error.message))
  );
  return box;
}
async function askRevoke(grant) {
  const done2 = await confirm({
    title: "Revoke this grant?",
    body: [el("p", {}, "From the next call on ", shown(grant.agent, true), " is asked about again when it calls ", shown(grant.tool, true), ".")],
    reason: "Why",
    action: "Revoke",
    danger: true,
    run: async (reason) => {
      const query = reason ? `?${new URLSearchParams({ reason })}` : "";
      await api(`grants/${encodeURIComponent(grant.id)}${query}`, null, "DELETE");
      return true;
    }
  });
  if (!done2) return;
  announce(`Revoked: the grant of ${grant.tool} for ${grant.agent}.`);
  notice("");
  await read2();
  $("grants").focus({ preventScroll: true });
}

// src/pins.js
var pins_exports = {};
__export(pins_exports, {
  changed: () => changed4,
  clear: () => clear6,
  open: () => open6
});
var asked6 = 0;
var head3 = [
  el("h2", {}, "Quarantine"),
  el("p", { class: "soft" }, "Tools, prompts and templates that are not as they were pinned. Agents neither see nor call them until somebody accepts them.")
];
function clear6() {
  asked6 += 1;
  $("quarantine").replaceChildren();
}
async function open6() {
  place($("quarantine"), [...head3, el("p", { class: "soft" }, "Reading what has changed…")]);
  $("quarantine").focus({ preventScroll: true });
  await read3();
}
async function changed4() {
  if (state.view === "quarantine") await read3();
}
async function read3() {
  const mine2 = ++asked6;
  let found = null;
  try {
    found = await api("pins");
  } catch (error) {
    if (mine2 === asked6 && state.view === "quarantine") place($("quarantine"), [...head3, el("p", { class: "error" }, error.message)], $("quarantine"));
    return;
  }
  if (mine2 !== asked6 || state.view !== "quarantine") return;
  const none = el("p", { id: "no-pins" }, "Everything is as it was pinned.");
  const list2 = el("ul", { class: "cards" }, ...found.changes.map(card5));
  place($("quarantine"), [...head3, found.changes.length ? list2 : none], $("quarantine"));
}
var STATES = {
  changed: "changed since it was pinned",
  new: "new, not accepted yet",
  flagged: "held because of what was found in it",
  gone: "not listed any more"
};
function compared(parts2) {
  const part2 = ({ op, text }) => {
    if (op === "removed") return el("del", {}, el("span", { class: "unseen" }, "removed: "), shown(text));
    if (op === "added") return el("ins", {}, el("span", { class: "unseen" }, "added: "), shown(text));
    return shown(text);
  };
  return el("div", { class: "words" }, ...parts2.map(part2));
}
function difference(one2) {
  const at = one2.at || "/";
  if (one2.changes && one2.changes.length) return el("li", {}, el("span", { class: "name" }, shown(at, true)), compared(one2.changes));
  const value = (value2) => value2 === null || value2 === void 0 ? "nothing" : shown(written(value2));
  return el("li", {}, el("span", { class: "name" }, shown(at, true)), " ", value(one2.before), " → ", value(one2.after));
}
function finding(one2) {
  return el("li", {}, el("span", { class: "chip warn" }, one2.kind), " ", shown(one2.what, true), one2.text ? [": ", shown(one2.text, true)] : null);
}
var whole = (words, value) => value === null || value === void 0 ? null : opened(words, () => el("pre", {}, shown(written(value))));
function card5(change2) {
  const accept = el("button", { type: "button", class: "primary", "aria-label": `Accept ${change2.exposed} of ${change2.upstream}` }, "Accept…");
  accept.addEventListener("click", () => askAccept(change2));
  const may = hasRole("admin") && change2.state !== "gone";
  const pinned = change2.pinned;
  return el(
    "li",
    { class: "panel", "data-pin": `${change2.upstream}/${change2.kind}/${change2.name}` },
    el("h3", {}, shown(change2.exposed, true), " ", el("span", { class: `chip ${change2.state === "gone" ? "" : "bad"}` }, STATES[change2.state] || change2.state)),
    facts([
      ["Server", change2.upstream],
      ["Kind", change2.kind],
      ["Its own name", change2.name === change2.exposed ? null : change2.name],
      ["Held since", when(change2.since)],
      ["Pinned", pinned && el("span", {}, when(pinned.at), pinned.by ? [" by ", shown(pinned.by, true)] : " as it was listed")]
    ]),
    change2.note ? el("p", { class: "soft" }, shown(change2.note)) : null,
    change2.findings.length ? el("ul", { class: "findings", "aria-label": "What was found" }, ...change2.findings.map(finding)) : null,
    change2.differences.length ? el("ul", { class: "bounds", "aria-label": "What differs" }, ...change2.differences.map(difference)) : null,
    whole("As it was pinned", change2.before),
    whole("As it is listed", change2.after),
    may ? el("div", { class: "buttons" }, accept) : null
  );
}
async function askAccept(change2) {
  const done2 = await confirm({
    title: "Accept this as it is listed now?",
    body: [
      el("p", {}, "Agents in whose scope it is can use ", shown(change2.exposed, true), " of ", shown(change2.upstream, true), " again, as it is shown here."),
      change2.findings.length ? el("p", { class: "error" }, `${counted(change2.findings.length, "thing was", "things were")} found in it.`) : ""
    ],
    action: "Accept",
    danger: true,
    run: async () => {
      await api("pins/accept", { upstream: change2.upstream, name: change2.name, fingerprint: change2.fingerprint });
      return true;
    }
  });
  if (!done2) return;
  announce(`Accepted: ${change2.exposed} of ${change2.upstream}.`);
  notice("");
  await read3();
  $("quarantine").focus({ preventScroll: true });
}

// src/policies.js
var policies_exports = {};
__export(policies_exports, {
  changed: () => changed5,
  clear: () => clear7,
  open: () => open7
});
var asked7 = 0;
var folderTold = "null";
function clear7() {
  asked7 += 1;
  $("policies").replaceChildren();
}
async function open7() {
  $("policies").replaceChildren(el("h2", {}, "Policies"), el("p", { class: "soft" }, "Reading the policies…"));
  $("policies").focus({ preventScroll: true });
  await read4();
}
async function changed5() {
  if (state.view !== "policies") return;
  await read4();
  again2(asked7, 5);
}
function again2(mine2, times) {
  const isOurs = () => mine2 === asked7 && state.view === "policies" && state.me;
  setTimeout(async () => {
    if (!isOurs()) return;
    const past = await api("policies/history").catch(() => null);
    if (!isOurs()) return;
    if (past && JSON.stringify(past.folder ?? null) !== folderTold) await read4();
    else if (times > 1) again2(mine2, times - 1);
  }, 1e3);
}
async function read4() {
  const mine2 = ++asked7;
  const none = (error) => ({ error });
  const [bundle, past] = await Promise.all([api("policies").catch(none), api("policies/history").catch(none)]);
  if (mine2 !== asked7 || state.view !== "policies" || !state.me) return;
  folderTold = JSON.stringify(past.folder ?? null);
  const hadFocus = $("policies").contains(document.activeElement);
  $("policies").replaceChildren(
    ...[
      el("h2", {}, "Policies"),
      bundle.error ? el("p", { class: "error" }, bundle.error.message) : inForce(bundle, past),
      past.error ? el("p", { class: "error" }, past.error.message) : history2(past)
    ]
  );
  if (hadFocus) $("policies").focus({ preventScroll: true });
}
var short = (snapshot) => el("code", { title: snapshot }, snapshot.slice(0, 12));
function inForce(bundle, past) {
  const rows = bundle.policies.map((policy2) => [
    td(shown(policy2.id, true)),
    td(policy2.mode === "enforce" ? "enforced" : shown(policy2.mode)),
    td(shown(policy2.description || "")),
    td(shown(policy2.owner || "")),
    td(policy2.kind === "gate" ? counted(policy2.rules.length, "rule", "rules") : "rulebook")
  ]);
  return el(
    "section",
    { class: "panel", "aria-label": "In force" },
    el("h3", {}, "In force"),
    past.folder ? folder(past.folder) : "",
    facts([
      ["Snapshot", short(bundle.snapshot)],
      ["Version", bundle.version],
      ["Owner", bundle.owner],
      ["Environment", bundle.environment],
      ["Where no policy says anything", bundle.default_decision]
    ]),
    table("Policies in force", ["Policy", "Mode", "What for", "Owner", "Rules"], rows)
  );
}
function folder(differs) {
  const activate = el("button", { type: "button" }, "Activate the folder…");
  activate.addEventListener("click", askFolder);
  return el(
    "div",
    { class: "banner" },
    el("p", {}, shown(differs.message[0].toUpperCase() + differs.message.slice(1))),
    hasRole("admin") && differs.snapshot ? el("div", { class: "buttons" }, activate) : null
  );
}
function history2(past) {
  const admin = hasRole("admin");
  const now2 = (past.history.find((one2) => one2.active) || {}).snapshot;
  const rows = past.history.map((one2) => {
    const name2 = one2.snapshot.slice(0, 12);
    const files2 = el("button", { type: "button", "aria-label": `Show the files of ${name2}` }, "Files");
    files2.addEventListener("click", () => showFiles(one2));
    const activate = el("button", { type: "button", "aria-label": `Activate ${name2}` }, "Activate…");
    activate.addEventListener("click", () => askActivate(one2));
    return [
      td(short(one2.snapshot), one2.active ? [" ", chip("in force")] : ""),
      td(when(one2.activated_at)),
      td(shown(one2.by || "")),
      el("td", { class: "text" }, shown(one2.reason || "")),
      td(one2.git_commit ? el("code", { title: one2.git_commit }, one2.git_commit.slice(0, 10)) : ""),
      td(el("div", { class: "buttons" }, files2, admin && one2.snapshot !== now2 ? activate : null))
    ];
  });
  const back2 = el("button", { type: "button" }, "Roll back…");
  back2.addEventListener("click", askRollback);
  const possible = past.history.length > 1;
  return el(
    "section",
    { class: "panel", "aria-label": "What was in force" },
    el("h3", {}, "What was in force"),
    admin && possible ? el("div", { class: "buttons" }, back2) : "",
    rows.length ? table("What was in force, the newest first", ["Snapshot", "Since", "By", "Why", "Commit", "Do"], rows, { id: "snapshots" }) : el("p", {}, "There is no history yet."),
    past.truncated ? el("p", { class: "soft" }, `The newest ${rows.length} are listed; \`tollgate policy history\` has all.`) : ""
  );
}
var REASON = "Why";
async function askActivate(one2) {
  const done2 = await confirm({
    title: "Put these policies in force?",
    body: [
      el("p", {}, "The bundle ", short(one2.snapshot), ", in force since ", when(one2.activated_at), " the last time, counts from the next call on, in every process."),
      el("p", {}, "Asks and grants of other policies end. The folder is not changed: it counts again when somebody activates it.")
    ],
    reason: REASON,
    required: true,
    action: "Activate",
    danger: true,
    run: (reason) => order("activate", { snapshot: one2.snapshot, reason })
  });
  await told(done2);
}
async function askFolder() {
  const done2 = await confirm({
    title: "Put the folder in force?",
    body: [el("p", {}, "What the folder says counts from the next call on, in every process, and so does what is changed in it from then on.")],
    reason: REASON,
    required: true,
    action: "Activate",
    danger: true,
    run: (reason) => order("activate", { folder: true, reason })
  });
  await told(done2);
}
async function askRollback() {
  const done2 = await confirm({
    title: "Roll back to the policies of before?",
    body: [
      el("p", {}, "What was in force before counts from the next call on, in every process."),
      el("p", {}, "Asks and grants of the policies of now end. The folder is not changed: it counts again when somebody activates it.")
    ],
    reason: REASON,
    required: true,
    action: "Roll back",
    danger: true,
    run: (reason) => order("rollback", { reason })
  });
  await told(done2);
}
var order = (what, body) => api(`policies/${what}`, body);
async function told(done2) {
  if (!done2) return;
  const text = [`${done2.snapshot.slice(0, 12)}: ${done2.message}.`, ...done2.notes || []].join(" ");
  notice(text);
  await read4();
  $("policies").focus({ preventScroll: true });
}
async function showFiles(one2) {
  const close = el("button", { type: "button", class: "primary" }, "Close");
  const body = el("div", {}, el("p", { class: "soft" }, "Reading the files…"));
  const dialog = el("dialog", { class: "confirm wide", "aria-labelledby": "files-title" }, el("h2", { id: "files-title" }, "Files of ", short(one2.snapshot)), body, el("div", { class: "buttons" }, close));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  $("dialogs").append(dialog);
  dialog.showModal();
  try {
    const answer = await api(`policies/${encodeURIComponent(one2.snapshot)}`);
    body.replaceChildren(...files(answer));
  } catch (error) {
    body.replaceChildren(el("p", { class: "error" }, error.message));
  }
}
function files(answer) {
  const all2 = answer.files || [];
  if (!all2.length) return [el("p", {}, "Its files are not kept.")];
  return all2.map(({ name: name2, text }) => opened(name2, () => el("pre", { tabindex: "0", role: "region", "aria-label": name2 }, ...text.split("\n").flatMap((line3) => [shown(line3), "\n"]))));
}

// src/spend.js
var spend_exports = {};
__export(spend_exports, {
  clear: () => clear8,
  open: () => open8
});
var asked8 = 0;
var KINDS3 = [
  ["agent", "Agent"],
  ["workflow", "Workflow"],
  ["tool", "Tool"],
  ["user", "User"],
  ["model", "Model"],
  ["day", "Day"]
];
var SPANS2 = [
  ["1d", "the last day"],
  ["7d", "the last 7 days"],
  ["30d", "the last 30 days"]
];
var span = el("select", { name: "since" }, SPANS2.map(([value, words]) => el("option", { value }, words)));
var kind2 = el("select", { name: "by" }, KINDS3.map(([value, words]) => el("option", { value }, words.toLowerCase())));
span.value = "7d";
span.addEventListener("change", () => read5());
kind2.addEventListener("change", () => draw3());
var form2 = el("form", { class: "filters" }, el("label", {}, "Of ", span), " ", el("label", {}, "by ", kind2));
form2.addEventListener("submit", (event) => event.preventDefault());
var head4 = [el("h2", {}, "Spend"), form2];
var report = null;
function clear8() {
  asked8 += 1;
  report = null;
  span.value = "7d";
  kind2.value = "agent";
  $("spend").replaceChildren();
}
async function open8() {
  report = null;
  $("spend").replaceChildren(...head4, el("p", { class: "soft" }, "Adding up…"));
  $("spend").focus({ preventScroll: true });
  await read5();
}
async function read5() {
  const mine2 = ++asked8;
  let found = null;
  try {
    found = await api(`report/spend?since=${span.value}`);
  } catch (error) {
    if (mine2 === asked8 && state.view === "spend") {
      report = null;
      replace([el("p", { class: "error" }, error.message)]);
    }
    return;
  }
  if (mine2 !== asked8 || state.view !== "spend" || !state.me) return;
  report = found;
  draw3();
  announce(`${usd(found.cost_usd)} in ${counted(found.calls, "call", "calls")}.`);
}
function replace(nodes) {
  const old = [...$("spend").children].filter((node) => !head4.includes(node));
  for (const node of old) node.remove();
  $("spend").append(...nodes);
}
var number = (value) => Number(value);
var usd = (value) => `${number(value).toLocaleString(void 0, { minimumFractionDigits: 2, maximumFractionDigits: 6 })} USD`;
var whole2 = (value) => number(value).toLocaleString();
var percent = (share) => `${Math.round(number(share) * 100)} %`;
function draw3() {
  if (!report) return;
  notice("");
  replace([
    report.partial ? el("p", { class: "banner" }, "This is a part: the record is long, and the time was over. `tollgate report spend` adds up all of it.") : "",
    el("p", {}, `${usd(report.cost_usd)} in ${counted(report.calls, "call", "calls")}, ${whole2(report.failed)} of which failed; estimated were ${usd(report.estimate_usd)}.`),
    lines2(),
    throttles(),
    catalog(),
    searches(),
    estimates()
  ].filter(Boolean));
}
function lines2() {
  const [name2, title] = KINDS3.find(([value]) => value === kind2.value);
  const all2 = report[name2];
  const most = Math.max(...all2.map((one2) => number(one2.cost_usd)), 1e-6);
  const rows = all2.slice(0, 200).map((one2) => [
    td(one2[name2] === null ? el("span", { class: "soft" }, "none") : shown(one2[name2], true)),
    td(usd(one2.cost_usd)),
    // The bar repeats the figure beside it.
    td(el("meter", { min: 0, max: most, value: number(one2.cost_usd), "aria-hidden": "true" })),
    td(whole2(one2.calls)),
    td(whole2(one2.failed)),
    td(whole2(one2.tokens))
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, `By ${title.toLowerCase()}`),
    rows.length ? table(`Spend by ${title.toLowerCase()}`, [title, "Cost", "Share", "Calls", "Failed", "Tokens"], rows, { id: "spend-lines" }) : el("p", {}, "Nothing was spent."),
    report.truncated ? el("p", { class: "soft" }, "There are more names than are told: the rest is (others).") : null
  );
}
function throttles() {
  if (!report.throttles.length) return null;
  const rows = report.throttles.map((one2) => [
    td(shown(one2.workflow, true)),
    td(usd(one2.cost_usd)),
    td(whole2(one2.calls)),
    td(usd(one2.busy_minute_usd)),
    td(usd(one2.max_cost_per_minute_usd)),
    td(whole2(one2.minutes_above))
  ]);
  const file = () => [
    el("p", {}, "Put it beside the files of your bundle as ", el("code", {}, report.proposal.name), ", and let ", el("code", {}, "tollgate policy simulate"), " say which recorded calls it would have held back."),
    el("pre", { tabindex: "0" }, report.proposal.text)
  ];
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "Workflows that cost most, with a throttle for each"),
    table("Workflows that cost most", ["Workflow", "Cost", "Calls", "Busy minute", "Proposed for a minute", "Minutes above"], rows, { id: "spend-throttles" }),
    opened(`The throttles as a policy file (${report.proposal.name})`, file)
  );
}
function catalog() {
  if (!report.catalog.length) return null;
  const rows = report.catalog.map((one2) => [
    td(shown(one2.agent, true)),
    td(one2.model === null ? "" : shown(one2.model, true)),
    td(one2.mode === "search" ? "searched" : "whole"),
    td(whole2(one2.tools)),
    td(whole2(one2.tokens)),
    td(whole2(one2.full_tokens)),
    td(usd(one2.cost_usd)),
    td(one2.max_tokens === null ? "" : whole2(one2.max_tokens)),
    el("td", { class: "text" }, one2.left_out.length ? shown(one2.left_out.join(", ")) : "")
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "What reading the list of tools once costs"),
    table("Lists of tools", ["Agent", "Model", "List", "Tools", "Tokens", "All tools", "Cost", "At most", "Left out"], rows, { id: "spend-catalog" }),
    el("p", { class: "soft" }, "What is left out can be called all the same. Tools are taken in the order of the agent's capabilities, then by name, as long as they fit.")
  );
}
function searches() {
  const { search } = report;
  if (!number(search.tasks)) return null;
  const rows = search.newest.map((task) => [
    td(when(task.from)),
    td(shown(task.agent, true)),
    td(task.workflow === null ? "" : shown(task.workflow, true)),
    td(whole2(task.calls)),
    td(whole2(task.searches)),
    td(whole2(task.full_tokens)),
    td(whole2(task.search_tokens)),
    td(whole2(task.saved_tokens))
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "What searching for tools saved"),
    el("p", {}, `${whole2(search.saved_tokens)} tokens in ${counted(search.tasks, "finished task", "finished tasks")}: cheaper than the whole list in ${whole2(search.cheaper)}, dearer in ${whole2(search.dearer)}.`),
    table("Tasks", ["Since", "Agent", "Workflow", "Calls", "Searches", "Whole list", "Searched", "Saved"], rows)
  );
}
function estimates() {
  if (!report.estimates.length) return null;
  const rows = report.estimates.slice(0, 100).map((one2) => [
    td(one2.tool === void 0 ? "All tools" : shown(one2.tool, true)),
    td(whole2(one2.calls)),
    td(percent(one2.median)),
    td(percent(one2.p90))
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "How far estimates of results were off"),
    table("Estimates", ["Tool", "Results", "Median", "9 of 10"], rows, { id: "spend-estimates" })
  );
}

// src/main.js
var READERS = ["approver", "admin", "auditor", "auditor-full"];
var VIEWS = {
  pending: { title: "Approvals that wait", roles: READERS, section: "inbox", open: () => render() },
  history: { title: "Approvals of before", roles: READERS, section: "inbox", open: openHistory },
  grants: { title: "Standing grants", roles: READERS, section: "grants", open: open5 },
  budgets: { title: "Budgets", roles: READERS, section: "budgets", open },
  explain: { title: "Explain a decision", roles: ROLES2, section: "explain", open: open3 },
  policies: { title: "Policies", roles: READERS, section: "policies", open: open7 },
  spend: { title: "Spend", roles: READERS, section: "spend", open: open8 },
  deadletters: { title: "Dead letters", roles: ROLES, section: "deadletters", open: open2 },
  freeze: { title: "Freeze", roles: READERS, section: "freeze", open: open4 },
  quarantine: { title: "Quarantine", roles: READERS, section: "quarantine", open: open6 }
};
var maySee = (view) => Object.hasOwn(VIEWS, view) && hasRole(...VIEWS[view].roles);
var buttons = () => document.querySelectorAll("nav [data-view]");
function openHistory() {
  inbox.history = [];
  inbox.more.history = null;
  loadHistory();
  render();
}
function draw4() {
  const section2 = VIEWS[state.view].section;
  for (const { section: other } of Object.values(VIEWS)) $(other).hidden = other !== section2;
  for (const button of buttons()) {
    button.hidden = !maySee(button.dataset.view);
    if (button.dataset.view === state.view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
}
function show(view, given) {
  if (!maySee(view)) return;
  const isOther = state.view !== view;
  state.view = view;
  Object.assign(inbox, { chosen: null, pane: "list" });
  inbox.marked.clear();
  for (const [id, one2] of inbox.approvals) {
    if (one2.here && view !== "pending") inbox.approvals.delete(id);
  }
  notice("");
  if (isOther) done("");
  draw4();
  const hash = view === "pending" ? "#/" : `#/${view}`;
  if (location.hash !== hash) history.pushState(null, "", hash);
  render();
  VIEWS[view].open(given);
  if (isOther) announce(VIEWS[view].title);
  if (document.activeElement === document.body) $("main").focus({ preventScroll: true });
}
document.addEventListener("tollgate-explain", ({ detail: one2 }) => {
  show("explain", { agent: one2.agent_id, tool: one2.tool, arguments: one2.arguments, user: one2.user, workflow: one2.workflow, masked: one2.redacted || !one2.arguments_complete });
});
for (const button of buttons()) button.addEventListener("click", () => show(button.dataset.view));
async function follow() {
  const link = location.hash.slice(1);
  if (!state.me) return;
  if (link === "" || link.startsWith("/")) {
    const view = link.slice(1) || "pending";
    if (view !== state.view) show(view);
    return;
  }
  if (link === "main") return;
  try {
    const id = decodeURIComponent(link);
    const one2 = await api(`approvals/${encodeURIComponent(id)}`);
    if (location.hash.slice(1) !== link) return;
    one2.here = one2.status !== "pending";
    inbox.approvals.set(id, one2);
    inbox.linked.add(id);
    state.view = "pending";
    draw4();
    choose(id, false);
    inbox.pane = "detail";
    notice("");
    render();
  } catch (error) {
    notice(`The approval of this link cannot be shown: ${error.message}`);
  }
}
window.addEventListener("hashchange", follow);
async function loadBundle() {
  const [agents, bundle] = await Promise.all([api("agents"), api("policies")]);
  state.agents = new Map(agents.agents.map((agent) => [agent.id, agent]));
  state.policies = new Map(bundle.policies.map((policy2) => [policy2.id, policy2]));
}
async function enter() {
  const me = await api("me");
  state.me = me;
  state.skew = new Date(me.now).getTime() - Date.now();
  $("person").textContent = me.id;
  $("environment").textContent = me.environment;
  if (!maySee("pending")) {
    const roles = (me.roles || []).join(", ") || "none";
    state.me = null;
    throw new Error(`This page has no view for your roles (${roles}).`);
  }
  for (const id of ["environment", "nav", "who"]) $(id).hidden = false;
  $("login").hidden = true;
  state.view = "pending";
  draw4();
  await loadBundle();
  await loadPending();
  await changed2();
  quiet();
  await follow();
  listen();
}
function leave(why) {
  sessionStorage.removeItem(KEY);
  if (stream) stream.abort();
  stream = null;
  Object.assign(state, { key: null, me: null, view: "pending", agents: /* @__PURE__ */ new Map(), policies: /* @__PURE__ */ new Map() });
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  forgetAll();
  for (const view of [budgets_exports, deadletters_exports, explain_exports, freeze_exports, grants_exports, pins_exports, policies_exports, spend_exports]) view.clear();
  for (const { section: section2 } of Object.values(VIEWS)) $(section2).hidden = true;
  for (const id of ["environment", "nav", "who"]) $(id).hidden = true;
  $("login").hidden = false;
  showLoginError(why);
  notice("");
  $("announce").replaceChildren();
  document.title = "Tollgate: approvals";
  $("key").focus();
}
onSignOut(leave);
function showLoginError(text) {
  $("login-error").hidden = !text;
  $("login-error").textContent = text || "";
}
$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  showLoginError("");
  state.key = $("key").value.trim();
  try {
    await enter();
    sessionStorage.setItem(KEY, state.key);
    $("key").value = "";
    if (document.activeElement === document.body || document.activeElement === null) $("main").focus({ preventScroll: true });
  } catch (error) {
    state.key = null;
    showLoginError(error.status === 401 ? "Nobody has this key." : error.message);
    $("key").select();
  }
});
$("leave").addEventListener("click", () => leave(""));
var stream = null;
var due = null;
function refreshSoon() {
  due ??= setTimeout(() => {
    due = null;
    if (!state.me) return;
    render();
    tellNews();
  }, 100);
}
function live(word, colour) {
  if ($("live").textContent !== word) $("live").textContent = word;
  $("live").className = `chip ${colour}`;
}
async function listen() {
  const mine2 = new AbortController();
  stream = mine2;
  let pause = 500;
  while (stream === mine2) {
    try {
      const answer = await fetch("/api/v1/stream", {
        headers: { Authorization: `Bearer ${state.key}` },
        cache: "no-store",
        credentials: "omit",
        signal: mine2.signal
      });
      if (answer.status === 401) return leave("Your key is no longer valid.");
      if (!answer.ok) throw new Error(`HTTP status ${answer.status}`);
      await loadPending();
      await changed2();
      tellNews();
      live("live", "good");
      pause = 500;
      await read6(answer.body.getReader());
    } catch (error) {
      if (stream !== mine2) return;
    }
    live("reconnecting", "warn");
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 1e4);
  }
}
async function read6(reader) {
  const decoder = new TextDecoder();
  let text = "";
  for (; ; ) {
    const { value, done: done2 } = await reader.read();
    if (done2) return;
    text += decoder.decode(value, { stream: true });
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const lines3 = message.split("\n");
      const kind3 = lines3.find((line3) => line3.startsWith("event: "));
      const data = lines3.find((line3) => line3.startsWith("data: "));
      if (!kind3 || !data) continue;
      if (kind3 === "event: approval") {
        take(parse(data.slice(6)));
        refreshSoon();
      } else if (kind3 === "event: event") {
        happened(data);
      }
    }
  }
}
var OF_VIEWS = /"event_type":"(policy_activated|policy_rejected|grant_made|grant_ended|frozen|unfrozen|tool_quarantined|tool_accepted)"/;
async function happened(data) {
  const kind3 = OF_VIEWS.exec(data);
  if (!kind3 || !state.me) return;
  try {
    if (kind3[1] === "policy_activated") {
      await loadBundle();
      announce("Other policies have come into force.");
      await loadPending();
    }
    if (kind3[1].endsWith("frozen")) await changed2();
    else if (kind3[1].startsWith("policy_")) await changed5();
    else if (kind3[1].startsWith("tool_")) await changed4();
    else await changed3();
  } catch {
  }
}
setInterval(() => state.me && changed2().catch(() => {
}), 5e3);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("f-status").addEventListener("change", () => loadHistory());
$("f-agent").addEventListener("change", () => loadHistory());
$("f-tool").addEventListener("input", render);
$("keys").addEventListener("click", () => $("help").showModal());
$("shortcuts").addEventListener("change", () => state.shortcuts = $("shortcuts").checked);
for (const kind3 of ["pointerdown", "focusin"]) {
  document.addEventListener(kind3, (event) => {
    if (event.target !== $("detail")) typing.cut = false;
  });
}
document.addEventListener("keydown", (event) => {
  if (!state.me || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const field3 = event.target.closest(FIELDS);
  if (event.key === "Escape") {
    typing.cut = false;
    if (field3) field3.blur();
    return;
  }
  const writes = field3 && field3.type !== "checkbox";
  if (writes || typing.cut || !state.shortcuts) return;
  const form3 = formInFront();
  const isInbox = VIEWS[state.view].section === "inbox";
  const ofInbox = {
    j: () => step(1),
    k: () => step(-1),
    a: () => form3 && form3.approve.focus(),
    r: () => form3 && form3.reject.focus(),
    c: () => form3 && form3.comment.focus(),
    n: () => chosen() && openNext(chosen()),
    m: () => {
      const box = inbox.chosen && $("list").querySelector(`[data-mark="${CSS.escape(inbox.chosen)}"]`);
      if (box && !box.hidden) box.click();
    }
  };
  const does = {
    p: () => show("pending"),
    h: () => show("history"),
    g: () => show("grants"),
    b: () => show("budgets"),
    e: () => show("explain"),
    o: () => show("policies"),
    s: () => show("spend"),
    f: () => show("freeze"),
    d: () => show("deadletters"),
    q: () => show("quarantine"),
    "?": () => $("help").showModal(),
    ...isInbox ? ofInbox : {}
  }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
});
if (state.key) enter().catch((error) => error.status === 401 ? leave("") : leave(error.message));
else $("key").focus();
export {
  detail_exports as detail,
  diff_exports as diff,
  exact_exports as exact,
  inbox_exports as inbox,
  sent_exports as sent,
  show,
  state_exports as state
};
