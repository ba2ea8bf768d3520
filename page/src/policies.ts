// The bundle in force, those that were, and going back to one.

import { api, allPages } from "./api.js";
import { $, chip, confirm, counted, el, facts, notice, opened, shown, table, td, when } from "./dom.js";
import { hasRole, state } from "./state.js";

let asked = 0;
// How the folder differs, as it stands on the page.
let folderTold = "null";

export function clear() {
  asked += 1;
  $("policies").replaceChildren();
}

export async function open() {
  $("policies").replaceChildren(el("h2", {}, "Policies"), el("p", { class: "soft" }, "Reading the policies…"));
  $("policies").focus({ preventScroll: true });
  await read();
  again(asked, 0);
}

// Something else has come into force, or was refused. Whether the folder differs from it is known a moment later.
export async function changed() {
  if (state.view !== "policies") return;
  await read();
  again(asked, 5);
}

// Asks about the folder as long as the view is open: some times at once, then now and then.
function again(mine, soon) {
  const isOurs = () => mine === asked && state.view === "policies" && state.me;
  setTimeout(async () => {
    if (!isOurs()) return;
    const past = await api("policies/history").catch(() => null);
    if (!isOurs()) return;
    const differs = past && JSON.stringify(past.folder ?? null) !== folderTold;
    if (differs) await read();
    again(differs ? asked : mine, Math.max(soon - 1, 0));
  }, soon ? 1000 : 5000);
}

async function read() {
  const mine = ++asked;
  const none = (error) => ({ error });
  const [bundle, past] = await Promise.all([allPages("policies", "policies").catch(none), api("policies/history").catch(none)]);
  if (mine !== asked || state.view !== "policies" || !state.me) return;
  folderTold = JSON.stringify(past.folder ?? null);
  const hadFocus = $("policies").contains(document.activeElement);
  $("policies").replaceChildren(
    ...[
      el("h2", {}, "Policies"),
      bundle.error ? el("p", { class: "error" }, bundle.error.message) : inForce(bundle, past),
      past.error ? el("p", { class: "error" }, past.error.message) : history(past),
    ],
  );
  if (hadFocus) $("policies").focus({ preventScroll: true });
}

const short = (snapshot) => el("code", { title: snapshot }, snapshot.slice(0, 12));

function inForce(bundle, past) {
  const rows = bundle.policies.map((policy) => [
    td(shown(policy.id, true)),
    td(policy.mode === "enforce" ? "enforced" : shown(policy.mode)),
    td(shown(policy.description || "")),
    td(shown(policy.owner || "")),
    td(policy.kind === "gate" ? counted(policy.rules.length, "rule", "rules") : "rulebook"),
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
      ["Where no policy says anything", bundle.default_decision],
    ]),
    table("Policies in force", ["Policy", "Mode", "What for", "Owner", "Rules"], rows),
  );
}

// What is held in force by order, while the folder says something else.
function folder(differs) {
  const activate = el("button", { type: "button" }, "Activate the folder…");
  activate.addEventListener("click", askFolder);
  return el(
    "div",
    { class: "banner" },
    el("p", {}, shown(differs.message[0].toUpperCase() + differs.message.slice(1))),
    hasRole("admin") && differs.snapshot ? el("div", { class: "buttons" }, activate) : null,
  );
}

