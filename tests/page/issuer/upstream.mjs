// An MCP server that wants tokens of a real authorization server (certified), and that authorization server.
//
// Usage: node upstream.mjs ISSUER_PORT MCP_PORT
//
// Whoever signs in is whom they say they are. What each person's token lists is theirs alone. `GET /seen` on the MCP port tells what
// was asked; `POST /set?ttl=…&era=…&refuse=…&forget=…&hold=…&revocation=…` changes how long tokens last, what the server speaks, whether it takes no
// token, or none that it has taken before, and whether the issuer keeps the answers to renewals to itself for the time being, or offers no revocation (`not offered`).
// `secretLasts`: who registers gets a secret for so many seconds. `denies` is a tool of which every call gets a 401; a call with the argument `waits` is answered at the next `POST /set?go=1`.

import { createServer } from "node:http";
import { randomBytes } from "node:crypto";
import Provider, { interactionPolicy } from "oidc-provider";

const [issuerPort, mcpPort] = process.argv.slice(2).map(Number);
const issuer = `http://127.0.0.1:${issuerPort}`;
const resource = `http://127.0.0.1:${mcpPort}/mcp`;
const metadata = `http://127.0.0.1:${mcpPort}/.well-known/oauth-protected-resource/mcp`;
const settings = { ttl: 3600, era: "legacy", refuse: false, hold: false, wants: "notes:write", denies: "", described: "Who asks" };
const seen = { token: [], calls: [], exchanged: [], revoked: 0, registered: 0, refused: 0, held: 0, tasks: [] };
const [taken, forgotten, held] = [new Set(), new Set(), []];
const waiting = [];

const policy = interactionPolicy.base();
policy.remove("consent");
const provider = new Provider(issuer, {
  clients: [{ client_id: "exchanger", client_secret: "exchanger-secret", redirect_uris: [], response_types: [], grant_types: ["urn:ietf:params:oauth:grant-type:token-exchange"] }, { client_id: "known", client_secret: "known-secret", redirect_uris: ["http://127.0.0.1/callback"], application_type: "native", grant_types: ["authorization_code", "refresh_token"], response_types: ["code"] }],
  cookies: { keys: [randomBytes(32).toString("hex")] },
  scopes: ["openid"],
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    registration: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: "notes:read notes:write", audience: resource, accessTokenFormat: "opaque", accessTokenTTL: settings.ttl }),
    },
  },
  issueRefreshToken: async (_, client) => client.grantTypeAllowed("refresh_token"),
  rotateRefreshToken: true,
  interactions: { policy, url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  loadExistingGrant: async (ctx) => {
    const { client, session, params } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid");
    grant.addResourceScope(resource, params.scope ?? "");
    await grant.save();
    return grant;
  },
});
provider.on("server_error", (_, error) => console.error(error));
provider.on("revocation.error", (_, error) => console.error(error));
provider.on("registration_create.success", (ctx, client) => {
  seen.registered += 1;
  if (!settings.secretLasts) return;
  const ends = { client_secret_expires_at: Math.floor(Date.now() / 1000) + settings.secretLasts };
  ctx.body = { ...ctx.body, ...ends };
  provider.Client.adapter.upsert(client.clientId, { ...client.metadata(), ...ends });
});
provider.on("grant.success", (ctx) => seen.token.push({ grant: ctx.oidc.params.grant_type, resource: ctx.oidc.params.resource ?? null }));
provider.on("grant.error", (_, error) => seen.token.push({ error: error.error, description: error.error_description }));
provider.on("refresh_token.destroyed", () => (seen.revoked += 1));
const alive = new Set();
for (const kind of ["access_token", "refresh_token"]) {
  provider.on(`${kind}.saved`, (token) => (token.consumed ? alive.delete(token.jti) : alive.add(token.jti)));
  for (const end of ["destroyed", "consumed"]) provider.on(`${kind}.${end}`, (token) => alive.delete(token.jti));
}
provider.on("grant.revoked", () => alive.clear());

