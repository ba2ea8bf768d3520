// Accounts that people connect to servers: their own, and for admins what is everybody's.

import { api } from "./api.js";
import { $, announce, confirm, el, facts, place, shown, when } from "./dom.js";
import { state } from "./state.js";

const SECTION = "connections";
let asked = 0;

export function clear() {
  asked += 1;
  $(SECTION).replaceChildren();
}

export async function open() {
  const mine = ++asked;
  place($(SECTION), [el("h2", {}, "Connections")], $(SECTION));
  $(SECTION).focus({ preventScroll: true });
  try {
    const { connections } = await api("connections");
    if (mine === asked && state.view === "connections") draw(connections);
  } catch (error) {
    if (mine === asked) failed(error);
  }
}

const failed = (error) => place($(SECTION), [el("h2", {}, "Connections"), el("p", { class: "error", role: "alert" }, error.message)], $(SECTION));

function draw(connections) {
  const intro = el(
    "p",
    { class: "soft" },
    "Servers that are reached with somebody's own account. Connecting one leads to the sign-in of its issuer; what it gives Tollgate is kept encrypted and sent to that server alone. Disconnecting takes it back.",
  );
  const none = el("p", { id: "no-connections" }, "No server is reached with an account that you connect.");
  const list = el("ul", { class: "cards" }, ...connections.map(card));
  place($(SECTION), [el("h2", {}, "Connections"), intro, connections.length ? list : none], $(SECTION));
}

const whose = (one) => {
  const [kind, name] = String(one.holder).split(/:(.*)/s);
  return kind === "gateway" ? "everybody" : name === state.me!.id && kind === "person" ? "you" : `${kind} ${name}`;
};

function card(one) {
  const isConnected = one.state === "connected";
  const wants = isConnected && one.wants.length > 0;
  const buttons = el("div", { class: "buttons" });
  const add = (words, act, attributes = {}) => {
    const button = el("button", { type: "button", ...attributes }, words);
    button.addEventListener("click", () => act(button));
    buttons.append(button);
  };
  if (one.may_connect && !isConnected) add("Connect", (button) => connect(one, button), { class: "approve" });
  if (one.may_connect && wants) add("Connect with more", (button) => connect(one, button), { class: "approve" });
  if (one.state !== "not connected") add("Disconnect…", () => disconnect(one), { class: "reject" });
  const known = facts([
    ["For", shown(whose(one), true)],
    ["State", one.state],
    ...((one.reason ? [["Why", shown(one.reason, true)]] : []) as [string, any][]),
    ...((one.since ? [["Since", when(one.since)]] : []) as [string, any][]),
    ...((one.issuer ? [["Issuer", shown(one.issuer, true)]] : []) as [string, any][]),
    ...((one.scopes.length ? [["May", shown(one.scopes.join(" "), true)]] : []) as [string, any][]),
    ...((wants ? [["The server wants", shown(one.wants.join(" "), true)]] : []) as [string, any][]),
  ]);
  return el("li", { class: "card", "data-upstream": one.upstream, "data-holder": one.holder }, el("h3", {}, shown(one.upstream, true)), known, buttons);
}

const path = (one) => `connections/${encodeURIComponent(one.upstream)}`;
const agentOf = (one) => (String(one.holder).startsWith("agent:") ? String(one.holder).slice("agent:".length) : null);

async function connect(one, button) {
  button.disabled = true;
  try {
    const begun = await api(path(one), { agent: agentOf(one) }, "POST", { keep: true });
    const url = new URL(begun.url);
    // Nothing else is opened, whatever an issuer calls its page.
    if (url.protocol !== "https:" && url.protocol !== "http:") throw new Error("The issuer's address cannot be opened.");
    location.assign(url.href);
  } catch (error) {
    button.disabled = false;
    failed(error);
  }
}

async function disconnect(one) {
  const agent = agentOf(one);
  const [kind, name] = String(one.holder).split(/:(.*)/s);
  const query = agent ? `?agent=${encodeURIComponent(agent)}` : kind === "person" ? `?person=${encodeURIComponent(name)}` : "";
  await confirm({
    title: `Disconnect ${one.upstream}?`,
    body: [el("p", {}, "Its tokens are revoked at the issuer and removed here. Calls that need them are refused until it is connected again.")],
    action: "Disconnect",
    danger: true,
    run: async () => {
      await api(`${path(one)}${query}`, undefined, "DELETE");
      announce(`${one.upstream} is disconnected`);
      await open();
    },
  });
}
