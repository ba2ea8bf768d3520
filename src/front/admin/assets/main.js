// Built of page/src by page/build.mjs: do not edit.
var __defProp = Object.defineProperty;
var __export = (target, all3) => {
  for (var name2 in all3)
    __defProp(target, name2, { get: all3[name2], enumerable: true });
};

// src/alerts.ts
var alerts_exports = {};
__export(alerts_exports, {
  changed: () => changed,
  clear: () => clear,
  open: () => open
});

// src/exact.ts
var exact_exports = {};
__export(exact_exports, {
  Exact: () => Exact,
  isTree: () => isTree,
  parse: () => parse,
  written: () => written
});
var Exact = class {
  text;
  constructor(text2) {
    this.text = text2;
  }
  toString() {
    return this.text;
  }
};
var EXACT = `number ${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
var TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;
function parse(text2) {
  const marked = text2.replace(
    TOKENS,
    (token) => token[0] === '"' || String(Number(token)) === token ? token : `{"${EXACT}":"${token}"}`
  );
  return JSON.parse(
    marked,
    (_2, value2) => value2 !== null && typeof value2 === "object" && EXACT in value2 ? new Exact(value2[EXACT]) : value2
  );
}
function written(value2, indent) {
  const mark2 = (_2, item3) => item3 instanceof Exact ? `${EXACT}${item3.text}` : item3;
  return JSON.stringify(value2, mark2, indent).replace(new RegExp(`"${EXACT}([^"]*)"`, "g"), "$1");
}
var isTree = (value2) => value2 !== null && typeof value2 === "object" && !(value2 instanceof Exact);

// src/state.ts
var state_exports = {};
__export(state_exports, {
  KEY: () => KEY,
  credentials: () => credentials,
  hasRole: () => hasRole,
  state: () => state
});
var KEY = "tollgate-key";
var state = {
  key: sessionStorage.getItem(KEY),
  // Somebody signed in by the issuer: the browser sends a cookie, and this goes with everything that changes something.
  csrf: null,
  // When somebody last did something here, by the clock of `performance`.
  touched: 0,
  // The answer of `me`; null: nobody is signed in.
  me: null,
  // How far the gateway's clock is ahead of this one, in milliseconds.
  skew: 0,
  view: "pending",
  // What the address says behind the view.
  rest: "",
  // By id: the agents of the authority map, the policies of the bundle in force.
  agents: /* @__PURE__ */ new Map(),
  policies: /* @__PURE__ */ new Map(),
  // Keys of one letter do something.
  shortcuts: true
};
var hasRole = (...roles) => roles.some((role) => state.me !== null && (state.me.roles || []).includes(role));
function credentials(method = "GET") {
  if (state.key) return { credentials: "omit", headers: { Authorization: `Bearer ${state.key}` } };
  const headers = {};
  if (method !== "GET") headers["Tollgate-Csrf"] = state.csrf ?? "";
  if (performance.now() - state.touched > 6e4) headers["Tollgate-Idle"] = "1";
  return { credentials: "same-origin", headers };
}

// src/api.ts
var ApiError = class extends Error {
  status;
  constructor(status, message) {
    super(message);
    this.status = status;
  }
};
var signOut = () => {
};
var onSignOut = (does) => signOut = does;
async function api(path2, body6, method = body6 ? "POST" : "GET", { link = false, keep = false } = {}) {
  const who = credentials(method);
  const headers = who.headers;
  if (method !== "GET") headers["Tollgate-Inbox"] = link ? "link" : "page";
  if (body6) headers["Content-Type"] = "application/json";
  const key2 = state.key;
  let answer;
  try {
    answer = await fetch(`/api/v1/${path2}`, {
      method,
      headers,
      body: body6 ? written(body6) : null,
      cache: "no-store",
      credentials: keep ? "same-origin" : who.credentials
    });
  } catch {
    throw new ApiError(0, "The gateway does not answer. Nothing was changed; try again.");
  }
  const read13 = await answer.text().then(parse).catch(() => null);
  if (answer.ok) return read13;
  const message = read13 && read13.error ? read13.error.message : `HTTP status ${answer.status}`;
  if (answer.status === 401 && state.me && state.key === key2) signOut(state.key ? "Your key is no longer valid." : "Your session is over.");
  throw new ApiError(answer.status, message);
}
async function allPages(path2, ...members2) {
  const first = await api(path2);
  for (let last = first; last.truncated; ) {
    last = await api(`${path2}${path2.includes("?") ? "&" : "?"}after=${encodeURIComponent(last.next)}`);
    for (const member of members2) first[member].push(...last[member]);
  }
  return first;
}

// src/dom.ts
var $ = (id) => document.getElementById(id);
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name2, value2] of Object.entries(attributes || {})) {
    if (name2 === "class") node.className = value2;
    else if (name2.startsWith("on")) node.addEventListener(name2.slice(2), value2);
    else if (value2 === true) node.setAttribute(name2, "");
    else if (value2 !== false && value2 !== null && value2 !== void 0) node.setAttribute(name2, value2);
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
  let next4 = parent.firstChild;
  for (const node of nodes) {
    if (node === next4) next4 = next4.nextSibling;
    else parent.insertBefore(node, next4);
  }
  if (!focused || !refuge) return;
  typing.cut ||= focused.matches(FIELDS);
  refuge.focus({ preventScroll: true });
}
var HIDDEN = /[\u{0}-\u{8}\u{b}-\u{1f}\u{7f}-\u{9f}\u{ad}\u{34f}\u{61c}\u{115f}-\u{1160}\u{17b4}-\u{17b5}\u{180b}-\u{180f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{3164}\u{fe00}-\u{fe0f}\u{feff}\u{ffa0}\u{fff0}-\u{fffb}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/u;
var SPECIAL = new RegExp(`(\\[(?:redacted|hash):[^\\]]*\\]|\\n|${HIDDEN.source})`, "u");
function shown(text2, inline = false) {
  const out = el("bdi", {});
  let run2 = null;
  for (const part3 of String(text2).split(SPECIAL)) {
    if (!part3) continue;
    if (HIDDEN.test(part3) && part3.length <= 2) {
      const name2 = `[U+${part3.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`;
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
    if (part3 === "\n") {
      out.append(el("mark", { title: "a line break" }, "\\n"), inline ? " " : "\n");
    } else if (SPECIAL.test(part3)) {
      out.append(el("mark", { title: "masked: what it was, and how long" }, part3));
    } else {
      out.append(part3);
    }
  }
  return out;
}
function cutAt(text2, most) {
  if (text2.length <= most) return { start: text2, rest: "" };
  const at = /[\ud800-\udbff]/.test(text2[most - 1]) ? most + 1 : most;
  return { start: text2.slice(0, at), rest: text2.slice(at) };
}
function brief(text2, most = 160) {
  const { start, rest } = cutAt(String(text2), most);
  return rest ? [shown(start, true), ` … (${rest.length} more characters)`] : [shown(start, true)];
}
function facts(pairs) {
  const list3 = el("dl", { class: "facts" });
  for (const [name2, value2] of pairs) {
    if (value2 === null || value2 === void 0 || value2 === "") continue;
    list3.append(el("dt", {}, name2), el("dd", {}, value2 instanceof Node ? value2 : shown(value2)));
  }
  return list3;
}
function opened(words, make) {
  const details = el("details", {}, el("summary", {}, words));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(...[make()].flat());
  });
  return details;
}
var GRIDS = ["matrix", "figures"];
function table(label2, columns, rows, attributes = {}) {
  const names2 = (columns ?? []).map((name2) => el("th", { scope: "col", role: "columnheader" }, name2));
  const head10 = columns && el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...names2));
  const body6 = el("tbody", { role: "rowgroup" }, ...rows.map((cells) => el("tr", { role: "row" }, ...cells)));
  const whole4 = el("table", { role: "table", ...attributes }, head10, body6);
  if (columns && !GRIDS.includes(attributes.class)) stacks(whole4, names2);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label2 }, whole4);
}
function stacks(whole4, names2) {
  whole4.classList.add("stacks");
  for (const row of whole4.tBodies[0].rows) {
    for (const [at, cell] of [...row.cells].entries()) {
      cell.setAttribute("role", cell.scope === "row" ? "rowheader" : "cell");
      if (!cell.hasChildNodes() || !cell.textContent && !cell.querySelector("meter, svg, input")) cell.classList.add("none");
      const inner = document.createElement("div");
      inner.append(...cell.childNodes);
      cell.append(inner);
      if (cell.scope !== "row") cell.dataset.label = names2[at]?.textContent ?? "";
    }
  }
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
  const days2 = Math.floor(seconds2 / 86400);
  const hours = Math.floor(seconds2 % 86400 / 3600);
  const minutes = Math.floor(seconds2 % 3600 / 60);
  if (days2) return `${days2} d ${hours} h left`;
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
function notice(text2) {
  $("notice").hidden = !text2;
  $("notice").textContent = text2 || "";
}
function announce(text2) {
  const line3 = el("p", {}, text2);
  $("announce").replaceChildren(line3);
}
function confirm({ title, body: body6, reason, required, action, danger, run: run2 }) {
  return new Promise((done2) => {
    const field3 = reason && el("textarea", { name: "reason", maxlength: 4e3, required });
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const go2 = el("button", { type: "submit", class: danger ? "reject" : "primary" }, action);
    const stay = el("button", { type: "button" }, "Cancel");
    const form9 = el(
      "form",
      { class: "ask", novalidate: true },
      el("h2", { id: "confirm-title" }, title),
      ...body6,
      field3 && el("label", {}, required ? `${reason} (needed)` : reason, field3),
      error,
      el("div", { class: "buttons" }, stay, go2)
    );
    const dialog = el("dialog", { class: "confirm", "aria-labelledby": "confirm-title" }, form9);
    const say5 = (text2) => {
      error.hidden = !text2;
      error.textContent = text2 || "";
    };
    if (field3) field3.addEventListener("input", () => say5(""));
    let result = null;
    let busy = false;
    stay.addEventListener("click", () => dialog.close());
    dialog.addEventListener("cancel", (event) => busy && event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      done2(result);
    });
    form9.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (busy) return;
      const text2 = field3 ? field3.value.trim() : "";
      if (required && !text2) {
        say5("Say why: it stands in the record.");
        field3.focus();
        return;
      }
      busy = true;
      go2.disabled = stay.disabled = true;
      say5("");
      try {
        result = await run2(text2, (words) => go2.textContent = words);
        dialog.close();
      } catch (problem2) {
        say5(problem2.message);
        go2.textContent = action;
      } finally {
        busy = false;
        go2.disabled = stay.disabled = false;
      }
    });
    $("dialogs").append(dialog);
    dialog.showModal();
    (field3 || stay).focus();
  });
}

// src/alerts.ts
var asked = 0;
var known = null;
var all = false;
function clear() {
  asked += 1;
  known = null;
  all = false;
  $("alerts").replaceChildren();
}
async function open() {
  draw();
  $("alerts").focus({ preventScroll: true });
  await changed();
}
async function changed() {
  if (state.view !== "alerts") return;
  const mine2 = ++asked;
  try {
    const [alerts, incidents, duties] = await Promise.all([
      api(all ? "alerts" : "alerts?status=open,acked"),
      api("incidents"),
      api("duties")
    ]);
    if (mine2 !== asked) return;
    const fresh = { ...alerts, ...incidents, ...duties };
    if (known && written(fresh) === written(known)) return;
    known = fresh;
    draw();
  } catch (error) {
    if (mine2 === asked) place($("alerts"), [el("h2", {}, "Alerts"), el("p", { class: "error" }, error.message)], $("alerts"));
  }
}
var which = el("input", { type: "checkbox", id: "alerts-all" });
which.addEventListener("change", () => {
  all = which.checked;
  known = null;
  changed();
});
function draw() {
  which.checked = all;
  const choice2 = el("label", {}, which, " also those that are over or were none");
  const head10 = [el("h2", {}, "Alerts"), choice2];
  if (!known) {
    place($("alerts"), [...head10, el("p", { class: "soft" }, "Being read…")], $("alerts"));
    return;
  }
  const { alerts, incidents, duties, tunings, next: next4 } = known;
  const list3 = alerts.length ? el("ul", { class: "cards" }, ...alerts.map(card)) : el("p", { id: "no-alerts" }, all ? "There is none." : "Nobody has to look at anything. Alerts are raised by what is recorded; `alerts` in bundle.yaml says at which thresholds.");
  const more3 = next4 ? el("p", { class: "soft" }, "There are more: `tollgate alerts list` shows them.") : null;
  const open19 = incidents.filter((one2) => all || one2.status === "open");
  const shownIncidents = open19.length ? [el("h2", {}, "Incidents"), el("ul", { class: "cards" }, ...open19.map(incident))] : [];
  place($("alerts"), [...head10, list3, more3, tuned(tunings), ...shownIncidents, ...due(duties)].filter(Boolean), $("alerts"));
}
function card(one2) {
  const buttons2 = [];
  if (hasRole("admin") && one2.status !== "acked" && one2.status !== "false") {
    const ack = el("button", { type: "button", "aria-label": `Seen: ${one2.id}` }, "Seen…");
    ack.addEventListener("click", () => say(one2, "ack"));
    buttons2.push(ack);
  }
  if (hasRole("admin") && one2.status !== "false") {
    const none = el("button", { type: "button", "aria-label": `False alarm: ${one2.id}` }, "False alarm…");
    none.addEventListener("click", () => say(one2, "false"));
    buttons2.push(none);
  }
  return el(
    "li",
    { class: "panel", "data-alert": one2.id },
    el("h3", {}, `${one2.kind.replaceAll("_", " ")} `, chip(one2.status), " ", el("span", { class: `chip ${one2.severity === "high" ? "bad" : "warn"}` }, one2.severity)),
    el("p", {}, brief(one2.reason, 400)),
    facts([
      ["Of", one2.subject],
      ["Raised", when(one2.at)],
      ["Again", one2.repeats ? `in ${counted(one2.repeats, "window", "windows")}, last` : ""],
      ["Last", one2.repeats ? when(one2.last) : ""],
      ["Over since", when(one2.over)],
      ["Tool", one2.tool],
      ["Trace", one2.trace_id],
      ["Incident", one2.incident],
      ["Said by", one2.by],
      ["Note", one2.note],
      ["Counts until", when(one2.until)],
      ["Id", one2.id]
    ]),
    buttons2.length ? el("div", { class: "buttons" }, ...buttons2) : null
  );
}
async function say(one2, action) {
  const isFalse = action === "false";
  const done2 = await confirm({
    title: isFalse ? "A false alarm?" : "Seen?",
    body: [
      el("p", {}, brief(one2.reason, 400)),
      el("p", {}, isFalse ? "It takes more to raise the next one of its subject, for a time." : "Repeats are not told while it lasts.")
    ],
    reason: "Note",
    required: false,
    action: isFalse ? "It was none" : "I have seen it",
    run: (note) => api(`alerts/${encodeURIComponent(one2.id)}`, note ? { action, note } : { action })
  });
  if (!done2) return;
  announce(isFalse ? "Said to be none." : "Seen.");
  notice("");
  await changed();
}
function tuned(tunings) {
  if (!tunings.length) return null;
  const rows = tunings.map((one2) => [
    td(one2.kind.replaceAll("_", " ")),
    td(shown(one2.subject, true)),
    td(`${one2.factor.toFixed(1)} ×`),
    td(when(one2.until)),
    td(shown(one2.by, true))
  ]);
  return el("div", {}, el("h3", {}, "Takes more to be raised"), table("Takes more to be raised", ["Kind", "Of", "How much more", "Until", "Said by"], rows));
}
function incident(one2) {
  const close = el("button", { type: "button", "aria-label": `Close ${one2.id}` }, "Close…");
  close.addEventListener("click", () => askClose(one2));
  return el(
    "li",
    { class: "panel", "data-incident": one2.id },
    el("h3", {}, `${one2.id} `, chip(one2.status)),
    el("p", {}, brief(one2.reason, 400)),
    facts([
      ["Of", one2.subject],
      ["Opened", when(one2.opened_at)],
      ["To be closed until", when(one2.due)],
      ["Alerts", String(one2.alerts.length)],
      ["Closed by", one2.by],
      ["Note", one2.note]
    ]),
    one2.status === "open" && hasRole("admin") ? el("div", { class: "buttons" }, close) : null
  );
}
async function askClose(one2) {
  const done2 = await confirm({
    title: "Close the incident?",
    body: [el("p", {}, brief(one2.reason, 400))],
    reason: "What it was, and what came of it",
    required: true,
    action: "Close it",
    run: (note) => api(`incidents/${encodeURIComponent(one2.id)}`, { action: "close", note })
  });
  if (!done2) return;
  announce("The incident is closed.");
  notice("");
  await changed();
}
function due(duties) {
  if (!duties.length) return [];
  const rows = duties.map((one2) => {
    const done2 = el("button", { type: "button", "aria-label": `${one2.name} is done` }, "Done…");
    done2.addEventListener("click", () => askDone(one2));
    return [
      td(shown(one2.name, true)),
      td(one2.owner ? shown(one2.owner, true) : ""),
      td(one2.done ? when(one2.done) : "never"),
      td(when(one2.due), ...one2.late ? [" ", el("span", { class: "chip bad" }, "late")] : []),
      td(hasRole("admin") ? done2 : "")
    ];
  });
  return [el("h2", {}, "Duties"), table("Duties", ["Duty", "Owner", "Done", "Due", "Answer"], rows)];
}
async function askDone(one2) {
  const done2 = await confirm({
    title: `Is ${one2.name} done?`,
    body: [],
    reason: "What was done and found",
    required: true,
    action: "It is done",
    run: (note) => api(`duties/${encodeURIComponent(one2.name)}`, { action: "done", note })
  });
  if (!done2) return;
  announce("Done.");
  notice("");
  await changed();
}

// src/budgets.ts
var budgets_exports = {};
__export(budgets_exports, {
  clear: () => clear2,
  open: () => open2
});

// node_modules/uplot/dist/uPlot.esm.js
var FEAT_TIME = true;
var pre = "u-";
var UPLOT = "uplot";
var ORI_HZ = pre + "hz";
var ORI_VT = pre + "vt";
var TITLE = pre + "title";
var WRAP = pre + "wrap";
var UNDER = pre + "under";
var OVER = pre + "over";
var AXIS = pre + "axis";
var OFF = pre + "off";
var SELECT = pre + "select";
var CURSOR_X = pre + "cursor-x";
var CURSOR_Y = pre + "cursor-y";
var CURSOR_PT = pre + "cursor-pt";
var LEGEND = pre + "legend";
var LEGEND_LIVE = pre + "live";
var LEGEND_INLINE = pre + "inline";
var LEGEND_SERIES = pre + "series";
var LEGEND_MARKER = pre + "marker";
var LEGEND_LABEL = pre + "label";
var LEGEND_VALUE = pre + "value";
var WIDTH = "width";
var HEIGHT = "height";
var TOP = "top";
var BOTTOM = "bottom";
var LEFT = "left";
var RIGHT = "right";
var hexBlack = "#000";
var transparent = hexBlack + "0";
var mousemove = "mousemove";
var mousedown = "mousedown";
var mouseup = "mouseup";
var mouseenter = "mouseenter";
var mouseleave = "mouseleave";
var dblclick = "dblclick";
var resize = "resize";
var scroll = "scroll";
var change = "change";
var dppxchange = "dppxchange";
var LEGEND_DISP = "--";
var domEnv = typeof window != "undefined";
var doc = domEnv ? document : null;
var win = domEnv ? window : null;
var nav = domEnv ? navigator : null;
var pxRatio;
var query;
function setPxRatio() {
  let _pxRatio = devicePixelRatio;
  if (pxRatio != _pxRatio) {
    pxRatio = _pxRatio;
    query && off(change, query, setPxRatio);
    query = matchMedia(`(min-resolution: ${pxRatio - 1e-3}dppx) and (max-resolution: ${pxRatio + 1e-3}dppx)`);
    on(change, query, setPxRatio);
    win.dispatchEvent(new CustomEvent(dppxchange));
  }
}
function addClass(el2, c) {
  if (c != null) {
    let cl = el2.classList;
    !cl.contains(c) && cl.add(c);
  }
}
function remClass(el2, c) {
  let cl = el2.classList;
  cl.contains(c) && cl.remove(c);
}
function setStylePx(el2, name2, value2) {
  el2.style[name2] = value2 + "px";
}
function placeTag(tag, cls, targ, refEl) {
  let el2 = doc.createElement(tag);
  if (cls != null)
    addClass(el2, cls);
  if (targ != null)
    targ.insertBefore(el2, refEl);
  return el2;
}
function placeDiv(cls, targ) {
  return placeTag("div", cls, targ);
}
var xformCache = /* @__PURE__ */ new WeakMap();
function elTrans(el2, xPos, yPos, xMax, yMax) {
  let xform = "translate(" + xPos + "px," + yPos + "px)";
  let xformOld = xformCache.get(el2);
  if (xform != xformOld) {
    el2.style.transform = xform;
    xformCache.set(el2, xform);
    if (xPos < 0 || yPos < 0 || xPos > xMax || yPos > yMax)
      addClass(el2, OFF);
    else
      remClass(el2, OFF);
  }
}
var colorCache = /* @__PURE__ */ new WeakMap();
function elColor(el2, background, borderColor) {
  let newColor = background + borderColor;
  let oldColor = colorCache.get(el2);
  if (newColor != oldColor) {
    colorCache.set(el2, newColor);
    el2.style.background = background;
    el2.style.borderColor = borderColor;
  }
}
var sizeCache = /* @__PURE__ */ new WeakMap();
function elSize(el2, newWid, newHgt, centered) {
  let newSize = newWid + "" + newHgt;
  let oldSize = sizeCache.get(el2);
  if (newSize != oldSize) {
    sizeCache.set(el2, newSize);
    el2.style.height = newHgt + "px";
    el2.style.width = newWid + "px";
    el2.style.marginLeft = centered ? -newWid / 2 + "px" : 0;
    el2.style.marginTop = centered ? -newHgt / 2 + "px" : 0;
  }
}
var evOpts = { passive: true };
var evOpts2 = { ...evOpts, capture: true };
function on(ev, el2, cb, capt) {
  el2.addEventListener(ev, cb, capt ? evOpts2 : evOpts);
}
function off(ev, el2, cb, capt) {
  el2.removeEventListener(ev, cb, evOpts);
}
domEnv && setPxRatio();
function closestIdx(num, arr, lo, hi) {
  let mid;
  lo = lo || 0;
  hi = hi || arr.length - 1;
  let bitwise = hi <= 2147483647;
  while (hi - lo > 1) {
    mid = bitwise ? lo + hi >> 1 : floor((lo + hi) / 2);
    if (arr[mid] < num)
      lo = mid;
    else
      hi = mid;
  }
  if (num - arr[lo] <= arr[hi] - num)
    return lo;
  return hi;
}
function makeIndexOfs(predicate) {
  let indexOfs = (data, _i0, _i1) => {
    let i0 = -1;
    let i1 = -1;
    for (let i = _i0; i <= _i1; i++) {
      if (predicate(data[i])) {
        i0 = i;
        break;
      }
    }
    for (let i = _i1; i >= _i0; i--) {
      if (predicate(data[i])) {
        i1 = i;
        break;
      }
    }
    return [i0, i1];
  };
  return indexOfs;
}
var notNullish = (v) => v != null;
var isPositive = (v) => v != null && v > 0;
var nonNullIdxs = makeIndexOfs(notNullish);
var positiveIdxs = makeIndexOfs(isPositive);
function getMinMax(data, _i0, _i1, sorted = 0, log = false) {
  let getEdgeIdxs = log ? positiveIdxs : nonNullIdxs;
  let predicate = log ? isPositive : notNullish;
  [_i0, _i1] = getEdgeIdxs(data, _i0, _i1);
  let _min = data[_i0];
  let _max = data[_i0];
  if (_i0 > -1) {
    if (sorted == 1) {
      _min = data[_i0];
      _max = data[_i1];
    } else if (sorted == -1) {
      _min = data[_i1];
      _max = data[_i0];
    } else {
      for (let i = _i0; i <= _i1; i++) {
        let v = data[i];
        if (predicate(v)) {
          if (v < _min)
            _min = v;
          else if (v > _max)
            _max = v;
        }
      }
    }
  }
  return [_min ?? inf, _max ?? -inf];
}
function rangeLog(min2, max2, base, fullMags) {
  let minSign = sign(min2);
  let maxSign = sign(max2);
  if (min2 == max2) {
    if (minSign == -1) {
      min2 *= base;
      max2 /= base;
    } else {
      min2 /= base;
      max2 *= base;
    }
  }
  let logFn = base == 10 ? log10 : log2;
  let growMinAbs = minSign == 1 ? floor : ceil;
  let growMaxAbs = maxSign == 1 ? ceil : floor;
  let minExp = growMinAbs(logFn(abs(min2)));
  let maxExp = growMaxAbs(logFn(abs(max2)));
  let minIncr = pow(base, minExp);
  let maxIncr = pow(base, maxExp);
  if (base == 10) {
    if (minExp < 0)
      minIncr = roundDec(minIncr, -minExp);
    if (maxExp < 0)
      maxIncr = roundDec(maxIncr, -maxExp);
  }
  if (fullMags || base == 2) {
    min2 = minIncr * minSign;
    max2 = maxIncr * maxSign;
  } else {
    min2 = incrRoundDn(min2, minIncr);
    max2 = incrRoundUp(max2, maxIncr);
  }
  return [min2, max2];
}
function rangeAsinh(min2, max2, base, fullMags) {
  let minMax = rangeLog(min2, max2, base, fullMags);
  if (min2 == 0)
    minMax[0] = 0;
  if (max2 == 0)
    minMax[1] = 0;
  return minMax;
}
var rangePad = 0.1;
var autoRangePart = {
  mode: 3,
  pad: rangePad
};
var _eqRangePart = {
  pad: 0,
  soft: null,
  mode: 0
};
var _eqRange = {
  min: _eqRangePart,
  max: _eqRangePart
};
function rangeNum(_min, _max, mult, extra) {
  if (isObj(mult))
    return _rangeNum(_min, _max, mult);
  _eqRangePart.pad = mult;
  _eqRangePart.soft = extra ? 0 : null;
  _eqRangePart.mode = extra ? 3 : 0;
  return _rangeNum(_min, _max, _eqRange);
}
function ifNull(lh, rh) {
  return lh == null ? rh : lh;
}
function hasData(data, idx0, idx1) {
  idx0 = ifNull(idx0, 0);
  idx1 = ifNull(idx1, data.length - 1);
  while (idx0 <= idx1) {
    if (data[idx0] != null)
      return true;
    idx0++;
  }
  return false;
}
function _rangeNum(_min, _max, cfg) {
  let cmin = cfg.min;
  let cmax = cfg.max;
  let padMin = ifNull(cmin.pad, 0);
  let padMax = ifNull(cmax.pad, 0);
  let hardMin = ifNull(cmin.hard, -inf);
  let hardMax = ifNull(cmax.hard, inf);
  let softMin = ifNull(cmin.soft, inf);
  let softMax = ifNull(cmax.soft, -inf);
  let softMinMode = ifNull(cmin.mode, 0);
  let softMaxMode = ifNull(cmax.mode, 0);
  let delta = _max - _min;
  let deltaMag = log10(delta);
  let scalarMax = max(abs(_min), abs(_max));
  let scalarMag = log10(scalarMax);
  let scalarMagDelta = abs(scalarMag - deltaMag);
  if (delta < 1e-24 || scalarMagDelta > 10) {
    delta = 0;
    if (_min == 0 || _max == 0) {
      delta = 1e-24;
      if (softMinMode == 2 && softMin != inf)
        padMin = 0;
      if (softMaxMode == 2 && softMax != -inf)
        padMax = 0;
    }
  }
  let nonZeroDelta = delta || scalarMax || 1e3;
  let mag = log10(nonZeroDelta);
  let base = pow(10, floor(mag));
  let _padMin = nonZeroDelta * (delta == 0 ? _min == 0 ? 0.1 : 1 : padMin);
  let _newMin = roundDec(incrRoundDn(_min - _padMin, base / 10), 24);
  let _softMin = _min >= softMin && (softMinMode == 1 || softMinMode == 3 && _newMin <= softMin || softMinMode == 2 && _newMin >= softMin) ? softMin : inf;
  let minLim = max(hardMin, _newMin < _softMin && _min >= _softMin ? _softMin : min(_softMin, _newMin));
  let _padMax = nonZeroDelta * (delta == 0 ? _max == 0 ? 0.1 : 1 : padMax);
  let _newMax = roundDec(incrRoundUp(_max + _padMax, base / 10), 24);
  let _softMax = _max <= softMax && (softMaxMode == 1 || softMaxMode == 3 && _newMax >= softMax || softMaxMode == 2 && _newMax <= softMax) ? softMax : -inf;
  let maxLim = min(hardMax, _newMax > _softMax && _max <= _softMax ? _softMax : max(_softMax, _newMax));
  if (minLim == maxLim && minLim == 0)
    maxLim = 100;
  return [minLim, maxLim];
}
var numFormatter = new Intl.NumberFormat(domEnv ? nav.language : "en-US");
var fmtNum = (val) => numFormatter.format(val);
var M = Math;
var PI = M.PI;
var abs = M.abs;
var floor = M.floor;
var round = M.round;
var ceil = M.ceil;
var min = M.min;
var max = M.max;
var pow = M.pow;
var sign = M.sign;
var log10 = M.log10;
var log2 = M.log2;
var sinh = (v, linthresh = 1) => M.sinh(v) * linthresh;
var asinh = (v, linthresh = 1) => M.asinh(v / linthresh);
var inf = Infinity;
function numIntDigits(x) {
  return (log10((x ^ x >> 31) - (x >> 31)) | 0) + 1;
}
function clamp(num, _min, _max) {
  return min(max(num, _min), _max);
}
function isFn(v) {
  return typeof v == "function";
}
function fnOrSelf(v) {
  return isFn(v) ? v : () => v;
}
var noop = () => {
};
var retArg0 = (_0) => _0;
var retArg1 = (_0, _1) => _1;
var retNull = (_2) => null;
var retTrue = (_2) => true;
var retEq = (a, b) => a == b;
var regex6 = /\.\d*?(?=9{6,}|0{6,})/gm;
var fixFloat = (val) => {
  if (isInt(val) || fixedDec.has(val))
    return val;
  const str = `${val}`;
  const match = str.match(regex6);
  if (match == null)
    return val;
  let len = match[0].length - 1;
  if (str.indexOf("e-") != -1) {
    let [num, exp] = str.split("e");
    return +`${fixFloat(num)}e${exp}`;
  }
  return roundDec(val, len);
};
function incrRound(num, incr) {
  return fixFloat(roundDec(fixFloat(num / incr)) * incr);
}
function incrRoundUp(num, incr) {
  return fixFloat(ceil(fixFloat(num / incr)) * incr);
}
function incrRoundDn(num, incr) {
  return fixFloat(floor(fixFloat(num / incr)) * incr);
}
function roundDec(val, dec = 0) {
  if (isInt(val))
    return val;
  let p = 10 ** dec;
  let n = val * p * (1 + Number.EPSILON);
  return round(n) / p;
}
var fixedDec = /* @__PURE__ */ new Map();
function guessDec(num) {
  return (("" + num).split(".")[1] || "").length;
}
function genIncrs(base, minExp, maxExp, mults) {
  let incrs = [];
  let multDec = mults.map(guessDec);
  for (let exp = minExp; exp < maxExp; exp++) {
    let expa = abs(exp);
    let mag = roundDec(pow(base, exp), expa);
    for (let i = 0; i < mults.length; i++) {
      let _incr = base == 10 ? +`${mults[i]}e${exp}` : mults[i] * mag;
      let dec = (exp >= 0 ? 0 : expa) + (exp >= multDec[i] ? 0 : multDec[i]);
      let incr = base == 10 ? _incr : roundDec(_incr, dec);
      incrs.push(incr);
      fixedDec.set(incr, dec);
    }
  }
  return incrs;
}
var EMPTY_OBJ = {};
var EMPTY_ARR = [];
var nullNullTuple = [null, null];
var isArr = Array.isArray;
var isInt = Number.isInteger;
var isUndef = (v) => v === void 0;
function isStr(v) {
  return typeof v == "string";
}
function isObj(v) {
  let is = false;
  if (v != null) {
    let c = v.constructor;
    is = c == null || c == Object;
  }
  return is;
}
function fastIsObj(v) {
  return v != null && typeof v == "object";
}
var TypedArray = Object.getPrototypeOf(Uint8Array);
var __proto__ = "__proto__";
function copy(o, _isObj = isObj) {
  let out;
  if (isArr(o)) {
    let val = o.find((v) => v != null);
    if (isArr(val) || _isObj(val)) {
      out = Array(o.length);
      for (let i = 0; i < o.length; i++)
        out[i] = copy(o[i], _isObj);
    } else
      out = o.slice();
  } else if (o instanceof TypedArray)
    out = o.slice();
  else if (_isObj(o)) {
    out = {};
    for (let k in o) {
      if (k != __proto__)
        out[k] = copy(o[k], _isObj);
    }
  } else
    out = o;
  return out;
}
function assign(targ) {
  let args = arguments;
  for (let i = 1; i < args.length; i++) {
    let src = args[i];
    for (let key2 in src) {
      if (key2 != __proto__) {
        if (isObj(targ[key2]))
          assign(targ[key2], copy(src[key2]));
        else
          targ[key2] = copy(src[key2]);
      }
    }
  }
  return targ;
}
var NULL_REMOVE = 0;
var NULL_RETAIN = 1;
var NULL_EXPAND = 2;
function nullExpand(yVals, nullIdxs, alignedLen) {
  for (let i = 0, xi, lastNullIdx = -1; i < nullIdxs.length; i++) {
    let nullIdx = nullIdxs[i];
    if (nullIdx > lastNullIdx) {
      xi = nullIdx - 1;
      while (xi >= 0 && yVals[xi] == null)
        yVals[xi--] = null;
      xi = nullIdx + 1;
      while (xi < alignedLen && yVals[xi] == null)
        yVals[lastNullIdx = xi++] = null;
    }
  }
}
function join(tables, nullModes) {
  if (allHeadersSame(tables)) {
    let table2 = tables[0].slice();
    for (let i = 1; i < tables.length; i++)
      table2.push(...tables[i].slice(1));
    if (!isAsc(table2[0]))
      table2 = sortCols(table2);
    return table2;
  }
  let xVals = /* @__PURE__ */ new Set();
  for (let ti = 0; ti < tables.length; ti++) {
    let t = tables[ti];
    let xs = t[0];
    let len = xs.length;
    for (let i = 0; i < len; i++)
      xVals.add(xs[i]);
  }
  let data = [Array.from(xVals).sort((a, b) => a - b)];
  let alignedLen = data[0].length;
  let xIdxs = /* @__PURE__ */ new Map();
  for (let i = 0; i < alignedLen; i++)
    xIdxs.set(data[0][i], i);
  for (let ti = 0; ti < tables.length; ti++) {
    let t = tables[ti];
    let xs = t[0];
    for (let si = 1; si < t.length; si++) {
      let ys = t[si];
      let yVals = Array(alignedLen).fill(void 0);
      let nullMode = nullModes ? nullModes[ti][si] : NULL_RETAIN;
      let nullIdxs = [];
      for (let i = 0; i < ys.length; i++) {
        let yVal = ys[i];
        let alignedIdx = xIdxs.get(xs[i]);
        if (yVal === null) {
          if (nullMode != NULL_REMOVE) {
            yVals[alignedIdx] = yVal;
            if (nullMode == NULL_EXPAND)
              nullIdxs.push(alignedIdx);
          }
        } else
          yVals[alignedIdx] = yVal;
      }
      nullExpand(yVals, nullIdxs, alignedLen);
      data.push(yVals);
    }
  }
  return data;
}
var microTask = typeof queueMicrotask == "undefined" ? (fn) => Promise.resolve().then(fn) : queueMicrotask;
function sortCols(table2) {
  let head10 = table2[0];
  let rlen = head10.length;
  let idxs = Array(rlen);
  for (let i = 0; i < idxs.length; i++)
    idxs[i] = i;
  idxs.sort((i0, i1) => head10[i0] - head10[i1]);
  let table22 = [];
  for (let i = 0; i < table2.length; i++) {
    let row = table2[i];
    let row2 = Array(rlen);
    for (let j = 0; j < rlen; j++)
      row2[j] = row[idxs[j]];
    table22.push(row2);
  }
  return table22;
}
function allHeadersSame(tables) {
  let vals0 = tables[0][0];
  let len0 = vals0.length;
  for (let i = 1; i < tables.length; i++) {
    let vals1 = tables[i][0];
    if (vals1.length != len0)
      return false;
    if (vals1 != vals0) {
      for (let j = 0; j < len0; j++) {
        if (vals1[j] != vals0[j])
          return false;
      }
    }
  }
  return true;
}
function isAsc(vals, samples = 100) {
  const len = vals.length;
  if (len <= 1)
    return true;
  let firstIdx = 0;
  let lastIdx = len - 1;
  while (firstIdx <= lastIdx && vals[firstIdx] == null)
    firstIdx++;
  while (lastIdx >= firstIdx && vals[lastIdx] == null)
    lastIdx--;
  if (lastIdx <= firstIdx)
    return true;
  const stride = max(1, floor((lastIdx - firstIdx + 1) / samples));
  for (let prevVal = vals[firstIdx], i = firstIdx + stride; i <= lastIdx; i += stride) {
    const v = vals[i];
    if (v != null) {
      if (v <= prevVal)
        return false;
      prevVal = v;
    }
  }
  return true;
}
var months = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December"
];
var days = [
  "Sunday",
  "Monday",
  "Tuesday",
  "Wednesday",
  "Thursday",
  "Friday",
  "Saturday"
];
function slice3(str) {
  return str.slice(0, 3);
}
var days3 = days.map(slice3);
var months3 = months.map(slice3);
var engNames = {
  MMMM: months,
  MMM: months3,
  WWWW: days,
  WWW: days3
};
function zeroPad2(int) {
  return (int < 10 ? "0" : "") + int;
}
function zeroPad3(int) {
  return (int < 10 ? "00" : int < 100 ? "0" : "") + int;
}
var subs = {
  // 2019
  YYYY: (d) => d.getFullYear(),
  // 19
  YY: (d) => (d.getFullYear() + "").slice(2),
  // July
  MMMM: (d, names2) => names2.MMMM[d.getMonth()],
  // Jul
  MMM: (d, names2) => names2.MMM[d.getMonth()],
  // 07
  MM: (d) => zeroPad2(d.getMonth() + 1),
  // 7
  M: (d) => d.getMonth() + 1,
  // 09
  DD: (d) => zeroPad2(d.getDate()),
  // 9
  D: (d) => d.getDate(),
  // Monday
  WWWW: (d, names2) => names2.WWWW[d.getDay()],
  // Mon
  WWW: (d, names2) => names2.WWW[d.getDay()],
  // 03
  HH: (d) => zeroPad2(d.getHours()),
  // 3
  H: (d) => d.getHours(),
  // 9 (12hr, unpadded)
  h: (d) => {
    let h = d.getHours();
    return h == 0 ? 12 : h > 12 ? h - 12 : h;
  },
  // AM
  AA: (d) => d.getHours() >= 12 ? "PM" : "AM",
  // am
  aa: (d) => d.getHours() >= 12 ? "pm" : "am",
  // a
  a: (d) => d.getHours() >= 12 ? "p" : "a",
  // 09
  mm: (d) => zeroPad2(d.getMinutes()),
  // 9
  m: (d) => d.getMinutes(),
  // 09
  ss: (d) => zeroPad2(d.getSeconds()),
  // 9
  s: (d) => d.getSeconds(),
  // 374
  fff: (d) => zeroPad3(d.getMilliseconds())
};
function fmtDate(tpl, names2) {
  names2 = names2 || engNames;
  let parts2 = [];
  let R = /\{([a-z]+)\}|[^{]+/gi, m;
  while (m = R.exec(tpl))
    parts2.push(m[0][0] == "{" ? subs[m[1]] : m[0]);
  return (d) => {
    let out = "";
    for (let i = 0; i < parts2.length; i++)
      out += typeof parts2[i] == "string" ? parts2[i] : parts2[i](d, names2);
    return out;
  };
}
var localTz = new Intl.DateTimeFormat().resolvedOptions().timeZone;
function tzDate(date, tz) {
  let date2;
  if (tz == "UTC" || tz == "Etc/UTC")
    date2 = new Date(+date + date.getTimezoneOffset() * 6e4);
  else if (tz == localTz)
    date2 = date;
  else {
    date2 = new Date(date.toLocaleString("en-US", { timeZone: tz }));
    date2.setMilliseconds(date.getMilliseconds());
  }
  return date2;
}
var onlyWhole = (v) => v % 1 == 0;
var allMults = [1, 2, 2.5, 5];
var decIncrs = genIncrs(10, -32, 0, allMults);
var oneIncrs = genIncrs(10, 0, 32, allMults);
var wholeIncrs = oneIncrs.filter(onlyWhole);
var numIncrs = decIncrs.concat(oneIncrs);
var NL = "\n";
var yyyy = "{YYYY}";
var NLyyyy = NL + yyyy;
var md = "{M}/{D}";
var NLmd = NL + md;
var NLmdyy = NLmd + "/{YY}";
var aa = "{aa}";
var hmm = "{h}:{mm}";
var hmmaa = hmm + aa;
var NLhmmaa = NL + hmmaa;
var ss = ":{ss}";
var _ = null;
function genTimeStuffs(ms) {
  let s = ms * 1e3, m = s * 60, h = m * 60, d = h * 24, mo = d * 30, y = d * 365;
  let subSecIncrs = ms == 1 ? genIncrs(10, 0, 3, allMults).filter(onlyWhole) : genIncrs(10, -3, 0, allMults);
  let timeIncrs = subSecIncrs.concat([
    // minute divisors (# of secs)
    s,
    s * 5,
    s * 10,
    s * 15,
    s * 30,
    // hour divisors (# of mins)
    m,
    m * 5,
    m * 10,
    m * 15,
    m * 30,
    // day divisors (# of hrs)
    h,
    h * 2,
    h * 3,
    h * 4,
    h * 6,
    h * 8,
    h * 12,
    // month divisors TODO: need more?
    d,
    d * 2,
    d * 3,
    d * 4,
    d * 5,
    d * 6,
    d * 7,
    d * 8,
    d * 9,
    d * 10,
    d * 15,
    // year divisors (# months, approx)
    mo,
    mo * 2,
    mo * 3,
    mo * 4,
    mo * 6,
    // century divisors
    y,
    y * 2,
    y * 5,
    y * 10,
    y * 25,
    y * 50,
    y * 100
  ]);
  const _timeAxisStamps = [
    //   tick incr    default          year                    month   day                   hour    min       sec   mode
    [y, yyyy, _, _, _, _, _, _, 1],
    [d * 28, "{MMM}", NLyyyy, _, _, _, _, _, 1],
    [d, md, NLyyyy, _, _, _, _, _, 1],
    [h, "{h}" + aa, NLmdyy, _, NLmd, _, _, _, 1],
    [m, hmmaa, NLmdyy, _, NLmd, _, _, _, 1],
    [s, ss, NLmdyy + " " + hmmaa, _, NLmd + " " + hmmaa, _, NLhmmaa, _, 1],
    [ms, ss + ".{fff}", NLmdyy + " " + hmmaa, _, NLmd + " " + hmmaa, _, NLhmmaa, _, 1]
  ];
  function timeAxisSplits(tzDate2) {
    return (self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace) => {
      let splits = [];
      let isYr = foundIncr >= y;
      let isMo = foundIncr >= mo && foundIncr < y;
      let minDate = tzDate2(scaleMin);
      let minDateTs = roundDec(minDate * ms, 3);
      let minMin = mkDate(minDate.getFullYear(), isYr ? 0 : minDate.getMonth(), isMo || isYr ? 1 : minDate.getDate());
      let minMinTs = roundDec(minMin * ms, 3);
      if (isMo || isYr) {
        let moIncr = isMo ? foundIncr / mo : 0;
        let yrIncr = isYr ? foundIncr / y : 0;
        let split = minDateTs == minMinTs ? minDateTs : roundDec(mkDate(minMin.getFullYear() + yrIncr, minMin.getMonth() + moIncr, 1) * ms, 3);
        let splitDate = new Date(round(split / ms));
        let baseYear = splitDate.getFullYear();
        let baseMonth = splitDate.getMonth();
        for (let i = 0; split <= scaleMax; i++) {
          let next4 = mkDate(baseYear + yrIncr * i, baseMonth + moIncr * i, 1);
          let offs = next4 - tzDate2(roundDec(next4 * ms, 3));
          split = roundDec((+next4 + offs) * ms, 3);
          if (split <= scaleMax)
            splits.push(split);
        }
      } else {
        let incr0 = foundIncr >= d ? d : foundIncr;
        let tzOffset = floor(scaleMin) - floor(minDateTs);
        let split = minMinTs + tzOffset + incrRoundUp(minDateTs - minMinTs, incr0);
        splits.push(split);
        let date0 = tzDate2(split);
        let prevHour = date0.getHours() + date0.getMinutes() / m + date0.getSeconds() / h;
        let incrHours = foundIncr / h;
        let minSpace = self.axes[axisIdx]._space;
        let pctSpace = foundSpace / minSpace;
        while (1) {
          split = roundDec(split + foundIncr, ms == 1 ? 0 : 3);
          if (split > scaleMax)
            break;
          if (incrHours > 1) {
            let expectedHour = floor(roundDec(prevHour + incrHours, 6)) % 24;
            let splitDate = tzDate2(split);
            let actualHour = splitDate.getHours();
            let dstShift = actualHour - expectedHour;
            if (dstShift > 1)
              dstShift = -1;
            split -= dstShift * h;
            prevHour = (prevHour + incrHours) % 24;
            let prevSplit = splits[splits.length - 1];
            let pctIncr = roundDec((split - prevSplit) / foundIncr, 3);
            if (pctIncr * pctSpace >= 0.7)
              splits.push(split);
          } else
            splits.push(split);
        }
      }
      return splits;
    };
  }
  return [
    timeIncrs,
    _timeAxisStamps,
    timeAxisSplits
  ];
}
var [timeIncrsMs, _timeAxisStampsMs, timeAxisSplitsMs] = genTimeStuffs(1);
var [timeIncrsS, _timeAxisStampsS, timeAxisSplitsS] = genTimeStuffs(1e-3);
genIncrs(2, -53, 53, [1]);
function timeAxisStamps(stampCfg, fmtDate2) {
  return stampCfg.map((s) => s.map(
    (v, i) => i == 0 || i == 8 || v == null ? v : fmtDate2(i == 1 || s[8] == 0 ? v : s[1] + v)
  ));
}
function timeAxisVals(tzDate2, stamps) {
  return (self, splits, axisIdx, foundSpace, foundIncr) => {
    let s = stamps.find((s2) => foundIncr >= s2[0]) || stamps[stamps.length - 1];
    let prevYear;
    let prevMnth;
    let prevDate;
    let prevHour;
    let prevMins;
    let prevSecs;
    return splits.map((split) => {
      let date = tzDate2(split);
      let newYear = date.getFullYear();
      let newMnth = date.getMonth();
      let newDate = date.getDate();
      let newHour = date.getHours();
      let newMins = date.getMinutes();
      let newSecs = date.getSeconds();
      let stamp = newYear != prevYear && s[2] || newMnth != prevMnth && s[3] || newDate != prevDate && s[4] || newHour != prevHour && s[5] || newMins != prevMins && s[6] || newSecs != prevSecs && s[7] || s[1];
      prevYear = newYear;
      prevMnth = newMnth;
      prevDate = newDate;
      prevHour = newHour;
      prevMins = newMins;
      prevSecs = newSecs;
      return stamp(date);
    });
  };
}
function timeAxisVal(tzDate2, dateTpl) {
  let stamp = fmtDate(dateTpl);
  return (self, splits, axisIdx, foundSpace, foundIncr) => splits.map((split) => stamp(tzDate2(split)));
}
function mkDate(y, m, d) {
  return new Date(y, m, d);
}
function timeSeriesStamp(stampCfg, fmtDate2) {
  return fmtDate2(stampCfg);
}
var _timeSeriesStamp = "{YYYY}-{MM}-{DD} {h}:{mm}{aa}";
function timeSeriesVal(tzDate2, stamp) {
  return (self, val, seriesIdx, dataIdx) => dataIdx == null ? LEGEND_DISP : stamp(tzDate2(val));
}
function legendStroke(self, seriesIdx) {
  let s = self.series[seriesIdx];
  return s.width ? s.stroke(self, seriesIdx) : s.points.width ? s.points.stroke(self, seriesIdx) : null;
}
function legendFill(self, seriesIdx) {
  return self.series[seriesIdx].fill(self, seriesIdx);
}
var legendOpts = {
  show: true,
  live: true,
  isolate: false,
  mount: noop,
  markers: {
    show: true,
    width: 2,
    stroke: legendStroke,
    fill: legendFill,
    dash: "solid"
  },
  idx: null,
  idxs: null,
  values: []
};
function cursorPointShow(self, si) {
  let o = self.cursor.points;
  let pt = placeDiv();
  let size = o.size(self, si);
  setStylePx(pt, WIDTH, size);
  setStylePx(pt, HEIGHT, size);
  let mar = size / -2;
  setStylePx(pt, "marginLeft", mar);
  setStylePx(pt, "marginTop", mar);
  let width = o.width(self, si, size);
  width && setStylePx(pt, "borderWidth", width);
  return pt;
}
function cursorPointFill(self, si) {
  let sp = self.series[si].points;
  return sp._fill || sp._stroke;
}
function cursorPointStroke(self, si) {
  let sp = self.series[si].points;
  return sp._stroke || sp._fill;
}
function cursorPointSize(self, si) {
  let sp = self.series[si].points;
  return sp.size;
}
var moveTuple = [0, 0];
function cursorMove(self, mouseLeft1, mouseTop1) {
  moveTuple[0] = mouseLeft1;
  moveTuple[1] = mouseTop1;
  return moveTuple;
}
function filtBtn0(self, targ, handle, onlyTarg = true) {
  return (e) => {
    e.button == 0 && (!onlyTarg || e.target == targ) && handle(e);
  };
}
function filtTarg(self, targ, handle, onlyTarg = true) {
  return (e) => {
    (!onlyTarg || e.target == targ) && handle(e);
  };
}
var cursorOpts = {
  show: true,
  x: true,
  y: true,
  lock: false,
  move: cursorMove,
  points: {
    one: false,
    show: cursorPointShow,
    size: cursorPointSize,
    width: 0,
    stroke: cursorPointStroke,
    fill: cursorPointFill
  },
  bind: {
    mousedown: filtBtn0,
    mouseup: filtBtn0,
    click: filtBtn0,
    // legend clicks, not .u-over clicks
    dblclick: filtBtn0,
    mousemove: filtTarg,
    mouseleave: filtTarg,
    mouseenter: filtTarg
  },
  drag: {
    setScale: true,
    x: true,
    y: false,
    dist: 0,
    uni: null,
    click: (self, e) => {
      e.stopPropagation();
      e.stopImmediatePropagation();
    },
    _x: false,
    _y: false
  },
  focus: {
    dist: (self, seriesIdx, dataIdx, valPos, curPos) => valPos - curPos,
    prox: -1,
    bias: 0
  },
  hover: {
    skip: [void 0],
    prox: null,
    bias: 0
  },
  left: -10,
  top: -10,
  idx: null,
  dataIdx: null,
  idxs: null,
  event: null
};
var axisLines = {
  show: true,
  stroke: "rgba(0,0,0,0.07)",
  width: 2
  //	dash: [],
};
var grid = assign({}, axisLines, {
  filter: retArg1
});
var ticks = assign({}, grid, {
  size: 10
});
var border = assign({}, axisLines, {
  show: false
});
var font = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Noto Sans", sans-serif, "Apple Color Emoji", "Segoe UI Emoji", "Segoe UI Symbol", "Noto Color Emoji"';
var labelFont = "bold " + font;
var lineGap = 1.5;
var xAxisOpts = {
  show: true,
  scale: "x",
  stroke: hexBlack,
  space: 50,
  gap: 5,
  alignTo: 1,
  size: 50,
  labelGap: 0,
  labelSize: 30,
  labelFont,
  side: 2,
  //	class: "x-vals",
  //	incrs: timeIncrs,
  //	values: timeVals,
  //	filter: retArg1,
  grid,
  ticks,
  border,
  font,
  lineGap,
  rotate: 0
};
var numSeriesLabel = "Value";
var timeSeriesLabel = "Time";
var xSeriesOpts = {
  show: true,
  scale: "x",
  auto: false,
  sorted: 1,
  //	label: "Time",
  //	value: v => stamp(new Date(v * 1e3)),
  // internal caches
  min: inf,
  max: -inf,
  idxs: []
};
function numAxisVals(self, splits, axisIdx, foundSpace, foundIncr) {
  return splits.map((v) => v == null ? "" : fmtNum(v));
}
function numAxisSplits(self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace, forceMin) {
  let splits = [];
  let numDec = fixedDec.get(foundIncr) || 0;
  scaleMin = forceMin ? scaleMin : roundDec(incrRoundUp(scaleMin, foundIncr), numDec);
  for (let val = scaleMin; val <= scaleMax; val = roundDec(val + foundIncr, numDec))
    splits.push(Object.is(val, -0) ? 0 : val);
  return splits;
}
function logAxisSplits(self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace, forceMin) {
  const splits = [];
  const logBase = self.scales[self.axes[axisIdx].scale].log;
  const logFn = logBase == 10 ? log10 : log2;
  const exp = floor(logFn(scaleMin));
  foundIncr = pow(logBase, exp);
  if (logBase == 10)
    foundIncr = numIncrs[closestIdx(foundIncr, numIncrs)];
  let split = scaleMin;
  let nextMagIncr = foundIncr * logBase;
  if (logBase == 10)
    nextMagIncr = numIncrs[closestIdx(nextMagIncr, numIncrs)];
  do {
    splits.push(split);
    split = split + foundIncr;
    if (logBase == 10 && !fixedDec.has(split))
      split = roundDec(split, fixedDec.get(foundIncr));
    if (split >= nextMagIncr) {
      foundIncr = split;
      nextMagIncr = foundIncr * logBase;
      if (logBase == 10)
        nextMagIncr = numIncrs[closestIdx(nextMagIncr, numIncrs)];
    }
  } while (split <= scaleMax);
  return splits;
}
function asinhAxisSplits(self, axisIdx, scaleMin, scaleMax, foundIncr, foundSpace, forceMin) {
  let sc = self.scales[self.axes[axisIdx].scale];
  let linthresh = sc.asinh;
  let posSplits = scaleMax > linthresh ? logAxisSplits(self, axisIdx, max(linthresh, scaleMin), scaleMax, foundIncr) : [linthresh];
  let zero = scaleMax >= 0 && scaleMin <= 0 ? [0] : [];
  let negSplits = scaleMin < -linthresh ? logAxisSplits(self, axisIdx, max(linthresh, -scaleMax), -scaleMin, foundIncr) : [linthresh];
  return negSplits.reverse().map((v) => -v).concat(zero, posSplits);
}
var RE_ALL = /./;
var RE_12357 = /[12357]/;
var RE_125 = /[125]/;
var RE_1 = /1/;
var _filt = (splits, distr, re, keepMod) => splits.map((v, i) => distr == 4 && v == 0 || i % keepMod == 0 && re.test(v.toExponential()[v < 0 ? 1 : 0]) ? v : null);
function log10AxisValsFilt(self, splits, axisIdx, foundSpace, foundIncr) {
  let axis = self.axes[axisIdx];
  let scaleKey = axis.scale;
  let sc = self.scales[scaleKey];
  let valToPos = self.valToPos;
  let minSpace = axis._space;
  let _10 = valToPos(10, scaleKey);
  let re = valToPos(9, scaleKey) - _10 >= minSpace ? RE_ALL : valToPos(7, scaleKey) - _10 >= minSpace ? RE_12357 : valToPos(5, scaleKey) - _10 >= minSpace ? RE_125 : RE_1;
  if (re == RE_1) {
    let magSpace = abs(valToPos(1, scaleKey) - _10);
    if (magSpace < minSpace)
      return _filt(splits.slice().reverse(), sc.distr, re, ceil(minSpace / magSpace)).reverse();
  }
  return _filt(splits, sc.distr, re, 1);
}
function log2AxisValsFilt(self, splits, axisIdx, foundSpace, foundIncr) {
  let axis = self.axes[axisIdx];
  let scaleKey = axis.scale;
  let minSpace = axis._space;
  let valToPos = self.valToPos;
  let magSpace = abs(valToPos(1, scaleKey) - valToPos(2, scaleKey));
  if (magSpace < minSpace)
    return _filt(splits.slice().reverse(), 3, RE_ALL, ceil(minSpace / magSpace)).reverse();
  return splits;
}
function numSeriesVal(self, val, seriesIdx, dataIdx) {
  return dataIdx == null ? LEGEND_DISP : val == null ? "" : fmtNum(val);
}
var yAxisOpts = {
  show: true,
  scale: "y",
  stroke: hexBlack,
  space: 30,
  gap: 5,
  alignTo: 1,
  size: 50,
  labelGap: 0,
  labelSize: 30,
  labelFont,
  side: 3,
  //	class: "y-vals",
  //	incrs: numIncrs,
  //	values: (vals, space) => vals,
  //	filter: retArg1,
  grid,
  ticks,
  border,
  font,
  lineGap,
  rotate: 0
};
function ptDia(width, mult) {
  let dia = 3 + (width || 1) * 2;
  return roundDec(dia * mult, 3);
}
function seriesPointsShow(self, si) {
  let { scale, idxs } = self.series[0];
  let xData = self._data[0];
  let p0 = self.valToPos(xData[idxs[0]], scale, true);
  let p1 = self.valToPos(xData[idxs[1]], scale, true);
  let dim = abs(p1 - p0);
  let s = self.series[si];
  let maxPts = dim / (s.points.space * pxRatio);
  return idxs[1] - idxs[0] <= maxPts;
}
var facet = {
  scale: null,
  auto: true,
  sorted: 0,
  // internal caches
  min: inf,
  max: -inf
};
var gaps = (self, seriesIdx, idx0, idx1, nullGaps) => nullGaps;
var xySeriesOpts = {
  show: true,
  auto: true,
  sorted: 0,
  gaps,
  alpha: 1,
  facets: [
    assign({}, facet, { scale: "x" }),
    assign({}, facet, { scale: "y" })
  ]
};
var ySeriesOpts = {
  scale: "y",
  auto: true,
  sorted: 0,
  show: true,
  spanGaps: false,
  gaps,
  alpha: 1,
  points: {
    show: seriesPointsShow,
    filter: null
    //  paths:
    //	stroke: "#000",
    //	fill: "#fff",
    //	width: 1,
    //	size: 10,
  },
  //	label: "Value",
  //	value: v => v,
  values: null,
  // internal caches
  min: inf,
  max: -inf,
  idxs: [],
  path: null,
  clip: null
};
function clampScale(self, val, scaleMin, scaleMax, scaleKey) {
  return scaleMin / 10;
}
var xScaleOpts = {
  time: FEAT_TIME,
  auto: true,
  distr: 1,
  log: 10,
  asinh: 1,
  min: null,
  max: null,
  dir: 1,
  ori: 0
};
var yScaleOpts = assign({}, xScaleOpts, {
  time: false,
  ori: 1
});
var syncs = {};
function _sync(key2, opts) {
  let s = syncs[key2];
  if (!s) {
    s = {
      key: key2,
      plots: [],
      sub(plot) {
        s.plots.push(plot);
      },
      unsub(plot) {
        s.plots = s.plots.filter((c) => c != plot);
      },
      pub(type, self, x, y, w, h, i) {
        for (let j = 0; j < s.plots.length; j++)
          s.plots[j] != self && s.plots[j].pub(type, self, x, y, w, h, i);
      }
    };
    if (key2 != null)
      syncs[key2] = s;
  }
  return s;
}
var BAND_CLIP_FILL = 1 << 0;
var BAND_CLIP_STROKE = 1 << 1;
function orient(u, seriesIdx, cb) {
  const mode = u.mode;
  const series2 = u.series[seriesIdx];
  const data = mode == 2 ? u._data[seriesIdx] : u._data;
  const scales = u.scales;
  const bbox = u.bbox;
  let dx = data[0], dy = mode == 2 ? data[1] : data[seriesIdx], sx = mode == 2 ? scales[series2.facets[0].scale] : scales[u.series[0].scale], sy = mode == 2 ? scales[series2.facets[1].scale] : scales[series2.scale], l = bbox.left, t = bbox.top, w = bbox.width, h = bbox.height, H = u.valToPosH, V = u.valToPosV;
  return sx.ori == 0 ? cb(
    series2,
    dx,
    dy,
    sx,
    sy,
    H,
    V,
    l,
    t,
    w,
    h,
    moveToH,
    lineToH,
    rectH,
    arcH,
    bezierCurveToH
  ) : cb(
    series2,
    dx,
    dy,
    sx,
    sy,
    V,
    H,
    t,
    l,
    h,
    w,
    moveToV,
    lineToV,
    rectV,
    arcV,
    bezierCurveToV
  );
}
function bandFillClipDirs(self, seriesIdx) {
  let fillDir = 0;
  let clipDirs = 0;
  let bands = ifNull(self.bands, EMPTY_ARR);
  for (let i = 0; i < bands.length; i++) {
    let b = bands[i];
    if (b.series[0] == seriesIdx)
      fillDir = b.dir;
    else if (b.series[1] == seriesIdx) {
      if (b.dir == 1)
        clipDirs |= 1;
      else
        clipDirs |= 2;
    }
  }
  return [
    fillDir,
    clipDirs == 1 ? -1 : (
      // neg only
      clipDirs == 2 ? 1 : (
        // pos only
        clipDirs == 3 ? 2 : (
          // both
          0
        )
      )
    )
  ];
}
function seriesFillTo(self, seriesIdx, dataMin, dataMax, bandFillDir) {
  let mode = self.mode;
  let series2 = self.series[seriesIdx];
  let scaleKey = mode == 2 ? series2.facets[1].scale : series2.scale;
  let scale = self.scales[scaleKey];
  return bandFillDir == -1 ? scale.min : bandFillDir == 1 ? scale.max : scale.distr == 3 ? scale.dir == 1 ? scale.min : scale.max : 0;
}
function clipBandLine(self, seriesIdx, idx0, idx1, strokePath, clipDir) {
  return orient(self, seriesIdx, (series2, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
    let pxRound = series2.pxRound;
    const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
    const lineTo = scaleX.ori == 0 ? lineToH : lineToV;
    let frIdx, toIdx;
    if (dir == 1) {
      frIdx = idx0;
      toIdx = idx1;
    } else {
      frIdx = idx1;
      toIdx = idx0;
    }
    let x0 = pxRound(valToPosX(dataX[frIdx], scaleX, xDim, xOff));
    let y0 = pxRound(valToPosY(dataY[frIdx], scaleY, yDim, yOff));
    let x1 = pxRound(valToPosX(dataX[toIdx], scaleX, xDim, xOff));
    let yLimit = pxRound(valToPosY(clipDir == 1 ? scaleY.max : scaleY.min, scaleY, yDim, yOff));
    let clip = new Path2D(strokePath);
    lineTo(clip, x1, yLimit);
    lineTo(clip, x0, yLimit);
    lineTo(clip, x0, y0);
    return clip;
  });
}
function clipGaps(gaps2, ori, plotLft, plotTop, plotWid, plotHgt) {
  let clip = null;
  if (gaps2.length > 0) {
    clip = new Path2D();
    const rect2 = ori == 0 ? rectH : rectV;
    let prevGapEnd = plotLft;
    for (let i = 0; i < gaps2.length; i++) {
      let g = gaps2[i];
      if (g[1] > g[0]) {
        let w2 = g[0] - prevGapEnd;
        w2 > 0 && rect2(clip, prevGapEnd, plotTop, w2, plotTop + plotHgt);
        prevGapEnd = g[1];
      }
    }
    let w = plotLft + plotWid - prevGapEnd;
    let maxStrokeWidth = 10;
    w > 0 && rect2(clip, prevGapEnd, plotTop - maxStrokeWidth / 2, w, plotTop + plotHgt + maxStrokeWidth);
  }
  return clip;
}
function addGap(gaps2, fromX, toX) {
  let prevGap = gaps2[gaps2.length - 1];
  if (prevGap && prevGap[0] == fromX)
    prevGap[1] = toX;
  else
    gaps2.push([fromX, toX]);
}
function findGaps(xs, ys, idx0, idx1, dir, pixelForX, align) {
  let gaps2 = [];
  let len = xs.length;
  for (let i = dir == 1 ? idx0 : idx1; i >= idx0 && i <= idx1; i += dir) {
    let yVal = ys[i];
    if (yVal === null) {
      let fr = i, to = i;
      if (dir == 1) {
        while (++i <= idx1 && ys[i] === null)
          to = i;
      } else {
        while (--i >= idx0 && ys[i] === null)
          to = i;
      }
      let frPx = pixelForX(xs[fr]);
      let toPx = to == fr ? frPx : pixelForX(xs[to]);
      let fri2 = fr - dir;
      let frPx2 = align <= 0 && fri2 >= 0 && fri2 < len ? pixelForX(xs[fri2]) : frPx;
      frPx = frPx2;
      let toi2 = to + dir;
      let toPx2 = align >= 0 && toi2 >= 0 && toi2 < len ? pixelForX(xs[toi2]) : toPx;
      toPx = toPx2;
      if (toPx >= frPx)
        gaps2.push([frPx, toPx]);
    }
  }
  return gaps2;
}
function pxRoundGen(pxAlign) {
  return pxAlign == 0 ? retArg0 : pxAlign == 1 ? round : (v) => incrRound(v, pxAlign);
}
function rect(ori) {
  let moveTo = ori == 0 ? moveToH : moveToV;
  let arcTo = ori == 0 ? (p, x1, y1, x2, y2, r) => {
    p.arcTo(x1, y1, x2, y2, r);
  } : (p, y1, x1, y2, x2, r) => {
    p.arcTo(x1, y1, x2, y2, r);
  };
  let rect2 = ori == 0 ? (p, x, y, w, h) => {
    p.rect(x, y, w, h);
  } : (p, y, x, h, w) => {
    p.rect(x, y, w, h);
  };
  return (p, x, y, w, h, endRad = 0, baseRad = 0) => {
    if (endRad == 0 && baseRad == 0)
      rect2(p, x, y, w, h);
    else {
      endRad = min(endRad, w / 2, h / 2);
      baseRad = min(baseRad, w / 2, h / 2);
      moveTo(p, x + endRad, y);
      arcTo(p, x + w, y, x + w, y + h, endRad);
      arcTo(p, x + w, y + h, x, y + h, baseRad);
      arcTo(p, x, y + h, x, y, baseRad);
      arcTo(p, x, y, x + w, y, endRad);
      p.closePath();
    }
  };
}
var moveToH = (p, x, y) => {
  p.moveTo(x, y);
};
var moveToV = (p, y, x) => {
  p.moveTo(x, y);
};
var lineToH = (p, x, y) => {
  p.lineTo(x, y);
};
var lineToV = (p, y, x) => {
  p.lineTo(x, y);
};
var rectH = rect(0);
var rectV = rect(1);
var arcH = (p, x, y, r, startAngle, endAngle) => {
  p.arc(x, y, r, startAngle, endAngle);
};
var arcV = (p, y, x, r, startAngle, endAngle) => {
  p.arc(x, y, r, startAngle, endAngle);
};
var bezierCurveToH = (p, bp1x, bp1y, bp2x, bp2y, p2x, p2y) => {
  p.bezierCurveTo(bp1x, bp1y, bp2x, bp2y, p2x, p2y);
};
var bezierCurveToV = (p, bp1y, bp1x, bp2y, bp2x, p2y, p2x) => {
  p.bezierCurveTo(bp1x, bp1y, bp2x, bp2y, p2x, p2y);
};
function points(opts) {
  return (u, seriesIdx, idx0, idx1, filtIdxs) => {
    return orient(u, seriesIdx, (series2, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      let { pxRound, points: points2 } = series2;
      let moveTo, arc;
      if (scaleX.ori == 0) {
        moveTo = moveToH;
        arc = arcH;
      } else {
        moveTo = moveToV;
        arc = arcV;
      }
      const width = roundDec(points2.width * pxRatio, 3);
      let rad = (points2.size - points2.width) / 2 * pxRatio;
      let dia = roundDec(rad * 2, 3);
      let fill2 = new Path2D();
      let clip = new Path2D();
      let { left: lft, top, width: wid, height: hgt } = u.bbox;
      rectH(
        clip,
        lft - dia,
        top - dia,
        wid + dia * 2,
        hgt + dia * 2
      );
      const drawPoint = (pi) => {
        if (dataY[pi] != null) {
          let x = pxRound(valToPosX(dataX[pi], scaleX, xDim, xOff));
          let y = pxRound(valToPosY(dataY[pi], scaleY, yDim, yOff));
          moveTo(fill2, x + rad, y);
          arc(fill2, x, y, rad, 0, PI * 2);
        }
      };
      if (filtIdxs)
        filtIdxs.forEach(drawPoint);
      else {
        for (let pi = idx0; pi <= idx1; pi++)
          drawPoint(pi);
      }
      return {
        stroke: width > 0 ? fill2 : null,
        fill: fill2,
        clip,
        flags: BAND_CLIP_FILL | BAND_CLIP_STROKE
      };
    });
  };
}
function _drawAcc(lineTo) {
  return (stroke, accX, minY, maxY, inY, outY) => {
    if (minY != maxY) {
      if (inY != minY && outY != minY)
        lineTo(stroke, accX, minY);
      if (inY != maxY && outY != maxY)
        lineTo(stroke, accX, maxY);
      lineTo(stroke, accX, outY);
    }
  };
}
var drawAccH = _drawAcc(lineToH);
var drawAccV = _drawAcc(lineToV);
function linear(opts) {
  const alignGaps = ifNull(opts?.alignGaps, 0);
  return (u, seriesIdx, idx0, idx1) => {
    return orient(u, seriesIdx, (series2, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      [idx0, idx1] = nonNullIdxs(dataY, idx0, idx1);
      let pxRound = series2.pxRound;
      let pixelForX = (val) => pxRound(valToPosX(val, scaleX, xDim, xOff));
      let pixelForY = (val) => pxRound(valToPosY(val, scaleY, yDim, yOff));
      let lineTo, drawAcc;
      if (scaleX.ori == 0) {
        lineTo = lineToH;
        drawAcc = drawAccH;
      } else {
        lineTo = lineToV;
        drawAcc = drawAccV;
      }
      const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      const _paths = { stroke: new Path2D(), fill: null, clip: null, band: null, gaps: null, flags: BAND_CLIP_FILL };
      const stroke = _paths.stroke;
      let hasGap = false;
      const decimate = idx1 - idx0 >= xDim * 4;
      if (decimate) {
        let xForPixel = (pos) => u.posToVal(pos, scaleX.key, true);
        let minY = null, maxY = null, inY, outY, drawnAtX;
        let accX = pixelForX(dataX[dir == 1 ? idx0 : idx1]);
        let idx0px = pixelForX(dataX[idx0]);
        let idx1px = pixelForX(dataX[idx1]);
        let nextAccXVal = xForPixel(dir == 1 ? idx0px + 1 : idx1px - 1);
        for (let i = dir == 1 ? idx0 : idx1; i >= idx0 && i <= idx1; i += dir) {
          let xVal = dataX[i];
          let reuseAccX = dir == 1 ? xVal < nextAccXVal : xVal > nextAccXVal;
          let x = reuseAccX ? accX : pixelForX(xVal);
          let yVal = dataY[i];
          if (x == accX) {
            if (yVal != null) {
              outY = yVal;
              if (minY == null) {
                lineTo(stroke, x, pixelForY(outY));
                inY = minY = maxY = outY;
              } else {
                if (outY < minY)
                  minY = outY;
                else if (outY > maxY)
                  maxY = outY;
              }
            } else {
              if (yVal === null)
                hasGap = true;
            }
          } else {
            if (minY != null)
              drawAcc(stroke, accX, pixelForY(minY), pixelForY(maxY), pixelForY(inY), pixelForY(outY));
            if (yVal != null) {
              outY = yVal;
              lineTo(stroke, x, pixelForY(outY));
              minY = maxY = inY = outY;
            } else {
              minY = maxY = null;
              if (yVal === null)
                hasGap = true;
            }
            accX = x;
            nextAccXVal = xForPixel(accX + dir);
          }
        }
        if (minY != null && minY != maxY && drawnAtX != accX)
          drawAcc(stroke, accX, pixelForY(minY), pixelForY(maxY), pixelForY(inY), pixelForY(outY));
      } else {
        for (let i = dir == 1 ? idx0 : idx1; i >= idx0 && i <= idx1; i += dir) {
          let yVal = dataY[i];
          if (yVal === null)
            hasGap = true;
          else if (yVal != null)
            lineTo(stroke, pixelForX(dataX[i]), pixelForY(yVal));
        }
      }
      let [bandFillDir, bandClipDir] = bandFillClipDirs(u, seriesIdx);
      if (series2.fill != null || bandFillDir != 0) {
        let fill2 = _paths.fill = new Path2D(stroke);
        let fillToVal = series2.fillTo(u, seriesIdx, series2.min, series2.max, bandFillDir);
        let fillToY = pixelForY(fillToVal);
        let frX = pixelForX(dataX[idx0]);
        let toX = pixelForX(dataX[idx1]);
        if (dir == -1)
          [toX, frX] = [frX, toX];
        lineTo(fill2, toX, fillToY);
        lineTo(fill2, frX, fillToY);
      }
      if (!series2.spanGaps) {
        let gaps2 = [];
        hasGap && gaps2.push(...findGaps(dataX, dataY, idx0, idx1, dir, pixelForX, alignGaps));
        _paths.gaps = gaps2 = series2.gaps(u, seriesIdx, idx0, idx1, gaps2);
        _paths.clip = clipGaps(gaps2, scaleX.ori, xOff, yOff, xDim, yDim);
      }
      if (bandClipDir != 0) {
        _paths.band = bandClipDir == 2 ? [
          clipBandLine(u, seriesIdx, idx0, idx1, stroke, -1),
          clipBandLine(u, seriesIdx, idx0, idx1, stroke, 1)
        ] : clipBandLine(u, seriesIdx, idx0, idx1, stroke, bandClipDir);
      }
      return _paths;
    });
  };
}
function stepped(opts) {
  const align = ifNull(opts.align, 1);
  const ascDesc = ifNull(opts.ascDesc, false);
  const alignGaps = ifNull(opts.alignGaps, 0);
  const extend = ifNull(opts.extend, false);
  return (u, seriesIdx, idx0, idx1) => {
    return orient(u, seriesIdx, (series2, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      [idx0, idx1] = nonNullIdxs(dataY, idx0, idx1);
      let pxRound = series2.pxRound;
      let { left: left3, width } = u.bbox;
      let pixelForX = (val) => pxRound(valToPosX(val, scaleX, xDim, xOff));
      let pixelForY = (val) => pxRound(valToPosY(val, scaleY, yDim, yOff));
      let lineTo = scaleX.ori == 0 ? lineToH : lineToV;
      const _paths = { stroke: new Path2D(), fill: null, clip: null, band: null, gaps: null, flags: BAND_CLIP_FILL };
      const stroke = _paths.stroke;
      const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      let prevYPos = pixelForY(dataY[dir == 1 ? idx0 : idx1]);
      let firstXPos = pixelForX(dataX[dir == 1 ? idx0 : idx1]);
      let prevXPos = firstXPos;
      let firstXPosExt = firstXPos;
      if (extend && align == -1) {
        firstXPosExt = left3;
        lineTo(stroke, firstXPosExt, prevYPos);
      }
      lineTo(stroke, firstXPos, prevYPos);
      for (let i = dir == 1 ? idx0 : idx1; i >= idx0 && i <= idx1; i += dir) {
        let yVal1 = dataY[i];
        if (yVal1 == null)
          continue;
        let x1 = pixelForX(dataX[i]);
        let y1 = pixelForY(yVal1);
        if (align == 1)
          lineTo(stroke, x1, prevYPos);
        else
          lineTo(stroke, prevXPos, y1);
        lineTo(stroke, x1, y1);
        prevYPos = y1;
        prevXPos = x1;
      }
      let prevXPosExt = prevXPos;
      if (extend && align == 1) {
        prevXPosExt = left3 + width;
        lineTo(stroke, prevXPosExt, prevYPos);
      }
      let [bandFillDir, bandClipDir] = bandFillClipDirs(u, seriesIdx);
      if (series2.fill != null || bandFillDir != 0) {
        let fill2 = _paths.fill = new Path2D(stroke);
        let fillTo = series2.fillTo(u, seriesIdx, series2.min, series2.max, bandFillDir);
        let fillToY = pixelForY(fillTo);
        lineTo(fill2, prevXPosExt, fillToY);
        lineTo(fill2, firstXPosExt, fillToY);
      }
      if (!series2.spanGaps) {
        let gaps2 = [];
        gaps2.push(...findGaps(dataX, dataY, idx0, idx1, dir, pixelForX, alignGaps));
        let halfStroke = series2.width * pxRatio / 2;
        let startsOffset = ascDesc || align == 1 ? halfStroke : -halfStroke;
        let endsOffset = ascDesc || align == -1 ? -halfStroke : halfStroke;
        gaps2.forEach((g) => {
          g[0] += startsOffset;
          g[1] += endsOffset;
        });
        _paths.gaps = gaps2 = series2.gaps(u, seriesIdx, idx0, idx1, gaps2);
        _paths.clip = clipGaps(gaps2, scaleX.ori, xOff, yOff, xDim, yDim);
      }
      if (bandClipDir != 0) {
        _paths.band = bandClipDir == 2 ? [
          clipBandLine(u, seriesIdx, idx0, idx1, stroke, -1),
          clipBandLine(u, seriesIdx, idx0, idx1, stroke, 1)
        ] : clipBandLine(u, seriesIdx, idx0, idx1, stroke, bandClipDir);
      }
      return _paths;
    });
  };
}
function findColWidth(dataX, dataY, valToPosX, scaleX, xDim, xOff, colWid = inf) {
  if (dataX.length > 1) {
    let prevIdx = null;
    for (let i = 0, minDelta = Infinity; i < dataX.length; i++) {
      if (dataY[i] !== void 0) {
        if (prevIdx != null) {
          let delta = abs(dataX[i] - dataX[prevIdx]);
          if (delta < minDelta) {
            minDelta = delta;
            colWid = abs(valToPosX(dataX[i], scaleX, xDim, xOff) - valToPosX(dataX[prevIdx], scaleX, xDim, xOff));
          }
        }
        prevIdx = i;
      }
    }
  }
  return colWid;
}
function bars(opts) {
  opts = opts || EMPTY_OBJ;
  const size = ifNull(opts.size, [0.6, inf, 1]);
  const align = opts.align || 0;
  const _extraGap = opts.gap || 0;
  let ro = opts.radius;
  ro = // [valueRadius, baselineRadius]
  ro == null ? [0, 0] : typeof ro == "number" ? [ro, 0] : ro;
  const radiusFn = fnOrSelf(ro);
  const gapFactor = 1 - size[0];
  const _maxWidth = ifNull(size[1], inf);
  const _minWidth = ifNull(size[2], 1);
  const disp = ifNull(opts.disp, EMPTY_OBJ);
  const _each = ifNull(opts.each, (_2) => {
  });
  const { fill: dispFills, stroke: dispStrokes } = disp;
  return (u, seriesIdx, idx0, idx1) => {
    return orient(u, seriesIdx, (series2, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      let pxRound = series2.pxRound;
      let _align = align;
      let extraGap = _extraGap * pxRatio;
      let maxWidth = _maxWidth * pxRatio;
      let minWidth = _minWidth * pxRatio;
      let valRadius, baseRadius;
      if (scaleX.ori == 0)
        [valRadius, baseRadius] = radiusFn(u, seriesIdx);
      else
        [baseRadius, valRadius] = radiusFn(u, seriesIdx);
      const _dirX = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      let rect2 = scaleX.ori == 0 ? rectH : rectV;
      let each = scaleX.ori == 0 ? _each : (u2, seriesIdx2, i, top, lft, hgt, wid) => {
        _each(u2, seriesIdx2, i, lft, top, wid, hgt);
      };
      let band = ifNull(u.bands, EMPTY_ARR).find((b) => b.series[0] == seriesIdx);
      let fillDir = band != null ? band.dir : 0;
      let fillTo = series2.fillTo(u, seriesIdx, series2.min, series2.max, fillDir);
      let fillToY = pxRound(valToPosY(fillTo, scaleY, yDim, yOff));
      let xShift, barWid, fullGap, colWid = xDim;
      let strokeWidth = pxRound(series2.width * pxRatio);
      let multiPath = false;
      let fillColors = null;
      let fillPaths = null;
      let strokeColors = null;
      let strokePaths = null;
      if (dispFills != null && (strokeWidth == 0 || dispStrokes != null)) {
        multiPath = true;
        fillColors = dispFills.values(u, seriesIdx, idx0, idx1);
        fillPaths = /* @__PURE__ */ new Map();
        new Set(fillColors).forEach((color) => {
          if (color != null)
            fillPaths.set(color, new Path2D());
        });
        if (strokeWidth > 0) {
          strokeColors = dispStrokes.values(u, seriesIdx, idx0, idx1);
          strokePaths = /* @__PURE__ */ new Map();
          new Set(strokeColors).forEach((color) => {
            if (color != null)
              strokePaths.set(color, new Path2D());
          });
        }
      }
      let { x0, size: size2 } = disp;
      if (x0 != null && size2 != null) {
        _align = 1;
        dataX = x0.values(u, seriesIdx, idx0, idx1);
        if (x0.unit == 2)
          dataX = dataX.map((pct) => u.posToVal(xOff + pct * xDim, scaleX.key, true));
        let sizes = size2.values(u, seriesIdx, idx0, idx1);
        if (size2.unit == 2)
          barWid = sizes[0] * xDim;
        else
          barWid = valToPosX(sizes[0], scaleX, xDim, xOff) - valToPosX(0, scaleX, xDim, xOff);
        colWid = findColWidth(dataX, dataY, valToPosX, scaleX, xDim, xOff, colWid);
        let gapWid = colWid - barWid;
        fullGap = gapWid + extraGap;
      } else {
        colWid = findColWidth(dataX, dataY, valToPosX, scaleX, xDim, xOff, colWid);
        let gapWid = colWid * gapFactor;
        fullGap = gapWid + extraGap;
        barWid = colWid - fullGap;
      }
      if (fullGap < 1)
        fullGap = 0;
      if (strokeWidth >= barWid / 2)
        strokeWidth = 0;
      if (fullGap < 5)
        pxRound = retArg0;
      let insetStroke = fullGap > 0;
      let rawBarWid = colWid - fullGap - (insetStroke ? strokeWidth : 0);
      barWid = pxRound(clamp(rawBarWid, minWidth, maxWidth));
      xShift = (_align == 0 ? barWid / 2 : _align == _dirX ? 0 : barWid) - _align * _dirX * ((_align == 0 ? extraGap / 2 : 0) + (insetStroke ? strokeWidth / 2 : 0));
      const _paths = { stroke: null, fill: null, clip: null, band: null, gaps: null, flags: 0 };
      const stroke = multiPath ? null : new Path2D();
      let dataY0 = null;
      if (band != null)
        dataY0 = u.data[band.series[1]];
      else {
        let { y0, y1 } = disp;
        if (y0 != null && y1 != null) {
          dataY = y1.values(u, seriesIdx, idx0, idx1);
          dataY0 = y0.values(u, seriesIdx, idx0, idx1);
        }
      }
      let radVal = valRadius * barWid;
      let radBase = baseRadius * barWid;
      for (let i = _dirX == 1 ? idx0 : idx1; i >= idx0 && i <= idx1; i += _dirX) {
        let yVal = dataY[i];
        if (yVal == null)
          continue;
        if (dataY0 != null) {
          let yVal0 = dataY0[i] ?? 0;
          if (yVal - yVal0 == 0)
            continue;
          fillToY = valToPosY(yVal0, scaleY, yDim, yOff);
        }
        let xVal = scaleX.distr != 2 || disp != null ? dataX[i] : i;
        let xPos = valToPosX(xVal, scaleX, xDim, xOff);
        let yPos = valToPosY(ifNull(yVal, fillTo), scaleY, yDim, yOff);
        let lft = pxRound(xPos - xShift);
        let btm = pxRound(max(yPos, fillToY));
        let top = pxRound(min(yPos, fillToY));
        let barHgt = btm - top;
        if (yVal != null) {
          let rv = yVal < 0 ? radBase : radVal;
          let rb = yVal < 0 ? radVal : radBase;
          if (multiPath) {
            if (strokeWidth > 0 && strokeColors[i] != null)
              rect2(strokePaths.get(strokeColors[i]), lft, top + floor(strokeWidth / 2), barWid, max(0, barHgt - strokeWidth), rv, rb);
            if (fillColors[i] != null)
              rect2(fillPaths.get(fillColors[i]), lft, top + floor(strokeWidth / 2), barWid, max(0, barHgt - strokeWidth), rv, rb);
          } else
            rect2(stroke, lft, top + floor(strokeWidth / 2), barWid, max(0, barHgt - strokeWidth), rv, rb);
          each(
            u,
            seriesIdx,
            i,
            lft - strokeWidth / 2,
            top,
            barWid + strokeWidth,
            barHgt
          );
        }
      }
      if (strokeWidth > 0)
        _paths.stroke = multiPath ? strokePaths : stroke;
      else if (!multiPath) {
        _paths._fill = series2.width == 0 ? series2._fill : series2._stroke ?? series2._fill;
        _paths.width = 0;
      }
      _paths.fill = multiPath ? fillPaths : stroke;
      return _paths;
    });
  };
}
function splineInterp(interp, opts) {
  const alignGaps = ifNull(opts?.alignGaps, 0);
  return (u, seriesIdx, idx0, idx1) => {
    return orient(u, seriesIdx, (series2, dataX, dataY, scaleX, scaleY, valToPosX, valToPosY, xOff, yOff, xDim, yDim) => {
      [idx0, idx1] = nonNullIdxs(dataY, idx0, idx1);
      let pxRound = series2.pxRound;
      let pixelForX = (val) => pxRound(valToPosX(val, scaleX, xDim, xOff));
      let pixelForY = (val) => pxRound(valToPosY(val, scaleY, yDim, yOff));
      let moveTo, bezierCurveTo, lineTo;
      if (scaleX.ori == 0) {
        moveTo = moveToH;
        lineTo = lineToH;
        bezierCurveTo = bezierCurveToH;
      } else {
        moveTo = moveToV;
        lineTo = lineToV;
        bezierCurveTo = bezierCurveToV;
      }
      const dir = scaleX.dir * (scaleX.ori == 0 ? 1 : -1);
      let firstXPos = pixelForX(dataX[dir == 1 ? idx0 : idx1]);
      let prevXPos = firstXPos;
      let xCoords = [];
      let yCoords = [];
      for (let i = dir == 1 ? idx0 : idx1; i >= idx0 && i <= idx1; i += dir) {
        let yVal = dataY[i];
        if (yVal != null) {
          let xVal = dataX[i];
          let xPos = pixelForX(xVal);
          xCoords.push(prevXPos = xPos);
          yCoords.push(pixelForY(dataY[i]));
        }
      }
      const _paths = { stroke: interp(xCoords, yCoords, moveTo, lineTo, bezierCurveTo, pxRound), fill: null, clip: null, band: null, gaps: null, flags: BAND_CLIP_FILL };
      const stroke = _paths.stroke;
      let [bandFillDir, bandClipDir] = bandFillClipDirs(u, seriesIdx);
      if (series2.fill != null || bandFillDir != 0) {
        let fill2 = _paths.fill = new Path2D(stroke);
        let fillTo = series2.fillTo(u, seriesIdx, series2.min, series2.max, bandFillDir);
        let fillToY = pixelForY(fillTo);
        lineTo(fill2, prevXPos, fillToY);
        lineTo(fill2, firstXPos, fillToY);
      }
      if (!series2.spanGaps) {
        let gaps2 = [];
        gaps2.push(...findGaps(dataX, dataY, idx0, idx1, dir, pixelForX, alignGaps));
        _paths.gaps = gaps2 = series2.gaps(u, seriesIdx, idx0, idx1, gaps2);
        _paths.clip = clipGaps(gaps2, scaleX.ori, xOff, yOff, xDim, yDim);
      }
      if (bandClipDir != 0) {
        _paths.band = bandClipDir == 2 ? [
          clipBandLine(u, seriesIdx, idx0, idx1, stroke, -1),
          clipBandLine(u, seriesIdx, idx0, idx1, stroke, 1)
        ] : clipBandLine(u, seriesIdx, idx0, idx1, stroke, bandClipDir);
      }
      return _paths;
    });
  };
}
function monotoneCubic(opts) {
  return splineInterp(_monotoneCubic, opts);
}
function _monotoneCubic(xs, ys, moveTo, lineTo, bezierCurveTo, pxRound) {
  const n = xs.length;
  if (n < 2)
    return null;
  const path2 = new Path2D();
  moveTo(path2, xs[0], ys[0]);
  if (n == 2)
    lineTo(path2, xs[1], ys[1]);
  else {
    let ms = Array(n), ds = Array(n - 1), dys = Array(n - 1), dxs = Array(n - 1);
    for (let i = 0; i < n - 1; i++) {
      dys[i] = ys[i + 1] - ys[i];
      dxs[i] = xs[i + 1] - xs[i];
      ds[i] = dys[i] / dxs[i];
    }
    ms[0] = ds[0];
    for (let i = 1; i < n - 1; i++) {
      if (ds[i] === 0 || ds[i - 1] === 0 || ds[i - 1] > 0 !== ds[i] > 0)
        ms[i] = 0;
      else {
        ms[i] = 3 * (dxs[i - 1] + dxs[i]) / ((2 * dxs[i] + dxs[i - 1]) / ds[i - 1] + (dxs[i] + 2 * dxs[i - 1]) / ds[i]);
        if (!isFinite(ms[i]))
          ms[i] = 0;
      }
    }
    ms[n - 1] = ds[n - 2];
    for (let i = 0; i < n - 1; i++) {
      bezierCurveTo(
        path2,
        xs[i] + dxs[i] / 3,
        ys[i] + ms[i] * dxs[i] / 3,
        xs[i + 1] - dxs[i] / 3,
        ys[i + 1] - ms[i + 1] * dxs[i] / 3,
        xs[i + 1],
        ys[i + 1]
      );
    }
  }
  return path2;
}
var cursorPlots = /* @__PURE__ */ new Set();
function invalidateRects() {
  for (let u of cursorPlots)
    u.syncRect(true);
}
if (domEnv) {
  on(resize, win, invalidateRects);
  on(scroll, win, invalidateRects, true);
  on(dppxchange, win, () => {
    uPlot.pxRatio = pxRatio;
  });
}
var linearPath = linear();
var pointsPath = points();
function setDefaults(d, xo, yo, initY) {
  let d2 = initY ? [d[0], d[1]].concat(d.slice(2)) : [d[0]].concat(d.slice(1));
  return d2.map((o, i) => setDefault(o, i, xo, yo));
}
function setDefaults2(d, xyo) {
  return d.map((o, i) => i == 0 ? {} : assign({}, xyo, o));
}
function setDefault(o, i, xo, yo) {
  return assign({}, i == 0 ? xo : yo, o);
}
function snapNumX(self, dataMin, dataMax) {
  return dataMin == null ? nullNullTuple : [dataMin, dataMax];
}
var snapTimeX = snapNumX;
function snapNumY(self, dataMin, dataMax) {
  return dataMin == null ? nullNullTuple : rangeNum(dataMin, dataMax, rangePad, true);
}
function snapLogY(self, dataMin, dataMax, scale) {
  return dataMin == null ? nullNullTuple : rangeLog(dataMin, dataMax, self.scales[scale].log, false);
}
var snapLogX = snapLogY;
function snapAsinhY(self, dataMin, dataMax, scale) {
  return dataMin == null ? nullNullTuple : rangeAsinh(dataMin, dataMax, self.scales[scale].log, false);
}
var snapAsinhX = snapAsinhY;
function findIncr(minVal, maxVal, incrs, dim, minSpace) {
  let intDigits = max(numIntDigits(minVal), numIntDigits(maxVal));
  let delta = maxVal - minVal;
  let incrIdx = closestIdx(minSpace / dim * delta, incrs);
  do {
    let foundIncr = incrs[incrIdx];
    let foundSpace = dim * foundIncr / delta;
    if (foundSpace >= minSpace && intDigits + (foundIncr < 5 ? fixedDec.get(foundIncr) : 0) <= 17)
      return [foundIncr, foundSpace];
  } while (++incrIdx < incrs.length);
  return [0, 0];
}
function pxRatioFont(font2) {
  let fontSize, fontSizeCss;
  font2 = font2.replace(/(\d+)px/, (m, p1) => (fontSize = round((fontSizeCss = +p1) * pxRatio)) + "px");
  return [font2, fontSize, fontSizeCss];
}
function syncFontSize(axis) {
  if (axis.show) {
    [axis.font, axis.labelFont].forEach((f) => {
      let size = roundDec(f[2] * pxRatio, 1);
      f[0] = f[0].replace(/[0-9.]+px/, size + "px");
      f[1] = size;
    });
  }
}
function uPlot(opts, data, then) {
  const self = {
    mode: ifNull(opts.mode, 1)
  };
  const mode = self.mode;
  function getHPos(val, scale, dim, off2) {
    let pct = scale.valToPct(val);
    return off2 + dim * (scale.dir == -1 ? 1 - pct : pct);
  }
  function getVPos(val, scale, dim, off2) {
    let pct = scale.valToPct(val);
    return off2 + dim * (scale.dir == -1 ? pct : 1 - pct);
  }
  function getPos(val, scale, dim, off2) {
    return scale.ori == 0 ? getHPos(val, scale, dim, off2) : getVPos(val, scale, dim, off2);
  }
  self.valToPosH = getHPos;
  self.valToPosV = getVPos;
  let ready = false;
  self.status = 0;
  const root = self.root = placeDiv(UPLOT);
  if (opts.id != null)
    root.id = opts.id;
  addClass(root, opts.class);
  if (opts.title) {
    let title = placeDiv(TITLE, root);
    title.textContent = opts.title;
  }
  const can = placeTag("canvas");
  const ctx = self.ctx = can.getContext("2d");
  const wrap = placeDiv(WRAP, root);
  on("click", wrap, (e) => {
    if (e.target === over) {
      let didDrag = mouseLeft1 != mouseLeft0 || mouseTop1 != mouseTop0;
      didDrag && drag.click(self, e);
    }
  }, true);
  const under = self.under = placeDiv(UNDER, wrap);
  wrap.appendChild(can);
  const over = self.over = placeDiv(OVER, wrap);
  opts = copy(opts);
  const pxAlign = +ifNull(opts.pxAlign, 1);
  const pxRound = pxRoundGen(pxAlign);
  (opts.plugins || []).forEach((p) => {
    if (p.opts)
      opts = p.opts(self, opts) || opts;
  });
  const ms = opts.ms || 1e-3;
  const series2 = self.series = mode == 1 ? setDefaults(opts.series || [], xSeriesOpts, ySeriesOpts, false) : setDefaults2(opts.series || [null], xySeriesOpts);
  const axes = self.axes = setDefaults(opts.axes || [], xAxisOpts, yAxisOpts, true);
  const scales = self.scales = {};
  const bands = self.bands = opts.bands || [];
  bands.forEach((b) => {
    b.fill = fnOrSelf(b.fill || null);
    b.dir = ifNull(b.dir, -1);
  });
  const xScaleKey = mode == 2 ? series2[1].facets[0].scale : series2[0].scale;
  const drawOrderMap = {
    axes: drawAxesGrid,
    series: drawSeries
  };
  const drawOrder = (opts.drawOrder || ["axes", "series"]).map((key3) => drawOrderMap[key3]);
  function initValToPct(sc) {
    const getVal = sc.distr == 3 ? (val) => log10(val > 0 ? val : sc.clamp(self, val, sc.min, sc.max, sc.key)) : sc.distr == 4 ? (val) => asinh(val, sc.asinh) : sc.distr == 100 ? (val) => sc.fwd(val) : (val) => val;
    return (val) => {
      let _val = getVal(val);
      let { _min, _max } = sc;
      let delta = _max - _min;
      return (_val - _min) / delta;
    };
  }
  function initScale(scaleKey) {
    let sc = scales[scaleKey];
    if (sc == null) {
      let scaleOpts = (opts.scales || EMPTY_OBJ)[scaleKey] || EMPTY_OBJ;
      if (scaleOpts.from != null) {
        initScale(scaleOpts.from);
        let sc2 = assign({}, scales[scaleOpts.from], scaleOpts, { key: scaleKey });
        sc2.valToPct = initValToPct(sc2);
        scales[scaleKey] = sc2;
      } else {
        sc = scales[scaleKey] = assign({}, scaleKey == xScaleKey ? xScaleOpts : yScaleOpts, scaleOpts);
        sc.key = scaleKey;
        let isTime = sc.time;
        let rn = sc.range;
        let rangeIsArr = isArr(rn);
        if (scaleKey != xScaleKey || mode == 2 && !isTime) {
          if (rangeIsArr && (rn[0] == null || rn[1] == null)) {
            rn = {
              min: rn[0] == null ? autoRangePart : {
                mode: 1,
                hard: rn[0],
                soft: rn[0]
              },
              max: rn[1] == null ? autoRangePart : {
                mode: 1,
                hard: rn[1],
                soft: rn[1]
              }
            };
            rangeIsArr = false;
          }
          if (!rangeIsArr && isObj(rn)) {
            let cfg = rn;
            rn = (self2, dataMin, dataMax) => dataMin == null ? nullNullTuple : rangeNum(dataMin, dataMax, cfg);
          }
        }
        sc.range = fnOrSelf(rn || (isTime ? snapTimeX : scaleKey == xScaleKey ? sc.distr == 3 ? snapLogX : sc.distr == 4 ? snapAsinhX : snapNumX : sc.distr == 3 ? snapLogY : sc.distr == 4 ? snapAsinhY : snapNumY));
        sc.auto = fnOrSelf(rangeIsArr ? false : sc.auto);
        sc.clamp = fnOrSelf(sc.clamp || clampScale);
        sc._min = sc._max = null;
        sc.valToPct = initValToPct(sc);
      }
    }
  }
  initScale("x");
  initScale("y");
  if (mode == 1) {
    series2.forEach((s) => {
      initScale(s.scale);
    });
  }
  axes.forEach((a) => {
    initScale(a.scale);
  });
  for (let k in opts.scales)
    initScale(k);
  const scaleX = scales[xScaleKey];
  const xScaleDistr = scaleX.distr;
  let valToPosX, valToPosY;
  if (scaleX.ori == 0) {
    addClass(root, ORI_HZ);
    valToPosX = getHPos;
    valToPosY = getVPos;
  } else {
    addClass(root, ORI_VT);
    valToPosX = getVPos;
    valToPosY = getHPos;
  }
  const pendScales = {};
  for (let k in scales) {
    let sc = scales[k];
    if (sc.min != null || sc.max != null) {
      pendScales[k] = { min: sc.min, max: sc.max };
      sc.min = sc.max = null;
    }
  }
  const _tzDate = opts.tzDate || ((ts) => new Date(round(ts / ms)));
  const _fmtDate = opts.fmtDate || fmtDate;
  const _timeAxisSplits = ms == 1 ? timeAxisSplitsMs(_tzDate) : timeAxisSplitsS(_tzDate);
  const _timeAxisVals = timeAxisVals(_tzDate, timeAxisStamps(ms == 1 ? _timeAxisStampsMs : _timeAxisStampsS, _fmtDate));
  const _timeSeriesVal = timeSeriesVal(_tzDate, timeSeriesStamp(_timeSeriesStamp, _fmtDate));
  const activeIdxs = [];
  const legend = self.legend = assign({}, legendOpts, opts.legend);
  const cursor = self.cursor = assign({}, cursorOpts, { drag: { y: mode == 2 } }, opts.cursor);
  const showLegend = legend.show;
  const showCursor = cursor.show;
  const markers = legend.markers;
  {
    legend.idxs = activeIdxs;
    markers.width = fnOrSelf(markers.width);
    markers.dash = fnOrSelf(markers.dash);
    markers.stroke = fnOrSelf(markers.stroke);
    markers.fill = fnOrSelf(markers.fill);
  }
  let legendTable;
  let legendHead;
  let legendBody;
  let legendRows = [];
  let legendCells = [];
  let legendCols;
  let multiValLegend = false;
  let NULL_LEGEND_VALUES = {};
  if (legend.live) {
    const getMultiVals = series2[1] ? series2[1].values : null;
    multiValLegend = getMultiVals != null;
    legendCols = multiValLegend ? getMultiVals(self, 1, 0) : { _: 0 };
    for (let k in legendCols)
      NULL_LEGEND_VALUES[k] = LEGEND_DISP;
  }
  if (showLegend) {
    legendTable = placeTag("table", LEGEND, root);
    legendBody = placeTag("tbody", null, legendTable);
    legend.mount(self, legendTable);
    if (multiValLegend) {
      legendHead = placeTag("thead", null, legendTable, legendBody);
      let head10 = placeTag("tr", null, legendHead);
      placeTag("th", null, head10);
      for (var key2 in legendCols)
        placeTag("th", LEGEND_LABEL, head10).textContent = key2;
    } else {
      addClass(legendTable, LEGEND_INLINE);
      legend.live && addClass(legendTable, LEGEND_LIVE);
    }
  }
  const son = { show: true };
  const soff = { show: false };
  function initLegendRow(s, i) {
    if (i == 0 && (multiValLegend || !legend.live || mode == 2))
      return nullNullTuple;
    let cells = [];
    let row = placeTag("tr", LEGEND_SERIES, legendBody, legendBody.childNodes[i]);
    addClass(row, s.class);
    if (!s.show)
      addClass(row, OFF);
    let label2 = placeTag("th", null, row);
    if (markers.show) {
      let indic = placeDiv(LEGEND_MARKER, label2);
      if (i > 0) {
        let width = markers.width(self, i);
        if (width)
          indic.style.border = width + "px " + markers.dash(self, i) + " " + markers.stroke(self, i);
        indic.style.background = markers.fill(self, i);
      }
    }
    let text2 = placeDiv(LEGEND_LABEL, label2);
    if (s.label instanceof HTMLElement)
      text2.appendChild(s.label);
    else
      text2.textContent = s.label;
    if (i > 0) {
      if (!markers.show)
        text2.style.color = s.width > 0 ? markers.stroke(self, i) : markers.fill(self, i);
      onMouse("click", label2, (e) => {
        if (cursor._lock)
          return;
        setCursorEvent(e);
        let seriesIdx = series2.indexOf(s);
        if ((e.ctrlKey || e.metaKey) != legend.isolate) {
          let isolate = series2.some((s2, i2) => i2 > 0 && i2 != seriesIdx && s2.show);
          series2.forEach((s2, i2) => {
            i2 > 0 && setSeries(i2, isolate ? i2 == seriesIdx ? son : soff : son, true, syncOpts.setSeries);
          });
        } else
          setSeries(seriesIdx, { show: !s.show }, true, syncOpts.setSeries);
      }, false);
      if (cursorFocus) {
        onMouse(mouseenter, label2, (e) => {
          if (cursor._lock)
            return;
          setCursorEvent(e);
          setSeries(series2.indexOf(s), FOCUS_TRUE, true, syncOpts.setSeries);
        }, false);
      }
    }
    for (var key3 in legendCols) {
      let v = placeTag("td", LEGEND_VALUE, row);
      v.textContent = "--";
      cells.push(v);
    }
    return [row, cells];
  }
  const mouseListeners = /* @__PURE__ */ new Map();
  function onMouse(ev, targ, fn, onlyTarg = true) {
    const targListeners = mouseListeners.get(targ) || {};
    const listener = cursor.bind[ev](self, targ, fn, onlyTarg);
    if (listener) {
      on(ev, targ, targListeners[ev] = listener);
      mouseListeners.set(targ, targListeners);
    }
  }
  function offMouse(ev, targ, fn) {
    const targListeners = mouseListeners.get(targ) || {};
    for (let k in targListeners) {
      if (ev == null || k == ev) {
        off(k, targ, targListeners[k]);
        delete targListeners[k];
      }
    }
    if (ev == null)
      mouseListeners.delete(targ);
  }
  let fullWidCss = 0;
  let fullHgtCss = 0;
  let plotWidCss = 0;
  let plotHgtCss = 0;
  let plotLftCss = 0;
  let plotTopCss = 0;
  let _plotLftCss = plotLftCss;
  let _plotTopCss = plotTopCss;
  let _plotWidCss = plotWidCss;
  let _plotHgtCss = plotHgtCss;
  let plotLft = 0;
  let plotTop = 0;
  let plotWid = 0;
  let plotHgt = 0;
  self.bbox = {};
  let shouldSetScales = false;
  let shouldSetSize = false;
  let shouldConvergeSize = false;
  let shouldSetCursor = false;
  let shouldSetSelect = false;
  let shouldSetLegend = false;
  function _setSize(width, height, force) {
    if (force || (width != self.width || height != self.height))
      calcSize(width, height);
    resetYSeries(false);
    shouldConvergeSize = true;
    shouldSetSize = true;
    commit();
  }
  function calcSize(width, height) {
    self.width = fullWidCss = plotWidCss = width;
    self.height = fullHgtCss = plotHgtCss = height;
    plotLftCss = plotTopCss = 0;
    calcPlotRect();
    calcAxesRects();
    let bb = self.bbox;
    plotLft = bb.left = incrRound(plotLftCss * pxRatio, 0.5);
    plotTop = bb.top = incrRound(plotTopCss * pxRatio, 0.5);
    plotWid = bb.width = incrRound(plotWidCss * pxRatio, 0.5);
    plotHgt = bb.height = incrRound(plotHgtCss * pxRatio, 0.5);
  }
  const CYCLE_LIMIT = 3;
  function convergeSize() {
    let converged = false;
    let cycleNum = 0;
    while (!converged) {
      cycleNum++;
      let axesConverged = axesCalc(cycleNum);
      let paddingConverged = paddingCalc(cycleNum);
      converged = cycleNum == CYCLE_LIMIT || axesConverged && paddingConverged;
      if (!converged) {
        calcSize(self.width, self.height);
        shouldSetSize = true;
      }
    }
  }
  function setSize({ width, height }) {
    _setSize(width, height);
  }
  self.setSize = setSize;
  function calcPlotRect() {
    let hasTopAxis = false;
    let hasBtmAxis = false;
    let hasRgtAxis = false;
    let hasLftAxis = false;
    axes.forEach((axis, i) => {
      if (axis.show && axis._show) {
        let { side, _size } = axis;
        let isVt = side % 2;
        let labelSize = axis.label != null ? axis.labelSize : 0;
        let fullSize = _size + labelSize;
        if (fullSize > 0) {
          if (isVt) {
            plotWidCss -= fullSize;
            if (side == 3) {
              plotLftCss += fullSize;
              hasLftAxis = true;
            } else
              hasRgtAxis = true;
          } else {
            plotHgtCss -= fullSize;
            if (side == 0) {
              plotTopCss += fullSize;
              hasTopAxis = true;
            } else
              hasBtmAxis = true;
          }
        }
      }
    });
    sidesWithAxes[0] = hasTopAxis;
    sidesWithAxes[1] = hasRgtAxis;
    sidesWithAxes[2] = hasBtmAxis;
    sidesWithAxes[3] = hasLftAxis;
    plotWidCss -= _padding[1] + _padding[3];
    plotLftCss += _padding[3];
    plotHgtCss -= _padding[2] + _padding[0];
    plotTopCss += _padding[0];
  }
  function calcAxesRects() {
    let off1 = plotLftCss + plotWidCss;
    let off2 = plotTopCss + plotHgtCss;
    let off3 = plotLftCss;
    let off0 = plotTopCss;
    function incrOffset(side, size) {
      switch (side) {
        case 1:
          off1 += size;
          return off1 - size;
        case 2:
          off2 += size;
          return off2 - size;
        case 3:
          off3 -= size;
          return off3 + size;
        case 0:
          off0 -= size;
          return off0 + size;
      }
    }
    axes.forEach((axis, i) => {
      if (axis.show && axis._show) {
        let side = axis.side;
        axis._pos = incrOffset(side, axis._size);
        if (axis.label != null)
          axis._lpos = incrOffset(side, axis.labelSize);
      }
    });
  }
  if (cursor.dataIdx == null) {
    let hov = cursor.hover;
    let skip = hov.skip = new Set(hov.skip ?? []);
    skip.add(void 0);
    let prox = hov.prox = fnOrSelf(hov.prox);
    let bias = hov.bias ??= 0;
    cursor.dataIdx = (self2, seriesIdx, cursorIdx, valAtPosX) => {
      if (seriesIdx == 0)
        return cursorIdx;
      let idx2 = cursorIdx;
      let _prox = prox(self2, seriesIdx, cursorIdx, valAtPosX) ?? inf;
      let withProx = _prox >= 0 && _prox < inf;
      let xDim = scaleX.ori == 0 ? plotWidCss : plotHgtCss;
      let cursorLft = cursor.left;
      let xValues = data[0];
      let yValues = data[seriesIdx];
      if (skip.has(yValues[cursorIdx])) {
        idx2 = null;
        let nonNullLft = null, nonNullRgt = null, j;
        if (bias == 0 || bias == -1) {
          j = cursorIdx;
          while (nonNullLft == null && j-- > 0) {
            if (!skip.has(yValues[j]))
              nonNullLft = j;
          }
        }
        if (bias == 0 || bias == 1) {
          j = cursorIdx;
          while (nonNullRgt == null && j++ < yValues.length) {
            if (!skip.has(yValues[j]))
              nonNullRgt = j;
          }
        }
        if (nonNullLft != null || nonNullRgt != null) {
          if (withProx) {
            let lftPos = nonNullLft == null ? -Infinity : valToPosX(xValues[nonNullLft], scaleX, xDim, 0);
            let rgtPos = nonNullRgt == null ? Infinity : valToPosX(xValues[nonNullRgt], scaleX, xDim, 0);
            let lftDelta = cursorLft - lftPos;
            let rgtDelta = rgtPos - cursorLft;
            if (lftDelta <= rgtDelta) {
              if (lftDelta <= _prox)
                idx2 = nonNullLft;
            } else {
              if (rgtDelta <= _prox)
                idx2 = nonNullRgt;
            }
          } else {
            idx2 = nonNullRgt == null ? nonNullLft : nonNullLft == null ? nonNullRgt : cursorIdx - nonNullLft <= nonNullRgt - cursorIdx ? nonNullLft : nonNullRgt;
          }
        }
      } else if (withProx) {
        let dist = abs(cursorLft - valToPosX(xValues[cursorIdx], scaleX, xDim, 0));
        if (dist > _prox)
          idx2 = null;
      }
      return idx2;
    };
  }
  const setCursorEvent = (e) => {
    cursor.event = e;
  };
  cursor.idxs = activeIdxs;
  cursor._lock = false;
  let points2 = cursor.points;
  points2.show = fnOrSelf(points2.show);
  points2.size = fnOrSelf(points2.size);
  points2.stroke = fnOrSelf(points2.stroke);
  points2.width = fnOrSelf(points2.width);
  points2.fill = fnOrSelf(points2.fill);
  const focus = self.focus = assign({}, opts.focus || { alpha: 0.3 }, cursor.focus);
  const cursorFocus = focus.prox >= 0;
  const cursorOnePt = cursorFocus && points2.one;
  let cursorPts = [];
  let cursorPtsLft = [];
  let cursorPtsTop = [];
  function initCursorPt(s, si) {
    let pt = points2.show(self, si);
    if (pt instanceof HTMLElement) {
      addClass(pt, CURSOR_PT);
      addClass(pt, s.class);
      elTrans(pt, -10, -10, plotWidCss, plotHgtCss);
      over.insertBefore(pt, cursorPts[si]);
      return pt;
    }
  }
  function initSeries(s, i) {
    if (mode == 1 || i > 0) {
      let isTime = mode == 1 && scales[s.scale].time;
      let sv = s.value;
      s.value = isTime ? isStr(sv) ? timeSeriesVal(_tzDate, timeSeriesStamp(sv, _fmtDate)) : sv || _timeSeriesVal : sv || numSeriesVal;
      s.label = s.label || (isTime ? timeSeriesLabel : numSeriesLabel);
    }
    if (cursorOnePt || i > 0) {
      s.width = s.width == null ? 1 : s.width;
      s.paths = s.paths || linearPath || retNull;
      s.fillTo = fnOrSelf(s.fillTo || seriesFillTo);
      s.pxAlign = +ifNull(s.pxAlign, pxAlign);
      s.pxRound = pxRoundGen(s.pxAlign);
      s.stroke = fnOrSelf(s.stroke || null);
      s.fill = fnOrSelf(s.fill || null);
      s._stroke = s._fill = s._paths = s._focus = null;
      let _ptDia = ptDia(max(1, s.width), 1);
      let points3 = s.points = assign({}, {
        size: _ptDia,
        width: max(1, _ptDia * 0.2),
        stroke: s.stroke,
        space: _ptDia * 2,
        paths: pointsPath,
        _stroke: null,
        _fill: null
      }, s.points);
      points3.show = fnOrSelf(points3.show);
      points3.filter = fnOrSelf(points3.filter);
      points3.fill = fnOrSelf(points3.fill);
      points3.stroke = fnOrSelf(points3.stroke);
      points3.paths = fnOrSelf(points3.paths);
      points3.pxAlign = s.pxAlign;
    }
    if (showLegend) {
      let rowCells = initLegendRow(s, i);
      legendRows.splice(i, 0, rowCells[0]);
      legendCells.splice(i, 0, rowCells[1]);
      legend.values.push(null);
    }
    if (showCursor) {
      activeIdxs.splice(i, 0, null);
      let pt = null;
      if (cursorOnePt) {
        if (i == 0)
          pt = initCursorPt(s, i);
      } else if (i > 0)
        pt = initCursorPt(s, i);
      cursorPts.splice(i, 0, pt);
      cursorPtsLft.splice(i, 0, 0);
      cursorPtsTop.splice(i, 0, 0);
    }
    fire("addSeries", i);
  }
  function addSeries(opts2, si) {
    si = si == null ? series2.length : si;
    opts2 = mode == 1 ? setDefault(opts2, si, xSeriesOpts, ySeriesOpts) : setDefault(opts2, si, {}, xySeriesOpts);
    series2.splice(si, 0, opts2);
    initSeries(series2[si], si);
  }
  self.addSeries = addSeries;
  function delSeries(i) {
    series2.splice(i, 1);
    if (showLegend) {
      legend.values.splice(i, 1);
      legendCells.splice(i, 1);
      let tr = legendRows.splice(i, 1)[0];
      offMouse(null, tr.firstChild);
      tr.remove();
    }
    if (showCursor) {
      activeIdxs.splice(i, 1);
      cursorPts.splice(i, 1)[0].remove();
      cursorPtsLft.splice(i, 1);
      cursorPtsTop.splice(i, 1);
    }
    fire("delSeries", i);
  }
  self.delSeries = delSeries;
  const sidesWithAxes = [false, false, false, false];
  function initAxis(axis, i) {
    axis._show = axis.show;
    if (axis.show) {
      let isVt = axis.side % 2;
      let sc = scales[axis.scale];
      if (sc == null) {
        axis.scale = isVt ? series2[1].scale : xScaleKey;
        sc = scales[axis.scale];
      }
      let isTime = sc.time;
      axis.size = fnOrSelf(axis.size);
      axis.space = fnOrSelf(axis.space);
      axis.rotate = fnOrSelf(axis.rotate);
      if (isArr(axis.incrs)) {
        axis.incrs.forEach((incr) => {
          !fixedDec.has(incr) && fixedDec.set(incr, guessDec(incr));
        });
      }
      axis.incrs = fnOrSelf(axis.incrs || (sc.distr == 2 ? wholeIncrs : isTime ? ms == 1 ? timeIncrsMs : timeIncrsS : numIncrs));
      axis.splits = fnOrSelf(axis.splits || (isTime && sc.distr == 1 ? _timeAxisSplits : sc.distr == 3 ? logAxisSplits : sc.distr == 4 ? asinhAxisSplits : numAxisSplits));
      axis.stroke = fnOrSelf(axis.stroke);
      axis.grid.stroke = fnOrSelf(axis.grid.stroke);
      axis.ticks.stroke = fnOrSelf(axis.ticks.stroke);
      axis.border.stroke = fnOrSelf(axis.border.stroke);
      let av = axis.values;
      axis.values = // static array of tick values
      isArr(av) && !isArr(av[0]) ? fnOrSelf(av) : (
        // temporal
        isTime ? (
          // config array of fmtDate string tpls
          isArr(av) ? timeAxisVals(_tzDate, timeAxisStamps(av, _fmtDate)) : (
            // fmtDate string tpl
            isStr(av) ? timeAxisVal(_tzDate, av) : av || _timeAxisVals
          )
        ) : av || numAxisVals
      );
      axis.filter = fnOrSelf(axis.filter || (sc.distr >= 3 && sc.log == 10 ? log10AxisValsFilt : sc.distr == 3 && sc.log == 2 ? log2AxisValsFilt : retArg1));
      axis.font = pxRatioFont(axis.font);
      axis.labelFont = pxRatioFont(axis.labelFont);
      axis._size = axis.size(self, null, i, 0);
      axis._space = axis._rotate = axis._incrs = axis._found = // foundIncrSpace
      axis._splits = axis._values = null;
      if (axis._size > 0) {
        sidesWithAxes[i] = true;
        axis._el = placeDiv(AXIS, wrap);
      }
    }
  }
  function autoPadSide(self2, side, sidesWithAxes2, cycleNum) {
    let [hasTopAxis, hasRgtAxis, hasBtmAxis, hasLftAxis] = sidesWithAxes2;
    let ori = side % 2;
    let size = 0;
    if (ori == 0 && (hasLftAxis || hasRgtAxis))
      size = side == 0 && !hasTopAxis || side == 2 && !hasBtmAxis ? round(xAxisOpts.size / 3) : 0;
    if (ori == 1 && (hasTopAxis || hasBtmAxis))
      size = side == 1 && !hasRgtAxis || side == 3 && !hasLftAxis ? round(yAxisOpts.size / 2) : 0;
    return size;
  }
  const padding = self.padding = (opts.padding || [autoPadSide, autoPadSide, autoPadSide, autoPadSide]).map((p) => fnOrSelf(ifNull(p, autoPadSide)));
  const _padding = self._padding = padding.map((p, i) => p(self, i, sidesWithAxes, 0));
  let dataLen;
  let i0 = null;
  let i1 = null;
  const idxs = mode == 1 ? series2[0].idxs : null;
  let data0 = null;
  let viaAutoScaleX = false;
  function setData(_data, _resetScales) {
    data = _data == null ? [] : _data;
    self.data = self._data = data;
    if (mode == 2) {
      dataLen = 0;
      for (let i = 1; i < series2.length; i++)
        dataLen += data[i][0].length;
    } else {
      if (data.length == 0)
        self.data = self._data = data = [[]];
      data0 = data[0];
      dataLen = data0.length;
      let scaleData = data;
      if (xScaleDistr == 2) {
        scaleData = data.slice();
        let _data0 = scaleData[0] = Array(dataLen);
        for (let i = 0; i < dataLen; i++)
          _data0[i] = i;
      }
      self._data = data = scaleData;
    }
    resetYSeries(true);
    fire("setData");
    if (xScaleDistr == 2) {
      shouldConvergeSize = true;
    }
    if (_resetScales !== false) {
      let xsc = scaleX;
      if (xsc.auto(self, viaAutoScaleX))
        autoScaleX();
      else
        _setScale(xScaleKey, xsc.min, xsc.max);
      shouldSetCursor = shouldSetCursor || cursor.left >= 0;
      shouldSetLegend = true;
      commit();
    }
  }
  self.setData = setData;
  function autoScaleX() {
    viaAutoScaleX = true;
    let _min, _max;
    if (mode == 1) {
      if (dataLen > 0) {
        i0 = idxs[0] = 0;
        i1 = idxs[1] = dataLen - 1;
        _min = data[0][i0];
        _max = data[0][i1];
        if (xScaleDistr == 2) {
          _min = i0;
          _max = i1;
        } else if (_min == _max) {
          if (xScaleDistr == 3)
            [_min, _max] = rangeLog(_min, _min, scaleX.log, false);
          else if (xScaleDistr == 4)
            [_min, _max] = rangeAsinh(_min, _min, scaleX.log, false);
          else if (scaleX.time)
            _max = _min + round(86400 / ms);
          else
            [_min, _max] = rangeNum(_min, _max, rangePad, true);
        }
      } else {
        i0 = idxs[0] = _min = null;
        i1 = idxs[1] = _max = null;
      }
    }
    _setScale(xScaleKey, _min, _max);
  }
  let ctxStroke, ctxFill, ctxWidth, ctxDash, ctxJoin, ctxCap, ctxFont, ctxAlign, ctxBaseline;
  let ctxAlpha;
  function setCtxStyle(stroke, width, dash, cap, fill2, join2) {
    stroke ??= transparent;
    dash ??= EMPTY_ARR;
    cap ??= "butt";
    fill2 ??= transparent;
    join2 ??= "round";
    if (stroke != ctxStroke)
      ctx.strokeStyle = ctxStroke = stroke;
    if (fill2 != ctxFill)
      ctx.fillStyle = ctxFill = fill2;
    if (width != ctxWidth)
      ctx.lineWidth = ctxWidth = width;
    if (join2 != ctxJoin)
      ctx.lineJoin = ctxJoin = join2;
    if (cap != ctxCap)
      ctx.lineCap = ctxCap = cap;
    if (dash != ctxDash)
      ctx.setLineDash(ctxDash = dash);
  }
  function setFontStyle(font2, fill2, align, baseline) {
    if (fill2 != ctxFill)
      ctx.fillStyle = ctxFill = fill2;
    if (font2 != ctxFont)
      ctx.font = ctxFont = font2;
    if (align != ctxAlign)
      ctx.textAlign = ctxAlign = align;
    if (baseline != ctxBaseline)
      ctx.textBaseline = ctxBaseline = baseline;
  }
  function accScale(wsc, psc, facet2, data2, sorted = 0) {
    if (data2.length > 0 && wsc.auto(self, viaAutoScaleX) && (psc == null || psc.min == null)) {
      let _i0 = ifNull(i0, 0);
      let _i1 = ifNull(i1, data2.length - 1);
      let minMax = facet2.min == null ? getMinMax(data2, _i0, _i1, sorted, wsc.distr == 3) : [facet2.min, facet2.max];
      wsc.min = min(wsc.min, facet2.min = minMax[0]);
      wsc.max = max(wsc.max, facet2.max = minMax[1]);
    }
  }
  const AUTOSCALE = { min: null, max: null };
  function setScales() {
    for (let k in scales) {
      let sc = scales[k];
      if (pendScales[k] == null && // scales that have never been set (on init)
      (sc.min == null || // or auto scales when the x scale was explicitly set
      pendScales[xScaleKey] != null && sc.auto(self, viaAutoScaleX))) {
        pendScales[k] = AUTOSCALE;
      }
    }
    for (let k in scales) {
      let sc = scales[k];
      if (pendScales[k] == null && sc.from != null && pendScales[sc.from] != null)
        pendScales[k] = AUTOSCALE;
    }
    if (pendScales[xScaleKey] != null)
      resetYSeries(true);
    let wipScales = {};
    for (let k in pendScales) {
      let psc = pendScales[k];
      if (psc != null) {
        let wsc = wipScales[k] = copy(scales[k], fastIsObj);
        if (psc.min != null)
          assign(wsc, psc);
        else if (k != xScaleKey || mode == 2) {
          if (dataLen == 0 && wsc.from == null) {
            let minMax = wsc.range(self, null, null, k);
            wsc.min = minMax[0];
            wsc.max = minMax[1];
          } else {
            wsc.min = inf;
            wsc.max = -inf;
          }
        }
      }
    }
    if (dataLen > 0) {
      series2.forEach((s, i) => {
        if (mode == 1) {
          let k = s.scale;
          let psc = pendScales[k];
          if (psc == null)
            return;
          let wsc = wipScales[k];
          if (i == 0) {
            let minMax = wsc.range(self, wsc.min, wsc.max, k);
            wsc.min = minMax[0];
            wsc.max = minMax[1];
            i0 = closestIdx(wsc.min, data[0]);
            i1 = closestIdx(wsc.max, data[0]);
            if (i1 - i0 > 1) {
              if (data[0][i0] < wsc.min)
                i0++;
              if (data[0][i1] > wsc.max)
                i1--;
            }
            s.min = data0[i0];
            s.max = data0[i1];
          } else if (s.show && s.auto)
            accScale(wsc, psc, s, data[i], s.sorted);
          s.idxs[0] = i0;
          s.idxs[1] = i1;
        } else {
          if (i > 0) {
            if (s.show && s.auto) {
              let [xFacet, yFacet] = s.facets;
              let xScaleKey2 = xFacet.scale;
              let yScaleKey = yFacet.scale;
              let [xData, yData] = data[i];
              let wscx = wipScales[xScaleKey2];
              let wscy = wipScales[yScaleKey];
              wscx != null && accScale(wscx, pendScales[xScaleKey2], xFacet, xData, xFacet.sorted);
              wscy != null && accScale(wscy, pendScales[yScaleKey], yFacet, yData, yFacet.sorted);
              s.min = yFacet.min;
              s.max = yFacet.max;
            }
          }
        }
      });
      for (let k in wipScales) {
        let wsc = wipScales[k];
        let psc = pendScales[k];
        if (wsc.from == null && (psc == null || psc.min == null)) {
          let minMax = wsc.range(
            self,
            wsc.min == inf ? null : wsc.min,
            wsc.max == -inf ? null : wsc.max,
            k
          );
          wsc.min = minMax[0];
          wsc.max = minMax[1];
        }
      }
    }
    for (let k in wipScales) {
      let wsc = wipScales[k];
      if (wsc.from != null) {
        let base = wipScales[wsc.from];
        if (base.min == null)
          wsc.min = wsc.max = null;
        else {
          let minMax = wsc.range(self, base.min, base.max, k);
          wsc.min = minMax[0];
          wsc.max = minMax[1];
        }
      }
    }
    let changed9 = {};
    let anyChanged = false;
    for (let k in wipScales) {
      let wsc = wipScales[k];
      let sc = scales[k];
      if (sc.min != wsc.min || sc.max != wsc.max) {
        sc.min = wsc.min;
        sc.max = wsc.max;
        let distr = sc.distr;
        sc._min = distr == 3 ? log10(sc.min) : distr == 4 ? asinh(sc.min, sc.asinh) : distr == 100 ? sc.fwd(sc.min) : sc.min;
        sc._max = distr == 3 ? log10(sc.max) : distr == 4 ? asinh(sc.max, sc.asinh) : distr == 100 ? sc.fwd(sc.max) : sc.max;
        changed9[k] = anyChanged = true;
      }
    }
    if (anyChanged) {
      series2.forEach((s, i) => {
        if (mode == 2) {
          if (i > 0 && changed9.y)
            s._paths = null;
        } else {
          if (changed9[s.scale])
            s._paths = null;
        }
      });
      for (let k in changed9) {
        shouldConvergeSize = true;
        fire("setScale", k);
      }
      if (showCursor && cursor.left >= 0)
        shouldSetCursor = shouldSetLegend = true;
    }
    for (let k in pendScales)
      pendScales[k] = null;
  }
  function getOuterIdxs(ydata) {
    let _i0 = clamp(i0 - 1, 0, dataLen - 1);
    let _i1 = clamp(i1 + 1, 0, dataLen - 1);
    while (ydata[_i0] == null && _i0 > 0)
      _i0--;
    while (ydata[_i1] == null && _i1 < dataLen - 1)
      _i1++;
    return [_i0, _i1];
  }
  function drawSeries() {
    if (dataLen > 0) {
      let shouldAlpha = series2.some((s) => s._focus) && ctxAlpha != focus.alpha;
      if (shouldAlpha)
        ctx.globalAlpha = ctxAlpha = focus.alpha;
      series2.forEach((s, i) => {
        if (i > 0 && s.show) {
          cacheStrokeFill(i, false);
          cacheStrokeFill(i, true);
          if (s._paths == null) {
            let _ctxAlpha = ctxAlpha;
            if (ctxAlpha != s.alpha)
              ctx.globalAlpha = ctxAlpha = s.alpha;
            let _idxs = mode == 2 ? [0, data[i][0].length - 1] : getOuterIdxs(data[i]);
            s._paths = s.paths(self, i, _idxs[0], _idxs[1]);
            if (ctxAlpha != _ctxAlpha)
              ctx.globalAlpha = ctxAlpha = _ctxAlpha;
          }
        }
      });
      series2.forEach((s, i) => {
        if (i > 0 && s.show) {
          let _ctxAlpha = ctxAlpha;
          if (ctxAlpha != s.alpha)
            ctx.globalAlpha = ctxAlpha = s.alpha;
          s._paths != null && drawPath(i, false);
          {
            let _gaps = s._paths != null ? s._paths.gaps : null;
            let show2 = s.points.show(self, i, i0, i1, _gaps);
            let idxs2 = s.points.filter(self, i, show2, _gaps);
            if (show2 || idxs2) {
              s.points._paths = s.points.paths(self, i, i0, i1, idxs2);
              drawPath(i, true);
            }
          }
          if (ctxAlpha != _ctxAlpha)
            ctx.globalAlpha = ctxAlpha = _ctxAlpha;
          fire("drawSeries", i);
        }
      });
      if (shouldAlpha)
        ctx.globalAlpha = ctxAlpha = 1;
    }
  }
  function cacheStrokeFill(si, _points) {
    let s = _points ? series2[si].points : series2[si];
    s._stroke = s.stroke(self, si);
    s._fill = s.fill(self, si);
  }
  function drawPath(si, _points) {
    let s = _points ? series2[si].points : series2[si];
    let {
      stroke,
      fill: fill2,
      clip: gapsClip,
      flags,
      _stroke: strokeStyle = s._stroke,
      _fill: fillStyle = s._fill,
      _width: width = s.width
    } = s._paths;
    width = roundDec(width * pxRatio, 3);
    let boundsClip = null;
    let offset = width % 2 / 2;
    if (_points && fillStyle == null)
      fillStyle = width > 0 ? "#fff" : strokeStyle;
    let _pxAlign = s.pxAlign == 1 && offset > 0;
    _pxAlign && ctx.translate(offset, offset);
    if (!_points) {
      let lft = plotLft - width / 2, top = plotTop - width / 2, wid = plotWid + width, hgt = plotHgt + width;
      boundsClip = new Path2D();
      boundsClip.rect(lft, top, wid, hgt);
    }
    if (_points)
      strokeFill(strokeStyle, width, s.dash, s.cap, fillStyle, stroke, fill2, flags, gapsClip);
    else
      fillStroke(si, strokeStyle, width, s.dash, s.cap, fillStyle, stroke, fill2, flags, boundsClip, gapsClip);
    _pxAlign && ctx.translate(-offset, -offset);
  }
  function fillStroke(si, strokeStyle, lineWidth, lineDash, lineCap, fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip) {
    let didStrokeFill = false;
    flags != 0 && bands.forEach((b, bi) => {
      if (b.series[0] == si) {
        let lowerEdge = series2[b.series[1]];
        let lowerData = data[b.series[1]];
        let bandClip = (lowerEdge._paths || EMPTY_OBJ).band;
        if (isArr(bandClip))
          bandClip = b.dir == 1 ? bandClip[0] : bandClip[1];
        let gapsClip2;
        let _fillStyle = null;
        if (lowerEdge.show && bandClip && hasData(lowerData, i0, i1)) {
          _fillStyle = b.fill(self, bi) || fillStyle;
          gapsClip2 = lowerEdge._paths.clip;
        } else
          bandClip = null;
        strokeFill(strokeStyle, lineWidth, lineDash, lineCap, _fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip, gapsClip2, bandClip);
        didStrokeFill = true;
      }
    });
    if (!didStrokeFill)
      strokeFill(strokeStyle, lineWidth, lineDash, lineCap, fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip);
  }
  const CLIP_FILL_STROKE = BAND_CLIP_FILL | BAND_CLIP_STROKE;
  function strokeFill(strokeStyle, lineWidth, lineDash, lineCap, fillStyle, strokePath, fillPath, flags, boundsClip, gapsClip, gapsClip2, bandClip) {
    setCtxStyle(strokeStyle, lineWidth, lineDash, lineCap, fillStyle);
    if (boundsClip || gapsClip || bandClip) {
      ctx.save();
      boundsClip && ctx.clip(boundsClip);
      gapsClip && ctx.clip(gapsClip);
    }
    if (bandClip) {
      if ((flags & CLIP_FILL_STROKE) == CLIP_FILL_STROKE) {
        ctx.clip(bandClip);
        gapsClip2 && ctx.clip(gapsClip2);
        doFill(fillStyle, fillPath);
        doStroke(strokeStyle, strokePath, lineWidth);
      } else if (flags & BAND_CLIP_STROKE) {
        doFill(fillStyle, fillPath);
        ctx.clip(bandClip);
        doStroke(strokeStyle, strokePath, lineWidth);
      } else if (flags & BAND_CLIP_FILL) {
        ctx.save();
        ctx.clip(bandClip);
        gapsClip2 && ctx.clip(gapsClip2);
        doFill(fillStyle, fillPath);
        ctx.restore();
        doStroke(strokeStyle, strokePath, lineWidth);
      }
    } else {
      doFill(fillStyle, fillPath);
      doStroke(strokeStyle, strokePath, lineWidth);
    }
    if (boundsClip || gapsClip || bandClip)
      ctx.restore();
  }
  function doStroke(strokeStyle, strokePath, lineWidth) {
    if (lineWidth > 0) {
      if (strokePath instanceof Map) {
        strokePath.forEach((strokePath2, strokeStyle2) => {
          ctx.strokeStyle = ctxStroke = strokeStyle2;
          ctx.stroke(strokePath2);
        });
      } else
        strokePath != null && strokeStyle && ctx.stroke(strokePath);
    }
  }
  function doFill(fillStyle, fillPath) {
    if (fillPath instanceof Map) {
      fillPath.forEach((fillPath2, fillStyle2) => {
        ctx.fillStyle = ctxFill = fillStyle2;
        ctx.fill(fillPath2);
      });
    } else
      fillPath != null && fillStyle && ctx.fill(fillPath);
  }
  function getIncrSpace(axisIdx, min2, max2, fullDim) {
    let axis = axes[axisIdx];
    let incrSpace;
    if (fullDim <= 0)
      incrSpace = [0, 0];
    else {
      let minSpace = axis._space = axis.space(self, axisIdx, min2, max2, fullDim);
      let incrs = axis._incrs = axis.incrs(self, axisIdx, min2, max2, fullDim, minSpace);
      incrSpace = findIncr(min2, max2, incrs, fullDim, minSpace);
    }
    return axis._found = incrSpace;
  }
  function drawOrthoLines(offs, filts, ori, side, pos0, len, width, stroke, dash, cap) {
    let offset = width % 2 / 2;
    pxAlign == 1 && ctx.translate(offset, offset);
    setCtxStyle(stroke, width, dash, cap, stroke);
    ctx.beginPath();
    let x0, y0, x1, y1, pos1 = pos0 + (side == 0 || side == 3 ? -len : len);
    if (ori == 0) {
      y0 = pos0;
      y1 = pos1;
    } else {
      x0 = pos0;
      x1 = pos1;
    }
    for (let i = 0; i < offs.length; i++) {
      if (filts[i] != null) {
        if (ori == 0)
          x0 = x1 = offs[i];
        else
          y0 = y1 = offs[i];
        ctx.moveTo(x0, y0);
        ctx.lineTo(x1, y1);
      }
    }
    ctx.stroke();
    pxAlign == 1 && ctx.translate(-offset, -offset);
  }
  function axesCalc(cycleNum) {
    let converged = true;
    axes.forEach((axis, i) => {
      if (!axis.show)
        return;
      let scale = scales[axis.scale];
      if (scale.min == null) {
        if (axis._show) {
          converged = false;
          axis._show = false;
          resetYSeries(false);
        }
        return;
      } else {
        if (!axis._show) {
          converged = false;
          axis._show = true;
          resetYSeries(false);
        }
      }
      let side = axis.side;
      let ori = side % 2;
      let { min: min2, max: max2 } = scale;
      let [_incr, _space] = getIncrSpace(i, min2, max2, ori == 0 ? plotWidCss : plotHgtCss);
      if (_space == 0)
        return;
      let forceMin = scale.distr == 2;
      let _splits = axis._splits = axis.splits(self, i, min2, max2, _incr, _space, forceMin);
      let splits = scale.distr == 2 ? _splits.map((i2) => data0[i2]) : _splits;
      let incr = scale.distr == 2 ? data0[_splits[1]] - data0[_splits[0]] : _incr;
      let values = axis._values = axis.values(self, axis.filter(self, splits, i, _space, incr), i, _space, incr);
      axis._rotate = side == 2 ? axis.rotate(self, values, i, _space) : 0;
      let oldSize = axis._size;
      axis._size = ceil(axis.size(self, values, i, cycleNum));
      if (oldSize != null && axis._size != oldSize)
        converged = false;
    });
    return converged;
  }
  function paddingCalc(cycleNum) {
    let converged = true;
    padding.forEach((p, i) => {
      let _p = p(self, i, sidesWithAxes, cycleNum);
      if (_p != _padding[i])
        converged = false;
      _padding[i] = _p;
    });
    return converged;
  }
  function drawAxesGrid() {
    for (let i = 0; i < axes.length; i++) {
      let axis = axes[i];
      if (!axis.show || !axis._show)
        continue;
      let side = axis.side;
      let ori = side % 2;
      let x, y;
      let fillStyle = axis.stroke(self, i);
      let shiftDir = side == 0 || side == 3 ? -1 : 1;
      let [_incr, _space] = axis._found;
      if (axis.label != null) {
        let shiftAmt2 = axis.labelGap * shiftDir;
        let baseLpos = round((axis._lpos + shiftAmt2) * pxRatio);
        setFontStyle(axis.labelFont[0], fillStyle, "center", side == 2 ? TOP : BOTTOM);
        ctx.save();
        if (ori == 1) {
          x = y = 0;
          ctx.translate(
            baseLpos,
            round(plotTop + plotHgt / 2)
          );
          ctx.rotate((side == 3 ? -PI : PI) / 2);
        } else {
          x = round(plotLft + plotWid / 2);
          y = baseLpos;
        }
        let _label = isFn(axis.label) ? axis.label(self, i, _incr, _space) : axis.label;
        ctx.fillText(_label, x, y);
        ctx.restore();
      }
      if (_space == 0)
        continue;
      let scale = scales[axis.scale];
      let plotDim = ori == 0 ? plotWid : plotHgt;
      let plotOff = ori == 0 ? plotLft : plotTop;
      let _splits = axis._splits;
      let splits = scale.distr == 2 ? _splits.map((i2) => data0[i2]) : _splits;
      let incr = scale.distr == 2 ? data0[_splits[1]] - data0[_splits[0]] : _incr;
      let ticks2 = axis.ticks;
      let border2 = axis.border;
      let _tickSize = ticks2.show ? ticks2.size : 0;
      let tickSize = round(_tickSize * pxRatio);
      let axisGap = round((axis.alignTo == 2 ? axis._size - _tickSize - axis.gap : axis.gap) * pxRatio);
      let angle = axis._rotate * -PI / 180;
      let basePos = pxRound(axis._pos * pxRatio);
      let shiftAmt = (tickSize + axisGap) * shiftDir;
      let finalPos = basePos + shiftAmt;
      y = ori == 0 ? finalPos : 0;
      x = ori == 1 ? finalPos : 0;
      let font2 = axis.font[0];
      let textAlign = axis.align == 1 ? LEFT : axis.align == 2 ? RIGHT : angle > 0 ? LEFT : angle < 0 ? RIGHT : ori == 0 ? "center" : side == 3 ? RIGHT : LEFT;
      let textBaseline = angle || ori == 1 ? "middle" : side == 2 ? TOP : BOTTOM;
      setFontStyle(font2, fillStyle, textAlign, textBaseline);
      let lineHeight = axis.font[1] * axis.lineGap;
      let canOffs = _splits.map((val) => pxRound(getPos(val, scale, plotDim, plotOff)));
      let _values = axis._values;
      for (let i2 = 0; i2 < _values.length; i2++) {
        let val = _values[i2];
        if (val != null) {
          if (ori == 0)
            x = canOffs[i2];
          else
            y = canOffs[i2];
          val = "" + val;
          let _parts = val.indexOf("\n") == -1 ? [val] : val.split(/\n/gm);
          for (let j = 0; j < _parts.length; j++) {
            let text2 = _parts[j];
            if (angle) {
              ctx.save();
              ctx.translate(x, y + j * lineHeight);
              ctx.rotate(angle);
              ctx.fillText(text2, 0, 0);
              ctx.restore();
            } else
              ctx.fillText(text2, x, y + j * lineHeight);
          }
        }
      }
      if (ticks2.show) {
        drawOrthoLines(
          canOffs,
          ticks2.filter(self, splits, i, _space, incr),
          ori,
          side,
          basePos,
          tickSize,
          roundDec(ticks2.width * pxRatio, 3),
          ticks2.stroke(self, i),
          ticks2.dash,
          ticks2.cap
        );
      }
      let grid2 = axis.grid;
      if (grid2.show) {
        drawOrthoLines(
          canOffs,
          grid2.filter(self, splits, i, _space, incr),
          ori,
          ori == 0 ? 2 : 1,
          ori == 0 ? plotTop : plotLft,
          ori == 0 ? plotHgt : plotWid,
          roundDec(grid2.width * pxRatio, 3),
          grid2.stroke(self, i),
          grid2.dash,
          grid2.cap
        );
      }
      if (border2.show) {
        drawOrthoLines(
          [basePos],
          [1],
          ori == 0 ? 1 : 0,
          ori == 0 ? 1 : 2,
          ori == 1 ? plotTop : plotLft,
          ori == 1 ? plotHgt : plotWid,
          roundDec(border2.width * pxRatio, 3),
          border2.stroke(self, i),
          border2.dash,
          border2.cap
        );
      }
    }
    fire("drawAxes");
  }
  function resetYSeries(minMax) {
    series2.forEach((s, i) => {
      if (i > 0) {
        s._paths = null;
        if (minMax) {
          if (mode == 1) {
            s.min = null;
            s.max = null;
          } else {
            s.facets.forEach((f) => {
              f.min = null;
              f.max = null;
            });
          }
        }
      }
    });
  }
  let queuedCommit = false;
  let deferHooks = false;
  let hooksQueue = [];
  function flushHooks() {
    deferHooks = false;
    for (let i = 0; i < hooksQueue.length; i++)
      fire(...hooksQueue[i]);
    hooksQueue.length = 0;
  }
  function commit() {
    if (!queuedCommit) {
      microTask(_commit);
      queuedCommit = true;
    }
  }
  function batch(fn, _deferHooks = false) {
    queuedCommit = true;
    deferHooks = _deferHooks;
    fn(self);
    _commit();
    if (_deferHooks && hooksQueue.length > 0)
      queueMicrotask(flushHooks);
  }
  self.batch = batch;
  function _commit() {
    if (shouldSetScales) {
      setScales();
      shouldSetScales = false;
    }
    if (shouldConvergeSize) {
      convergeSize();
      shouldConvergeSize = false;
    }
    if (shouldSetSize) {
      setStylePx(under, LEFT, plotLftCss);
      setStylePx(under, TOP, plotTopCss);
      setStylePx(under, WIDTH, plotWidCss);
      setStylePx(under, HEIGHT, plotHgtCss);
      setStylePx(over, LEFT, plotLftCss);
      setStylePx(over, TOP, plotTopCss);
      setStylePx(over, WIDTH, plotWidCss);
      setStylePx(over, HEIGHT, plotHgtCss);
      setStylePx(wrap, WIDTH, fullWidCss);
      setStylePx(wrap, HEIGHT, fullHgtCss);
      can.width = round(fullWidCss * pxRatio);
      can.height = round(fullHgtCss * pxRatio);
      axes.forEach(({ _el, _show, _size, _pos, side }) => {
        if (_el != null) {
          if (_show) {
            let posOffset = side === 3 || side === 0 ? _size : 0;
            let isVt = side % 2 == 1;
            setStylePx(_el, isVt ? "left" : "top", _pos - posOffset);
            setStylePx(_el, isVt ? "width" : "height", _size);
            setStylePx(_el, isVt ? "top" : "left", isVt ? plotTopCss : plotLftCss);
            setStylePx(_el, isVt ? "height" : "width", isVt ? plotHgtCss : plotWidCss);
            remClass(_el, OFF);
          } else
            addClass(_el, OFF);
        }
      });
      ctxStroke = ctxFill = ctxWidth = ctxJoin = ctxCap = ctxFont = ctxAlign = ctxBaseline = ctxDash = null;
      ctxAlpha = 1;
      syncRect(true);
      if (plotLftCss != _plotLftCss || plotTopCss != _plotTopCss || plotWidCss != _plotWidCss || plotHgtCss != _plotHgtCss) {
        resetYSeries(false);
        let pctWid = plotWidCss / _plotWidCss;
        let pctHgt = plotHgtCss / _plotHgtCss;
        if (showCursor && !shouldSetCursor && cursor.left >= 0) {
          cursor.left *= pctWid;
          cursor.top *= pctHgt;
          vCursor && elTrans(vCursor, round(cursor.left), 0, plotWidCss, plotHgtCss);
          hCursor && elTrans(hCursor, 0, round(cursor.top), plotWidCss, plotHgtCss);
          for (let i = 0; i < cursorPts.length; i++) {
            let pt = cursorPts[i];
            if (pt != null) {
              cursorPtsLft[i] *= pctWid;
              cursorPtsTop[i] *= pctHgt;
              elTrans(pt, ceil(cursorPtsLft[i]), ceil(cursorPtsTop[i]), plotWidCss, plotHgtCss);
            }
          }
        }
        if (select.show && !shouldSetSelect && select.left >= 0 && select.width > 0) {
          select.left *= pctWid;
          select.width *= pctWid;
          select.top *= pctHgt;
          select.height *= pctHgt;
          for (let prop in _hideProps)
            setStylePx(selectDiv, prop, select[prop]);
        }
        _plotLftCss = plotLftCss;
        _plotTopCss = plotTopCss;
        _plotWidCss = plotWidCss;
        _plotHgtCss = plotHgtCss;
      }
      fire("setSize");
      shouldSetSize = false;
    }
    if (fullWidCss > 0 && fullHgtCss > 0) {
      ctx.clearRect(0, 0, can.width, can.height);
      fire("drawClear");
      drawOrder.forEach((fn) => fn());
      fire("draw");
    }
    if (select.show && shouldSetSelect) {
      setSelect(select);
      shouldSetSelect = false;
    }
    if (showCursor && shouldSetCursor) {
      updateCursor(null, true, false);
      shouldSetCursor = false;
    }
    if (legend.show && legend.live && shouldSetLegend) {
      setLegend();
      shouldSetLegend = false;
    }
    if (!ready) {
      ready = true;
      self.status = 1;
      fire("ready");
    }
    viaAutoScaleX = false;
    queuedCommit = false;
  }
  self.redraw = (rebuildPaths, recalcAxes) => {
    shouldConvergeSize = recalcAxes || false;
    if (rebuildPaths !== false)
      _setScale(xScaleKey, scaleX.min, scaleX.max);
    else
      commit();
  };
  function setScale(key3, opts2) {
    let sc = scales[key3];
    if (sc.from == null) {
      if (dataLen == 0) {
        let minMax = sc.range(self, opts2.min, opts2.max, key3);
        opts2.min = minMax[0];
        opts2.max = minMax[1];
      }
      if (opts2.min > opts2.max) {
        let _min = opts2.min;
        opts2.min = opts2.max;
        opts2.max = _min;
      }
      if (dataLen > 1 && opts2.min != null && opts2.max != null && opts2.max - opts2.min < 1e-16)
        return;
      if (key3 == xScaleKey) {
        if (sc.distr == 2 && dataLen > 0) {
          opts2.min = closestIdx(opts2.min, data[0]);
          opts2.max = closestIdx(opts2.max, data[0]);
          if (opts2.min == opts2.max)
            opts2.max++;
        }
      }
      pendScales[key3] = opts2;
      shouldSetScales = true;
      commit();
    }
  }
  self.setScale = setScale;
  let xCursor;
  let yCursor;
  let vCursor;
  let hCursor;
  let rawMouseLeft0;
  let rawMouseTop0;
  let mouseLeft0;
  let mouseTop0;
  let rawMouseLeft1;
  let rawMouseTop1;
  let mouseLeft1;
  let mouseTop1;
  let dragging = false;
  const drag = cursor.drag;
  let dragX = drag.x;
  let dragY = drag.y;
  if (showCursor) {
    if (cursor.x)
      xCursor = placeDiv(CURSOR_X, over);
    if (cursor.y)
      yCursor = placeDiv(CURSOR_Y, over);
    if (scaleX.ori == 0) {
      vCursor = xCursor;
      hCursor = yCursor;
    } else {
      vCursor = yCursor;
      hCursor = xCursor;
    }
    mouseLeft1 = cursor.left;
    mouseTop1 = cursor.top;
  }
  const select = self.select = assign({
    show: true,
    over: true,
    left: 0,
    width: 0,
    top: 0,
    height: 0
  }, opts.select);
  const selectDiv = select.show ? placeDiv(SELECT, select.over ? over : under) : null;
  function setSelect(opts2, _fire) {
    if (select.show) {
      for (let prop in opts2) {
        select[prop] = opts2[prop];
        if (prop in _hideProps)
          setStylePx(selectDiv, prop, opts2[prop]);
      }
      _fire !== false && fire("setSelect");
    }
  }
  self.setSelect = setSelect;
  function toggleDOM(i) {
    let s = series2[i];
    if (s.show)
      showLegend && remClass(legendRows[i], OFF);
    else {
      showLegend && addClass(legendRows[i], OFF);
      if (showCursor) {
        let pt = cursorOnePt ? cursorPts[0] : cursorPts[i];
        pt != null && elTrans(pt, -10, -10, plotWidCss, plotHgtCss);
      }
    }
  }
  function _setScale(key3, min2, max2) {
    setScale(key3, { min: min2, max: max2 });
  }
  function setSeries(i, opts2, _fire, _pub) {
    if (opts2.focus != null)
      setFocus(i);
    if (opts2.show != null) {
      series2.forEach((s, si) => {
        if (si > 0 && (i == si || i == null)) {
          s.show = opts2.show;
          toggleDOM(si);
          if (mode == 2) {
            _setScale(s.facets[0].scale, null, null);
            _setScale(s.facets[1].scale, null, null);
          } else
            _setScale(s.scale, null, null);
          commit();
        }
      });
    }
    _fire !== false && fire("setSeries", i, opts2);
    _pub && pubSync("setSeries", self, i, opts2);
  }
  self.setSeries = setSeries;
  function setBand(bi, opts2) {
    assign(bands[bi], opts2);
  }
  function addBand(opts2, bi) {
    opts2.fill = fnOrSelf(opts2.fill || null);
    opts2.dir = ifNull(opts2.dir, -1);
    bi = bi == null ? bands.length : bi;
    bands.splice(bi, 0, opts2);
  }
  function delBand(bi) {
    if (bi == null)
      bands.length = 0;
    else
      bands.splice(bi, 1);
  }
  self.addBand = addBand;
  self.setBand = setBand;
  self.delBand = delBand;
  function setAlpha(i, value2) {
    series2[i].alpha = value2;
    if (showCursor && cursorPts[i] != null)
      cursorPts[i].style.opacity = value2;
    if (showLegend && legendRows[i])
      legendRows[i].style.opacity = value2;
  }
  let closestDist;
  let closestSeries;
  let focusedSeries;
  const FOCUS_TRUE = { focus: true };
  function setFocus(i) {
    if (i != focusedSeries) {
      let allFocused = i == null;
      let _setAlpha = focus.alpha != 1;
      series2.forEach((s, i2) => {
        if (mode == 1 || i2 > 0) {
          let isFocused = allFocused || i2 == 0 || i2 == i;
          s._focus = allFocused ? null : isFocused;
          _setAlpha && setAlpha(i2, isFocused ? 1 : focus.alpha);
        }
      });
      focusedSeries = i;
      _setAlpha && commit();
    }
  }
  if (showLegend && cursorFocus) {
    onMouse(mouseleave, legendTable, (e) => {
      if (cursor._lock)
        return;
      setCursorEvent(e);
      if (focusedSeries != null)
        setSeries(null, FOCUS_TRUE, true, syncOpts.setSeries);
    });
  }
  function posToVal(pos, scale, can2) {
    let sc = scales[scale];
    if (can2)
      pos = pos / pxRatio - (sc.ori == 1 ? plotTopCss : plotLftCss);
    let dim = plotWidCss;
    if (sc.ori == 1) {
      dim = plotHgtCss;
      pos = dim - pos;
    }
    if (sc.dir == -1)
      pos = dim - pos;
    let _min = sc._min, _max = sc._max, pct = pos / dim;
    let sv = _min + (_max - _min) * pct;
    let distr = sc.distr;
    return distr == 3 ? pow(10, sv) : distr == 4 ? sinh(sv, sc.asinh) : distr == 100 ? sc.bwd(sv) : sv;
  }
  function closestIdxFromXpos(pos, can2) {
    let v = posToVal(pos, xScaleKey, can2);
    return closestIdx(v, data[0], i0, i1);
  }
  self.valToIdx = (val) => closestIdx(val, data[0]);
  self.posToIdx = closestIdxFromXpos;
  self.posToVal = posToVal;
  self.valToPos = (val, scale, can2) => scales[scale].ori == 0 ? getHPos(
    val,
    scales[scale],
    can2 ? plotWid : plotWidCss,
    can2 ? plotLft : 0
  ) : getVPos(
    val,
    scales[scale],
    can2 ? plotHgt : plotHgtCss,
    can2 ? plotTop : 0
  );
  self.setCursor = (opts2, _fire, _pub) => {
    mouseLeft1 = opts2.left;
    mouseTop1 = opts2.top;
    updateCursor(null, _fire, _pub);
  };
  function setSelH(off2, dim) {
    setStylePx(selectDiv, LEFT, select.left = off2);
    setStylePx(selectDiv, WIDTH, select.width = dim);
  }
  function setSelV(off2, dim) {
    setStylePx(selectDiv, TOP, select.top = off2);
    setStylePx(selectDiv, HEIGHT, select.height = dim);
  }
  let setSelX = scaleX.ori == 0 ? setSelH : setSelV;
  let setSelY = scaleX.ori == 1 ? setSelH : setSelV;
  function syncLegend() {
    if (showLegend && legend.live) {
      for (let i = mode == 2 ? 1 : 0; i < series2.length; i++) {
        if (i == 0 && multiValLegend)
          continue;
        let vals = legend.values[i];
        let j = 0;
        for (let k in vals)
          legendCells[i][j++].firstChild.nodeValue = vals[k];
      }
    }
  }
  function setLegend(opts2, _fire) {
    if (opts2 != null) {
      if (opts2.idxs) {
        opts2.idxs.forEach((didx, sidx) => {
          activeIdxs[sidx] = didx;
        });
      } else if (!isUndef(opts2.idx))
        activeIdxs.fill(opts2.idx);
      legend.idx = activeIdxs[0];
    }
    if (showLegend && legend.live) {
      for (let sidx = 0; sidx < series2.length; sidx++) {
        if (sidx > 0 || mode == 1 && !multiValLegend)
          setLegendValues(sidx, activeIdxs[sidx]);
      }
      syncLegend();
    }
    shouldSetLegend = false;
    _fire !== false && fire("setLegend");
  }
  self.setLegend = setLegend;
  function setLegendValues(sidx, idx) {
    let s = series2[sidx];
    let src = sidx == 0 && xScaleDistr == 2 ? data0 : data[sidx];
    let val;
    if (multiValLegend)
      val = s.values(self, sidx, idx) ?? NULL_LEGEND_VALUES;
    else {
      val = s.value(self, idx == null ? null : src[idx], sidx, idx);
      val = val == null ? NULL_LEGEND_VALUES : { _: val };
    }
    legend.values[sidx] = val;
  }
  function updateCursor(src, _fire, _pub) {
    rawMouseLeft1 = mouseLeft1;
    rawMouseTop1 = mouseTop1;
    [mouseLeft1, mouseTop1] = cursor.move(self, mouseLeft1, mouseTop1);
    cursor.left = mouseLeft1;
    cursor.top = mouseTop1;
    if (showCursor) {
      vCursor && elTrans(vCursor, round(mouseLeft1), 0, plotWidCss, plotHgtCss);
      hCursor && elTrans(hCursor, 0, round(mouseTop1), plotWidCss, plotHgtCss);
    }
    let idx;
    let noDataInRange = i0 > i1;
    closestDist = inf;
    closestSeries = null;
    let xDim = scaleX.ori == 0 ? plotWidCss : plotHgtCss;
    let yDim = scaleX.ori == 1 ? plotWidCss : plotHgtCss;
    if (mouseLeft1 < 0 || dataLen == 0 || noDataInRange) {
      idx = cursor.idx = null;
      for (let i = 0; i < series2.length; i++) {
        let pt = cursorPts[i];
        pt != null && elTrans(pt, -10, -10, plotWidCss, plotHgtCss);
      }
      if (cursorFocus)
        setSeries(null, FOCUS_TRUE, true, src == null && syncOpts.setSeries);
      if (legend.live) {
        activeIdxs.fill(idx);
        shouldSetLegend = true;
      }
    } else {
      let mouseXPos, valAtPosX, xPos;
      if (mode == 1) {
        mouseXPos = scaleX.ori == 0 ? mouseLeft1 : mouseTop1;
        valAtPosX = posToVal(mouseXPos, xScaleKey);
        idx = cursor.idx = closestIdx(valAtPosX, data[0], i0, i1);
        xPos = valToPosX(data[0][idx], scaleX, xDim, 0);
      }
      let _ptLft = -10;
      let _ptTop = -10;
      let _ptWid = 0;
      let _ptHgt = 0;
      let _centered = true;
      let _ptFill = "";
      let _ptStroke = "";
      for (let i = mode == 2 ? 1 : 0; i < series2.length; i++) {
        let s = series2[i];
        let idx1 = activeIdxs[i];
        let yVal1 = idx1 == null ? null : mode == 1 ? data[i][idx1] : data[i][1][idx1];
        let idx2 = cursor.dataIdx(self, i, idx, valAtPosX);
        let yVal2 = idx2 == null ? null : mode == 1 ? data[i][idx2] : data[i][1][idx2];
        shouldSetLegend = shouldSetLegend || yVal2 != yVal1 || idx2 != idx1;
        activeIdxs[i] = idx2;
        if (i > 0 && s.show) {
          let xPos2 = idx2 == null ? -10 : idx2 == idx ? xPos : valToPosX(mode == 1 ? data[0][idx2] : data[i][0][idx2], scaleX, xDim, 0);
          let yPos = yVal2 == null ? -10 : valToPosY(yVal2, mode == 1 ? scales[s.scale] : scales[s.facets[1].scale], yDim, 0);
          if (cursorFocus && yVal2 != null) {
            let mouseYPos = scaleX.ori == 1 ? mouseLeft1 : mouseTop1;
            let dist = abs(focus.dist(self, i, idx2, yPos, mouseYPos));
            if (dist < closestDist) {
              let bias = focus.bias;
              if (bias != 0) {
                let mouseYVal = posToVal(mouseYPos, s.scale);
                let seriesYValSign = yVal2 >= 0 ? 1 : -1;
                let mouseYValSign = mouseYVal >= 0 ? 1 : -1;
                if (mouseYValSign == seriesYValSign && (mouseYValSign == 1 ? bias == 1 ? yVal2 >= mouseYVal : yVal2 <= mouseYVal : (
                  // >= 0
                  bias == 1 ? yVal2 <= mouseYVal : yVal2 >= mouseYVal
                ))) {
                  closestDist = dist;
                  closestSeries = i;
                }
              } else {
                closestDist = dist;
                closestSeries = i;
              }
            }
          }
          if (shouldSetLegend || cursorOnePt) {
            let hPos, vPos;
            if (scaleX.ori == 0) {
              hPos = xPos2;
              vPos = yPos;
            } else {
              hPos = yPos;
              vPos = xPos2;
            }
            let ptWid, ptHgt, ptLft, ptTop, ptStroke, ptFill, centered = true, getBBox = points2.bbox;
            if (getBBox != null) {
              centered = false;
              let bbox = getBBox(self, i);
              ptLft = bbox.left;
              ptTop = bbox.top;
              ptWid = bbox.width;
              ptHgt = bbox.height;
            } else {
              ptLft = hPos;
              ptTop = vPos;
              ptWid = ptHgt = points2.size(self, i);
            }
            ptFill = points2.fill(self, i);
            ptStroke = points2.stroke(self, i);
            if (cursorOnePt) {
              if (i == closestSeries && closestDist <= focus.prox) {
                _ptLft = ptLft;
                _ptTop = ptTop;
                _ptWid = ptWid;
                _ptHgt = ptHgt;
                _centered = centered;
                _ptFill = ptFill;
                _ptStroke = ptStroke;
              }
            } else {
              let pt = cursorPts[i];
              if (pt != null) {
                cursorPtsLft[i] = ptLft;
                cursorPtsTop[i] = ptTop;
                elSize(pt, ptWid, ptHgt, centered);
                elColor(pt, ptFill, ptStroke);
                elTrans(pt, ceil(ptLft), ceil(ptTop), plotWidCss, plotHgtCss);
              }
            }
          }
        }
      }
      if (cursorOnePt) {
        let p = focus.prox;
        let focusChanged = focusedSeries == null ? closestDist <= p : closestDist > p || closestSeries != focusedSeries;
        if (shouldSetLegend || focusChanged) {
          let pt = cursorPts[0];
          if (pt != null) {
            cursorPtsLft[0] = _ptLft;
            cursorPtsTop[0] = _ptTop;
            elSize(pt, _ptWid, _ptHgt, _centered);
            elColor(pt, _ptFill, _ptStroke);
            elTrans(pt, ceil(_ptLft), ceil(_ptTop), plotWidCss, plotHgtCss);
          }
        }
      }
    }
    if (select.show && dragging) {
      if (src != null) {
        let [xKey, yKey] = syncOpts.scales;
        let [matchXKeys, matchYKeys] = syncOpts.match;
        let [xKeySrc, yKeySrc] = src.cursor.sync.scales;
        let sdrag = src.cursor.drag;
        dragX = sdrag._x;
        dragY = sdrag._y;
        if (dragX || dragY) {
          let { left: left3, top, width, height } = src.select;
          let sori = src.scales[xKeySrc].ori;
          let sPosToVal = src.posToVal;
          let sOff, sDim, sc, a, b;
          let matchingX = xKey != null && matchXKeys(xKey, xKeySrc);
          let matchingY = yKey != null && matchYKeys(yKey, yKeySrc);
          if (matchingX && dragX) {
            if (sori == 0) {
              sOff = left3;
              sDim = width;
            } else {
              sOff = top;
              sDim = height;
            }
            sc = scales[xKey];
            a = valToPosX(sPosToVal(sOff, xKeySrc), sc, xDim, 0);
            b = valToPosX(sPosToVal(sOff + sDim, xKeySrc), sc, xDim, 0);
            setSelX(min(a, b), abs(b - a));
          } else
            setSelX(0, xDim);
          if (matchingY && dragY) {
            if (sori == 1) {
              sOff = left3;
              sDim = width;
            } else {
              sOff = top;
              sDim = height;
            }
            sc = scales[yKey];
            a = valToPosY(sPosToVal(sOff, yKeySrc), sc, yDim, 0);
            b = valToPosY(sPosToVal(sOff + sDim, yKeySrc), sc, yDim, 0);
            setSelY(min(a, b), abs(b - a));
          } else
            setSelY(0, yDim);
        } else
          hideSelect();
      } else {
        let rawDX = abs(rawMouseLeft1 - rawMouseLeft0);
        let rawDY = abs(rawMouseTop1 - rawMouseTop0);
        if (scaleX.ori == 1) {
          let _rawDX = rawDX;
          rawDX = rawDY;
          rawDY = _rawDX;
        }
        dragX = drag.x && rawDX >= drag.dist;
        dragY = drag.y && rawDY >= drag.dist;
        let uni = drag.uni;
        if (uni != null) {
          if (dragX && dragY) {
            dragX = rawDX >= uni;
            dragY = rawDY >= uni;
            if (!dragX && !dragY) {
              if (rawDY > rawDX)
                dragY = true;
              else
                dragX = true;
            }
          }
        } else if (drag.x && drag.y && (dragX || dragY))
          dragX = dragY = true;
        let p0, p1;
        if (dragX) {
          if (scaleX.ori == 0) {
            p0 = mouseLeft0;
            p1 = mouseLeft1;
          } else {
            p0 = mouseTop0;
            p1 = mouseTop1;
          }
          setSelX(min(p0, p1), abs(p1 - p0));
          if (!dragY)
            setSelY(0, yDim);
        }
        if (dragY) {
          if (scaleX.ori == 1) {
            p0 = mouseLeft0;
            p1 = mouseLeft1;
          } else {
            p0 = mouseTop0;
            p1 = mouseTop1;
          }
          setSelY(min(p0, p1), abs(p1 - p0));
          if (!dragX)
            setSelX(0, xDim);
        }
        if (!dragX && !dragY) {
          setSelX(0, 0);
          setSelY(0, 0);
        }
      }
    }
    drag._x = dragX;
    drag._y = dragY;
    if (src == null) {
      if (_pub) {
        if (syncKey != null) {
          let [xSyncKey, ySyncKey] = syncOpts.scales;
          syncOpts.values[0] = xSyncKey != null ? posToVal(scaleX.ori == 0 ? mouseLeft1 : mouseTop1, xSyncKey) : null;
          syncOpts.values[1] = ySyncKey != null ? posToVal(scaleX.ori == 1 ? mouseLeft1 : mouseTop1, ySyncKey) : null;
        }
        pubSync(mousemove, self, mouseLeft1, mouseTop1, plotWidCss, plotHgtCss, idx);
      }
      if (cursorFocus) {
        let shouldPub = _pub && syncOpts.setSeries;
        let p = focus.prox;
        if (focusedSeries == null) {
          if (closestDist <= p)
            setSeries(closestSeries, FOCUS_TRUE, true, shouldPub);
        } else {
          if (closestDist > p)
            setSeries(null, FOCUS_TRUE, true, shouldPub);
          else if (closestSeries != focusedSeries)
            setSeries(closestSeries, FOCUS_TRUE, true, shouldPub);
        }
      }
    }
    if (shouldSetLegend) {
      legend.idx = idx;
      setLegend();
    }
    _fire !== false && fire("setCursor");
  }
  let rect2 = null;
  Object.defineProperty(self, "rect", {
    get() {
      if (rect2 == null)
        syncRect(false);
      return rect2;
    }
  });
  function syncRect(defer = false) {
    if (defer)
      rect2 = null;
    else {
      rect2 = over.getBoundingClientRect();
      fire("syncRect", rect2);
    }
  }
  function mouseMove(e, src, _l, _t, _w, _h, _i) {
    if (cursor._lock)
      return;
    if (dragging && e != null && e.movementX == 0 && e.movementY == 0)
      return;
    cacheMouse(e, src, _l, _t, _w, _h, _i, false, e != null);
    if (e != null)
      updateCursor(null, true, true);
    else
      updateCursor(src, true, false);
  }
  function cacheMouse(e, src, _l, _t, _w, _h, _i, initial, snap) {
    if (rect2 == null)
      syncRect(false);
    setCursorEvent(e);
    if (e != null) {
      _l = e.clientX - rect2.left;
      _t = e.clientY - rect2.top;
    } else {
      if (_l < 0 || _t < 0) {
        mouseLeft1 = -10;
        mouseTop1 = -10;
        return;
      }
      let [xKey, yKey] = syncOpts.scales;
      let syncOptsSrc = src.cursor.sync;
      let [xValSrc, yValSrc] = syncOptsSrc.values;
      let [xKeySrc, yKeySrc] = syncOptsSrc.scales;
      let [matchXKeys, matchYKeys] = syncOpts.match;
      let rotSrc = src.axes[0].side % 2 == 1;
      let xDim = scaleX.ori == 0 ? plotWidCss : plotHgtCss, yDim = scaleX.ori == 1 ? plotWidCss : plotHgtCss, _xDim = rotSrc ? _h : _w, _yDim = rotSrc ? _w : _h, _xPos = rotSrc ? _t : _l, _yPos = rotSrc ? _l : _t;
      if (xKeySrc != null)
        _l = matchXKeys(xKey, xKeySrc) ? getPos(xValSrc, scales[xKey], xDim, 0) : -10;
      else
        _l = xDim * (_xPos / _xDim);
      if (yKeySrc != null)
        _t = matchYKeys(yKey, yKeySrc) ? getPos(yValSrc, scales[yKey], yDim, 0) : -10;
      else
        _t = yDim * (_yPos / _yDim);
      if (scaleX.ori == 1) {
        let __l = _l;
        _l = _t;
        _t = __l;
      }
    }
    if (snap && (src == null || src.cursor.event.type == mousemove)) {
      if (_l <= 1 || _l >= plotWidCss - 1)
        _l = incrRound(_l, plotWidCss);
      if (_t <= 1 || _t >= plotHgtCss - 1)
        _t = incrRound(_t, plotHgtCss);
    }
    if (initial) {
      rawMouseLeft0 = _l;
      rawMouseTop0 = _t;
      [mouseLeft0, mouseTop0] = cursor.move(self, _l, _t);
    } else {
      mouseLeft1 = _l;
      mouseTop1 = _t;
    }
  }
  const _hideProps = {
    width: 0,
    height: 0,
    left: 0,
    top: 0
  };
  function hideSelect() {
    setSelect(_hideProps, false);
  }
  let downSelectLeft;
  let downSelectTop;
  let downSelectWidth;
  let downSelectHeight;
  function mouseDown(e, src, _l, _t, _w, _h, _i) {
    dragging = true;
    dragX = dragY = drag._x = drag._y = false;
    cacheMouse(e, src, _l, _t, _w, _h, _i, true, false);
    if (e != null) {
      onMouse(mouseup, doc, mouseUp, false);
      pubSync(mousedown, self, mouseLeft0, mouseTop0, plotWidCss, plotHgtCss, null);
    }
    let { left: left3, top, width, height } = select;
    downSelectLeft = left3;
    downSelectTop = top;
    downSelectWidth = width;
    downSelectHeight = height;
  }
  function mouseUp(e, src, _l, _t, _w, _h, _i) {
    dragging = drag._x = drag._y = false;
    cacheMouse(e, src, _l, _t, _w, _h, _i, false, true);
    let { left: left3, top, width, height } = select;
    let hasSelect = width > 0 || height > 0;
    let chgSelect = downSelectLeft != left3 || downSelectTop != top || downSelectWidth != width || downSelectHeight != height;
    hasSelect && chgSelect && setSelect(select);
    if (drag.setScale && hasSelect && chgSelect) {
      let xOff = left3, xDim = width, yOff = top, yDim = height;
      if (scaleX.ori == 1) {
        xOff = top, xDim = height, yOff = left3, yDim = width;
      }
      if (dragX) {
        _setScale(
          xScaleKey,
          posToVal(xOff, xScaleKey),
          posToVal(xOff + xDim, xScaleKey)
        );
      }
      if (dragY) {
        for (let k in scales) {
          let sc = scales[k];
          if (k != xScaleKey && sc.from == null && sc.min != inf) {
            _setScale(
              k,
              posToVal(yOff + yDim, k),
              posToVal(yOff, k)
            );
          }
        }
      }
      hideSelect();
    } else if (cursor.lock) {
      cursor._lock = !cursor._lock;
      updateCursor(src, true, e != null);
    }
    if (e != null) {
      offMouse(mouseup, doc);
      pubSync(mouseup, self, mouseLeft1, mouseTop1, plotWidCss, plotHgtCss, null);
    }
  }
  function mouseLeave(e, src, _l, _t, _w, _h, _i) {
    if (cursor._lock)
      return;
    setCursorEvent(e);
    let _dragging = dragging;
    if (dragging) {
      let snapH = true;
      let snapV = true;
      let snapProx = 10;
      let dragH, dragV;
      if (scaleX.ori == 0) {
        dragH = dragX;
        dragV = dragY;
      } else {
        dragH = dragY;
        dragV = dragX;
      }
      if (dragH && dragV) {
        snapH = mouseLeft1 <= snapProx || mouseLeft1 >= plotWidCss - snapProx;
        snapV = mouseTop1 <= snapProx || mouseTop1 >= plotHgtCss - snapProx;
      }
      if (dragH && snapH)
        mouseLeft1 = mouseLeft1 < mouseLeft0 ? 0 : plotWidCss;
      if (dragV && snapV)
        mouseTop1 = mouseTop1 < mouseTop0 ? 0 : plotHgtCss;
      updateCursor(null, true, true);
      dragging = false;
    }
    mouseLeft1 = -10;
    mouseTop1 = -10;
    activeIdxs.fill(null);
    updateCursor(null, true, true);
    if (_dragging)
      dragging = _dragging;
  }
  function dblClick(e, src, _l, _t, _w, _h, _i) {
    if (cursor._lock)
      return;
    setCursorEvent(e);
    autoScaleX();
    hideSelect();
    if (e != null)
      pubSync(dblclick, self, mouseLeft1, mouseTop1, plotWidCss, plotHgtCss, null);
  }
  function syncPxRatio() {
    axes.forEach(syncFontSize);
    _setSize(self.width, self.height, true);
  }
  on(dppxchange, win, syncPxRatio);
  const events = {};
  events.mousedown = mouseDown;
  events.mousemove = mouseMove;
  events.mouseup = mouseUp;
  events.dblclick = dblClick;
  events["setSeries"] = (e, src, idx, opts2) => {
    let seriesIdxMatcher2 = syncOpts.match[2];
    idx = seriesIdxMatcher2(self, src, idx);
    idx != -1 && setSeries(idx, opts2, true, false);
  };
  if (showCursor) {
    onMouse(mousedown, over, mouseDown);
    onMouse(mousemove, over, mouseMove);
    onMouse(mouseenter, over, (e) => {
      setCursorEvent(e);
      syncRect(false);
    });
    onMouse(mouseleave, over, mouseLeave);
    onMouse(dblclick, over, dblClick);
    cursorPlots.add(self);
    self.syncRect = syncRect;
  }
  const hooks = self.hooks = opts.hooks || {};
  function fire(evName, a1, a2) {
    if (deferHooks)
      hooksQueue.push([evName, a1, a2]);
    else {
      if (evName in hooks) {
        hooks[evName].forEach((fn) => {
          fn.call(null, self, a1, a2);
        });
      }
    }
  }
  (opts.plugins || []).forEach((p) => {
    for (let evName in p.hooks)
      hooks[evName] = (hooks[evName] || []).concat(p.hooks[evName]);
  });
  const seriesIdxMatcher = (self2, src, srcSeriesIdx) => srcSeriesIdx;
  const syncOpts = assign({
    key: null,
    setSeries: false,
    filters: {
      pub: retTrue,
      sub: retTrue
    },
    scales: [xScaleKey, series2[1] ? series2[1].scale : null],
    match: [retEq, retEq, seriesIdxMatcher],
    values: [null, null]
  }, cursor.sync);
  if (syncOpts.match.length == 2)
    syncOpts.match.push(seriesIdxMatcher);
  cursor.sync = syncOpts;
  const syncKey = syncOpts.key;
  const sync = _sync(syncKey);
  function pubSync(type, src, x, y, w, h, i) {
    if (syncOpts.filters.pub(type, src, x, y, w, h, i))
      sync.pub(type, src, x, y, w, h, i);
  }
  sync.sub(self);
  function pub(type, src, x, y, w, h, i) {
    if (syncOpts.filters.sub(type, src, x, y, w, h, i))
      events[type](null, src, x, y, w, h, i);
  }
  self.pub = pub;
  function destroy() {
    sync.unsub(self);
    cursorPlots.delete(self);
    mouseListeners.clear();
    off(dppxchange, win, syncPxRatio);
    root.remove();
    legendTable?.remove();
    fire("destroy");
  }
  self.destroy = destroy;
  function _init() {
    fire("init", opts, data);
    setData(data || opts.data, false);
    if (pendScales[xScaleKey])
      setScale(xScaleKey, pendScales[xScaleKey]);
    else
      autoScaleX();
    shouldSetSelect = select.show && (select.width > 0 || select.height > 0);
    shouldSetCursor = shouldSetLegend = true;
    _setSize(opts.width, opts.height);
  }
  series2.forEach(initSeries);
  axes.forEach(initAxis);
  if (then) {
    if (then instanceof HTMLElement) {
      then.appendChild(root);
      _init();
    } else
      then(self, _init);
  } else
    _init();
  return self;
}
uPlot.assign = assign;
uPlot.fmtNum = fmtNum;
uPlot.rangeNum = rangeNum;
uPlot.rangeLog = rangeLog;
uPlot.rangeAsinh = rangeAsinh;
uPlot.orient = orient;
uPlot.pxRatio = pxRatio;
{
  uPlot.join = join;
}
{
  uPlot.fmtDate = fmtDate;
  uPlot.tzDate = tzDate;
}
uPlot.sync = _sync;
{
  uPlot.addGap = addGap;
  uPlot.clipGaps = clipGaps;
  let paths = uPlot.paths = {
    points
  };
  paths.linear = linear;
  paths.stepped = stepped;
  paths.bars = bars;
  paths.spline = monotoneCubic;
}

// src/chart.ts
var COLOURS2 = [
  ["#0068a6", "#5bb8ee"],
  ["#b84a00", "#ff9152"],
  ["#00735a", "#35c9a0"],
  ["#97407c", "#e59cc7"],
  ["#7a6000", "#e3c33a"],
  ["#4455b5", "#a5b6ff"],
  ["#5a6472", "#a3adba"],
  ["#8b2d2d", "#ff9d9d"],
  ["#3d6b00", "#a6d65c"]
];
var DASHES = [[], [7, 3], [], [10, 3, 2, 3], [4, 2], [12, 4], [1, 2], [8, 2, 1, 2, 1, 2], [5, 5]];
var ORDER = [0, 1, 3, 4, 5, 7, 8, 6];
var dark = matchMedia("(prefers-color-scheme: dark)");
var colour = (look) => COLOURS2[look % COLOURS2.length][dark.matches ? 1 : 0];
var css = (name2) => getComputedStyle(document.documentElement).getPropertyValue(name2).trim();
var lookOf = (line3, at) => line3.look ?? ORDER[at % ORDER.length];
var DAY = 86400;
var TIME = new Intl.DateTimeFormat(void 0, { hour: "2-digit", minute: "2-digit" });
var DATE = new Intl.DateTimeFormat(void 0, { month: "short", day: "2-digit" });
var BOTH = new Intl.DateTimeFormat(void 0, { month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit" });
var ZONE = new Intl.DateTimeFormat(void 0, { timeZoneName: "short" });
var zone = (at) => ZONE.formatToParts(new Date(at * 1e3)).find((part3) => part3.type === "timeZoneName")?.value ?? "";
var stepped2 = (step3) => step3 % DAY === 0 ? step3 === DAY ? "day" : `${step3 / DAY} days` : step3 % 3600 === 0 ? step3 === 3600 ? "hour" : `${step3 / 3600} hours` : step3 === 60 ? "minute" : `${Math.round(step3 / 60)} minutes`;
var timed = (at, step3) => (step3 >= DAY ? DATE : BOTH).format(new Date(at * 1e3));
function swatch(look) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line3 = document.createElementNS(space, "line");
  for (const [name2, value2] of Object.entries({ viewBox: "0 0 26 8", width: "26", height: "8", "aria-hidden": "true", class: "swatch" })) svg.setAttribute(name2, value2);
  for (const [name2, value2] of Object.entries({ x1: "0", y1: "4", x2: "26", y2: "4", "stroke-width": "3", stroke: colour(look) })) line3.setAttribute(name2, value2);
  line3.setAttribute("stroke-dasharray", DASHES[look % DASHES.length].join(" "));
  svg.append(line3);
  return svg;
}
var alone = (values) => values.flatMap((value2, at) => value2 !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []);
var made = 0;
var Chart = class {
  node;
  name;
  picture;
  legend = el("ul", { class: "legend" });
  says = el("p", { class: "soft says", role: "status" });
  measure = el("p", { class: "soft measure" });
  figures = el("div", { hidden: true });
  toggle;
  empty = el("p", { class: "soft nothing", hidden: true });
  nothing;
  plot = null;
  drawn = null;
  point = null;
  watch = new ResizeObserver(() => this.fit());
  // `nothing` teaches what would be drawn here.
  constructor(name2, words, nothing) {
    made += 1;
    const id = `chart-${made}`;
    this.name = name2;
    this.nothing = nothing;
    this.picture = el("div", { class: "plot", tabindex: "0", role: "img", "aria-label": name2, "aria-describedby": `${id}-says`, hidden: true });
    this.says.id = `${id}-says`;
    this.says.hidden = true;
    this.toggle = el("button", { type: "button", class: "small", "aria-expanded": "false", "aria-label": `${name2} as a table` }, "Table");
    this.toggle.hidden = true;
    this.toggle.addEventListener("click", () => this.showFigures(this.figures.hidden));
    this.picture.addEventListener("keydown", (event) => this.key(event));
    this.picture.addEventListener("blur", () => this.pick(null));
    this.node = el(
      "figure",
      { class: "panel chart", "aria-labelledby": id },
      el("figcaption", {}, el("h3", { id }, name2), el("span", { class: "soft" }, words), this.toggle),
      this.empty,
      this.measure,
      this.picture,
      this.says,
      this.legend,
      this.figures
    );
    this.watch.observe(this.picture);
    dark.addEventListener("change", this.recolour);
  }
  // Draws it again in other colours.
  recolour = () => {
    if (this.drawn) this.draw(this.drawn);
  };
  destroy() {
    this.watch.disconnect();
    dark.removeEventListener("change", this.recolour);
    this.plot?.destroy();
    this.plot = null;
  }
  showFigures(open19) {
    this.figures.hidden = !open19;
    this.toggle.setAttribute("aria-expanded", String(open19));
    this.toggle.textContent = open19 ? "No table" : "Table";
    this.fill();
  }
  // The table is made when somebody looks at it.
  fill() {
    if (this.figures.hidden || !this.drawn) return;
    const { at, lines: lines4, format, step: step3 } = this.drawn;
    const rows = at.map((time, point) => [
      el("th", { scope: "row" }, timed(time, step3)),
      ...lines4.map((line3) => td(line3.values[point] === null || line3.values[point] === void 0 ? "–" : format(line3.values[point])))
    ]);
    rows.reverse();
    this.figures.replaceChildren(table(`${this.name}, as a table`, [this.drawn.counted ? "From" : "At", ...lines4.map((line3) => line3.name)], rows, { class: "figures" }));
  }
  draw(drawing) {
    this.drawn = drawing;
    const { at, lines: lines4 } = drawing;
    const some3 = lines4.some((line3) => line3.values.some((value2) => value2));
    this.empty.hidden = some3;
    this.empty.textContent = some3 ? "" : this.nothing;
    this.picture.hidden = !some3;
    this.legend.hidden = !some3;
    this.toggle.hidden = !some3;
    this.says.hidden = !some3;
    this.measure.hidden = !some3;
    this.measure.textContent = some3 ? `${drawing.unit}${drawing.counted ? ` by the ${stepped2(drawing.step)}` : ""}; times in ${zone(at[0] ?? 0)}` : "";
    if (!some3 && !this.figures.hidden) this.showFigures(false);
    this.plot?.destroy();
    this.plot = null;
    this.legend.replaceChildren(...lines4.map((line3, index) => el("li", {}, swatch(lookOf(line3, index)), shown(line3.name, true), " ", el("b", {}, line3.total))));
    this.picture.setAttribute("aria-label", this.words());
    this.fill();
    if (!some3) return;
    const width = this.picture.clientWidth;
    const series2 = lines4.map((line3, index) => {
      const stroke = colour(lookOf(line3, index));
      const one2 = { label: line3.name, stroke, width: 2, dash: DASHES[lookOf(line3, index) % DASHES.length], spanGaps: false, points: { show: true, size: 6, fill: stroke, filter: (plot, at2) => alone(plot.data[at2]) } };
      if (drawing.counted) {
        one2.paths = uPlot.paths.stepped({ align: 1, extend: true });
        one2.points = { show: false };
      }
      if (line3.filled || drawing.counted && lines4.length === 1) one2.fill = `${stroke}2e`;
      return one2;
    });
    const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const compact = new Intl.NumberFormat(void 0, { notation: "compact", maximumFractionDigits: 2 });
    this.plot = new uPlot(
      {
        width: Math.max(width, 120),
        height: 180,
        legend: { show: false },
        // Half a label has room beyond the last point.
        padding: [8, 30, 0, 0],
        cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
        scales: { x: { range: (_plot, low, high) => [low, drawing.counted ? high + drawing.step : Math.max(high, low + 1)] }, y: { range: (_plot, _low, high) => [0, (high || 1) * 1.08] } },
        axes: [
          { ...axis, space: 62, values: (_plot, splits) => this.ticks(splits) },
          { ...axis, size: 52, space: 34, values: (_plot, splits) => splits.map((value2) => compact.format(value2)) }
        ],
        series: [{}, ...series2],
        hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx ?? null)] }
      },
      [at, ...lines4.map((line3) => line3.values)],
      this.picture
    );
    if (this.point !== null) this.pick(Math.min(this.point, at.length - 1));
    else this.tell(null);
  }
  ticks(splits) {
    const within = splits.length > 1 && splits[splits.length - 1] - splits[0] < DAY;
    let day = "";
    return splits.map((at) => {
      const date = new Date(at * 1e3);
      if (within) return TIME.format(date);
      const own = DATE.format(date);
      const fresh = own !== day;
      day = own;
      return fresh ? own : TIME.format(date);
    });
  }
  fit() {
    const width = this.picture.clientWidth;
    if (this.plot && width > 0 && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: this.plot.height });
    else if (!this.plot && this.drawn && width > 0) this.draw(this.drawn);
  }
  // What it shows, in a sentence.
  words() {
    const drawn4 = this.drawn;
    if (!drawn4) return this.name;
    return `${this.name}: ${drawn4.lines.map((line3) => `${line3.name} ${line3.total}`).join(", ")}. Left and right go from point to point.`;
  }
  // What is under the pointer, or where the keys are.
  tell(point) {
    const drawn4 = this.drawn;
    if (!drawn4) return;
    const at = point === null ? void 0 : drawn4.at[point];
    if (at === void 0 || point === null) {
      this.says.replaceChildren("Point at it, or go along it with the arrow keys.");
      return;
    }
    const parts2 = drawn4.lines.flatMap((line3) => {
      const value2 = line3.values[point];
      return value2 === null || value2 === void 0 || value2 === 0 && drawn4.counted && drawn4.lines.length > 2 ? [] : [`${line3.name} ${drawn4.format(value2)}`];
    });
    this.says.replaceChildren(el("b", {}, timed(at, drawn4.step)), " ", shown(parts2.join(" · ") || "nothing", true));
  }
  pick(point) {
    this.point = point;
    const { plot, drawn: drawn4 } = this;
    if (!plot || !drawn4) return;
    const at = point === null ? void 0 : drawn4.at[point];
    if (at === void 0) plot.setCursor({ left: -10, top: -10 });
    else plot.setCursor({ left: plot.valToPos(at, "x"), top: 0 });
    this.tell(point);
  }
  key(event) {
    const count = this.drawn?.at.length ?? 0;
    const now2 = this.point ?? count;
    const next4 = { ArrowLeft: now2 - 1, ArrowRight: now2 + 1, Home: 0, End: count - 1 }[event.key];
    if (next4 === void 0 || !count) return;
    event.preventDefault();
    this.pick(Math.max(0, Math.min(count - 1, next4)));
  }
};

// src/figures.ts
var number = (value2) => Number(value2);
var maybe = (value2) => value2 === null || value2 === void 0 ? null : Number(value2);
async function series(query3) {
  const read13 = await api(`series?${new URLSearchParams(query3)}`);
  const quantile = (one2) => ({ total: maybe(one2?.total), values: (one2?.values ?? []).map(maybe) });
  return {
    unit: read13.unit,
    at: read13.at.map(number),
    step_seconds: number(read13.step_seconds),
    groups: read13.groups.map((group) => ({
      name: group.name,
      rest: group.rest,
      total: number(group.total ?? 0),
      values: (group.values ?? []).map(number),
      p50: quantile(group.p50),
      p95: quantile(group.p95),
      p99: quantile(group.p99)
    })),
    truncated: read13.truncated,
    partial: read13.partial
  };
}
var whole = (value2) => Math.round(value2).toLocaleString();
var usd = (value2) => `${value2.toLocaleString(void 0, { minimumFractionDigits: 2, maximumFractionDigits: value2 !== 0 && Math.abs(value2) < 1 ? 6 : 2 })} USD`;
var share = (value2) => `${(value2 * 100).toLocaleString(void 0, { maximumFractionDigits: 1 })} %`;
var duration = (ms) => ms < 1e3 ? `${whole(ms)} ms` : ms < 6e4 ? `${(ms / 1e3).toLocaleString(void 0, { maximumFractionDigits: 1 })} s` : `${(ms / 6e4).toLocaleString(void 0, { maximumFractionDigits: 1 })} min`;
var DECISIONS = {
  allow: { look: 2, words: "allow" },
  allow_with_constraints: { look: 0, words: "allow with constraints" },
  approved: { look: 8, words: "approved" },
  pending_approval: { look: 4, words: "a person is asked" },
  remediate: { look: 5, words: "remediate" },
  suggest: { look: 6, words: "suggest" },
  throttle: { look: 3, words: "throttle" },
  deny: { look: 1, words: "deny" },
  rejected: { look: 7, words: "rejected" },
  expired: { look: 6, words: "expired" }
};
function counts(read13, format, all3) {
  const lines4 = read13.groups.map((group) => {
    const decision = group.name !== null && !group.rest ? DECISIONS[group.name] : void 0;
    const line3 = { name: decision?.words ?? group.name ?? all3, values: group.values, total: format(group.total) };
    if (decision) line3.look = decision.look;
    if (group.rest) line3.look = 6;
    return line3;
  });
  return { at: read13.at, step: read13.step_seconds, lines: lines4, format, unit: read13.unit, counted: true };
}
function latencies(read13) {
  const [group] = read13.groups;
  const lines4 = ["p50", "p95", "p99"].map((name2) => {
    const one2 = group?.[name2] ?? { total: null, values: [] };
    return { name: name2, values: one2.values, total: one2.total === null ? "–" : duration(one2.total) };
  });
  return { at: read13.at, step: read13.step_seconds, lines: lines4, format: duration, unit: read13.unit };
}
function parted(name2) {
  const parts2 = name2.split(/(?<=[_/.:-]+)(?![_/.:-])/);
  return el("span", {}, ...parts2.flatMap((part3, at) => at ? [el("wbr", {}), shown(part3, true)] : [shown(part3, true)]));
}

// src/budgets.ts
var asked2 = 0;
var charts = [];
var DRAWN = 12;
var head = [
  el("h2", {}, "Budgets"),
  el("p", { class: "soft" }, "Caps on calls, tokens and money, each counter by itself. Calls in flight hold what they may take until they end.")
];
var again = el("button", { type: "button" }, "Read again");
again.addEventListener("click", () => read());
function forget() {
  for (const chart of charts) chart.destroy();
  charts = [];
}
function clear2() {
  asked2 += 1;
  forget();
  $("budgets").replaceChildren();
}
async function open2() {
  place($("budgets"), [...head, el("p", { class: "soft" }, "Reading the budgets…")]);
  $("budgets").focus({ preventScroll: true });
  await read();
}
async function read() {
  const mine2 = ++asked2;
  let found2 = null;
  try {
    found2 = await allPages("budgets", "budgets");
  } catch (error) {
    if (mine2 === asked2 && state.view === "budgets") place($("budgets"), [...head, el("p", { class: "error" }, error.message)], $("budgets"));
    return;
  }
  if (mine2 !== asked2 || state.view !== "budgets") return;
  forget();
  const none = el("p", { id: "no-budgets" }, "There is no budget: policies/budgets.yaml sets caps on calls, tokens and money, by agent, workflow and more. How each is used is then drawn here.");
  const list3 = el("ul", { class: "cards" }, ...found2.budgets.map((budget, at) => card2(budget, at < DRAWN)));
  place($("budgets"), [...head, el("div", { class: "buttons" }, again), found2.budgets.length ? list3 : none], $("budgets"));
}
var UNITS = [
  ["calls", "Calls", ""],
  ["tokens", "Tokens", ""],
  ["cost_usd", "Money", " USD"]
];
var WINDOWS = { minute: "in the last 60 s", hour: "this hour", day: "this day", month: "this month", ever: "in all" };
var ABOVE = { throttle: "calls wait", deny: "calls are refused", require_approval: "a person is asked" };
var named = (budget) => budget.scope === "global" ? "all together" : budget.key;
function card2(budget, draws) {
  const name2 = budget.key === null ? "nothing counted yet" : named(budget);
  const reset = el("button", { type: "button", class: "reject", "aria-label": `Set back ${budget.id} of ${name2}` }, "Set back…");
  reset.addEventListener("click", () => askReset(budget));
  const span5 = WINDOWS[budget.window] || budget.window;
  return el(
    "li",
    { class: "panel", "data-budget": budget.id },
    el("h3", {}, shown(budget.id, true), " ", el("span", { class: "chip" }, `per ${budget.scope}`)),
    el("p", {}, shown(name2, true), ` ${span5}${budget.zone ? ` (${budget.zone})` : ""}`),
    ...UNITS.flatMap((unit) => [bar(budget, unit), pace(budget, unit)]),
    burnt(budget, draws),
    facts([
      ["Above", ABOVE[budget.on_exceed] || budget.on_exceed],
      ["Frees", budget.frees_at && el("span", {}, when(budget.frees_at), " (", countdown(budget.frees_at), ")")],
      ["Alerts at", budget.alert_at.length ? budget.alert_at.map((step3) => `${step3} %`).join(", ") : null]
    ]),
    budget.key !== null && hasRole("admin") ? el("div", { class: "buttons" }, reset) : null
  );
}
function bar(budget, [unit, label2, of]) {
  const limit2 = budget.limit[unit];
  const held = Number(budget.reserved[unit]);
  const used = Number(budget.used[unit]);
  if (limit2 === null && !used && !held) return null;
  const flight = held ? `, ${held}${of} held by calls in flight` : "";
  if (limit2 === null) return el("p", {}, `${label2}: ${used}${of}${flight}`);
  const most = Number(limit2);
  const words = `${label2}: ${used} of ${most}${of}${flight}, ${Number(budget.left[unit])}${of} left`;
  const meter = el("meter", { min: "0", max: String(Math.max(most, 1e-6)), high: String(most * 0.8), optimum: "0", value: String(Math.min(used + held, most)), "aria-label": words });
  return el("p", { class: "meter" }, el("span", {}, words), meter);
}
function pace(budget, [unit, , of]) {
  const used = Number(budget.used[unit]);
  const most = budget.limit[unit] === null ? null : Number(budget.limit[unit]);
  if (most === null || !used || !budget.window_start || !budget.frees_at) return null;
  const [start, end, now2] = [new Date(budget.window_start).getTime(), new Date(budget.frees_at).getTime(), Date.now() + state.skew];
  if (now2 - start < (end - start) / 50 || now2 >= end) return null;
  const hour = used / (now2 - start) * 36e5;
  const whole4 = used / (now2 - start) * (end - start);
  const words = `At this pace ${figure(hour)}${of} an hour, and ${unit === "cost_usd" ? figure(whole4) : Math.round(whole4).toLocaleString()}${of} by the end (${Math.round(whole4 / most * 100)} % of the cap).`;
  if (whole4 <= most) return el("p", { class: "soft pace" }, words);
  const gone = used >= most ? null : new Date(start + (now2 - start) * most / used).toISOString();
  return el("p", { class: "pace" }, el("span", { class: "chip bad" }, "over"), ` ${words} `, gone ? el("span", {}, "It is used up ", when(gone), ".") : "It is used up.");
}
function burnt(budget, draws) {
  const units = UNITS.filter(([unit]) => budget.limit[unit] !== null);
  if (budget.kind !== "budget" || budget.window === "minute" || !units.length) return null;
  if (budget.key === null) return el("p", { class: "soft" }, "Its chart begins with the first call that counts.");
  const place2 = el("div", { class: "stack" });
  if (draws) {
    void burn(budget, units, place2);
    return place2;
  }
  const button = el("button", { type: "button", class: "small" }, "Draw its use");
  button.addEventListener("click", () => void burn(budget, units, place2));
  place2.append(button);
  return place2;
}
async function burn(budget, units, place2) {
  const mine2 = asked2;
  let read13;
  try {
    read13 = await api(`budgets/${encodeURIComponent(budget.id)}/burn?${new URLSearchParams({ key: budget.key })}`);
  } catch (error) {
    if (mine2 === asked2) place2.replaceChildren(el("p", { class: "error" }, error.message));
    return;
  }
  if (mine2 !== asked2 || state.view !== "budgets") return;
  const drawn4 = units.map(([unit, label2]) => {
    const chart = new Chart(`${label2} of ${named(budget)}`, `${budget.id}, ${WINDOWS[budget.window] ?? budget.window}`, "Nothing was used in this window. Each call that counts raises the line.");
    charts.push(chart);
    return [chart, unit];
  });
  place2.replaceChildren(...drawn4.map(([chart]) => chart.node));
  for (const [chart, unit] of drawn4) chart.draw(lines(read13, unit));
}
function lines(read13, unit) {
  const seconds2 = (time) => Math.floor(new Date(time).getTime() / 1e3);
  const [step3, now2] = [Number(read13.step_seconds), seconds2(read13.now)];
  const format = unit === "cost_usd" ? usd : whole;
  const cap = Number(read13.limit[unit]);
  const used = read13.used[unit].map(Number);
  const start = read13.window_start === null ? null : seconds2(read13.window_start);
  const end = read13.window_end === null ? null : seconds2(read13.window_end);
  const at = read13.at.map((from) => Number(from) + step3);
  at[at.length - 1] = now2;
  const values = [...used];
  if (start !== null && start < at[0]) {
    at.unshift(start);
    values.unshift(0);
  }
  const last = used[used.length - 1] ?? 0;
  const pace2 = values.map(() => null);
  let ends = null;
  if (start !== null && end !== null && now2 < end && now2 - start >= (end - start) / 50) {
    pace2[pace2.length - 1] = last;
    const leads = (to) => last * (to - start) / (now2 - start);
    const ahead = [];
    for (let to = now2 - now2 % step3 + step3; to < end; to += step3) ahead.push(to);
    ahead.push(end);
    for (const to of ahead) {
      at.push(to);
      values.push(null);
      pace2.push(leads(to));
    }
    ends = leads(end);
  } else if (end !== null && now2 < end) {
    at.push(end);
    values.push(null);
    pace2.push(null);
  }
  const all3 = [
    { name: "used", values, total: format(last), look: 0, filled: true },
    { name: "cap", values: at.map(() => cap), total: format(cap), look: 1 }
  ];
  if (ends !== null) all3.splice(1, 0, { name: "at this pace", values: pace2, total: `${format(ends)} by the end`, look: 6 });
  return { at, step: step3, lines: all3, format, unit: unit === "cost_usd" ? "USD" : unit };
}
var figure = (value2) => value2.toLocaleString(void 0, value2 < 0.1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: value2 < 10 ? 2 : 0 });
async function askReset(budget) {
  const done2 = await confirm({
    title: "Set this budget back?",
    body: [
      el("p", {}, "What ", shown(named(budget), true), " has used of ", shown(budget.id, true), " in this window counts no more, from the next call on and in every process."),
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

// src/catalog.ts
var catalog_exports = {};
__export(catalog_exports, {
  changed: () => changed2,
  clear: () => clear3,
  open: () => open3
});
var asked3 = 0;
var tools = null;
var find = el("input", { type: "search", name: "find", spellcheck: "false", autocapitalize: "none" });
find.addEventListener("input", () => draw2());
var form = el("form", { class: "filters" }, el("label", {}, "Names with ", find));
form.addEventListener("submit", (event) => event.preventDefault());
var head2 = [el("h2", {}, "Catalog"), form];
var body = el("div", { class: "stack" });
var MOST = 200;
var PINS = {
  pinned: ["pinned", "good"],
  unpinned: ["not pinned", ""],
  asks: ["each use asks", "warn"],
  changed: ["held: changed", "bad"],
  new: ["held: new", "bad"],
  flagged: ["held: flagged", "bad"]
};
function clear3() {
  asked3 += 1;
  tools = null;
  find.value = "";
  $("catalog").replaceChildren();
}
async function open3() {
  body.replaceChildren(el("p", { class: "soft" }, "Reading…"));
  $("catalog").replaceChildren(...head2, body);
  $("catalog").focus({ preventScroll: true });
  await read2();
}
async function changed2() {
  if (state.view === "catalog") await read2();
}
async function read2() {
  const mine2 = ++asked3;
  try {
    const found2 = await allPages("tools", "tools");
    if (mine2 !== asked3 || state.view !== "catalog") return;
    tools = found2.tools;
  } catch (error) {
    if (mine2 === asked3 && state.view === "catalog") body.replaceChildren(el("p", { class: "error" }, error.message));
    return;
  }
  draw2();
  announce(counted(tools.length, "tool", "tools"));
}
var chips = (names2, kind3 = "") => el("span", { class: "chips" }, ...names2.map((name2) => el("span", { class: `chip ${kind3}` }, shown(name2, true))));
var traits = (one2) => [one2.read_only ? "reads" : "changes", one2.destructive ? "may destroy" : "", one2.open_world ? "reaches outside" : "", one2.usable ? "" : "its arguments cannot be checked"].filter(Boolean);
function draw2() {
  if (!tools) return;
  if (!tools.length) {
    body.replaceChildren(el("p", {}, "No upstream lists a tool. `[upstreams.NAME]` in servers.toml adds a server; the view Upstreams says how each stands."));
    return;
  }
  const words = find.value.trim().toLowerCase();
  const fits = tools.filter((one2) => !words || `${one2.name} ${one2.upstream} ${one2.action}`.toLowerCase().includes(words));
  const rows = fits.slice(0, MOST).map((one2) => {
    const [pin, colour2] = PINS[one2.state] ?? ["not known", ""];
    const found2 = (one2.findings ?? []).map((finding2) => finding2.kind);
    const link = el("a", { href: `#/events?${new URLSearchParams({ tool: one2.full_name })}` }, parted(one2.name));
    return [
      el("th", { scope: "row" }, link),
      td(shown(one2.upstream, true)),
      td(el("span", { class: `chip ${colour2}` }, pin)),
      td(found2.length ? chips([...new Set(found2)], "warn") : ""),
      td(traits(one2).join(", ")),
      td(chips(one2.labels)),
      td(one2.cost === null ? Number(one2.cost_usd) ? usd(Number(one2.cost_usd)) : "" : "by its arguments"),
      td(one2.agents.length ? chips(one2.agents.slice(0, 8)) : "nobody", one2.agents.length > 8 ? ` and ${one2.agents.length - 8} more` : "")
    ];
  });
  const held = tools.filter((one2) => ["changed", "new", "flagged"].includes(one2.state)).length;
  const parts2 = [
    held ? el("p", { class: "banner" }, `${counted(held, "tool is", "tools are")} held until somebody accepts ${held === 1 ? "it" : "them"}: see `, el("a", { href: "#/quarantine" }, "Quarantine"), ".") : null,
    rows.length ? table("Tools", ["Tool", "Upstream", "Pin", "Found in it", "What it does", "Labels", "Price", "Who may call it"], rows, { id: "catalog-tools" }) : el("p", {}, "None has that in its name."),
    el("p", { class: "soft" }, fits.length > rows.length ? `${rows.length} of ${counted(fits.length, "tool", "tools")}: the field above finds the others.` : `${counted(fits.length, "tool", "tools")}. A name leads to its records.`)
  ];
  body.replaceChildren(...parts2.filter((part3) => part3 !== null));
}

// src/connections.ts
var connections_exports = {};
__export(connections_exports, {
  clear: () => clear4,
  open: () => open4
});
var SECTION = "connections";
var asked4 = 0;
function clear4() {
  asked4 += 1;
  $(SECTION).replaceChildren();
}
async function open4() {
  const mine2 = ++asked4;
  place($(SECTION), [el("h2", {}, "Connections")], $(SECTION));
  $(SECTION).focus({ preventScroll: true });
  try {
    const { connections } = await api("connections");
    if (mine2 === asked4 && state.view === "connections") draw3(connections);
  } catch (error) {
    if (mine2 === asked4) failed(error);
  }
}
var failed = (error) => place($(SECTION), [el("h2", {}, "Connections"), el("p", { class: "error", role: "alert" }, error.message)], $(SECTION));
function draw3(connections) {
  const intro = el(
    "p",
    { class: "soft" },
    "Servers that are reached with somebody's own account. Connecting one leads to the sign-in of its issuer; what it gives Tollgate is kept encrypted and sent to that server alone. Disconnecting takes it back."
  );
  const none = el("p", { id: "no-connections" }, "No server is reached with an account that you connect.");
  const list3 = el("ul", { class: "cards" }, ...connections.map(card3));
  place($(SECTION), [el("h2", {}, "Connections"), intro, connections.length ? list3 : none], $(SECTION));
}
var whose = (one2) => {
  const [kind3, name2] = String(one2.holder).split(/:(.*)/s);
  return kind3 === "gateway" ? "everybody" : name2 === state.me.id && kind3 === "person" ? "you" : `${kind3} ${name2}`;
};
function card3(one2) {
  const isConnected = one2.state === "connected";
  const wants = isConnected && one2.wants.length > 0;
  const buttons2 = el("div", { class: "buttons" });
  const add = (words, act, attributes = {}) => {
    const button = el("button", { type: "button", ...attributes }, words);
    button.addEventListener("click", () => act(button));
    buttons2.append(button);
  };
  if (one2.may_connect && !isConnected) add("Connect", (button) => connect(one2, button), { class: "approve" });
  if (one2.may_connect && wants) add("Connect with more", (button) => connect(one2, button), { class: "approve" });
  if (one2.state !== "not connected") add("Disconnect…", () => disconnect(one2), { class: "reject" });
  const known7 = facts([
    ["For", shown(whose(one2), true)],
    ["State", one2.state],
    ...one2.reason ? [["Why", shown(one2.reason, true)]] : [],
    ...one2.since ? [["Since", when(one2.since)]] : [],
    ...one2.issuer ? [["Issuer", shown(one2.issuer, true)]] : [],
    ...one2.scopes.length ? [["May", shown(one2.scopes.join(" "), true)]] : [],
    ...wants ? [["The server wants", shown(one2.wants.join(" "), true)]] : []
  ]);
  return el("li", { class: "card", "data-upstream": one2.upstream, "data-holder": one2.holder }, el("h3", {}, shown(one2.upstream, true)), known7, buttons2);
}
var path = (one2) => `connections/${encodeURIComponent(one2.upstream)}`;
var agentOf = (one2) => String(one2.holder).startsWith("agent:") ? String(one2.holder).slice("agent:".length) : null;
async function connect(one2, button) {
  button.disabled = true;
  try {
    const begun = await api(path(one2), { agent: agentOf(one2) }, "POST", { keep: true });
    const url = new URL(begun.url);
    if (url.protocol !== "https:" && url.protocol !== "http:") throw new Error("The issuer's address cannot be opened.");
    location.assign(url.href);
  } catch (error) {
    button.disabled = false;
    failed(error);
  }
}
async function disconnect(one2) {
  const agent = agentOf(one2);
  const [kind3, name2] = String(one2.holder).split(/:(.*)/s);
  const query3 = agent ? `?agent=${encodeURIComponent(agent)}` : kind3 === "person" ? `?person=${encodeURIComponent(name2)}` : "";
  await confirm({
    title: `Disconnect ${one2.upstream}?`,
    body: [el("p", {}, "Its tokens are revoked at the issuer and removed here. Calls that need them are refused until it is connected again.")],
    action: "Disconnect",
    danger: true,
    run: async () => {
      await api(`${path(one2)}${query3}`, void 0, "DELETE");
      announce(`${one2.upstream} is disconnected`);
      await open4();
    }
  });
}

// src/deadletters.ts
var deadletters_exports = {};
__export(deadletters_exports, {
  ROLES: () => ROLES,
  changed: () => changed3,
  clear: () => clear5,
  open: () => open5
});
var ROLES = ["admin"];
var asked5 = 0;
var known2 = [];
var next = null;
var all2 = false;
function clear5() {
  asked5 += 1;
  known2 = [];
  next = null;
  all2 = false;
  $("deadletters").replaceChildren();
}
async function open5() {
  draw4();
  $("deadletters").focus({ preventScroll: true });
  await changed3();
}
async function changed3(before = null) {
  if (state.view !== "deadletters") return;
  const mine2 = ++asked5;
  try {
    const query3 = new URLSearchParams({ ...all2 ? { status: "all" } : {}, ...before ? { before_seq: before } : {} });
    const found2 = await api(query3.size ? `deadletters?${query3}` : "deadletters");
    if (mine2 !== asked5) return;
    known2 = before ? [...known2, ...found2.deadletters] : found2.deadletters;
    next = found2.next;
    draw4();
  } catch (error) {
    if (mine2 === asked5) place($("deadletters"), [el("h2", {}, "Dead letters"), el("p", { class: "error" }, error.message)], $("deadletters"));
  }
}
var which2 = el("input", { type: "checkbox", id: "deadletters-all" });
which2.addEventListener("change", () => {
  all2 = which2.checked;
  changed3();
});
function draw4() {
  const intro = el(
    "p",
    { class: "soft" },
    "Calls that were made and failed, or of which nobody knows whether their server acted. Nothing is made again by itself."
  );
  which2.checked = all2;
  const choice2 = el("label", {}, which2, " also those that were dealt with");
  const list3 = el("ul", { class: "cards" }, ...known2.map(card4));
  const none = el("p", { id: "no-deadletters" }, next ? "None in this part of the record." : all2 ? "There is none." : "None is open.");
  const more3 = next ? el("button", { type: "button", id: "more-deadletters" }, "Look further back in the record") : null;
  if (more3) more3.addEventListener("click", () => changed3(String(next)));
  place($("deadletters"), [el("h2", {}, "Dead letters"), intro, choice2, known2.length ? list3 : none, more3].filter(Boolean), $("deadletters"));
}
function card4(one2) {
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
      ].filter(([, value2]) => value2)
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
    const whole4 = await api(`deadletters/${encodeURIComponent(one2.call_id)}`);
    into.replaceChildren(shown(written(whole4.arguments ?? null)));
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
  await changed3();
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
  await changed3();
}

// src/detail.ts
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

// src/giving.ts
var UNITS2 = { ms: 1e-3, s: 1, sec: 1, m: 60, min: 60, h: 3600, hour: 3600, d: 86400, day: 86400, w: 604800, week: 604800, month: 2629746, year: 31556952 };
function seconds(text2) {
  let sum2 = 0;
  for (const [, number5, unit] of String(text2).matchAll(/(\d+)\s*([a-z]+)/g)) {
    sum2 += Number(number5) * (UNITS2[unit] ?? UNITS2[unit.replace(/s$/, "")] ?? 0);
  }
  return sum2;
}
var SPANS = ["15m", "1h", "4h", "8h", "1d", "7d", "30d"];
var NAMES = { "15m": "15 minutes", "1h": "1 hour", "4h": "4 hours", "8h": "8 hours", "1d": "1 day", "7d": "7 days", "30d": "30 days" };
function limits(one2) {
  return one2.grants ? { duration: one2.grants.max_duration, uses: Number(one2.grants.max_uses) } : null;
}
var field = (label2, input) => el("label", {}, label2, input);
function bounded(name2, value2) {
  const text2 = typeof value2 === "string" ? value2 : written(value2);
  const kind3 = el(
    "select",
    { "aria-label": `${name2} may be` },
    el("option", { value: "same" }, "as it is now"),
    typeof value2 === "string" ? el("option", { value: "within" }, "within a path") : null,
    typeof value2 === "string" ? el("option", { value: "glob" }, "like a pattern") : null,
    el("option", { value: "any" }, "anything")
  );
  const input = el("input", { spellcheck: "false", autocapitalize: "none", "aria-label": `${name2}: the path or pattern`, hidden: true });
  kind3.addEventListener("change", () => {
    input.hidden = !["within", "glob"].includes(kind3.value);
    if (kind3.value === "within" && !input.value) input.value = text2.replace(/\/[^/]*$/, "") || "/";
    if (kind3.value === "glob" && !input.value) input.value = text2;
  });
  const node = el("div", { class: "bound" }, el("span", { class: "name" }, shown(name2, true)), kind3, input);
  const read13 = () => {
    if (kind3.value === "same") return null;
    return kind3.value === "any" ? { any: true } : { [kind3.value]: input.value.trim() };
  };
  const set = (rule2) => {
    const found2 = ["within", "glob"].find((word) => isTree(rule2) && Object.hasOwn(rule2, word));
    kind3.value = found2 || (isTree(rule2) && rule2.any === true ? "any" : "same");
    input.value = found2 ? String(rule2[found2]) : "";
    kind3.dispatchEvent(new Event("change"));
  };
  return { name: name2, node, kind: kind3, input, read: read13, set };
}
var MOST_BOUNDED = 50;
function giving(one2, changed9) {
  const most = limits(one2);
  if (!most) return null;
  const on2 = el("input", { type: "checkbox", name: "grant" });
  const spans = SPANS.filter((span5) => seconds(span5) < seconds(most.duration));
  const duration2 = el(
    "select",
    { name: "duration" },
    ...spans.map((span5) => el("option", { value: span5 }, NAMES[span5])),
    el("option", { value: most.duration.replace(/\s+/g, "") }, `${most.duration} (the most)`)
  );
  const uses = el("input", { name: "uses", type: "number", min: 1, max: most.uses, step: 1, inputmode: "numeric" });
  uses.value = String(Math.min(10, most.uses));
  const args = isTree(one2.arguments) && !Array.isArray(one2.arguments) ? Object.entries(one2.arguments) : [];
  const rows = args.slice(0, MOST_BOUNDED).map(([name2, value3]) => bounded(name2, value3));
  const beyond = args.length - rows.length;
  const body6 = el(
    "div",
    { class: "giving", hidden: true },
    el("div", { class: "grid" }, field("For at most", duration2), field(`Calls, at most ${most.uses}`, uses)),
    el("p", { class: "soft" }, "Later calls of this agent, with this tool, whose arguments are:"),
    ...rows.map((row) => row.node),
    beyond > 0 ? el("p", { class: "soft" }, `${counted(beyond, "more argument", "more arguments")}: as now.`) : null,
    el("p", { class: "soft" }, "This call goes by its own approval. What another rule denies or asks about is not covered.")
  );
  const toggle = () => {
    body6.hidden = !on2.checked;
    changed9(on2.checked);
  };
  on2.addEventListener("change", toggle);
  const set = (grant2) => {
    on2.checked = true;
    toggle();
    const fits = [...duration2.options].find((option) => seconds(option.value) === seconds(grant2.duration));
    if (fits) duration2.value = fits.value;
    if (grant2.uses) uses.value = String(Math.min(Number(grant2.uses), most.uses));
    for (const row of rows) row.set((grant2.arguments || {})[row.name]);
  };
  const proposal = el("div", { class: "proposal", hidden: true });
  const propose = (grant2) => {
    const fill2 = el("button", { type: "button", onclick: () => set(grant2) }, "Fill in what is proposed");
    const who = `${grant2.approver} has approved calls of this shape ${counted(grant2.times, "time", "times")}. A grant would spare the next ones.`;
    proposal.replaceChildren(el("p", { class: "soft" }, shown(who)), fill2);
    proposal.hidden = false;
  };
  const node = el(
    "fieldset",
    {},
    el("legend", {}, "Calls like this"),
    proposal,
    el("label", { class: "check" }, on2, " Let calls like this through for a while"),
    body6
  );
  const value2 = () => {
    if (!on2.checked) return null;
    const bounds2 = rows.map((row) => [row.name, row.read()]).filter(([, rule2]) => rule2 !== null);
    return { duration: duration2.value, uses: parse(uses.value || "0"), arguments: Object.fromEntries(bounds2) };
  };
  return { node, value: value2, propose };
}

// src/inbox.ts
var inbox_exports = {};
__export(inbox_exports, {
  advance: () => advance,
  back: () => back,
  choose: () => choose,
  chosen: () => chosen,
  done: () => done,
  following: () => following,
  forget: () => forget2,
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

// src/headline.ts
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
var known3 = /* @__PURE__ */ new WeakMap();
function members(one2) {
  const kept = known3.get(one2);
  if (kept) return kept;
  const list3 = [];
  const add = (name2, value2) => {
    if (list3.length >= MOST_MEMBERS) return;
    const text2 = typeof value2 === "string" ? value2.slice(0, MOST_COMPARED) : String(value2);
    list3.push({ name: name2, value: value2, text: text2, size: typeof value2 === "string" ? value2.length : 0 });
  };
  const top = isTree(one2.arguments) && !Array.isArray(one2.arguments) ? Object.entries(one2.arguments) : [["value", one2.arguments]];
  for (const [name2, value2] of top.slice(0, MOST_MEMBERS)) {
    if (!isTree(value2)) add(name2, value2);
    else if (Array.isArray(value2) && value2.length && value2.length <= 5 && value2.every((item3) => !isTree(item3))) {
      add(name2, value2.map(String).join(", "));
    } else if (!Array.isArray(value2)) {
      for (const [inner, item3] of Object.entries(value2).slice(0, 20)) if (!isTree(item3)) add(`${name2}.${inner}`, item3);
    }
  }
  const found2 = { list: list3, total: one2.arguments === null ? 0 : top.length };
  known3.set(one2, found2);
  return found2;
}
function differing(calls3) {
  const values = /* @__PURE__ */ new Map();
  for (const call2 of calls3) {
    for (const { name: name2, text: text2, size } of members(call2).list) {
      if (!values.has(name2)) values.set(name2, /* @__PURE__ */ new Map());
      const seen2 = values.get(name2);
      const value2 = `${size} ${text2}`;
      seen2.set(value2, (seen2.get(value2) || 0) + 1);
    }
  }
  const differs = /* @__PURE__ */ new Set();
  for (const [name2, seen2] of values) if (seen2.size > 1 || [...seen2.values()][0] < calls3.length) differs.add(name2);
  return differs;
}
function differences(all3) {
  const byTool = /* @__PURE__ */ new Map();
  for (const one2 of all3) {
    if (!byTool.has(one2.tool)) byTool.set(one2.tool, []);
    byTool.get(one2.tool).push(one2);
  }
  return new Map([...byTool].map(([tool, calls3]) => [tool, calls3.length > 1 ? differing(calls3) : /* @__PURE__ */ new Set()]));
}
function telling(one2, differs) {
  const { list: list3, total } = members(one2);
  const weight = ({ name: name2, text: text2 }) => {
    const last = name2.split(".").pop().toLowerCase();
    const same = text2 === "" ? -50 : 0;
    return (differs && differs.has(name2) ? 100 : 0) + (WEIGHTS.get(last) || 0) + same;
  };
  const best = list3.map((member, at) => ({ member, at, weight: weight(member) }));
  best.sort((a, b) => b.weight - a.weight || a.at - b.at);
  const picked = best.slice(0, MOST_SHOWN).map(({ member }) => member);
  const tops = new Set(picked.map(({ name: name2 }) => isTree(one2.arguments) && Object.hasOwn(one2.arguments, name2) ? name2 : name2.split(".")[0]));
  return { picked, more: Math.max(total - tops.size, 0) };
}
function headline(one2, differs) {
  const { picked, more: more3 } = telling(one2, differs);
  if (!picked.length && !more3) return el("span", { class: "headline" }, "no arguments");
  const parts2 = [];
  for (const { name: name2, value: value2 } of picked) {
    if (parts2.length) parts2.push(" ");
    const text2 = typeof value2 === "string" ? ['"', ...brief(value2, MOST_TEXT), '"'] : [shown(String(value2))];
    parts2.push(el("span", { class: "pair" }, el("span", { class: "name" }, ...brief(name2, MOST_NAME)), ": ", ...text2));
  }
  if (!picked.length) parts2.push(...brief(written(one2.arguments), MOST_TEXT));
  else if (more3) parts2.push(" ", el("span", { class: "soft" }, `+ ${more3} more`));
  return el("span", { class: "headline" }, ...parts2);
}

// src/inbox.ts
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
var MOST2 = 1e3;
async function loadPending() {
  const found2 = await api(`approvals?status=pending&limit=${MOST2}`);
  inbox.more.pending = found2.truncated;
  const ids = new Set(found2.approvals.map((one2) => one2.id));
  for (const [id, one2] of inbox.approvals) {
    if (one2.status !== "pending" || ids.has(id)) continue;
    if (id !== inbox.chosen) {
      forget2(id);
      continue;
    }
    try {
      take(await api(`approvals/${encodeURIComponent(id)}`));
    } catch (error) {
      if (error.status === 404) forget2(id);
    }
  }
  found2.approvals.forEach(take);
  render();
}
var asked6 = 0;
var answered = 0;
var AT_A_TIME = 200;
async function loadHistory(before = null) {
  const query3 = new URLSearchParams({ status: $("f-status").value, limit: String(AT_A_TIME) });
  if (before) query3.set("before", before);
  const agent = $("f-agent").value.trim();
  if (agent) query3.set("agent_id", agent);
  const mine2 = ++asked6;
  let said = "";
  const found2 = await api(`approvals?${query3}`).catch((error) => {
    said = error.message;
    return null;
  });
  if (mine2 !== asked6 || !state.me) return;
  answered = mine2;
  if (found2) {
    inbox.history = before ? [...inbox.history, ...found2.approvals] : found2.approvals;
    inbox.more.history = found2.next;
  }
  notice(said);
  render();
  if (found2 && state.view === "history") announce(`${counted(listed().length, "approval", "approvals")} in the history.`);
}
function forget2(id) {
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
  for (const other of over.slice(0, Math.max(over.length - MOST_ENDED, 0))) forget2(other.id);
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
  const all3 = [...inbox.approvals.values()].filter((one2) => one2.status === "pending" || one2.here);
  return all3.sort((a, b) => b.may_decide - a.may_decide || a.expires_at.localeCompare(b.expires_at));
}
var waits = () => [...inbox.approvals.values()].filter((one2) => one2.status === "pending");
var mine = () => pending().filter((one2) => one2.status === "pending" && one2.may_decide);
function listed() {
  if (state.view === "pending") return pending();
  const tool = $("f-tool").value.trim().toLowerCase();
  return inbox.history.filter((one2) => one2.tool.toLowerCase().includes(tool));
}
function render() {
  const all3 = listed();
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
  $("empty").hidden = all3.length > 0;
  const none = asked6 === answered ? "No approval fits these filters." : "Reading the history…";
  $("empty").textContent = state.view === "pending" ? "Nothing waits for approval. Rules with REQUIRE_APPROVAL put calls here, and you are told when one comes." : none;
  if (!all3.some((one2) => one2.id === inbox.chosen)) {
    inbox.chosen = inbox.chosen === null ? all3.length ? all3[0].id : null : "";
  }
  const differs = differences(all3.filter((one2) => one2.status === "pending"));
  const lines4 = all3.map((one2) => item(one2, differs.get(one2.tool)));
  const ids = new Set(all3.map((one2) => one2.id));
  for (const id of items.keys()) if (!ids.has(id)) items.delete(id);
  place($("list"), lines4, $("detail"));
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
  const open19 = one2.status === "pending" && one2.may_decide;
  line3.mark.hidden = !open19;
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
  const head10 = $("done").hidden ? $("detail") : $("done");
  if (top < 0 || top > window.innerHeight / 2) head10.scrollIntoView({ block: "start" });
}
function step(by2) {
  const all3 = listed();
  const at = all3.findIndex((one2) => one2.id === inbox.chosen);
  const next4 = all3[Math.min(Math.max(at + by2, 0), all3.length - 1)];
  if (!next4) return;
  choose(next4.id, false);
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
function done(text2, id) {
  $("done").hidden = !text2;
  const again4 = id && state.view === "pending" && el("button", { type: "button", onclick: () => choose(id) }, "Show it");
  $("done").replaceChildren(...text2 ? [el("span", {}, text2), again4 || ""] : []);
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
  const open19 = (other) => other && other.status === "pending" && other.may_decide;
  const next4 = rest.map((id) => inbox.approvals.get(id)).find(open19) || mine().find((other) => other.id !== one2.id);
  const isInFront = state.view === "pending" && inbox.chosen === one2.id;
  if (next4 && isInFront) {
    done(said, one2.id);
    choose(next4.id);
    announce(`${said} Next: ${next4.tool} for ${next4.agent_id}.`);
  } else {
    done(isInFront ? "" : said, one2.id);
    announce(next4 || !isInFront ? said : `${said} Nothing else waits for you.`);
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
  const open19 = state.view === "pending" ? mine() : [];
  $("batch").hidden = open19.length < 2 && !inbox.marked.size;
  const one2 = chosen();
  const like = one2 && open19.includes(one2) ? alike(one2) : [];
  const count = inbox.marked.size;
  $("mark-all").textContent = `Mark all ${open19.length}`;
  $("mark-alike").hidden = like.length < 2 || like.length === open19.length;
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
    run: async (comment, tell3) => {
      const failed3 = [];
      let count2 = 0;
      for (const [at, one2] of some3.entries()) {
        tell3(`Rejecting ${at + 1} of ${some3.length}…`);
        try {
          const body6 = comment ? { decision: "reject", comment } : { decision: "reject" };
          take(await api(`approvals/${encodeURIComponent(one2.id)}/decision`, body6));
          count2 += 1;
        } catch (error) {
          if (!state.me) return null;
          failed3.push({ one: one2, error });
        }
      }
      return { count: count2, failed: failed3 };
    }
  });
  if (!result) return;
  const { count, failed: failed2 } = result;
  const what = failed2.map(({ one: one2, error }) => `${one2.tool} for ${one2.agent_id}: ${error.message}`);
  const said = `Rejected: ${count}.${failed2.length ? ` Not rejected: ${failed2.length}. ${what.slice(0, 3).join(" ")}` : ""}`;
  done(said);
  if (failed2.length) await loadPending().catch(() => {
  });
  render();
  const next4 = mine()[0];
  if (next4 && (!chosen() || chosen().status !== "pending")) {
    choose(next4.id);
    announce(`${said} Next: ${next4.tool} for ${next4.agent_id}.`);
    return;
  }
  announce(next4 ? said : `${said} Nothing else waits for you.`);
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

// src/sent.ts
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

// src/diff.ts
var diff_exports = {};
__export(diff_exports, {
  changes: () => changes,
  edits: () => edits,
  lines: () => lines2
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
function edits(value2) {
  const found2 = [];
  let more3 = 0;
  const walk = (item3, path2) => {
    if (!isTree(item3)) return;
    const isList = Array.isArray(item3);
    for (const [name2, member] of isList ? item3.entries() : Object.entries(item3)) {
      const at = isList ? `${path2}[${name2}]` : path2 ? `${path2}.${name2}` : name2;
      if (typeof member !== "string") walk(member, at);
      else if (!isList) {
        const other = partner(item3, name2);
        if (other === null) continue;
        if (found2.length >= MOST_EDITS) more3 += 1;
        else found2.push({ at, other, before: member, after: item3[other] });
      }
    }
  };
  walk(value2, "");
  return { found: found2, more: more3 };
}
var MOST_CELLS = 1e6;
function lines2(before, after) {
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
function line([sign2, text2]) {
  const words = WORDS2[sign2] && el("span", { class: "unseen" }, `${WORDS2[sign2]}: `);
  const cut = text2.length > MOST_LINE ? ` … (${text2.length - MOST_LINE} more characters, below)` : "";
  return el(
    "div",
    { class: KINDS[sign2] },
    el("span", { class: "sign", "aria-hidden": "true" }, sign2 === "-" ? "−" : sign2),
    words,
    shown(text2.slice(0, MOST_LINE)),
    cut
  );
}
var fold = (words, all3) => opened(words, () => all3.map(line));
function drawn(all3) {
  const out = [];
  let run2 = [];
  const flush = (isLast) => {
    const head10 = out.length ? AROUND : 0;
    const tail = isLast ? 0 : AROUND;
    if (run2.length > head10 + tail + 1) {
      const middle = run2.slice(head10, run2.length - tail);
      out.push(...run2.slice(0, head10).map(line));
      out.push(fold(`… ${middle.length} unchanged lines`, middle));
      out.push(...run2.slice(run2.length - tail).map(line));
    } else {
      out.push(...run2.map(line));
    }
    run2 = [];
  };
  for (const one2 of all3.slice(0, MOST_LINES)) {
    if (one2[0] === " ") run2.push(one2);
    else {
      flush(false);
      out.push(line(one2));
    }
  }
  flush(all3.length <= MOST_LINES);
  if (all3.length > MOST_LINES) out.push(fold(`… ${all3.length - MOST_LINES} more lines`, all3.slice(MOST_LINES)));
  return out;
}
function changes(value2) {
  const { found: found2, more: more3 } = edits(value2);
  if (!found2.length) return null;
  const groups = found2.map(({ at, other, before, after }) => {
    const all3 = lines2(before, after);
    const count = (sign2) => all3.filter(([kind3]) => kind3 === sign2).length;
    const sum2 = `${count("-")} removed, ${count("+")} added`;
    return el(
      "div",
      { class: "change" },
      el("p", { class: "soft" }, shown(at, true), " → ", shown(other, true), ` (lines: ${sum2})`),
      el("div", { class: "diff" }, ...drawn(all3))
    );
  });
  const rest = more3 ? el("p", { class: "soft" }, `… ${more3} more changes: the arguments below have them.`) : null;
  return el("div", { class: "changes" }, el("h3", {}, "What it would change"), ...groups, rest);
}

// src/sent.ts
var MOST_ENTRIES = 500;
var MOST_TEXT2 = 4e3;
var made2 = /* @__PURE__ */ new Map();
var forgetSent = (id) => made2.delete(id);
var forgetAllSent = () => made2.clear();
var sentCount = () => made2.size;
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
function quoted(text2) {
  const { start, rest } = cutAt(text2, MOST_TEXT2);
  const more3 = rest ? [folded(`… ${rest.length} more characters`, () => shown(rest))] : [];
  return [`"`, shown(start), ...more3, `"`];
}
function tree(value2, depth = 0) {
  const list3 = el("ul", { class: depth ? "tree" : "tree top" });
  const entries = Array.isArray(value2) ? value2.map((item3, at) => [at, item3]) : Object.entries(value2);
  if (!entries.length) list3.append(el("li", {}, Array.isArray(value2) ? "[] (empty)" : "{} (empty)"));
  const lines4 = (some3) => some3.map(([name2, item3]) => line2(name2, item3, depth));
  list3.append(...lines4(entries.slice(0, MOST_ENTRIES)));
  const rest = entries.slice(MOST_ENTRIES);
  if (rest.length) {
    const make = () => el("ul", { class: "tree" }, ...lines4(rest));
    list3.append(el("li", {}, folded(`… ${rest.length} more of ${entries.length}`, make)));
  }
  return list3;
}
function line2(name2, item3, depth) {
  const label2 = el("span", { class: "name" }, shown(name2));
  if (!isTree(item3)) {
    const text2 = typeof item3 === "string" ? quoted(item3) : [String(item3)];
    return el("li", {}, label2, ": ", el("span", { class: "value" }, ...text2));
  }
  const size = Array.isArray(item3) ? `[${item3.length}]` : `{${Object.keys(item3).length}}`;
  return el("li", {}, el("details", { open: true }, el("summary", {}, label2, ` ${size}`), tree(item3, depth + 1)));
}
var asTree = (value2) => isTree(value2) ? tree(value2) : tree({ value: value2 });
var some = (members2) => members2 && Object.keys(members2).length > 0;
function sections(one2, sent) {
  const masked = (title) => one2.redacted ? `${title} (sensitive values masked)` : title;
  const parts2 = [];
  if (one2.description) parts2.push(el("h3", {}, "What its server says of the tool"), el("p", { class: "said" }, ...quoted(one2.description)));
  const changed9 = changes(sent.arguments);
  if (changed9) parts2.push(changed9);
  parts2.push(el("h3", {}, masked("Arguments")), asTree(sent.arguments));
  if (some(sent.meta)) parts2.push(el("h3", {}, masked("Metadata that is sent with it (_meta)")), asTree(sent.meta));
  if (some(sent.params)) parts2.push(el("h3", {}, masked("Other parameters that are sent with it")), asTree(sent.params));
  return parts2;
}
function sentBy(one2) {
  const before = made2.get(one2.id);
  if (before) return before;
  const node = el("div", { class: "sent" }, ...sections(one2, one2));
  if (!one2.arguments_complete) {
    const error = el("p", { class: "error", role: "alert", hidden: true });
    const all3 = el("button", { type: "button" }, "Show all of it");
    const cut = el("div", { class: "cut", "data-unseen": true }, el("p", {}, "It is too long: some is cut here."), all3, error);
    all3.addEventListener("click", async () => {
      all3.disabled = true;
      try {
        const whole4 = await readWhole(one2);
        const hadFocus = node.contains(document.activeElement) || document.activeElement === document.body;
        node.replaceChildren(...sections(one2, whole4));
        if (hadFocus) $("detail").focus({ preventScroll: true });
        seen(node);
      } catch (problem2) {
        all3.disabled = false;
        error.hidden = false;
        error.textContent = `It cannot be shown: ${problem2.message}`;
      }
    });
    node.prepend(cut);
  }
  made2.set(one2.id, node);
  return node;
}
async function readWhole(one2) {
  const trace = await api(`traces/${one2.trace_id}`);
  const decided2 = trace.events.find((event) => event.approval_id === one2.id && event.event_type === "agent_decision" && event.detail);
  if (!decided2) throw new Error("the record of its decision is not there");
  return decided2.detail;
}
var parts = (one2) => {
  const node = made2.get(one2.id);
  return node ? [...node.querySelectorAll("[data-unseen]")] : [];
};
var unseen = (one2) => parts(one2).length;
function openNext(one2) {
  const [next4] = parts(one2);
  if (!next4) return;
  for (let outer = next4.parentElement.closest("details"); outer; outer = outer.parentElement.closest("details")) outer.open = true;
  const button = next4.querySelector("summary, button");
  button.scrollIntoView({ block: "center" });
  button.focus({ preventScroll: true });
  if (next4.matches("details")) next4.open = true;
  else button.click();
}

// src/detail.ts
var forms = /* @__PURE__ */ new Map();
var more = /* @__PURE__ */ new Map();
var detailCounts = () => [forms.size, more.size];
function forgetDetail(id, changed9 = false) {
  more.delete(id);
  if (changed9) return;
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
    const text2 = inbox.chosen === "" ? gone : "Choose an approval to see it whole.";
    drawn2 = { one: null };
    place($("detail"), [el("p", { class: "soft" }, text2)], $("detail"));
    return;
  }
  if (drawn2.one !== one2) drawn2 = { one: one2, who: headOf(one2), why: whyOf(one2), end: decisions(one2) };
  const form9 = formOf(one2);
  const parts2 = [...drawn2.who, sentBy(one2), ...drawn2.why, drawn2.end, form9 && form9.fields, ...moreOf(one2), form9 && form9.bar];
  place($("detail"), parts2.filter(Boolean), $("detail"));
}
var isOutdated = (one2) => one2.policies_in_force === false || one2.status === "cancelled" && !one2.covered_by;
function risks(one2) {
  const words = [];
  const add = (word, colour2 = "") => words.push(el("span", { class: `chip ${colour2}` }, word));
  if (one2.traits) {
    if (one2.traits.destructive) add("may destroy", "bad");
    else if (!one2.traits.read_only) add("changes something", "warn");
    else add("read-only", "good");
    if (one2.traits.open_world) add("reaches outside", "warn");
  }
  if (one2.redacted) add("masked values", "warn");
  if (one2.frozen && one2.frozen.length) add("frozen", "bad");
  if (one2.status === "pending") {
    if (one2.evidence_required) add("needs evidence");
    const open19 = one2.requirements.filter((need) => need.quorum > 1);
    for (const need of open19) add(`${need.approved_by} of ${need.quorum} agreed`);
    if (isOutdated(one2)) add("the policies have changed", "warn");
  }
  return words;
}
function takenAs(traits2) {
  return [
    traits2.read_only ? "read-only" : "changes something",
    traits2.destructive ? "may destroy" : "destroys nothing",
    traits2.idempotent ? "a repeat does no more" : "a repeat acts again",
    traits2.open_world ? "reaches outside" : "stays inside"
  ].join(", ");
}
function headOf(one2) {
  const agent = state.agents.get(one2.agent_id);
  const changes2 = one2.action.startsWith(`${one2.upstream}:`) ? one2.tool : `${one2.tool}, as ${one2.action}`;
  const open19 = !["consumed", "rejected", "expired"].includes(one2.status);
  let banner = "";
  if (one2.covered_by) banner = `A standing grant (${one2.covered_by}) has let its call through while it waited: nobody has to answer it any more.`;
  else if (open19 && isOutdated(one2)) banner = "The policies have changed since this was asked for: no answer to it lets the call through. The agent has to make the call again.";
  const frozen = one2.frozen && one2.frozen.length ? `${one2.frozen.join(", ")} is frozen: the call is refused, approved or not, until an admin lifts that.` : "";
  return [
    el("button", { type: "button", class: "back", onclick: back }, "← All asks"),
    el("h2", {}, shown(one2.tool), " ", chip(one2.status)),
    frozen ? el("p", { class: "banner", "data-frozen": "" }, shown(frozen, true)) : null,
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
    const evidence2 = need.evidence_required ? ", with evidence" : "";
    const separate = need.separate ? ", and never the agent's operator" : "";
    const later = need.escalate ? `; from ${whenText(need.escalate.at)} also ${need.escalate.to.join(", ")}` : "";
    return el("li", {}, shown(`${need.approved_by} of ${need.quorum} by ${who}${evidence2}${separate}${later} (policy ${need.policy_id}: ${need.reason})`));
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
  let form9 = forms.get(one2.id);
  if (!form9) {
    if (one2.status !== "pending") return null;
    form9 = newForm(one2);
    forms.set(one2.id, form9);
  }
  const open19 = one2.status === "pending" && one2.may_decide && !form9.busy;
  const parts2 = unseen(one2);
  form9.approve.disabled = !open19 || parts2 > 0;
  form9.reject.disabled = !open19;
  for (const field3 of [form9.comment, form9.evidence]) field3.readOnly = form9.busy;
  const shut = one2.status === "pending" && !one2.may_decide && !form9.busy;
  form9.fields.hidden = one2.status !== "pending" && !form9.comment.value && !form9.evidence.value;
  form9.bar.hidden = one2.status !== "pending" && form9.fields.hidden;
  form9.hint.hidden = !open19 || parts2 === 0;
  form9.words.textContent = `To approve it, open what is not shown yet: ${counted(parts2, "part", "parts")}.`;
  if ((shut || one2.status !== "pending") && !form9.busy && one2.why_not) say2(form9, `You cannot decide it: ${one2.why_not}.`);
  return form9;
}
function newForm(one2) {
  const id = `answer-${one2.id}`;
  const comment = el("textarea", { name: "comment", maxlength: 4e3, rows: 2 });
  const evidence2 = el("textarea", { name: "evidence", maxlength: 4e3, rows: 2 });
  const grant2 = giving(one2, (on2) => approve.textContent = on2 ? "Approve with a grant" : "Approve");
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const words = el("span", {});
  const next4 = el("button", { type: "button", onclick: () => openNext(record(one2.id) || one2) }, "Show the next part");
  const hint = el("p", { class: "hint", id: `hint-${one2.id}`, hidden: true }, words, " ", next4);
  const button = (kind3, text2) => el("button", { type: "submit", form: id, class: kind3, value: kind3, "aria-describedby": `hint-${one2.id}` }, text2);
  const approve = button("approve", "Approve");
  const reject = button("reject", "Reject");
  const fields2 = el(
    "form",
    { id, class: "decide", novalidate: true, "aria-label": "Your decision" },
    el("label", {}, "Comment", comment),
    el("label", {}, one2.evidence_required ? "Evidence (needed to approve)" : "Evidence", evidence2),
    grant2 && grant2.node
  );
  const bar3 = el("div", { class: "bar", role: "group", "aria-label": "Decide" }, hint, error, el("div", { class: "buttons" }, reject, approve));
  for (const one3 of [approve, reject]) {
    one3.addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
    one3.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
  }
  fields2.addEventListener("submit", (event) => {
    event.preventDefault();
    decide(one2.id, event.submitter ? event.submitter.value : "");
  });
  return { fields: fields2, bar: bar3, comment, evidence: evidence2, grant: grant2, error, hint, words, approve, reject, busy: false };
}
var formInFront = () => forms.get(inbox.chosen);
function say2(form9, text2) {
  form9.error.hidden = !text2;
  form9.error.textContent = text2 || "";
}
async function decide(id, decision) {
  const form9 = forms.get(id);
  const one2 = record(id);
  if (!form9 || !one2 || form9.busy || !["approve", "reject"].includes(decision)) return;
  if (decision === "approve" && unseen(one2) > 0) return;
  if (decision === "approve" && one2.evidence_required && !form9.evidence.value.trim()) {
    say2(form9, "This approval needs evidence: say what shows that the call is right.");
    form9.evidence.focus();
    return;
  }
  form9.busy = true;
  say2(form9, "");
  const rest = following(id);
  const inForm = form9.fields.contains(document.activeElement) || form9.bar.contains(document.activeElement);
  const pressed = inForm ? document.activeElement : null;
  if (pressed && !pressed.matches(FIELDS)) $("detail").focus({ preventScroll: true });
  renderDetail();
  try {
    const body6 = { decision };
    if (form9.comment.value.trim()) body6.comment = form9.comment.value.trim();
    if (form9.evidence.value.trim()) body6.evidence = form9.evidence.value.trim();
    const grant2 = form9.grant && decision === "approve" ? form9.grant.value() : null;
    if (grant2) body6.grant = grant2;
    const decided2 = await api(`approvals/${encodeURIComponent(id)}/decision`, body6, "POST", { link: inbox.linked.has(id) });
    form9.busy = false;
    forms.delete(id);
    take(decided2);
    advance(record(id) || decided2, rest);
  } catch (error) {
    form9.busy = false;
    if (!state.me) return;
    if (error.status === 409) {
      const fresh = await api(`approvals/${encodeURIComponent(id)}`).catch(() => null);
      if (fresh) take(fresh);
      render();
    }
    renderDetail();
    say2(form9, error.message);
    if (pressed && inbox.chosen === id && document.activeElement === $("detail")) pressed.focus();
  }
}
$("detail").addEventListener("tollgate-seen", () => {
  const one2 = chosen();
  if (one2) formOf(one2);
});
function moreOf(one2) {
  const known7 = more.get(one2.id);
  if (known7) return known7.parts;
  const parts2 = [el("p", { class: "soft" }, "Reading the trace…")];
  const mine2 = { parts: parts2 };
  more.set(one2.id, mine2);
  const isMine = () => more.get(one2.id) === mine2;
  readMore(one2).then(
    (read13) => {
      if (!isMine()) return;
      mine2.parts = read13;
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
function saidOf(decided2) {
  const steps = (decided2.detail.steps || []).map((step3) => [
    td(chip(step3.decision)),
    td(shown(step3.rule_id ? `${step3.policy_id}, rule ${step3.rule_id}` : step3.policy_id)),
    el("td", { class: "text" }, shown(step3.reason || ""))
  ]);
  const reached = decided2.facts && decided2.facts.session_labels || [];
  return [
    facts([
      ["Labels of the data", (decided2.labels || []).join(", ")],
      ["Had reached the session", reached.join(", ") || "nothing"]
    ]),
    steps.length ? table("What policies said", ["Outcome", "By", "Why"], steps) : "",
    opened("The record of the decision", () => asTree(decided2.detail))
  ];
}
async function readMore(one2) {
  const query3 = new URLSearchParams({ agent_id: one2.agent_id, status: "approved,rejected,expired,consumed", limit: "200" });
  const form9 = forms.get(one2.id);
  const mayGrant = form9 && form9.grant;
  const [trace, others, whole4] = await Promise.all([
    api(`traces/${one2.trace_id}`),
    api(`approvals?${query3}`),
    mayGrant ? api(`approvals/${encodeURIComponent(one2.id)}`) : null
  ]);
  if (whole4 && whole4.proposed_grant) form9.grant.propose(whole4.proposed_grant);
  const decided2 = trace.events.find(
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
  const sum2 = `The trace ${one2.trace_id} (${trace.truncated ? "the newest " : ""}${counted(trace.events.length, "event", "events")})`;
  return [
    el("h3", {}, "Similar calls before"),
    rows.length ? el("div", { id: "similar" }, table("Similar calls before", ["Answer", "Asked", "By", "Arguments"], rows), beyond ? el("p", { class: "soft" }, `… and ${beyond} more in the history`) : "") : el("p", { class: "soft", id: "similar" }, "No such call of this agent was asked about before."),
    el("h3", {}, "How it was decided"),
    decided2 ? el("div", { id: "trace" }, ...saidOf(decided2)) : el("p", { class: "soft", id: "trace" }, "The decision's record has no detail."),
    opened(sum2, () => table("Events of the trace", ["When", "What", "Decision", "Reason"], events()))
  ];
}

// src/events.ts
var events_exports = {};
__export(events_exports, {
  clear: () => clear6,
  open: () => open6
});
var PAGE = 50;
var TYPES = ["agent_decision", "agent_side_effect", "agent_start", "approval_requested", "approval_decided", "approval_expired", "approval_cancelled", "grant_made", "grant_ended", "alert", "policy_activated", "policy_rejected", "admin_action", "auth_failed", "tool_quarantined", "tool_accepted", "frozen", "unfrozen", "note"];
var DECISIONS2 = ["allow", "allow_with_constraints", "deny", "pending_approval", "approved", "rejected", "expired", "remediate", "suggest", "throttle"];
var asked7 = 0;
var found = [];
var next2 = null;
var left2 = [];
var choice = (name2, words, all3) => el("select", { name: name2 }, el("option", { value: "" }, words), all3.map((value2) => el("option", { value: value2 }, value2.replaceAll("_", " "))));
var text = (name2, hint = "") => el("input", { name: name2, spellcheck: "false", autocapitalize: "none", placeholder: hint || false });
var fields = {
  since: el("input", { name: "since", spellcheck: "false", placeholder: "7d, 2026-11-20" }),
  until: el("input", { name: "until", spellcheck: "false", placeholder: "now" }),
  event_type: choice("event_type", "every type", TYPES),
  decision: choice("decision", "every decision", DECISIONS2),
  agent_id: text("agent_id", "planner-*"),
  tool: text("tool", "files__*"),
  policy_id: text("policy_id"),
  person: text("person"),
  user: text("user"),
  workflow_id: text("workflow_id"),
  trace_id: text("trace_id"),
  call_id: text("call_id"),
  approval_id: text("approval_id")
};
var NAMES2 = Object.keys(fields);
var LABELS = { since: "From", until: "To", event_type: "Type", decision: "Decision", agent_id: "Agent", tool: "Tool", policy_id: "Policy", person: "Person who acted", user: "For the user", workflow_id: "Workflow", trace_id: "Trace", call_id: "Call", approval_id: "Approval" };
var FIRST2 = ["since", "until", "event_type", "decision", "agent_id", "tool"];
var label = (name2) => el("label", {}, LABELS[name2], fields[name2]);
var more2 = el("details", {}, el("summary", {}, "More: policy, person, workflow, trace, call, approval"), el("div", { class: "grid" }, ...NAMES2.filter((name2) => !FIRST2.includes(name2)).map(label)));
var empty = el("button", { type: "button" }, "Clear");
var form2 = el("form", { class: "search", role: "search", "aria-label": "Search the record" }, el("div", { class: "grid" }, ...FIRST2.map(label)), more2, el("div", { class: "buttons" }, el("button", { type: "submit", class: "primary" }, "Search"), empty));
var problem = el("p", { class: "error", role: "alert", hidden: true });
var body2 = el("div", { class: "stack" });
var verify = el("button", { type: "button", id: "verify" }, "Verify the record");
var verified = el("div", { id: "verified", role: "status" });
verify.addEventListener("click", async () => {
  verify.disabled = true;
  verified.replaceChildren(el("p", { class: "soft" }, "Verifying every record…"));
  try {
    let found2 = await api("audit/verify");
    while (found2.running) {
      verified.replaceChildren(el("p", { class: "soft" }, "Verifying every record since ", when(found2.began_at), "…"));
      found2 = await api("audit/verify");
    }
    verified.replaceChildren(told(found2));
  } catch (error) {
    verified.replaceChildren(el("p", { class: "error" }, error.message));
  } finally {
    verify.disabled = false;
  }
});
function told(found2) {
  const records = counted(Number(found2.records), "record", "records");
  if (found2.bad !== null) {
    const place2 = Number(found2.bad.seq) === 0 ? "The store does not verify: " : `Record ${found2.bad.seq} does not verify: `;
    return el("p", { class: "error" }, place2, shown(found2.bad.problem), ` (${records} before it do).`);
  }
  if (found2.contradicted !== null) return el("p", { class: "error" }, "A checkpoint says otherwise: ", shown(found2.contradicted));
  const held = Number(found2.checkpoints) === 0 ? "No checkpoint is kept yet." : `${counted(Number(found2.checkpoints), "checkpoint holds", "checkpoints hold")}.`;
  return el("p", {}, `The chain is whole: ${records}. ${held} `, when(found2.at));
}
form2.addEventListener("submit", (event) => {
  event.preventDefault();
  go(query2());
});
empty.addEventListener("click", () => {
  for (const name2 of NAMES2) fields[name2].value = "";
  go(query2());
});
function query2() {
  const filters = new URLSearchParams();
  for (const name2 of NAMES2) {
    const value2 = fields[name2].value.trim();
    if (value2) filters.set(name2, value2);
  }
  return filters;
}
function go(filters) {
  const hash = filters.size ? `#/events?${filters}` : "#/events";
  if (location.hash !== hash) history.pushState(null, "", hash);
  state.rest = hash.slice("#/events".length);
  void search(filters);
}
function clear6() {
  asked7 += 1;
  found = [];
  next2 = null;
  verified.replaceChildren();
  for (const name2 of NAMES2) fields[name2].value = "";
  $("events").replaceChildren();
}
async function open6(_given, rest = "") {
  const trace = /^\/([0-9a-fA-F-]{32,36})$/.exec(rest);
  if (trace) {
    await tell(trace[1]);
    return;
  }
  const filters = new URLSearchParams(rest.replace(/^\?/, ""));
  for (const name2 of NAMES2) fields[name2].value = filters.get(name2) ?? "";
  more2.open = NAMES2.some((name2) => !FIRST2.includes(name2) && filters.has(name2));
  $("events").replaceChildren(el("h2", {}, "Events"), form2, el("div", { class: "buttons" }, verify), verified, problem, body2);
  $("events").focus({ preventScroll: true });
  await search(query2());
}
function say3(words) {
  problem.hidden = !words;
  problem.textContent = words;
}
async function page(filters, before) {
  const asks = new URLSearchParams(filters);
  asks.set("limit", String(PAGE));
  if (before !== null) asks.set("before_seq", String(before));
  return api(`events?${asks}`);
}
async function search(filters) {
  const mine2 = ++asked7;
  say3("");
  body2.replaceChildren(el("p", { class: "soft" }, "Searching…"));
  try {
    const read13 = await page(filters, null);
    if (mine2 !== asked7 || state.view !== "events") return;
    found = read13.events;
    next2 = read13.truncated ? read13.next : null;
    left2 = read13.left_out ?? [];
  } catch (error) {
    if (mine2 !== asked7 || state.view !== "events") return;
    body2.replaceChildren();
    say3(error.message);
    return;
  }
  draw5(filters);
  announce(found.length ? `${counted(found.length, "event", "events")}${next2 === null ? "" : ", and more"}.` : "Nothing is found.");
}
function person(event) {
  if (["agent_start", "agent_decision", "agent_side_effect"].includes(event.event_type)) return null;
  const named3 = [event.detail?.person, event.detail?.by].find((name2) => typeof name2 === "string" && name2 !== "");
  return named3 ?? null;
}
function draw5(filters) {
  if (!found.length) {
    const words = filters.size ? "No event is like this. Names take `*`; a time is one like 2026-11-20T08:00:00Z, a day, or how long ago, like 7d." : "Nothing is recorded yet. Every call leaves a record of what was decided before it is made, and one of what came of it.";
    body2.replaceChildren(el("p", { id: "no-events" }, words));
    return;
  }
  const rows = found.map((event) => {
    const open19 = event.trace_id === null ? null : el("a", { href: `#/events/${event.trace_id}`, "aria-label": `The trace of record ${event.seq}` }, String(event.seq));
    const acted = person(event) ?? (event.actor.type === "agent" ? event.agent_id : null) ?? event.actor.type;
    return [
      td(open19 ?? String(event.seq)),
      td(when(event.timestamp) ?? ""),
      td(event.event_type.replaceAll("_", " ")),
      td(acted === null ? "" : parted(acted)),
      td(parted(event.tool ?? event.action ?? "")),
      td(event.decision === null ? event.outcome === null ? "" : el("span", { class: `chip ${event.outcome === "succeeded" ? "good" : "bad"}` }, event.outcome) : chip(event.decision)),
      el("td", { class: "text" }, event.policy_id === null ? "" : el("span", { class: "soft" }, shown(event.policy_id, true), " "), event.reason === null ? "" : shown(event.reason))
    ];
  });
  const older = el("button", { type: "button" }, "Show older ones");
  older.addEventListener("click", async () => {
    older.disabled = true;
    const mine2 = asked7;
    const from = found.length;
    try {
      const read13 = await page(filters, next2);
      if (mine2 !== asked7) return;
      found = found.concat(read13.events);
      next2 = read13.truncated ? read13.next : null;
    } catch (error) {
      say3(error.message);
      older.disabled = false;
      return;
    }
    draw5(filters);
    body2.querySelectorAll("tbody tr")[from]?.querySelector("a")?.focus();
  });
  const parts2 = [
    left2.length ? el("p", { class: "banner" }, `${counted(left2.length, "record does", "records do")} not verify and ${left2.length === 1 ? "is" : "are"} left out: see \`tollgate audit verify\`.`) : null,
    table("Events, newest first", ["Record", "When", "Type", "Who", "What", "Decision", "Why"], rows, { id: "events-found" }),
    el("p", { class: "soft" }, `${counted(found.length, "event", "events")}, newest first${next2 === null ? ": all of them" : ""}. The number of a record opens its trace.`),
    next2 === null ? null : el("div", { class: "buttons" }, older)
  ];
  body2.replaceChildren(...parts2.filter((part3) => part3 !== null));
}
async function tell(trace) {
  const mine2 = ++asked7;
  const back2 = el("a", { href: "#/events" }, "← Search");
  const place2 = el("div", { class: "stack" }, el("p", { class: "soft" }, "Reading the trace…"));
  $("events").replaceChildren(el("p", {}, back2), el("h2", {}, "Trace ", el("span", { class: "code" }, trace)), place2);
  $("events").focus({ preventScroll: true });
  let report2;
  try {
    report2 = await api(`traces/${encodeURIComponent(trace)}`);
  } catch (error) {
    if (mine2 === asked7 && state.view === "events") place2.replaceChildren(el("p", { class: "error" }, error.message));
    return;
  }
  if (mine2 !== asked7 || state.view !== "events") return;
  const notes = (report2.notes ?? []).map((note) => el("li", {}, when(note.at), note.by === null ? "" : [" ", shown(note.by, true)], ": ", note.text === null ? "" : shown(note.text)));
  const nodes = [
    report2.truncated ? el("p", { class: "banner" }, "These are the newest records of this trace: `tollgate audit show` tells all.") : null,
    notes.length ? el("section", { class: "panel" }, el("h3", {}, "Notes"), el("ul", { class: "plain" }, ...notes)) : null,
    ...report2.calls.map(call),
    report2.calls.length ? null : el("p", {}, "No call was decided in this trace."),
    report2.other.length ? el("section", { class: "panel" }, el("h3", {}, "Other records"), evidence(report2.other)) : null,
    opened(`All ${counted(report2.events.length, "record", "records")} as they are kept`, () => report2.events.map((event) => el("pre", { tabindex: "0" }, shown(written(event, 2)))))
  ];
  place2.replaceChildren(...nodes.filter((node) => node !== null));
  announce(`${counted(report2.calls.length, "call", "calls")} in this trace.`);
}
var question = (number5, words, ...answer) => el("section", { class: "question" }, el("h4", {}, `${number5}. ${words}`), ...answer.filter((part3) => part3 !== null));
var json = (words, value2) => value2 === null || value2 === void 0 ? null : opened(words, () => el("pre", { tabindex: "0" }, shown(written(value2, 2))));
function call(one2) {
  const who = one2.initiated;
  const did = one2.executed;
  return el(
    "section",
    { class: "panel call", "data-call": one2.call_id },
    el("h3", {}, one2.tool === null ? "A call" : shown(one2.tool, true), " ", el("span", { class: "soft" }, when(who.at))),
    question(1, "Who initiated it?", facts([
      ["Agent", who.agent_id],
      ["Acts as", who.actor.role === null ? who.actor.type : `${who.actor.role} (${who.actor.type})`],
      ["For the user", who.user],
      ["Person at the client", who.operator],
      ["Workflow", who.workflow_id],
      ["Tenant", who.tenant],
      ["Action", who.action]
    ]), json("Arguments, as they may be recorded", who.arguments)),
    question(2, "What was decided, and why?", ...one2.decided.length ? one2.decided.map(decided) : ["Nothing is recorded."]),
    question(3, "Was approval required, and who approved?", ...one2.approvals.length || one2.grants.length ? [...one2.approvals.map(approval), ...one2.grants.map(grant)] : [el("p", { class: "soft" }, "No person was asked.")]),
    question(4, "What was executed, where, and within which limits?", did ? executed(did) : el("p", { class: "soft" }, "Nothing went to an upstream.")),
    question(5, "Where is the evidence?", evidence(one2.evidence))
  );
}
function decided(one2) {
  return el(
    "div",
    { class: "answer" },
    el("p", {}, one2.decision === null ? "" : chip(one2.decision), " ", one2.reason === null ? "" : shown(one2.reason)),
    facts([
      ["When", when(one2.at)],
      ["Policy", one2.policy_id === null ? null : `${one2.policy_id}${one2.rule_id === null ? "" : `, rule ${one2.rule_id}`}`],
      ["Capability", one2.capability_id],
      ["Estimated", one2.cost_estimate_usd === null ? null : usd(Number(one2.cost_estimate_usd))],
      ["Labels", (one2.labels ?? []).join(", ")],
      ["Of its session", (one2.session_labels ?? []).join(", ")],
      ["Counted", one2.counted ? `${one2.counted.count} alike` : null],
      ["Snapshot", one2.policy_snapshot]
    ]),
    json("Limits and counters that were in force", one2.limits)
  );
}
function approval(one2) {
  const answers = (one2.decisions ?? []).map((answer) => el("li", {}, shown(answer.person, true), ": ", chip(answer.decision), " ", when(answer.at), ` by ${answer.channel}`, answer.comment ? [", “", shown(answer.comment), "”"] : ""));
  return el(
    "div",
    { class: "answer" },
    el("p", {}, one2.status === null ? "" : chip(one2.status), " ", one2.reason === null ? "" : shown(one2.reason)),
    facts([
      ["Asked", when(one2.created_at)],
      ["Approvers", (one2.approvers ?? []).join(", ")],
      ["Needed", one2.quorum === null ? null : counted(Number(one2.quorum), "approval", "approvals")],
      ["Until", when(one2.expires_at)]
    ]),
    answers.length ? el("ul", { class: "plain" }, ...answers) : el("p", { class: "soft" }, "Nobody has answered."),
    el("p", {}, el("a", { href: `#${encodeURIComponent(one2.id)}` }, "The approval"))
  );
}
function grant(one2) {
  return el("div", { class: "answer" }, el("p", {}, one2.used ? "It went by a standing grant." : "It made a standing grant."), facts([["Grant", one2.id], ["Given by", (one2.approvers ?? []).join(", ")], ["Made", when(one2.made_at)], ["Until", when(one2.expires_at)]]));
}
function executed(one2) {
  return el(
    "div",
    { class: "answer" },
    el("p", {}, one2.outcome === null ? "It is under way, or its end is not recorded." : el("span", { class: `chip ${one2.outcome === "succeeded" ? "good" : "bad"}` }, one2.outcome), " ", one2.reason === null ? "" : shown(one2.reason)),
    facts([
      ["Upstream", one2.upstream],
      ["As agents call it", one2.tool],
      ["When", when(one2.at)],
      ["Took", one2.duration_ms === null ? null : duration(Number(one2.duration_ms))],
      ["Cost", one2.cost_usd === null ? null : usd(Number(one2.cost_usd))],
      ["Result", one2.result ? `${whole(Number(one2.result.bytes))} bytes` : null],
      ["Labels", (one2.labels ?? []).join(", ")]
    ]),
    json("What was sent, as it may be recorded", one2.arguments),
    json("Limits", one2.limits)
  );
}
function evidence(all3) {
  const rows = all3.map((one2) => [td(String(one2.seq)), td(one2.event_type.replaceAll("_", " ")), td(when(one2.at) ?? ""), el("td", { class: "code" }, one2.hash ?? el("span", { class: "soft" }, "withheld from your role"))]);
  return table("Records that prove it", ["Record", "Type", "When", "Hash"], rows);
}

// src/explain.ts
var explain_exports = {};
__export(explain_exports, {
  ROLES: () => ROLES2,
  clear: () => clear7,
  open: () => open7
});
var ROLES2 = ["approver", "admin", "auditor", "auditor-full"];
var form3 = null;
function clear7() {
  form3 = null;
  $("explain").replaceChildren();
}
var field2 = (label2, input, help) => {
  if (!help) return el("label", {}, label2, input);
  const id = `help-${input.name}`;
  input.setAttribute("aria-describedby", id);
  return el("div", { class: "field" }, el("label", {}, label2, input), el("p", { class: "soft", id }, help));
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
  const tools2 = el("datalist", { id: "tools" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const note = el("p", { class: "banner", hidden: true }, "Masked or cut values stand here as they are shown: put in what was really sent, where a rule looks at it.");
  const go2 = el("button", { type: "submit", class: "primary" }, "Explain");
  const result = el("section", { class: "result", tabindex: "-1", "aria-label": "The decision", hidden: true });
  const zone2 = Intl.DateTimeFormat().resolvedOptions().timeZone;
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
        field2("At", at, `Empty: now. In your zone, ${zone2}.`),
        field2("Policy snapshot", snapshot, "Empty: the one in force.")
      )
    ),
    tools2,
    note,
    error,
    el("div", { class: "buttons" }, go2)
  );
  const made3 = { node, agent, tool, args, user, workflow, at, snapshot, tools: tools2, note, error, go: go2, result, asked: 0 };
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    run(made3);
  });
  args.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) node.requestSubmit();
  });
  return made3;
}
function offerAgents({ agent }, chosen2) {
  const ids = /* @__PURE__ */ new Set([...state.agents.keys(), ...chosen2 ? [chosen2] : []]);
  agent.replaceChildren(...[...ids].map((id) => el("option", { value: id }, id)));
  if (chosen2) agent.value = chosen2;
}
async function open7(given) {
  if (!form3) {
    form3 = build();
    $("explain").replaceChildren(
      el("h2", {}, "Explain a decision"),
      el("p", { class: "soft" }, "What would be decided of a call under the policies, and why. Nothing is recorded, counted or sent."),
      form3.node,
      form3.result
    );
  }
  const mine2 = form3;
  offerAgents(mine2, given ? given.agent : mine2.agent.value);
  if (given) fill(mine2, given);
  $("explain").focus({ preventScroll: true });
  const listed2 = await allPages("tools", "tools").catch(() => null);
  if (listed2 && form3 === mine2) {
    const names2 = [...new Set(listed2.tools.map((tool) => tool.name))];
    mine2.tools.replaceChildren(...names2.map((name2) => el("option", { value: name2 })));
  }
}
function fill(form9, given) {
  form9.tool.value = given.tool;
  form9.args.value = written(given.arguments ?? {}, 2);
  form9.user.value = given.user || "";
  form9.workflow.value = given.workflow || "";
  form9.at.value = form9.snapshot.value = "";
  form9.result.hidden = true;
  say4(form9, "");
  form9.note.hidden = !given.masked;
}
function say4(form9, text2) {
  form9.error.hidden = !text2;
  form9.error.textContent = text2 || "";
}
async function run(form9) {
  say4(form9, "");
  const body6 = { agent: form9.agent.value, tool: form9.tool.value.trim() };
  if (!body6.tool) {
    say4(form9, "Name a tool.");
    form9.tool.focus();
    return;
  }
  try {
    body6.arguments = parse(form9.args.value.trim() || "{}");
  } catch (problem2) {
    say4(form9, `The arguments are no JSON: ${problem2.message}`);
    form9.args.focus();
    return;
  }
  if (!isTree(body6.arguments) || Array.isArray(body6.arguments)) {
    say4(form9, 'The arguments must be a JSON object, like {"path": "/a"}.');
    form9.args.focus();
    return;
  }
  for (const name2 of ["user", "workflow", "snapshot"]) {
    const text2 = form9[name2].value.trim();
    if (text2) body6[name2] = text2;
  }
  if (form9.at.value) body6.at = new Date(form9.at.value).toISOString();
  const mine2 = ++form9.asked;
  form9.go.disabled = true;
  try {
    const answer = await api("explain", body6);
    if (mine2 !== form9.asked) return;
    form9.result.replaceChildren(...drawn3(answer));
    form9.result.hidden = false;
    form9.result.focus();
    announce(`Decision: ${answer.decision}.`);
  } catch (error) {
    if (mine2 === form9.asked) say4(form9, error.message);
  } finally {
    form9.go.disabled = false;
  }
}
var names = (all3) => (all3 || []).join(", ");
var some2 = (value2) => isTree(value2) && Object.keys(value2).length > 0;
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
  const [mark2, colour2, word] = MARKS[result] || ["", "", String(result)];
  return el("span", { class: `chip ${colour2}` }, el("span", { "aria-hidden": "true" }, `${mark2} `), word);
}
function part(one2) {
  const values = (one2.values || []).map(({ name: name2, value: value2 }) => `${name2} = ${value2}`);
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
  const all3 = one2.policies || [];
  const concerned = all3.filter((other) => other.concerns);
  const others = all3.filter((other) => !other.concerns);
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
var change2 = (one2) => item2(
  el("strong", {}, OUTCOMES[one2.decision] || one2.decision, " if "),
  shown(one2.if),
  el("span", { class: "soft" }, " (by ", shown(ruled(one2.policy_id, one2.rule_id)), "; tried ", ...brief(written(one2.arguments)), ")")
);
function wouldBeAsked(one2) {
  const who = one2.approvers.length ? one2.approvers.join(" or ") : "everyone with the role approver";
  const more3 = [
    one2.quorum > 1 ? `${one2.quorum} people must agree` : "",
    one2.evidence_required ? "with evidence" : "",
    one2.separate ? "never the agent's operator" : "",
    `within ${one2.expires_in}`
  ].filter(Boolean);
  return item2(shown(who), " (now: ", shown(names(one2.people) || "nobody"), "), for ", shown(ruled(one2.policy_id, one2.rule_id)), `; ${more3.join("; ")}`);
}
function limit(key2, value2, sources) {
  const from = sources.filter((source) => Object.hasOwn(source.constraints, key2)).map((source) => ruled(source.policy_id, source.rule_id));
  return item2(el("strong", {}, key2), ": ", shown(isTree(value2) ? written(value2) : String(value2)), from.length ? el("span", { class: "soft" }, " from ", shown(from.join("; "))) : "");
}
function counter(one2) {
  const parts2 = [
    [one2.max_calls === 1 ? "call" : "calls", one2.used_calls, one2.max_calls],
    [one2.max_tokens === 1 ? "token" : "tokens", one2.used_tokens, one2.max_tokens],
    ["USD", one2.used_cost_usd, one2.max_cost_usd]
  ];
  const text2 = parts2.filter(([, , most]) => most !== null && most !== void 0).map(([what, used, most]) => used === null ? `at most ${most} ${what}` : `${used} of ${most} ${what}`);
  return item2(el("strong", {}, shown(one2.policy_id)), ` (${one2.key}, per ${one2.window}): ${text2.join(", ")}; above it `, chip(one2.above), one2.full ? " and it is full" : "");
}
function loop(one2) {
  const seen2 = one2.seen === null ? `at most ${one2.max}` : `${one2.seen} of ${one2.max}`;
  const whose2 = one2.kind === "fan_out" ? `, ${one2.of}` : "";
  return item2(el("strong", {}, "loop"), ` (${one2.kind}${whose2}, per ${one2.window_s} s): ${seen2}; above it `, chip("throttle"), one2.full ? " and it is full" : "");
}
function step2(one2) {
  return [td(chip(one2.decision)), td(shown(ruled(one2.policy_id, one2.rule_id))), el("td", { class: "text" }, shown(one2.reason || ""))];
}
function drawn3(answer) {
  const call2 = answer.call;
  const sources = answer.constraint_sources || [];
  const limits2 = Object.entries(answer.constraints || {}).map(([key2, value2]) => limit(key2, value2, sources));
  const all3 = answer.evaluations || [];
  const titles = all3.length > 1 ? ["The call as it came", "As rules changed it"] : [];
  const said = (answer.steps || []).map(step2);
  return [
    el("h3", {}, "The decision"),
    el("p", { class: "verdict" }, chip(answer.decision), " ", shown(answer.reason || "")),
    facts([
      ["Policy", answer.policy_id],
      ["Rule", answer.rule_id],
      ["Who would be asked", names(answer.approvers)],
      ["Capability", answer.capability],
      ["Estimated cost", call2 && `${call2.cost_estimate_usd} USD`],
      ["Decided at", call2 && when(call2.now)],
      ["Policies", answer.policy_snapshot && el("code", { title: answer.policy_snapshot }, answer.policy_snapshot.slice(0, 12))]
    ]),
    ...section("What other arguments would change", (answer.changes || []).map(change2)),
    ...section("Who would be asked", (answer.approvals || []).map(wouldBeAsked)),
    ...section("Limits", [...limits2, ...(answer.limits || []).map(counter), ...(answer.loops || []).map(loop)]),
    ...some2(answer.remediation) ? [el("h3", {}, "The safer call"), asTree(answer.remediation)] : [],
    el("h3", {}, "How it comes to that"),
    ...all3.flatMap((one2, at) => evaluation(one2, titles[at])),
    said.length ? table("What was said, in order; the strictest counts", ["Outcome", "By", "Why"], said) : el("p", { class: "soft" }, "No rule was asked."),
    ...section("Notes", (answer.notes || []).map((note) => item2(shown(note))))
  ].filter(Boolean);
}

// src/freeze.ts
var freeze_exports = {};
__export(freeze_exports, {
  changed: () => changed4,
  clear: () => clear8,
  open: () => open8
});
var KINDS2 = {
  agent: "Agent",
  user: "Person (every call for them)",
  tool: "Tool",
  upstream: "Server",
  capability: "Capability"
};
var asked8 = 0;
var known4 = [];
var kindOf = (one2) => Object.keys(KINDS2).find((kind3) => typeof one2[kind3] === "string");
var wordsOf = (one2) => {
  const kind3 = kindOf(one2);
  return kind3 ? `${kind3} ${one2[kind3]}` : "everything";
};
function clear8() {
  asked8 += 1;
  known4 = [];
  $("frozen").hidden = true;
  $("frozen").replaceChildren();
  $("freeze").replaceChildren();
}
async function changed4() {
  const mine2 = ++asked8;
  const found2 = await allPages("freeze", "freezes");
  if (mine2 !== asked8) return;
  known4 = found2.freezes;
  drawBanner();
  if (state.view === "freeze") draw6();
}
function drawBanner() {
  const names2 = known4.slice(0, 3).map(wordsOf).join(", ");
  const rest = known4.length > 3 ? ` and ${known4.length - 3} more` : "";
  const text2 = known4.length ? `Frozen: ${names2}${rest}. Calls of it are refused.` : "";
  if ($("frozen").textContent !== text2) $("frozen").replaceChildren(text2 ? shown(text2, true) : "");
  $("frozen").hidden = !text2;
}
async function open8() {
  draw6();
  $("freeze").focus({ preventScroll: true });
  try {
    await changed4();
  } catch (error) {
    if (state.view === "freeze") place($("freeze"), [el("h2", {}, "Freeze"), el("p", { class: "error" }, error.message)], $("freeze"));
  }
}
function draw6() {
  const isAdmin = hasRole("admin");
  const intro = el(
    "p",
    { class: "soft" },
    "A freeze stops calls at once, in every process and over every restart: calls in flight are answered and cancelled at their server, approvals and grants count for nothing. The agent is told that it is frozen, not why."
  );
  const list3 = el("ul", { class: "cards" }, ...known4.map(card5));
  const none = el("p", { id: "no-freezes" }, "Nothing is frozen.");
  place($("freeze"), [el("h2", {}, "Freeze"), intro, isAdmin ? everything() : null, isAdmin ? one : null, known4.length ? list3 : none].filter(Boolean), $("freeze"));
}
function everything() {
  const button = el("button", { type: "button", class: "reject big", id: "freeze-all" }, "Freeze everything…");
  button.addEventListener("click", () => ask({ all: true }, "Freeze everything?", "Every call of every agent is refused until an admin lifts this."));
  return el("div", { class: "buttons" }, button);
}
var kind = el("select", { id: "freeze-kind" }, ...Object.entries(KINDS2).map(([value2, text2]) => el("option", { value: value2 }, text2)));
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
async function ask(target, title, text2) {
  const done2 = await confirm({
    title,
    body: [el("p", {}, text2)],
    reason: "Why",
    required: true,
    action: "Freeze",
    danger: true,
    run: (reason) => api("freeze", { ...target, reason })
  });
  if (!done2) return;
  name.value = "";
  announce(done2.warning ? `Look at the name: ${done2.warning}.` : `Frozen: ${wordsOf(done2)}.`);
  notice(done2.warning ? `Frozen: ${wordsOf(done2)}. But ${done2.warning}.` : "");
  await changed4();
  $("freeze").focus({ preventScroll: true });
}
function card5(freeze) {
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
      const query3 = reason ? `?${new URLSearchParams({ reason })}` : "";
      await api(`freeze/${encodeURIComponent(freeze.id)}${query3}`, null, "DELETE");
      return true;
    }
  });
  if (!done2) return;
  announce(`Lifted: the freeze of ${wordsOf(freeze)}.`);
  notice("");
  await changed4();
  $("freeze").focus({ preventScroll: true });
}

// src/grants.ts
var grants_exports = {};
__export(grants_exports, {
  bound: () => bound,
  changed: () => changed5,
  clear: () => clear9,
  open: () => open9
});
var asked9 = 0;
var cards = /* @__PURE__ */ new Map();
var ended = el("input", { type: "checkbox", name: "ended" });
ended.addEventListener("change", () => read3());
var head3 = [
  el("h2", {}, "Standing grants"),
  el("p", { class: "soft" }, "Calls that go through without a person being asked. One use of a grant is one call."),
  el("label", { class: "check" }, ended, " Those that have ended too")
];
function clear9() {
  asked9 += 1;
  cards.clear();
  ended.checked = false;
  $("grants").replaceChildren();
}
async function open9() {
  cards.clear();
  place($("grants"), [...head3, el("p", { class: "soft" }, "Reading the grants…")]);
  $("grants").focus({ preventScroll: true });
  await read3();
}
async function changed5() {
  if (state.view === "grants") await read3();
}
async function read3() {
  const mine2 = ++asked9;
  let found2 = null;
  try {
    found2 = await api(ended.checked ? "grants?status=all" : "grants");
  } catch (error) {
    if (mine2 === asked9 && state.view === "grants") place($("grants"), [...head3, el("p", { class: "error" }, error.message)], $("grants"));
    return;
  }
  if (mine2 !== asked9 || state.view !== "grants") return;
  const ids = new Set(found2.grants.map((grant2) => grant2.id));
  for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
  place(list, found2.grants.map(cardOf), $("grants"));
  const more3 = found2.truncated ? el("p", { class: "soft" }, `The newest ${ids.size} are listed, and there are more.`) : null;
  const none = el("p", { id: "no-grants" }, "There is no grant. Where a rule has `grants`, whoever approves a call may let calls like it through for a while: what stands is then here.");
  place($("grants"), [...head3, ids.size ? list : none, more3].filter(Boolean), $("grants"));
}
var list = el("ul", { class: "cards" });
function cardOf(grant2) {
  const text2 = written(grant2);
  const before = cards.get(grant2.id);
  if (before && before.text === text2) return before.node;
  const node = card6(grant2);
  cards.set(grant2.id, { text: text2, node });
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
function bounds(grant2) {
  const named3 = isTree(grant2.arguments) ? Object.entries(grant2.arguments) : [];
  const same = grant2.as_asked || [];
  if (!named3.length) return el("span", {}, "exactly the arguments that were asked for");
  const line3 = ([name2, rule2]) => {
    const text2 = bound(rule2);
    const rest2 = text2.length > MOST_BOUND ? ` … (${text2.length - MOST_BOUND} more characters)` : "";
    return el("li", {}, el("span", { class: "name" }, shown(name2, true)), " ", shown(text2.slice(0, MOST_BOUND), true), rest2);
  };
  const rest = same.length ? el("li", {}, shown(same.join(", "), true), same.length === 1 ? " is" : " are", " as it was asked for") : null;
  return el("ul", { class: "bounds" }, ...named3.map(line3), rest);
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
function card6(grant2) {
  const end = grant2.ended;
  const mayRevoke = !end && (hasRole("admin") || grant2.approvers.includes(state.me.id));
  const revoke = el("button", { type: "button", class: "reject", "aria-label": `Revoke the grant of ${grant2.tool} for ${grant2.agent}` }, "Revoke…");
  revoke.addEventListener("click", () => askRevoke(grant2));
  const uses = grant2.uses_left === null || grant2.uses_left === void 0 ? null : counted(grant2.uses_left, "use", "uses");
  return el(
    "li",
    { class: "panel", "data-grant": grant2.id },
    el("h3", {}, shown(grant2.tool, true), end ? [" ", el("span", { class: "chip warn" }, ENDS[end.why] || end.why)] : null),
    facts([
      ["Agent", grant2.agent],
      ["For", grant2.user],
      ["Workflow", grant2.workflow],
      ["Lets through", bounds(grant2)],
      ["Left", uses],
      ["Ends", end ? null : el("span", {}, when(grant2.expires_at), " (", countdown(grant2.expires_at), ")")],
      ["Ended", end && el("span", {}, when(end.at), end.by ? [" by ", shown(end.by, true)] : null)],
      ["Why", end && end.reason],
      ["Given by", grant2.approver]
    ]),
    opened(`What it has let through (${grant2.used ?? 0})`, () => calls(grant2)),
    mayRevoke ? el("div", { class: "buttons" }, revoke) : null
  );
}
function calls(grant2) {
  const box = el("div", {}, el("p", { class: "soft" }, "Reading the calls…"));
  api(`grants/${encodeURIComponent(grant2.id)}`).then(
    (whole4) => {
      const rows = whole4.calls.map((call2) => [td(when(call2.at)), el("td", { class: "text" }, ...brief(written(call2.arguments ?? null))), td(`${call2.cost_estimate_usd} USD`)]);
      const beyond = whole4.used - rows.length;
      box.replaceChildren(
        rows.length ? table("What it has let through", ["When", "Arguments", "Estimate"], rows) : el("p", { class: "soft" }, "Nothing yet."),
        beyond > 0 ? el("p", { class: "soft" }, `… and ${beyond} more before`) : ""
      );
    },
    (error) => box.replaceChildren(el("p", { class: "error" }, error.message))
  );
  return box;
}
async function askRevoke(grant2) {
  const done2 = await confirm({
    title: "Revoke this grant?",
    body: [el("p", {}, "From the next call on ", shown(grant2.agent, true), " is asked about again when it calls ", shown(grant2.tool, true), ".")],
    reason: "Why",
    action: "Revoke",
    danger: true,
    run: async (reason) => {
      const query3 = reason ? `?${new URLSearchParams({ reason })}` : "";
      await api(`grants/${encodeURIComponent(grant2.id)}${query3}`, null, "DELETE");
      return true;
    }
  });
  if (!done2) return;
  announce(`Revoked: the grant of ${grant2.tool} for ${grant2.agent}.`);
  notice("");
  await read3();
  $("grants").focus({ preventScroll: true });
}

// src/labels.ts
var labels_exports = {};
__export(labels_exports, {
  clear: () => clear10,
  open: () => open10
});
var asked10 = 0;
var known5 = [];
var next3 = null;
var head4 = [
  el("h2", {}, "Labels"),
  el(
    "p",
    { class: "soft" },
    "What data has reached workflows and agents. Policies read it as session.labels. Labels only grow until their time is over; an admin takes them away."
  )
];
function clear10() {
  asked10 += 1;
  known5 = [];
  next3 = null;
  $("labels").replaceChildren();
}
async function open10() {
  place($("labels"), [...head4, el("p", { class: "soft" }, "Reading the labels…")]);
  $("labels").focus({ preventScroll: true });
  await read4(null);
}
async function read4(after) {
  const mine2 = ++asked10;
  let found2 = null;
  try {
    found2 = await api(after ? `labels?${new URLSearchParams({ after })}` : "labels");
  } catch (error) {
    if (mine2 === asked10 && state.view === "labels") place($("labels"), [...head4, el("p", { class: "error" }, error.message)], $("labels"));
    return;
  }
  if (mine2 !== asked10 || state.view !== "labels") return;
  known5 = after ? [...known5, ...found2.labels] : found2.labels;
  next3 = found2.next;
  draw7();
}
function holders() {
  const all3 = /* @__PURE__ */ new Map();
  for (const one2 of known5) {
    const kind3 = Object.hasOwn(one2, "agent") ? "agent" : "workflow";
    const key2 = `${kind3} ${one2[kind3]}`;
    if (!all3.has(key2)) all3.set(key2, { kind: kind3, name: one2[kind3], labels: [] });
    all3.get(key2).labels.push(one2);
  }
  return [...all3.values()];
}
function draw7() {
  const list3 = el("ul", { class: "cards" }, ...holders().map(card7));
  const none = el("p", { id: "no-labels" }, "No labelled data has reached a workflow or an agent. `labels` of servers in servers.toml and the classes of data.yaml say which data has which.");
  const more3 = el("button", { type: "button", id: "more-labels" }, "Show more");
  more3.addEventListener("click", () => read4(next3));
  place($("labels"), [...head4, known5.length ? list3 : none, next3 ? more3 : null].filter(Boolean), $("labels"));
}
function card7(holder) {
  const words = `${holder.kind} ${holder.name}`;
  const clear19 = el("button", { type: "button", class: "reject", "aria-label": `Clear the labels of ${words}` }, "Clear…");
  clear19.addEventListener("click", () => askClear(holder, words));
  const line3 = (one2) => [
    one2.label,
    el("span", {}, "since ", when(one2.since), ", until ", when(one2.until), ", first by trace ", shown(one2.trace_id, true))
  ];
  return el(
    "li",
    { class: "panel", "data-holder": words },
    el("h3", {}, shown(words, true)),
    facts(holder.labels.map(line3)),
    hasRole("admin") ? el("div", { class: "buttons" }, clear19) : null
  );
}
async function askClear(holder, words) {
  const also = holder.kind === "workflow" ? "Agents that have seen the data keep their own labels: clear theirs, too, where that is meant." : "Its sessions start again without labels. Workflows that it acts in keep theirs.";
  const done2 = await confirm({
    title: `Clear the labels of ${words}?`,
    body: [el("p", {}, "Policies treat it from then on as if the data had not reached it. "), el("p", {}, also)],
    reason: "Why",
    required: true,
    action: "Clear",
    danger: true,
    run: (reason) => api("labels/clear", { [holder.kind]: holder.name, reason })
  });
  if (!done2) return;
  announce(`Cleared: the labels of ${words}.`);
  notice("");
  await read4(null);
  $("labels").focus({ preventScroll: true });
}

// src/matrix.ts
var matrix_exports = {};
__export(matrix_exports, {
  clear: () => clear11,
  open: () => open11
});
var SPANS2 = [["1h", "hour"], ["1d", "day"], ["7d", "7 days"], ["30d", "30 days"], ["365d", "year"]];
var REFUSED = ["deny", "rejected", "expired"];
var HELD = ["pending_approval", "throttle", "remediate", "suggest"];
var asked11 = 0;
var matrix = null;
var span = el("select", { name: "since" }, SPANS2.map(([value2, words]) => el("option", { value: value2 }, words)));
span.value = "7d";
span.addEventListener("change", () => read5());
var shows = el("select", { name: "shows" }, ["calls", "refused", "held", "failed", "cost"].map((value2) => el("option", { value: value2 }, value2 === "held" ? "asked or held" : value2)));
shows.addEventListener("change", () => draw8());
var form4 = el("form", { class: "filters" }, el("label", {}, "The last ", span), " ", el("label", {}, "showing ", shows));
form4.addEventListener("submit", (event) => event.preventDefault());
var head5 = [el("h2", {}, "Agents and tools"), form4];
var body3 = el("div", { class: "stack" });
var detail = el("div", { class: "panel", hidden: true, tabindex: "-1", role: "region", "aria-label": "The chosen agent and tool" });
function clear11() {
  asked11 += 1;
  matrix = null;
  span.value = "7d";
  shows.value = "calls";
  $("matrix").replaceChildren();
}
async function open11() {
  body3.replaceChildren(el("p", { class: "soft" }, "Counting…"));
  detail.hidden = true;
  $("matrix").replaceChildren(...head5, body3, detail);
  $("matrix").focus({ preventScroll: true });
  await read5();
}
async function read5() {
  const mine2 = ++asked11;
  try {
    const found2 = await api(`matrix?since=${span.value}`);
    if (mine2 !== asked11 || state.view !== "matrix") return;
    matrix = found2;
  } catch (error) {
    if (mine2 === asked11 && state.view === "matrix") body3.replaceChildren(el("p", { class: "error" }, error.message));
    return;
  }
  draw8();
  announce(`${counted(matrix.agents.length, "agent", "agents")} and ${counted(matrix.tools.length, "tool", "tools")}.`);
}
var number2 = (value2) => Number(value2 ?? 0);
var sum = (cell, words) => words.reduce((all3, word) => all3 + number2(cell.decisions[word]), 0);
var calls2 = (cell) => Object.entries(cell.decisions).reduce((all3, [word, count]) => all3 + (["approved", "rejected", "expired"].includes(word) ? 0 : number2(count)), 0);
function value(cell) {
  switch (shows.value) {
    case "refused":
      return sum(cell, REFUSED);
    case "held":
      return sum(cell, HELD);
    case "failed":
      return number2(cell.failed);
    case "cost":
      return number2(cell.cost_usd);
    default:
      return calls2(cell);
  }
}
var UNKNOWN = "(unknown)";
var named2 = (name2) => name2 === UNKNOWN ? "unknown" : name2 ?? "(no tool)";
function shade(part3) {
  return `heat heat-${part3 <= 0 ? 0 : Math.min(5, Math.max(1, Math.ceil(Math.sqrt(part3) * 5)))}`;
}
function draw8() {
  if (!matrix) return;
  const { agents, tools: tools2, cells } = matrix;
  detail.hidden = true;
  if (!cells.length) {
    body3.replaceChildren(el("p", {}, "No agent made a call in this time. Each call adds to the row of its agent and the column of its tool, with what was decided."));
    return;
  }
  const key2 = (agent, tool) => JSON.stringify([agent, tool]);
  const known7 = new Map(cells.map((cell) => [key2(cell.agent, cell.tool), cell]));
  const most = Math.max(...cells.map(value), 1e-6);
  const money = shows.value === "cost";
  const rows = agents.map((agent) => [
    el("th", { scope: "row" }, parted(named2(agent))),
    ...tools2.map((tool) => {
      const cell = known7.get(key2(agent, tool));
      if (!cell) return el("td", { class: "heat heat-0" }, "");
      const figure2 = value(cell);
      const refused = sum(cell, REFUSED);
      const denied = number2(cell.decisions.deny);
      const words = `${named2(agent)} and ${named2(tool)}: ${counted(calls2(cell), "call", "calls")}${refused ? `, ${whole(refused)} refused` : ""}`;
      const button = el("button", { type: "button", class: shade(figure2 / most), "aria-label": words, title: words }, money ? figure2.toFixed(2) : whole(figure2), denied && shows.value === "calls" ? el("span", { class: "refused", "aria-hidden": "true" }, "×") : null);
      button.addEventListener("click", () => tell2(cell));
      return el("td", {}, button);
    })
  ]);
  const grid2 = table("Agents by tools", ["Agent", ...tools2.map((tool) => parted(named2(tool)))], rows, { class: "matrix" });
  const notes = [el("p", { class: "soft" }, "The stronger, the more. × marks where policy denied some. A cell opens what was decided."), tools2.includes(UNKNOWN) ? el("p", { class: "soft" }, "Under unknown are calls of names that no upstream has.") : null, matrix.truncated ? el("p", { class: "soft" }, "There are more agents or tools than are told apart: they are (other).") : null, matrix.partial ? el("p", { class: "banner" }, "Older parts of the record are not counted yet: read again in a moment.") : null];
  body3.replaceChildren(grid2, ...notes.filter((note) => note !== null));
}
function tell2(cell) {
  const all3 = calls2(cell);
  const rows = Object.entries(cell.decisions).map(([word, count]) => [word, number2(count)]).sort((one2, other) => other[1] - one2[1]).map(([word, count]) => [td(DECISIONS[word]?.words ?? word), td(whole(count)), td(all3 ? share(count / all3) : "")]);
  const look = el("button", { type: "button" }, "Find its records");
  const filters = new URLSearchParams();
  if (cell.agent !== null) filters.set("agent_id", cell.agent);
  if (cell.tool === UNKNOWN) filters.set("policy_id", "scope");
  else if (cell.tool !== null) filters.set("tool", cell.tool);
  filters.set("since", span.value);
  look.addEventListener("click", () => location.hash = `#/events?${filters}`);
  const isRest = cell.agent === "(other)" || cell.tool === "(other)";
  detail.replaceChildren(
    el("h3", {}, shown(named2(cell.agent), true), " × ", shown(named2(cell.tool), true)),
    table("Decisions", ["Decision", "How many", "Of the calls"], rows),
    facts([
      ["Ended upstream", whole(number2(cell.ended))],
      ["Failed", whole(number2(cell.failed))],
      ["Cost", usd(number2(cell.cost_usd))]
    ]),
    isRest || !mayFind() ? "" : el("div", { class: "buttons" }, look)
  );
  detail.hidden = false;
  detail.focus();
  detail.scrollIntoView({ block: "nearest" });
}
var mayFind = () => ["approver", "admin", "auditor", "auditor-full"].some((role) => state.me?.roles?.includes(role));

// src/now.ts
var now_exports = {};
__export(now_exports, {
  changed: () => changed6,
  clear: () => clear12,
  open: () => open12
});
var SPANS3 = [
  ["30m", "1m", "30 minutes"],
  ["2h", "1m", "2 hours"],
  ["12h", "10m", "12 hours"],
  ["2d", "30m", "2 days"],
  ["14d", "6h", "2 weeks"],
  ["90d", "1d", "90 days"]
];
var BYS = [
  ["decision", "decision"],
  ["agent", "agent"],
  ["tool", "tool"],
  ["upstream", "upstream"],
  ["workflow", "workflow"]
];
var SOON = 3e3;
var LATER = 15e3;
var asked12 = 0;
var charts2 = null;
var timer = null;
var due2 = 0;
var span2 = el("select", { name: "since" }, SPANS3.map(([value2, , words]) => el("option", { value: value2 }, words)));
var by = el("select", { name: "by" }, BYS.map(([value2, words]) => el("option", { value: value2 }, words)));
span2.value = "2h";
span2.addEventListener("change", () => read6());
by.addEventListener("change", () => read6());
var form5 = el("form", { class: "filters" }, el("label", {}, "The last ", span2), " ", el("label", {}, "by ", by));
form5.addEventListener("submit", (event) => event.preventDefault());
var tiles = el("dl", { class: "tiles" });
var partial = el("p", { class: "banner", hidden: true }, "Figures of older parts of the record are still being made: they will be here in a moment.");
function clear12() {
  asked12 += 1;
  if (timer) clearTimeout(timer);
  timer = null;
  for (const chart of Object.values(charts2 ?? {})) chart.destroy();
  charts2 = null;
  tiles.replaceChildren();
  span2.value = "2h";
  by.value = "decision";
  $("now").replaceChildren();
}
async function open12() {
  if (!charts2) {
    charts2 = {
      calls: new Chart("Calls", "decided", "No call was made in this time. Connect a client with `tollgate connect`, and its calls appear here as they are decided."),
      spend: new Chart("Spend", "by agent", "Nothing was spent in this time. prices.yaml says what tools and tokens cost; what calls cost is drawn here."),
      latency: new Chart("Time upstream", "p50, p95, p99", "No call went to an upstream in this time: how long they take is drawn here."),
      pending: new Chart("Approvals that wait", "by agent", "Nothing waits for a person. Rules with `require_approval` put calls before people; how many wait is drawn here."),
      errors: new Chart("Failed calls", "by tool", "No call failed in this time."),
      tokens: new Chart("Tokens", "by tool", "No tokens were counted in this time: those of arguments and results are drawn here.")
    };
  }
  const all3 = el("div", { class: "charts" }, ...Object.values(charts2).map((chart) => chart.node));
  $("now").replaceChildren(el("h2", {}, "Now"), form5, partial, tiles, all3);
  $("now").focus({ preventScroll: true });
  await read6();
}
function changed6() {
  if (state.view !== "now") return;
  plan(SOON);
}
function plan(wait) {
  const at = Date.now() + wait;
  if (timer && due2 <= at) return;
  if (timer) clearTimeout(timer);
  due2 = at;
  timer = setTimeout(() => {
    timer = null;
    if (state.view !== "now" || !state.me) return;
    if (document.hidden) plan(LATER);
    else void read6();
  }, wait);
}
async function read6() {
  const mine2 = ++asked12;
  const since = span2.value;
  const step3 = SPANS3.find(([value2]) => value2 === since)[1];
  const ask2 = (name2, by2) => series({ name: name2, by: by2, since, step: step3, groups: "7" });
  let found2;
  try {
    found2 = await Promise.all([ask2("calls", by.value), ask2("spend_usd", "agent"), ask2("latency", "none"), ask2("pending", "agent"), ask2("errors", "tool"), ask2("tokens", "tool"), ask2("denies", "none")]);
  } catch (error) {
    if (mine2 === asked12 && state.view === "now") notice(error.message);
    return;
  } finally {
    if (mine2 === asked12) plan(LATER);
  }
  if (mine2 !== asked12 || state.view !== "now" || !charts2) return;
  notice("");
  const [calls3, spend, latency, pending2, errors, tokens, denies] = found2;
  partial.hidden = !found2.some((one2) => one2.partial);
  if (!partial.hidden) plan(SOON);
  charts2.calls.draw(counts(calls3, whole, "calls"));
  charts2.spend.draw(counts(spend, usd, "spend"));
  charts2.latency.draw(latencies(latency));
  charts2.pending.draw(counts(pending2, whole, "waiting"));
  charts2.errors.draw(counts(errors, whole, "failed"));
  charts2.tokens.draw(counts(tokens, whole, "tokens"));
  const sum2 = (one2) => one2.groups.reduce((all4, group) => all4 + group.total, 0);
  const p952 = latency.groups[0]?.p95.total ?? null;
  const all3 = sum2(calls3);
  const tile = (name2, value2, words = "") => el("div", { class: "tile" }, el("dt", {}, name2), el("dd", {}, value2, words && el("span", { class: "soft" }, words)));
  tiles.replaceChildren(
    tile("Calls", whole(all3)),
    tile("Refused", whole(sum2(denies)), all3 ? ` ${share(sum2(denies) / all3)}` : ""),
    tile("Failed", whole(sum2(errors))),
    tile("Waiting now", whole(sum2(pending2))),
    tile("Spent", usd(sum2(spend))),
    tile("p95 upstream", p952 === null ? "–" : duration(p952))
  );
}

// src/people.ts
var people_exports = {};
__export(people_exports, {
  clear: () => clear13,
  open: () => open13
});
var asked13 = 0;
var find2 = el("input", { type: "search", name: "find", spellcheck: "false", autocapitalize: "none" });
find2.addEventListener("input", () => draw9());
var form6 = el("form", { class: "filters" }, el("label", {}, "Names with ", find2));
form6.addEventListener("submit", (event) => event.preventDefault());
var head6 = [el("h2", {}, "People and agents"), form6];
var body4 = el("div", { class: "stack" });
var MOST3 = 100;
var known6 = null;
function clear13() {
  asked13 += 1;
  known6 = null;
  find2.value = "";
  $("people").replaceChildren();
}
async function open13() {
  body4.replaceChildren(el("p", { class: "soft" }, "Reading…"));
  $("people").replaceChildren(...head6, body4);
  $("people").focus({ preventScroll: true });
  const mine2 = ++asked13;
  try {
    const [people, map, grants] = await Promise.all([allPages("people", "people"), allPages("agents", "agents"), api("grants?limit=1000")]);
    if (mine2 !== asked13 || state.view !== "people") return;
    known6 = { people: people.people, agents: map.agents, capabilities: map.capabilities, workflows: map.workflows, grants: grants.grants, more: grants.truncated };
  } catch (error) {
    if (mine2 === asked13 && state.view === "people") body4.replaceChildren(el("p", { class: "error" }, error.message));
    return;
  }
  draw9();
  announce(`${counted(known6.people.length, "person", "people")} and ${counted(known6.agents.length, "agent", "agents")}.`);
}
var chips2 = (names2) => el("span", { class: "chips" }, ...(names2 ?? []).map((name2) => el("span", { class: "chip" }, shown(name2, true))));
function part2(title, label2, columns, all3, row, none) {
  const words = find2.value.trim().toLowerCase();
  const fits = all3.filter((one2) => !words || JSON.stringify(one2).toLowerCase().includes(words));
  const told3 = fits.slice(0, MOST3);
  const rest = fits.length > told3.length ? el("p", { class: "soft" }, `${fits.length - told3.length} more: the field above finds them.`) : null;
  const nothing = el("p", {}, all3.length ? "None has that in its name." : none);
  return el("section", { class: "panel" }, el("h3", {}, `${title} (${words ? `${fits.length} of ` : ""}${all3.length})`), told3.length ? table(label2, columns, told3.map(row)) : nothing, rest);
}
function draw9() {
  if (!known6) return;
  const { people, agents, capabilities, workflows, grants, more: more3 } = known6;
  const live2 = (key2, name2) => grants.filter((grant2) => grant2[key2] === name2 || grant2[`${key2}_id`] === name2).length;
  body4.replaceChildren(
    part2("People", "People", ["Person", "Roles", "Groups", "Keys", "Live grants"], people, (one2) => [
      el("th", { scope: "row" }, shown(one2.id, true)),
      td(chips2(one2.roles)),
      td(chips2(one2.groups)),
      td(String(one2.keys)),
      td(String(live2("approver", one2.id) || ""))
    ], "There is nobody. `people` in authority.yaml names who may decide, read and administer; `tollgate people add NAME` prints a key."),
    part2("Agents", "Agents", ["Agent", "Owner", "Role", "Autonomy", "May call", "For", "Keys", "Live grants"], agents, (one2) => [
      el("th", { scope: "row" }, shown(one2.id, true)),
      td(shown(one2.owner, true)),
      td(shown(one2.role, true)),
      td(shown(one2.autonomy, true)),
      td(chips2(one2.capabilities.slice(0, 12)), one2.capabilities.length > 12 ? ` and ${one2.capabilities.length - 12} more` : ""),
      td(one2.operator === null ? "" : shown(one2.operator, true)),
      td(String(one2.keys)),
      td(String(live2("agent", one2.id) || ""))
    ], "There is no agent. `agents` in authority.yaml names who may call, and as what."),
    part2("Capabilities", "Capabilities", ["Capability", "Tools", "Resources", "Prompts", "Autonomy"], capabilities, (one2) => [
      el("th", { scope: "row" }, shown(one2.id, true), one2.conditional ? el("span", { class: "chip" }, "on a condition") : null),
      td(chips2(one2.tools)),
      td(chips2(one2.resources)),
      td(chips2(one2.prompts)),
      td(one2.autonomy === null ? "" : shown(one2.autonomy, true))
    ], "There is no capability. `capabilities` in authority.yaml says which tools belong together."),
    part2("Workflows", "Workflows", ["Workflow", "Owner", "Answers within", "Capabilities"], workflows, (one2) => [
      el("th", { scope: "row" }, shown(one2.id, true)),
      td(one2.owner === null ? "" : shown(one2.owner, true)),
      td(one2.approval_sla === null ? "" : shown(one2.approval_sla, true)),
      td(chips2(one2.capabilities))
    ], "There is no workflow. `workflows` in authority.yaml says what agents work on, and within which time people answer."),
    part2("Standing grants", "Standing grants", ["Agent", "Tool", "Given by", "Uses left", "Until"], grants, (one2) => [
      el("th", { scope: "row" }, shown(one2.agent ?? one2.agent_id, true)),
      td(shown(one2.tool, true)),
      td(shown(one2.approver, true)),
      td(String(one2.uses_left ?? "")),
      td(when(one2.expires_at) ?? "")
    ], "No grant is live. Whoever approves a call may grant it for a while: calls like it then pass without a question."),
    more3 ? el("p", { class: "soft" }, "There are more grants than are read here: the view Grants pages through all.") : ""
  );
}

// src/pins.ts
var pins_exports = {};
__export(pins_exports, {
  changed: () => changed7,
  clear: () => clear14,
  open: () => open14
});
var asked14 = 0;
var head7 = [
  el("h2", {}, "Quarantine"),
  el("p", { class: "soft" }, "Tools, prompts, resources, templates and skills that are not as they were pinned. Agents neither see nor call them until somebody accepts them.")
];
function clear14() {
  asked14 += 1;
  $("quarantine").replaceChildren();
}
async function open14() {
  place($("quarantine"), [...head7, el("p", { class: "soft" }, "Reading what has changed…")]);
  $("quarantine").focus({ preventScroll: true });
  await read7();
}
async function changed7() {
  if (state.view === "quarantine") await read7();
}
async function read7() {
  const mine2 = ++asked14;
  let found2 = null;
  try {
    found2 = await allPages("pins", "changes", "findings");
  } catch (error) {
    if (mine2 === asked14 && state.view === "quarantine") place($("quarantine"), [...head7, el("p", { class: "error" }, error.message)], $("quarantine"));
    return;
  }
  if (mine2 !== asked14 || state.view !== "quarantine") return;
  const none = el("p", { id: "no-pins" }, "Everything is as it was pinned.");
  const list3 = el("ul", { class: "cards" }, ...found2.changes.map(card8));
  const held = new Set(found2.changes.map(key));
  const served = (found2.findings || []).filter((one2) => !held.has(key(one2)));
  place($("quarantine"), [...head7, found2.changes.length ? list3 : none, ...findingsOf(served, found2.truncated)], $("quarantine"));
}
var key = (one2) => JSON.stringify([one2.upstream, one2.kind, one2.name]);
function findingsOf(items2, truncated) {
  const title = el("h3", {}, "Found in what is served");
  const soft = (text2) => el("p", { class: "soft" }, text2);
  if (!items2.length) return [title, soft("Nothing was found in the names, texts and schemas of what is served.")];
  const one2 = (item3) => el(
    "li",
    { class: "panel", "data-found": `${item3.upstream}/${item3.kind}/${item3.name}` },
    el("h3", {}, shown(item3.exposed, true), " ", el("span", { class: "chip warn" }, item3.state === "asks" ? "each use asks" : "served")),
    facts([
      ["Server", item3.upstream],
      ["Kind", item3.kind],
      ["Its own name", item3.name === item3.exposed ? null : item3.name]
    ]),
    el("ul", { class: "findings", "aria-label": "What was found" }, ...item3.findings.map(finding))
  );
  return [
    title,
    soft('It is as it was pinned, and agents can use it. `findings = "quarantine"` of a server in servers.toml holds such items until somebody accepts them; a freeze stops them at once.'),
    el("ul", { class: "cards" }, ...items2.map(one2)),
    truncated ? soft("There is more: `tollgate servers inspect` shows it by server.") : null
  ].filter(Boolean);
}
var STATES = {
  changed: "changed since it was pinned",
  new: "new, not accepted yet",
  flagged: "held because of what was found in it",
  gone: "not listed any more"
};
function compared(parts2) {
  const part3 = ({ op, text: text2 }) => {
    if (op === "removed") return el("del", {}, el("span", { class: "unseen" }, "removed: "), shown(text2));
    if (op === "added") return el("ins", {}, el("span", { class: "unseen" }, "added: "), shown(text2));
    return shown(text2);
  };
  return el("div", { class: "words" }, ...parts2.map(part3));
}
function difference(one2) {
  const at = one2.at || "/";
  if (one2.changes && one2.changes.length) return el("li", {}, el("span", { class: "name" }, shown(at, true)), compared(one2.changes));
  const value2 = (value3) => value3 === null || value3 === void 0 ? "nothing" : shown(written(value3));
  return el("li", {}, el("span", { class: "name" }, shown(at, true)), " ", value2(one2.before), " → ", value2(one2.after));
}
function finding(one2) {
  return el("li", {}, el("span", { class: "chip warn" }, one2.kind), " ", shown(one2.what, true), one2.text ? [": ", shown(one2.text, true)] : null);
}
var whole2 = (words, value2) => value2 === null || value2 === void 0 ? null : opened(words, () => el("pre", {}, shown(written(value2))));
function card8(change3) {
  const accept = el("button", { type: "button", class: "primary", "aria-label": `Accept ${change3.exposed} of ${change3.upstream}` }, "Accept…");
  accept.addEventListener("click", () => askAccept(change3));
  const may = hasRole("admin") && change3.state !== "gone";
  const pinned = change3.pinned;
  return el(
    "li",
    { class: "panel", "data-pin": `${change3.upstream}/${change3.kind}/${change3.name}` },
    el("h3", {}, shown(change3.exposed, true), " ", el("span", { class: `chip ${change3.state === "gone" ? "" : "bad"}` }, STATES[change3.state] || change3.state)),
    facts([
      ["Server", change3.upstream],
      ["Kind", change3.kind],
      ["Its own name", change3.name === change3.exposed ? null : change3.name],
      ["Held since", when(change3.since)],
      ["Pinned", pinned && el("span", {}, when(pinned.at), pinned.by ? [" by ", shown(pinned.by, true)] : " as it was listed")]
    ]),
    change3.note ? el("p", { class: "soft" }, shown(change3.note)) : null,
    change3.findings.length ? el("ul", { class: "findings", "aria-label": "What was found" }, ...change3.findings.map(finding)) : null,
    change3.differences.length ? el("ul", { class: "bounds", "aria-label": "What differs" }, ...change3.differences.map(difference)) : null,
    whole2("As it was pinned", change3.before),
    whole2("As it is listed", change3.after),
    may ? el("div", { class: "buttons" }, accept) : null
  );
}
async function askAccept(change3) {
  const done2 = await confirm({
    title: "Accept this as it is listed now?",
    body: [
      el("p", {}, "Agents in whose scope it is can use ", shown(change3.exposed, true), " of ", shown(change3.upstream, true), " again, as it is shown here."),
      change3.findings.length ? el("p", { class: "error" }, `${counted(change3.findings.length, "thing was", "things were")} found in it.`) : ""
    ],
    action: "Accept",
    danger: true,
    run: async () => {
      await api("pins/accept", { upstream: change3.upstream, name: change3.name, kind: change3.kind, fingerprint: change3.fingerprint });
      return true;
    }
  });
  if (!done2) return;
  announce(`Accepted: ${change3.exposed} of ${change3.upstream}.`);
  notice("");
  await read7();
  $("quarantine").focus({ preventScroll: true });
}

// src/policies.ts
var policies_exports = {};
__export(policies_exports, {
  changed: () => changed8,
  clear: () => clear15,
  open: () => open15
});
var asked15 = 0;
var folderTold = "null";
function clear15() {
  asked15 += 1;
  $("policies").replaceChildren();
}
async function open15() {
  $("policies").replaceChildren(el("h2", {}, "Policies"), el("p", { class: "soft" }, "Reading the policies…"));
  $("policies").focus({ preventScroll: true });
  await read8();
  again2(asked15, 0);
}
async function changed8() {
  if (state.view !== "policies") return;
  await read8();
  again2(asked15, 5);
}
function again2(mine2, soon) {
  const isOurs = () => mine2 === asked15 && state.view === "policies" && state.me;
  setTimeout(async () => {
    if (!isOurs()) return;
    const past = await api("policies/history").catch(() => null);
    if (!isOurs()) return;
    const differs = past && JSON.stringify(past.folder ?? null) !== folderTold;
    if (differs) await read8();
    again2(differs ? asked15 : mine2, Math.max(soon - 1, 0));
  }, soon ? 1e3 : 5e3);
}
async function read8() {
  const mine2 = ++asked15;
  const none = (error) => ({ error });
  const [bundle, past] = await Promise.all([allPages("policies", "policies").catch(none), api("policies/history").catch(none)]);
  if (mine2 !== asked15 || state.view !== "policies" || !state.me) return;
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
  await told2(done2);
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
  await told2(done2);
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
  await told2(done2);
}
var order = (what, body6) => api(`policies/${what}`, body6);
async function told2(done2) {
  if (!done2) return;
  const text2 = [`${done2.snapshot.slice(0, 12)}: ${done2.message}.`, ...done2.notes || []].join(" ");
  notice(text2);
  await read8();
  again2(asked15, 5);
  $("policies").focus({ preventScroll: true });
}
async function showFiles(one2) {
  const close = el("button", { type: "button", class: "primary" }, "Close");
  const body6 = el("div", {}, el("p", { class: "soft" }, "Reading the files…"));
  const dialog = el("dialog", { class: "confirm wide", "aria-labelledby": "files-title" }, el("h2", { id: "files-title" }, "Files of ", short(one2.snapshot)), body6, el("div", { class: "buttons" }, close));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  $("dialogs").append(dialog);
  dialog.showModal();
  try {
    const answer = await api(`policies/${encodeURIComponent(one2.snapshot)}`);
    body6.replaceChildren(...files(answer));
  } catch (error) {
    body6.replaceChildren(el("p", { class: "error" }, error.message));
  }
}
function files(answer) {
  const all3 = answer.files || [];
  if (!all3.length) return [el("p", {}, "Its files are not kept.")];
  return all3.map(({ name: name2, text: text2 }) => opened(name2, () => el("pre", { tabindex: "0", role: "region", "aria-label": name2 }, ...text2.split("\n").flatMap((line3) => [shown(line3), "\n"]))));
}

// src/scorecard.ts
var scorecard_exports = {};
__export(scorecard_exports, {
  clear: () => clear16,
  open: () => open16
});
var asked16 = 0;
var SPANS4 = [["1d", "the last day"], ["7d", "the last 7 days"], ["30d", "the last 30 days"]];
var span3 = el("select", { name: "since" }, SPANS4.map(([value2, words]) => el("option", { value: value2 }, words)));
span3.value = "7d";
span3.addEventListener("change", () => read9());
var form7 = el("form", { class: "filters" }, el("label", {}, "Of ", span3));
form7.addEventListener("submit", (event) => event.preventDefault());
var head8 = [el("h2", {}, "Scorecard and maturity"), form7];
var body5 = el("div", { class: "stack" });
function clear16() {
  asked16 += 1;
  span3.value = "7d";
  $("scorecard").replaceChildren();
}
async function open16() {
  $("scorecard").replaceChildren(...head8, body5);
  $("scorecard").focus({ preventScroll: true });
  await read9();
}
async function read9() {
  const mine2 = ++asked16;
  body5.replaceChildren(el("p", { class: "soft" }, "Adding up what is recorded…"));
  const parts2 = await Promise.allSettled([api(`report/scorecard?since=${span3.value}`), api(`report/maturity?since=${span3.value}`)]);
  if (mine2 !== asked16 || state.view !== "scorecard") return;
  const [card10, level] = parts2;
  const failed2 = (part3) => el("p", { class: "error" }, part3.reason.message);
  body5.replaceChildren(
    ...level.status === "fulfilled" ? maturity(level.value) : [failed2(level)],
    ...card10.status === "fulfilled" ? scorecard(card10.value) : [failed2(card10)]
  );
  if (level.status === "fulfilled") announce(`Level ${level.value.level} of 4.`);
}
var number3 = (value2) => Number(value2 ?? 0);
var percent = (value2) => share(number3(value2));
var waited = (value2) => value2 === null || value2 === void 0 ? "–" : duration(number3(value2));
var capital = (text2) => text2.slice(0, 1).toUpperCase() + text2.slice(1);
function maturity(report2) {
  const level = number3(report2.level);
  const steps = [0, 1, 2, 3, 4].map((step3) => el("li", { class: step3 <= level ? "reached" : "", "aria-current": step3 === level ? "step" : false }, String(step3)));
  const controls = report2.controls ?? [];
  const rows = controls.map((one2) => [
    td(String(one2.level)),
    td(el("span", { class: `chip ${one2.met ? "good" : "warn"}` }, one2.met ? "✓ stands" : "missing")),
    el("td", { class: "text" }, shown(one2.control)),
    el("td", { class: "text" }, shown(one2.found)),
    el("td", { class: "text" }, one2.met ? "" : shown(one2.advice))
  ]);
  const missing = report2.missing ?? [];
  return [
    el(
      "section",
      { class: "panel" },
      el("h3", {}, `Maturity: level ${level} of 4`),
      el("ol", { class: "levels", "aria-label": `Level ${level} of 4` }, ...steps),
      el("p", {}, shown(capital(report2.title ?? "")), "."),
      missing.length ? el("p", {}, `For level ${level + 1}:`) : el("p", {}, "Nothing is missing."),
      missing.length ? el("ul", { class: "plain" }, ...missing.map((one2) => el("li", {}, shown(one2.control), ": ", el("span", { class: "soft" }, shown(one2.advice))))) : null,
      rows.length ? el("details", {}, el("summary", {}, `All ${rows.length} controls`), table("Controls", ["Level", "Stands", "What has to be", "What was found", "What to do"], rows)) : null
    )
  ];
}
function bar2(parts2) {
  const all3 = parts2.reduce((sum2, [, value2]) => sum2 + value2, 0) || 1;
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [name2, value2] of Object.entries({ viewBox: "0 0 1000 24", preserveAspectRatio: "none", class: "parts", "aria-hidden": "true" })) svg.setAttribute(name2, value2);
  let at = 0;
  for (const [, value2, kind3] of parts2) {
    const rect2 = document.createElementNS(space, "rect");
    const width = value2 / all3 * 1e3;
    for (const [name2, text2] of Object.entries({ x: String(at), y: "0", width: String(Math.max(width - 2, 0)), height: "24", class: `part-${kind3}` })) rect2.setAttribute(name2, text2);
    svg.append(rect2);
    at += width;
  }
  return el("div", {}, svg, el("p", { class: "soft" }, parts2.filter(([, value2]) => value2).map(([name2, value2]) => `${name2} ${share(value2 / all3)}`).join(" · ") || "nothing yet"));
}
function moved(name2, one2) {
  return [el("th", { scope: "row" }, name2), td(percent(one2.before)), td(percent(one2.now)), td(one2.drifts ? el("span", { class: "chip warn" }, "drifts") : "")];
}
function scorecard(card10) {
  const flows = Object.entries(card10.decision_distribution).sort((one2, other) => number3(other[1].calls) - number3(one2[1].calls));
  const words = [["allow", "allow", "good"], ["allow_with_constraints", "with constraints", "calm"], ["pending_approval", "asked", "warn"], ["remediate", "changed", "calm"], ["suggest", "proposed", "calm"], ["throttle", "throttled", "warn"], ["deny", "refused", "bad"]];
  const sum2 = (key2) => flows.reduce((all3, [, one2]) => all3 + number3(one2[key2]), 0);
  const rows = flows.slice(0, 100).map(([name2, one2]) => [el("th", { scope: "row" }, shown(name2, true)), td(whole(number3(one2.calls))), td(percent(one2.allow_rate)), td(percent(one2.deny_rate)), td(whole(number3(one2.pending_approval))), td(percent(one2.remediate_rate))]);
  const asks = card10.approval_integrity;
  const risky = card10.constraint_usage;
  const complete = card10.audit_completeness;
  const drift = card10.drift_indicators;
  const agents = Object.entries(drift.agents ?? {}).slice(0, 100);
  return [
    el("p", { class: "soft" }, "Between ", when(card10.since), " and ", when(card10.until), ". Drift holds it against the same time before."),
    el(
      "section",
      { class: "panel" },
      el("h3", {}, "How calls are decided"),
      bar2(words.map(([key2, name2, kind3]) => [name2, sum2(key2), kind3])),
      rows.length ? table("Decisions by workflow", ["Workflow", "Calls", "Allowed", "Refused", "Asked", "Changed"], rows) : el("p", {}, "No call was decided in this time.")
    ),
    el(
      "div",
      { class: "two" },
      el("section", { class: "panel" }, el("h3", {}, "Whether approvals hold"), facts([
        ["Asked", whole(number3(asks.asked))],
        ["Approved", whole(number3(asks.approved))],
        ["Rejected", whole(number3(asks.rejected))],
        ["Ran out", whole(number3(asks.expirations))],
        ["Cancelled", whole(number3(asks.cancelled))],
        ["Of another snapshot", whole(number3(asks.mismatches))],
        ["Answered within", `${waited(asks.latency.p50_ms)} (half), ${waited(asks.latency.p90_ms)} (9 of 10)`]
      ])),
      el("section", { class: "panel" }, el("h3", {}, "What is risky"), facts([
        ["Risky calls", whole(number3(risky.high_risk))],
        ["Under limits", whole(number3(risky.constrained))],
        ["Asked about", whole(number3(risky.asked))],
        ["Stopped", whole(number3(risky.stopped))],
        ["As they were", whole(number3(risky.plain))],
        ["Held back or limited", percent(risky.mitigated_rate)]
      ])),
      el("section", { class: "panel" }, el("h3", {}, "Whether the record is complete"), facts([
        ["Went upstream", whole(number3(complete.dispatched))],
        ["With their end", whole(number3(complete.complete))],
        ["End unknown", whole(number3(complete.unknown))],
        ["End missing", whole(number3(complete.missing))],
        ["Under way", whole(number3(complete.under_way))],
        ["Complete", percent(complete.complete_rate)]
      ])),
      el("section", { class: "panel" }, el("h3", {}, "What drifts"), table("Drift", ["Rate", "Before", "Now", "Verdict"], [moved("Refused", drift.deny_rate), moved("Lacking metadata", drift.missing_metadata), moved("Failed", drift.failures), ...agents.flatMap(([name2, one2]) => [moved(`${name2}: refused`, one2.deny_rate), moved(`${name2}: failed`, one2.failures)])]))
    )
  ];
}

// src/spend.ts
var spend_exports = {};
__export(spend_exports, {
  clear: () => clear17,
  open: () => open17
});
var asked17 = 0;
var KINDS3 = [
  ["agent", "Agent"],
  ["workflow", "Workflow"],
  ["tool", "Tool"],
  ["user", "User"],
  ["model", "Model"],
  ["day", "Day"]
];
var SPANS5 = [
  ["1d", "the last day"],
  ["7d", "the last 7 days"],
  ["30d", "the last 30 days"]
];
var span4 = el("select", { name: "since" }, SPANS5.map(([value2, words]) => el("option", { value: value2 }, words)));
var kind2 = el("select", { name: "by" }, KINDS3.map(([value2, words]) => el("option", { value: value2 }, words.toLowerCase())));
span4.value = "7d";
span4.addEventListener("change", () => read10());
kind2.addEventListener("change", () => draw10());
var form8 = el("form", { class: "filters" }, el("label", {}, "Of ", span4), " ", el("label", {}, "by ", kind2));
form8.addEventListener("submit", (event) => event.preventDefault());
var head9 = [el("h2", {}, "Spend"), form8];
var report = null;
function clear17() {
  asked17 += 1;
  report = null;
  span4.value = "7d";
  kind2.value = "agent";
  $("spend").replaceChildren();
}
async function open17() {
  report = null;
  $("spend").replaceChildren(...head9, el("p", { class: "soft" }, "Adding up…"));
  $("spend").focus({ preventScroll: true });
  await read10();
}
async function read10() {
  const mine2 = ++asked17;
  let found2 = null;
  try {
    found2 = await api(`report/spend?since=${span4.value}`);
  } catch (error) {
    if (mine2 === asked17 && state.view === "spend") {
      report = null;
      replace([el("p", { class: "error" }, error.message)]);
    }
    return;
  }
  if (mine2 !== asked17 || state.view !== "spend" || !state.me) return;
  report = found2;
  draw10();
  announce(`${usd2(found2.cost_usd)} in ${counted(found2.calls, "call", "calls")}.`);
}
function replace(nodes) {
  const old = [...$("spend").children].filter((node) => !head9.includes(node));
  for (const node of old) node.remove();
  $("spend").append(...nodes);
}
var number4 = (value2) => Number(value2);
var usd2 = (value2) => `${number4(value2).toLocaleString(void 0, { minimumFractionDigits: 2, maximumFractionDigits: 6 })} USD`;
var whole3 = (value2) => number4(value2).toLocaleString();
var percent2 = (share2) => `${Math.round(number4(share2) * 100)} %`;
function draw10() {
  if (!report) return;
  notice("");
  replace([
    report.partial ? el("p", { class: "banner" }, "This is a part: the record is long, and the time was over. `tollgate report spend` adds up all of it.") : "",
    el("p", {}, `${usd2(report.cost_usd)} in ${counted(report.calls, "call", "calls")}, ${whole3(report.failed)} of which failed; estimated were ${usd2(report.estimate_usd)}.`),
    lines3(),
    throttles(),
    catalog(),
    searches(),
    estimates()
  ].filter(Boolean));
}
function lines3() {
  const [name2, title] = KINDS3.find(([value2]) => value2 === kind2.value);
  const all3 = report[name2];
  const most = Math.max(...all3.map((one2) => number4(one2.cost_usd)), 1e-6);
  const rows = all3.slice(0, 200).map((one2) => [
    td(one2[name2] === null ? el("span", { class: "soft" }, "none") : shown(one2[name2], true)),
    td(usd2(one2.cost_usd)),
    // The bar repeats the figure beside it.
    td(el("meter", { min: 0, max: most, value: number4(one2.cost_usd), "aria-hidden": "true" })),
    td(whole3(one2.calls)),
    td(whole3(one2.failed)),
    td(whole3(one2.tokens))
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, `By ${title.toLowerCase()}`),
    rows.length ? table(`Spend by ${title.toLowerCase()}`, [title, "Cost", "Share", "Calls", "Failed", "Tokens"], rows, { id: "spend-lines" }) : el("p", {}, "Nothing was spent. prices.yaml says what tools and tokens cost."),
    report.truncated ? el("p", { class: "soft" }, "There are more names than are told: the rest is (others).") : null
  );
}
function throttles() {
  if (!report.throttles.length) return null;
  const rows = report.throttles.map((one2) => [
    td(shown(one2.workflow, true)),
    td(usd2(one2.cost_usd)),
    td(whole3(one2.calls)),
    td(usd2(one2.busy_minute_usd)),
    td(usd2(one2.max_cost_per_minute_usd)),
    td(whole3(one2.minutes_above))
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
    td(whole3(one2.tools)),
    td(whole3(one2.tokens)),
    td(whole3(one2.full_tokens)),
    td(usd2(one2.cost_usd)),
    td(one2.max_tokens === null ? "" : whole3(one2.max_tokens)),
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
  const { search: search2 } = report;
  if (!number4(search2.tasks)) return null;
  const rows = search2.newest.map((task) => [
    td(when(task.from)),
    td(shown(task.agent, true)),
    td(task.workflow === null ? "" : shown(task.workflow, true)),
    td(whole3(task.calls)),
    td(whole3(task.searches)),
    td(whole3(task.full_tokens)),
    td(whole3(task.search_tokens)),
    td(whole3(task.saved_tokens))
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "What searching for tools saved"),
    el("p", {}, `${whole3(search2.saved_tokens)} tokens in ${counted(search2.tasks, "finished task", "finished tasks")}: cheaper than the whole list in ${whole3(search2.cheaper)}, dearer in ${whole3(search2.dearer)}.`),
    table("Tasks", ["Since", "Agent", "Workflow", "Calls", "Searches", "Whole list", "Searched", "Saved"], rows)
  );
}
function estimates() {
  if (!report.estimates.length) return null;
  const rows = report.estimates.slice(0, 100).map((one2) => [
    td(one2.tool === void 0 ? "All tools" : shown(one2.tool, true)),
    td(whole3(one2.calls)),
    td(percent2(one2.median)),
    td(percent2(one2.p90))
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "How far estimates of results were off"),
    table("Estimates", ["Tool", "Results", "Median", "9 of 10"], rows, { id: "spend-estimates" })
  );
}

// src/upstreams.ts
var upstreams_exports = {};
__export(upstreams_exports, {
  clear: () => clear18,
  open: () => open18
});
var asked18 = 0;
var charts3 = null;
var again3 = el("button", { type: "button" }, "Read again");
again3.addEventListener("click", () => read11());
function clear18() {
  asked18 += 1;
  for (const chart of Object.values(charts3 ?? {})) chart.destroy();
  charts3 = null;
  $("upstreams").replaceChildren();
}
var list2 = el("div", { class: "stack" });
async function open18() {
  charts3 ??= {
    latency: new Chart("95 of 100 calls end within", "the last day, by upstream", "No call went to an upstream in the last day."),
    calls: new Chart("Calls", "the last day, by upstream", "No call was decided in the last day.")
  };
  list2.replaceChildren(el("p", { class: "soft" }, "Asking…"));
  $("upstreams").replaceChildren(el("h2", {}, "Upstreams"), el("div", { class: "buttons" }, again3), list2, el("div", { class: "charts" }, charts3.latency.node, charts3.calls.node));
  $("upstreams").focus({ preventScroll: true });
  await read11();
}
var p95 = (read13) => ({
  at: read13.at,
  step: read13.step_seconds,
  format: duration,
  unit: read13.unit,
  lines: read13.groups.map((group) => ({ name: group.name ?? "no upstream", values: group.p95.values, total: group.p95.total === null ? "–" : duration(group.p95.total) }))
});
async function read11() {
  const mine2 = ++asked18;
  const ask2 = (name2) => series({ name: name2, by: "upstream", since: "1d", step: "30m", groups: "8" });
  try {
    const [all3, calls3, latency, errors] = await Promise.all([allPages("upstreams", "upstreams"), ask2("calls"), ask2("latency"), ask2("errors")]);
    if (mine2 !== asked18 || state.view !== "upstreams" || !charts3) return;
    const of = (from, name2) => from.groups.find((group) => group.name === name2 && !group.rest);
    const cards2 = all3.upstreams.map((one2) => card9(one2, of(calls3, one2.name), of(latency, one2.name), of(errors, one2.name)));
    list2.replaceChildren(
      cards2.length ? el("ul", { class: "cards" }, ...cards2) : el("p", {}, "There is no upstream. `tollgate init` takes over the servers of your clients, and `[upstreams.NAME]` in servers.toml adds one; its health and latency are then here.")
    );
    charts3.latency.draw(p95(latency));
    charts3.calls.draw(counts(calls3, whole, "no upstream"));
    announce(counted(all3.upstreams.length, "upstream", "upstreams"));
  } catch (error) {
    if (mine2 === asked18 && state.view === "upstreams") list2.replaceChildren(el("p", { class: "error" }, error.message));
  }
}
var GOOD = ["ready", "connected", "healthy", "up", "ok", "closed"];
function card9(one2, calls3, latency, errors) {
  const isGood = GOOD.includes(one2.state) || GOOD.includes(one2.health);
  const ended2 = latency ? latency.p95.total : null;
  const offers = ["tools", "resources", "resource_templates", "prompts", "skills"].filter((kind3) => Number(one2[kind3]) > 0).map((kind3) => counted(Number(one2[kind3]), kind3.replace("_", " ").slice(0, -1), kind3.replace("_", " ")));
  const total = calls3?.total ?? 0;
  return el(
    "li",
    { class: "panel", "data-upstream": one2.name },
    el("h3", {}, shown(one2.name, true), " ", el("span", { class: `chip ${isGood ? "good" : "bad"}` }, `${isGood ? "✓" : "✕"} ${one2.state}`)),
    one2.reason ? el("p", { class: "error" }, shown(one2.reason)) : null,
    one2.said ? el("p", { class: "soft" }, shown(one2.said)) : null,
    facts([
      ["Offers", offers.join(", ") || "nothing"],
      ["Calls today", total ? whole(total) : "none"],
      ["Failed", errors && total ? `${whole(errors.total)} (${share(errors.total / total)})` : null],
      ["p50, p95", latency && ended2 !== null ? `${duration(latency.p50.total ?? 0)}, ${duration(ended2)}` : null],
      ["Failed attempts", Number(one2.failed_attempts) ? String(one2.failed_attempts) : null],
      ["Server", one2.server_info ? `${one2.server_info.name ?? ""} ${one2.server_info.version ?? ""}` : null],
      ["Protocol", one2.era],
      ["Transport", one2.transport ? `${one2.transport}${one2.isolation ? `, ${one2.isolation}` : ""}` : null],
      ["Contained", one2.contained ? (one2.containment?.by ?? []).join(", ") || "yes" : "no"],
      ["Labels", (one2.labels ?? []).join(", ")],
      ["Missing", (one2.missing ?? []).join(", ")]
    ])
  );
}

// src/main.ts
var READERS = ["approver", "admin", "auditor", "auditor-full"];
var COUNTERS = [...READERS, "viewer"];
var VIEWS = {
  pending: { title: "Approvals that wait", roles: READERS, section: "inbox", open: () => render() },
  history: { title: "Approvals of before", roles: READERS, section: "inbox", open: openHistory },
  grants: { title: "Standing grants", roles: READERS, section: "grants", open: open9 },
  budgets: { title: "Budgets", roles: READERS, section: "budgets", open: open2 },
  explain: { title: "Explain a decision", roles: ROLES2, section: "explain", open: open7 },
  policies: { title: "Policies", roles: READERS, section: "policies", open: open15 },
  now: { title: "Now", roles: COUNTERS, section: "now", open: open12 },
  matrix: { title: "Agents and tools", roles: COUNTERS, section: "matrix", open: open11 },
  upstreams: { title: "Upstreams", roles: COUNTERS, section: "upstreams", open: open18 },
  catalog: { title: "Catalog", roles: READERS, section: "catalog", open: open3 },
  connections: { title: "Connections", roles: COUNTERS, section: "connections", open: open4 },
  people: { title: "People and agents", roles: READERS, section: "people", open: open13 },
  events: { title: "Events", roles: READERS, section: "events", open: open6 },
  scorecard: { title: "Scorecard and maturity", roles: COUNTERS, section: "scorecard", open: open16 },
  spend: { title: "Spend", roles: COUNTERS, section: "spend", open: open17 },
  deadletters: { title: "Dead letters", roles: ROLES, section: "deadletters", open: open5 },
  labels: { title: "Labels of data", roles: READERS, section: "labels", open: open10 },
  alerts: { title: "Alerts", roles: READERS, section: "alerts", open },
  freeze: { title: "Freeze", roles: READERS, section: "freeze", open: open8 },
  quarantine: { title: "Quarantine", roles: READERS, section: "quarantine", open: open14 }
};
var LOST = { title: "Not for your role", roles: [], section: "lost", open: () => {
} };
var viewOf = (name2) => Object.hasOwn(VIEWS, name2) ? VIEWS[name2] : LOST;
var firstView = () => Object.keys(VIEWS).find(maySee);
var maySee = (view) => Object.hasOwn(VIEWS, view) && hasRole(...VIEWS[view].roles);
var buttons = () => document.querySelectorAll("nav [data-view]");
function openHistory() {
  inbox.history = [];
  inbox.more.history = null;
  loadHistory();
  render();
}
function draw11() {
  const { section: section2 } = viewOf(state.view);
  for (const { section: other } of [...Object.values(VIEWS), LOST]) $(other).hidden = other !== section2;
  for (const button of buttons()) {
    button.hidden = !maySee(button.dataset.view);
    if (button.dataset.view === state.view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  for (const group of document.querySelectorAll("nav [role=group]")) group.hidden = !group.querySelector("button:not([hidden])");
  const nav2 = $("nav");
  const current = nav2.querySelector("[aria-current]");
  if (current && nav2.scrollWidth > nav2.clientWidth) nav2.scrollLeft = current.offsetLeft - nav2.clientWidth / 2;
}
function lose(link, what, roles) {
  state.view = "lost";
  state.rest = link;
  notice("");
  draw11();
  const mine2 = state.me.roles?.join(", ") || "none";
  const why = roles ? el("p", {}, what, ` is for people with a role of ${roles.join(", ")}; yours: ${mine2}. Roles stand in authority.yaml, under people: whoever administers it can give you another.`) : el("p", {}, `This page has no view of the name “`, shown(what, true), "”.");
  const links = [...buttons()].filter((button) => maySee(button.dataset.view)).map((button) => el("li", {}, el("a", { href: `#/${button.dataset.view === "pending" ? "" : button.dataset.view}` }, viewOf(button.dataset.view).title)));
  const title = roles ? "This is not for your role" : "There is no such view";
  $("lost").replaceChildren(el("h2", {}, title), why, el("p", {}, "You can go to:"), el("ul", { class: "plain" }, ...links));
  announce(title);
  $("lost").focus({ preventScroll: true });
}
function show(view, given, rest = "") {
  if (!maySee(view)) return;
  const isOther = state.view !== view;
  state.view = view;
  state.rest = rest;
  Object.assign(inbox, { chosen: null, pane: "list" });
  inbox.marked.clear();
  for (const [id, one2] of inbox.approvals) {
    if (one2.here && view !== "pending") inbox.approvals.delete(id);
  }
  notice("");
  if (isOther) done("");
  draw11();
  const hash = view === "pending" ? "#/" : `#/${view}${rest}`;
  if (location.hash !== hash) history.pushState(null, "", hash);
  render();
  VIEWS[view].open(given, rest);
  if (isOther) {
    announce(VIEWS[view].title);
    scrollTo(0, 0);
  }
  if (document.activeElement === document.body) $("main").focus({ preventScroll: true });
}
document.addEventListener("tollgate-explain", ({ detail: one2 }) => {
  show("explain", { agent: one2.agent_id, tool: one2.tool, arguments: one2.arguments, user: one2.user, workflow: one2.workflow, masked: one2.redacted || !one2.arguments_complete });
});
for (const button of buttons()) button.addEventListener("click", () => show(button.dataset.view));
var tokenOf = () => /^\/ask\/([\w-]+)$/.exec(location.pathname)?.[1] ?? null;
async function followToken(token) {
  const { approval_id: id } = await api(`asks/${token}`);
  history.replaceState(null, "", `/#${encodeURIComponent(id)}`);
}
async function follow() {
  if (!state.me) return;
  const token = tokenOf();
  if (token) {
    if (!maySee("pending")) {
      history.replaceState(null, "", "/#/");
      return lose("/", "The approval of this link", VIEWS.pending.roles);
    }
    try {
      await followToken(token);
    } catch (error) {
      history.replaceState(null, "", "/#/");
      await follow();
      return notice(`Nothing was opened: ${error.message}`);
    }
  }
  const link = location.hash.slice(1);
  if (link === "" || link.startsWith("/")) {
    const [, name2, rest] = /^([a-z]*)(.*)$/s.exec(link.slice(1));
    const view = name2 || firstView();
    if (!maySee(view)) lose(link, Object.hasOwn(VIEWS, view) ? VIEWS[view].title : view, Object.hasOwn(VIEWS, view) ? VIEWS[view].roles : null);
    else if (view !== state.view || rest !== state.rest) show(view, void 0, rest);
    return;
  }
  if (link === "main") return;
  if (!maySee("pending")) return lose(link, "The approval of this link", VIEWS.pending.roles);
  try {
    const id = decodeURIComponent(link);
    const one2 = await api(`approvals/${encodeURIComponent(id)}`);
    if (location.hash.slice(1) !== link) return;
    one2.here = one2.status !== "pending";
    inbox.approvals.set(id, one2);
    inbox.linked.add(id);
    state.view = "pending";
    draw11();
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
  const [agents, bundle] = await Promise.all([allPages("agents", "agents"), allPages("policies", "policies")]);
  state.agents = new Map(agents.agents.map((agent) => [agent.id, agent]));
  state.policies = new Map(bundle.policies.map((policy2) => [policy2.id, policy2]));
}
async function enter() {
  const me = await api("me");
  state.me = me;
  state.skew = new Date(me.now).getTime() - Date.now();
  $("person").textContent = me.id;
  $("environment").textContent = me.environment;
  state.csrf = me.csrf;
  if (!firstView()) {
    const roles = (me.roles || []).join(", ") || "none";
    state.me = null;
    throw new Error(`This page has no view for your roles (${roles}).`);
  }
  for (const id of ["environment", "nav", "who"]) $(id).hidden = false;
  for (const id of ["login", "login-why"]) $(id).hidden = true;
  state.view = firstView();
  draw11();
  if (!maySee("pending")) {
    live("signed in", "good");
    VIEWS[state.view].open();
    return follow();
  }
  await loadBundle();
  await loadPending();
  await changed4();
  quiet();
  await follow();
  listen();
}
function leave(why) {
  if (!state.key && state.csrf) endSession();
  sessionStorage.removeItem(KEY);
  if (stream) stream.abort();
  stream = null;
  Object.assign(state, { key: null, csrf: null, me: null, view: "pending", rest: "", agents: /* @__PURE__ */ new Map(), policies: /* @__PURE__ */ new Map() });
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  forgetAll();
  for (const view of [alerts_exports, budgets_exports, catalog_exports, connections_exports, deadletters_exports, events_exports, explain_exports, freeze_exports, grants_exports, labels_exports, matrix_exports, now_exports, people_exports, pins_exports, policies_exports, scorecard_exports, spend_exports, upstreams_exports]) view.clear();
  for (const { section: section2 } of Object.values(VIEWS)) $(section2).hidden = true;
  for (const id of ["environment", "nav", "who"]) $(id).hidden = true;
  $("login").hidden = false;
  showLoginError(why);
  notice("");
  $("announce").replaceChildren();
  document.title = "Tollgate: approvals";
  $("key").focus();
}
onSignOut((why) => {
  state.csrf = null;
  leave(why);
});
function endSession() {
  fetch("/api/v1/session", { method: "DELETE", cache: "no-store", ...credentials("DELETE") }).catch(() => {
  });
}
function showLoginError(text2) {
  $("login-error").hidden = !text2;
  $("login-error").textContent = text2 || "";
}
$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  showLoginError("");
  state.key = $("key").value.trim();
  document.documentElement.classList.add("entered");
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
var due3 = null;
function refreshSoon() {
  due3 ??= setTimeout(() => {
    due3 = null;
    if (!state.me) return;
    render();
    tellNews();
  }, 100);
}
function live(word, colour2) {
  if ($("live").textContent !== word) $("live").textContent = word;
  $("live").className = `chip ${colour2}`;
}
async function listen() {
  const mine2 = new AbortController();
  stream = mine2;
  let pause = 500;
  while (stream === mine2) {
    try {
      const answer = await fetch("/api/v1/stream", { cache: "no-store", signal: mine2.signal, ...credentials() });
      if (answer.status === 401) {
        const why = state.key ? "Your key is no longer valid." : "Your session is over.";
        state.csrf = null;
        return leave(why);
      }
      if (!answer.ok) throw new Error(`HTTP status ${answer.status}`);
      await loadPending();
      await changed4();
      tellNews();
      live("live", "good");
      pause = 500;
      await read12(answer.body.getReader());
    } catch (error) {
      if (stream !== mine2) return;
    }
    live("reconnecting", "warn");
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 1e4);
  }
}
async function read12(reader) {
  const decoder = new TextDecoder();
  let text2 = "";
  for (; ; ) {
    const { value: value2, done: done2 } = await reader.read();
    if (done2) return;
    text2 += decoder.decode(value2, { stream: true });
    const messages = text2.split("\n\n");
    text2 = messages.pop();
    for (const message of messages) {
      const lines4 = message.split("\n");
      const kind3 = lines4.find((line3) => line3.startsWith("event: "));
      const data = lines4.find((line3) => line3.startsWith("data: "));
      if (!kind3 || !data) continue;
      if (kind3 === "event: approval") {
        take(parse(data.slice(6)));
        changed6();
        refreshSoon();
      } else if (kind3 === "event: event") {
        happened(data);
      }
    }
  }
}
var OF_VIEWS = /"event_type":"(policy_activated|policy_rejected|grant_made|grant_ended|frozen|unfrozen|tool_quarantined|tool_accepted|alert)"|"action":"(?:alert|incident|duty)"/;
async function happened(data) {
  changed6();
  const kind3 = OF_VIEWS.exec(data);
  if (!kind3 || !state.me) return;
  try {
    if (kind3[1] === "policy_activated") {
      await loadBundle();
      announce("Other policies have come into force.");
      await loadPending();
    }
    if (!kind3[1] || kind3[1] === "alert") return await changed();
    if (kind3[1].endsWith("frozen")) await changed4();
    else if (kind3[1].startsWith("policy_")) await changed8();
    else if (kind3[1].startsWith("tool_")) await Promise.all([changed7(), changed2()]);
    else await changed5();
  } catch {
  }
}
setInterval(() => state.me && maySee("freeze") && Promise.all([changed4(), changed()]).catch(() => {
}), 5e3);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("f-status").addEventListener("change", () => loadHistory());
$("f-agent").addEventListener("change", () => loadHistory());
$("f-tool").addEventListener("input", render);
$("keys").addEventListener("click", () => $("help").showModal());
$("shortcuts").addEventListener("change", () => state.shortcuts = $("shortcuts").checked);
for (const kind3 of ["pointerdown", "keydown"]) {
  document.addEventListener(kind3, () => state.touched = performance.now(), { capture: true, passive: true });
}
document.addEventListener("keydown", () => {
  if (state.me) document.documentElement.classList.remove("entered");
});
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
  const form9 = formInFront();
  const isInbox = viewOf(state.view).section === "inbox";
  const ofInbox = {
    j: () => step(1),
    k: () => step(-1),
    a: () => form9 && form9.approve.focus(),
    r: () => form9 && form9.reject.focus(),
    c: () => form9 && form9.comment.focus(),
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
    i: () => show("alerts"),
    d: () => show("deadletters"),
    q: () => show("quarantine"),
    t: () => show("labels"),
    w: () => show("now"),
    x: () => show("matrix"),
    u: () => show("upstreams"),
    l: () => show("people"),
    v: () => show("events"),
    y: () => show("scorecard"),
    z: () => show("catalog"),
    "?": () => $("help").showModal(),
    ...isInbox ? ofInbox : {}
  }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
});
var LINK = "tollgate-link";
async function begin() {
  $("login-why").hidden = !tokenOf();
  const hash = sessionStorage.getItem(LINK);
  sessionStorage.removeItem(LINK);
  if (hash && location.pathname === "/" && location.hash.length < 2) history.replaceState(null, "", hash);
  if (state.key) return enter();
  $("key").focus();
  const ways = await api("signin");
  $("issuer").hidden = !ways.oidc;
  if (!ways.oidc) return;
  await enter().catch((error) => {
    if (error.status !== 401) throw error;
  });
}
$("issuer-sign-in").addEventListener("click", () => {
  const token = tokenOf();
  if (!token && location.hash.length > 1) sessionStorage.setItem(LINK, location.hash);
  location.assign(token ? `/signin?ask=${token}` : "/signin");
});
begin().catch((error) => error.status === 401 ? leave("") : leave(error.message));
export {
  detail_exports as detail,
  diff_exports as diff,
  exact_exports as exact,
  inbox_exports as inbox,
  sent_exports as sent,
  show,
  state_exports as state
};