// RFC 8693: whoever the caller's token is of gets one for the MCP server. Who has it exchanged stands in `act`.
const exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
provider.registerGrantType(exchange, async (ctx) => {
  const { client, params } = ctx.oidc;
  const { sub, act } = JSON.parse(Buffer.from(params.subject_token.split(".")[1], "base64url").toString());
  const token = new provider.AccessToken({ accountId: `${sub}-at-crm`, client, gty: "token_exchange", scope: "notes:read" });
  token.resourceServer = await ctx.oidc.provider.ResourceServer && new ctx.oidc.provider.ResourceServer(params.resource, { scope: "notes:read", audience: params.resource, accessTokenFormat: "opaque", accessTokenTTL: settings.ttl });
  seen.exchanged.push({ sub, act: act ?? null, actor: client.clientId, resource: params.resource, audience: params.audience ?? null, subject_token: params.subject_token });
  ctx.body = { access_token: await token.save(), issued_token_type: "urn:ietf:params:oauth:token-type:access_token", token_type: "Bearer", expires_in: settings.ttl };
}, ["subject_token", "subject_token_type", "requested_token_type", "audience", "resource", "scope"], []);

const text = async (request) => {
  let all = "";
  for await (const part of request) all += part;
  return all;
};

const provide = provider.callback();
createServer(async (request, response) => {
  if (settings.revocation === "not offered") {
    if (request.url === "/token/revocation") return response.writeHead(404).end();
    const write = response.end.bind(response);
    response.end = (given, ...rest) => write(request.url.includes("/.well-known/") ? String(given).replace("revocation_endpoint", "revocation_nowhere1") : given, ...rest);
  }
  // An issuer may give any client a secret, and one that ends.
  if (settings.secretLasts && request.url === "/reg" && request.method === "POST") {
    request.body = { ...JSON.parse(await text(request)), token_endpoint_auth_method: "client_secret_basic" };
  }
  if (!request.url.startsWith("/interaction/")) {
    // What the provider has done stays done, whether its answer arrives or not.
    const end = response.end.bind(response);
    response.end = (...given) => {
      if (!settings.hold || request.url !== "/token") return end(...given);
      seen.held += 1;
      held.push(() => end(...given));
      return response;
    };
    return provide(request, response);
  }
  if (request.method === "GET") {
    response.setHeader("content-type", "text/html");
    return response.end(`<!doctype html><html lang="en"><title>Issuer</title><form method="post" action="${request.url}"><label>User <input name="user"></label><button>Continue</button></form></html>`);
  }
  const given = new URLSearchParams(await text(request));
  const login = { accountId: given.get("user") };
  await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}).listen(issuerPort, "127.0.0.1", () => console.log("issuer"));

// --- the MCP server --------------------------------------------------------------------------------------------------

const tool = (name, description) => ({ name, description, inputSchema: { type: "object" }, annotations: { readOnlyHint: true } });

async function holder(request) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  if (scheme !== "Bearer" || !token || settings.refuse || forgotten.has(token)) return null;
  const found = await provider.AccessToken.find(token);
  if (found) taken.add(token);
  return found && !found.isExpired && found.aud === resource ? { sub: found.accountId, scopes: new Set((found.scope ?? "").split(" ")) } : null;
}

const TASKS = "io.modelcontextprotocol/tasks";
const task = (taskId, status) => ({ taskId, status, createdAt: "2026-01-01T00:00:00Z", lastUpdatedAt: "2026-01-01T00:00:00Z", ttlMs: 600000 });