function history(past) {
  const admin = hasRole("admin");
  const now = (past.history.find((one) => one.active) || {}).snapshot;
  const rows = past.history.map((one) => {
    const name = one.snapshot.slice(0, 12);
    const files = el("button", { type: "button", "aria-label": `Show the files of ${name}` }, "Files");
    files.addEventListener("click", () => showFiles(one));
    const activate = el("button", { type: "button", "aria-label": `Activate ${name}` }, "Activate…");
    activate.addEventListener("click", () => askActivate(one));
    return [
      td(short(one.snapshot), one.active ? [" ", chip("in force")] : ""),
      td(when(one.activated_at)),
      td(shown(one.by || "")),
      el("td", { class: "text" }, shown(one.reason || "")),
      td(one.git_commit ? el("code", { title: one.git_commit }, one.git_commit.slice(0, 10)) : ""),
      td(el("div", { class: "buttons" }, files, admin && one.snapshot !== now ? activate : null)),
    ];
  });
  const back = el("button", { type: "button" }, "Roll back…");
  back.addEventListener("click", askRollback);
  const possible = past.history.length > 1;
  return el(
    "section",
    { class: "panel", "aria-label": "What was in force" },
    el("h3", {}, "What was in force"),
    admin && possible ? el("div", { class: "buttons" }, back) : "",
    rows.length ? table("What was in force, the newest first", ["Snapshot", "Since", "By", "Why", "Commit", "Do"], rows, { id: "snapshots" }) : el("p", {}, "There is no history yet."),
    past.truncated ? el("p", { class: "soft" }, `The newest ${rows.length} are listed; \`tollgate policy history\` has all.`) : "",
  );
}

const REASON = "Why";

async function askActivate(one) {
  const done = await confirm({
    title: "Put these policies in force?",
    body: [
      el("p", {}, "The bundle ", short(one.snapshot), ", in force since ", when(one.activated_at), " the last time, counts from the next call on, in every process."),
      el("p", {}, "Asks and grants of other policies end. The folder is not changed: it counts again when somebody activates it."),
    ],
    reason: REASON,
    required: true,
    action: "Activate",
    danger: true,
    run: (reason) => order("activate", { snapshot: one.snapshot, reason }),
  });
  await told(done);
}

async function askFolder() {
  const done = await confirm({
    title: "Put the folder in force?",
    body: [el("p", {}, "What the folder says counts from the next call on, in every process, and so does what is changed in it from then on.")],
    reason: REASON,
    required: true,
    action: "Activate",
    danger: true,
    run: (reason) => order("activate", { folder: true, reason }),
  });
  await told(done);
}

async function askRollback() {
  const done = await confirm({
    title: "Roll back to the policies of before?",
    body: [
      el("p", {}, "What was in force before counts from the next call on, in every process."),
      el("p", {}, "Asks and grants of the policies of now end. The folder is not changed: it counts again when somebody activates it."),
    ],
    reason: REASON,
    required: true,
    action: "Roll back",
    danger: true,
    run: (reason) => order("rollback", { reason }),
  });
  await told(done);
}

const order = (what, body) => api(`policies/${what}`, body);

async function told(done) {
  if (!done) return;
  const text = [`${done.snapshot.slice(0, 12)}: ${done.message}.`, ...(done.notes || [])].join(" ");
  notice(text);
  await read();
  again(asked, 5);
  $("policies").focus({ preventScroll: true });
}

// The files of a snapshot as they were.
async function showFiles(one) {
  const close = el("button", { type: "button", class: "primary" }, "Close");
  const body = el("div", {}, el("p", { class: "soft" }, "Reading the files…"));
  const dialog = el("dialog", { class: "confirm wide", "aria-labelledby": "files-title" }, el("h2", { id: "files-title" }, "Files of ", short(one.snapshot)), body, el("div", { class: "buttons" }, close));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  $("dialogs").append(dialog);
  dialog.showModal();
  try {
    const answer = await api(`policies/${encodeURIComponent(one.snapshot)}`);
    body.replaceChildren(...files(answer));
  } catch (error) {
    body.replaceChildren(el("p", { class: "error" }, error.message));
  }
}

function files(answer) {
  const all = answer.files || [];
  if (!all.length) return [el("p", {}, "Its files are not kept.")];
  return all.map(({ name, text }) => opened(name, () => el("pre", { tabindex: "0", role: "region", "aria-label": name }, ...text.split("\n").flatMap((line) => [shown(line), "\n"]))));
}
