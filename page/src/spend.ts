// What was spent, and what would hold it back.

import { api } from "./api.js";
import { $, announce, counted, el, notice, opened, shown, table, td, when } from "./dom.js";
import { state } from "./state.js";

let asked = 0;

const KINDS = [
  ["agent", "Agent"],
  ["workflow", "Workflow"],
  ["tool", "Tool"],
  ["user", "User"],
  ["model", "Model"],
  ["day", "Day"],
];
const SPANS = [
  ["1d", "the last day"],
  ["7d", "the last 7 days"],
  ["30d", "the last 30 days"],
];

const span = el("select", { name: "since" }, SPANS.map(([value, words]) => el("option", { value }, words)));
const kind = el("select", { name: "by" }, KINDS.map(([value, words]) => el("option", { value }, words.toLowerCase())));
span.value = "7d";
span.addEventListener("change", () => read());
kind.addEventListener("change", () => draw());
const form = el("form", { class: "filters" }, el("label", {}, "Of ", span), " ", el("label", {}, "by ", kind));
form.addEventListener("submit", (event) => event.preventDefault());
const head = [el("h2", {}, "Spend"), form];

let report: any = null;

export function clear() {
  asked += 1;
  report = null;
  span.value = "7d";
  kind.value = "agent";
  $("spend").replaceChildren();
}

export async function open() {
  report = null;
  $("spend").replaceChildren(...head, el("p", { class: "soft" }, "Adding up…"));
  $("spend").focus({ preventScroll: true });
  await read();
}

async function read() {
  const mine = ++asked;
  let found: any = null;
  try {
    found = await api(`report/spend?since=${span.value}`);
  } catch (error) {
    if (mine === asked && state.view === "spend") {
      report = null;
      replace([el("p", { class: "error" }, error.message)]);
    }
    return;
  }
  if (mine !== asked || state.view !== "spend" || !state.me) return;
  report = found;
  draw();
  announce(`${usd(found.cost_usd)} in ${counted(found.calls, "call", "calls")}.`);
}

// The form above is not made again: it keeps focus.
function replace(nodes) {
  const old = [...$("spend").children].filter((node) => !head.includes(node));
  for (const node of old) node.remove();
  $("spend").append(...nodes);
}

const number = (value) => Number(value);
const usd = (value) => `${number(value).toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 6 })} USD`;
const whole = (value) => number(value).toLocaleString();
const percent = (share) => `${Math.round(number(share) * 100)} %`;

function draw() {
  if (!report) return;
  notice("");
  replace([
    report.partial ? el("p", { class: "banner" }, "This is a part: the record is long, and the time was over. `tollgate report spend` adds up all of it.") : "",
    el("p", {}, `${usd(report.cost_usd)} in ${counted(report.calls, "call", "calls")}, ${whole(report.failed)} of which failed; estimated were ${usd(report.estimate_usd)}.`),
    lines(),
    throttles(),
    catalog(),
    searches(),
    estimates(),
  ].filter(Boolean));
}

function lines() {
  const [name, title] = KINDS.find(([value]) => value === kind.value)!;
  const all = report[name];
  const most = Math.max(...all.map((one) => number(one.cost_usd)), 0.000001);
  const rows = all.slice(0, 200).map((one) => [
    td(one[name] === null ? el("span", { class: "soft" }, "none") : shown(one[name], true)),
    td(usd(one.cost_usd)),
    // The bar repeats the figure beside it.
    td(el("meter", { min: 0, max: most, value: number(one.cost_usd), "aria-hidden": "true" })),
    td(whole(one.calls)),
    td(whole(one.failed)),
    td(whole(one.tokens)),
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, `By ${title.toLowerCase()}`),
    rows.length ? table(`Spend by ${title.toLowerCase()}`, [title, "Cost", "Share", "Calls", "Failed", "Tokens"], rows, { id: "spend-lines" }) : el("p", {}, "Nothing was spent. prices.yaml says what tools and tokens cost."),
    report.truncated ? el("p", { class: "soft" }, "There are more names than are told: the rest is (others).") : null,
  );
}

function throttles() {
  if (!report.throttles.length) return null;
  const rows = report.throttles.map((one) => [
    td(shown(one.workflow, true)),
    td(usd(one.cost_usd)),
    td(whole(one.calls)),
    td(usd(one.busy_minute_usd)),
    td(usd(one.max_cost_per_minute_usd)),
    td(whole(one.minutes_above)),
  ]);
  const file = () => [
    el("p", {}, "Put it beside the files of your bundle as ", el("code", {}, report.proposal.name), ", and let ", el("code", {}, "tollgate policy simulate"), " say which recorded calls it would have held back."),
    el("pre", { tabindex: "0" }, report.proposal.text),
  ];
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "Workflows that cost most, with a throttle for each"),
    table("Workflows that cost most", ["Workflow", "Cost", "Calls", "Busy minute", "Proposed for a minute", "Minutes above"], rows, { id: "spend-throttles" }),
    opened(`The throttles as a policy file (${report.proposal.name})`, file),
  );
}

function catalog() {
  if (!report.catalog.length) return null;
  const rows = report.catalog.map((one) => [
    td(shown(one.agent, true)),
    td(one.model === null ? "" : shown(one.model, true)),
    td(one.mode === "search" ? "searched" : "whole"),
    td(whole(one.tools)),
    td(whole(one.tokens)),
    td(whole(one.full_tokens)),
    td(usd(one.cost_usd)),
    td(one.max_tokens === null ? "" : whole(one.max_tokens)),
    el("td", { class: "text" }, one.left_out.length ? shown(one.left_out.join(", ")) : ""),
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "What reading the list of tools once costs"),
    table("Lists of tools", ["Agent", "Model", "List", "Tools", "Tokens", "All tools", "Cost", "At most", "Left out"], rows, { id: "spend-catalog" }),
    el("p", { class: "soft" }, "What is left out can be called all the same. Tools are taken in the order of the agent's capabilities, then by name, as long as they fit."),
  );
}

function searches() {
  const { search } = report;
  if (!number(search.tasks)) return null;
  const rows = search.newest.map((task) => [
    td(when(task.from)),
    td(shown(task.agent, true)),
    td(task.workflow === null ? "" : shown(task.workflow, true)),
    td(whole(task.calls)),
    td(whole(task.searches)),
    td(whole(task.full_tokens)),
    td(whole(task.search_tokens)),
    td(whole(task.saved_tokens)),
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "What searching for tools saved"),
    el("p", {}, `${whole(search.saved_tokens)} tokens in ${counted(search.tasks, "finished task", "finished tasks")}: cheaper than the whole list in ${whole(search.cheaper)}, dearer in ${whole(search.dearer)}.`),
    table("Tasks", ["Since", "Agent", "Workflow", "Calls", "Searches", "Whole list", "Searched", "Saved"], rows),
  );
}

function estimates() {
  if (!report.estimates.length) return null;
  const rows = report.estimates.slice(0, 100).map((one) => [
    td(one.tool === undefined ? "All tools" : shown(one.tool, true)),
    td(whole(one.calls)),
    td(percent(one.median)),
    td(percent(one.p90)),
  ]);
  return el(
    "section",
    { class: "panel" },
    el("h3", {}, "How far estimates of results were off"),
    table("Estimates", ["Tool", "Results", "Median", "9 of 10"], rows, { id: "spend-estimates" }),
  );
}