function answer(method, params, who) {
  const say = (words) => ({ content: [{ type: "text", text: words }] });
  switch (method) {
    case "initialize":
      return { protocolVersion: "2025-11-25", capabilities: { tools: {}, resources: {} }, serverInfo: { name: "crm", version: "1" } };
    case "server/discover":
      return { supportedVersions: ["2026-07-28"], capabilities: { tools: {}, resources: {}, extensions: { [TASKS]: {} } }, serverInfo: { name: "crm", version: "1" }, resultType: "complete", ttlMs: 0, cacheScope: "private" };
    case "tools/list":
      return { tools: [tool("whoami", settings.described), tool("write", "Writes a note"), tool(`only_${who.sub}`, `What ${who.sub} alone has`)], ttlMs: 0, cacheScope: "private", resultType: "complete" };
    case "resources/list":
      return { resources: [{ uri: `crm://notes/${who.sub}`, name: `Notes of ${who.sub}` }], ttlMs: 0, cacheScope: "private", resultType: "complete" };
    case "resources/read":
      return { contents: [{ uri: params.uri, mimeType: "text/plain", text: `notes of ${who.sub}` }], resultType: "complete", ttlMs: 0, cacheScope: "private" };
    case "tools/call":
      if (params.arguments?.later) return { ...task(`${who.sub}-1`, "working"), resultType: "task" };
      return { ...say(params.name === "write" ? `written by ${who.sub}` : who.sub), resultType: "complete" };
    // A task is of whoever made it.
    case "tasks/get":
    case "tasks/cancel":
      if (params.taskId !== `${who.sub}-1`) return null;
      seen.tasks.push({ method, sub: who.sub });
      return { ...task(params.taskId, "completed"), ...(method === "tasks/get" && { result: { ...say(`done for ${who.sub}`), resultType: "complete" } }), resultType: "complete" };
    case "ping":
      return {};
    default:
      return null;
  }
}

createServer(async (request, response) => {
  const url = new URL(request.url, resource);
  const json = (value, status = 200, headers = {}) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(value));
  };
  if (url.pathname === "/seen") return json({ ...seen, alive: alive.size });
  if (url.pathname === "/set") {
    const truth = (given) => given === "true";
    for (const [name, value] of url.searchParams) settings[name] = { ttl: Number, secretLasts: Number, refuse: truth, hold: truth, forget: truth }[name]?.(value) ?? value;
    if (settings.forget) for (const token of taken) forgotten.add(token);
    settings.forget = false;
    if (!settings.hold) for (const answer of held.splice(0)) answer();
    if (url.searchParams.has("go")) waiting.splice(0).forEach((go) => go());
    return json(settings);
  }
  if (url.pathname === "/.well-known/oauth-protected-resource/mcp") {
    return json({ resource, authorization_servers: [issuer], scopes_supported: ["notes:read"], bearer_methods_supported: ["header"] });
  }
  if (url.pathname !== "/mcp") return json({ error: "not_found" }, 404);
  const who = await holder(request);
  if (!who) seen.refused += 1;
  if (!who) return json({ error: "invalid_token" }, 401, { "www-authenticate": `Bearer resource_metadata="${metadata}", scope="notes:read"` });
  if (request.method === "GET") return json({ error: "no stream" }, 405);
  if (request.method !== "POST") return json({}, 200);
  const message = JSON.parse(await text(request));
  const { id, method, params = {} } = message;
  if (id === undefined) return response.writeHead(202).end();
  const isModern = Boolean(params._meta?.["io.modelcontextprotocol/protocolVersion"]);
  if (method === "tools/call") seen.calls.push({ sub: who.sub, tool: params.name, token: request.headers.authorization });
  if (method === "tools/call" && params.name === settings.denies) return json({ error: "no" }, 401, { "www-authenticate": "Bearer" });
  if (method === "tools/call" && params.name === "write" && !who.scopes.has("notes:write")) {
    return json({ error: "insufficient_scope" }, 403, { "www-authenticate": `Bearer error="insufficient_scope", scope="${settings.wants}", resource_metadata="${metadata}"` });
  }
  if (params.arguments?.waits) await new Promise((go) => waiting.push(go));
  const speaks = settings.era === "modern" ? isModern || method === "server/discover" : method !== "server/discover";
  const result = speaks ? answer(method, params, who) : null;
  if (result === null) return json({ jsonrpc: "2.0", id, error: { code: -32601, message: `no ${method} here` } }, settings.era === "modern" ? 404 : 200);
  return json({ jsonrpc: "2.0", id, result });
}).listen(mcpPort, "127.0.0.1", () => console.log("mcp"));
