// A real OpenID provider (certified) with a plain page to sign in on, and beside it one that answers wrongly as it is told.
//
// Usage: node issuer.mjs PORT FORGER_PORT REDIRECT_URI

import { createServer } from "node:http";
import { createPrivateKey, createPublicKey, createHmac, createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import Provider, { interactionPolicy } from "oidc-provider";

const [port, forgerPort, redirect] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

// --- the provider ----------------------------------------------------------------------------------------------------

const PEOPLE = {
  "sub-bob": { groups: ["tollgate-approvers", "staff"], email: "bob@example.org", email_verified: true },
  "sub-vera": { groups: ["tollgate-watchers"], email: "vera@example.org", email_verified: true },
  "sub-eve": { groups: ["staff"], email: "eve@example.org", email_verified: false },
};
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;

const provider = new Provider(issuer, {
  clients: [
    { client_id: "tollgate", client_secret: "the-client-secret", redirect_uris: [redirect], response_types: ["code"], grant_types: ["authorization_code"] },
    { client_id: "other", client_secret: "another-secret", redirect_uris: [redirect], response_types: ["code"], grant_types: ["authorization_code"] },
  ],
  jwks: { keys: [{ ...key.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "one" }] },
  claims: { openid: ["sub", "acr", "amr"], profile: ["groups"], email: ["email", "email_verified"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false }, userinfo: { enabled: true } },
  acrValues: ["second-factor"],
  cookies: { keys: [randomBytes(32).toString("hex")] },
  interactions: { policy: interactionPolicy.base(), url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...PEOPLE[sub] }) }),
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid profile email");
    await grant.save();
    return grant;
  },
});
provider.on("server_error", (_, error) => console.error(error));

const page = (uid) => `<!doctype html><html lang="en"><title>Issuer</title><meta name="viewport" content="width=device-width">
<form method="post" action="/interaction/${uid}"><label>User <input name="user" autocomplete="off"></label>
<label><input type="checkbox" name="second"> Second factor</label><button>Continue</button></form></html>`;

const body = async (request) => {
  let text = "";
  for await (const part of request) text += part;
  return new URLSearchParams(text);
};

const provide = provider.callback();
createServer(async (request, response) => {
  if (!request.url.startsWith("/interaction/")) return provide(request, response);
  if (request.method === "GET") {
    response.setHeader("content-type", "text/html");
    return response.end(page(request.url.split("/")[2]));
  }
  const given = await body(request);
  const login = { accountId: given.get("user"), amr: given.has("second") ? ["pwd", "otp"] : ["pwd"] };
  if (given.has("second")) login.acr = "second-factor";
  await provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}).listen(Number(port), "127.0.0.1", () => console.log("provider"));

// --- the forger ------------------------------------------------------------------------------------------------------

const forger = `http://127.0.0.1:${forgerPort}`;
const own = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const publicKey = createPublicKey(createPrivateKey(own.export({ type: "pkcs8", format: "pem" })));
let fault = "";
const codes = new Map();
const asked = [];
const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function idToken(nonce) {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: forger, aud: "tollgate", sub: "sub-bob", nonce, iat: now, exp: now + 300, groups: ["tollgate-approvers"] };
  const head = { alg: "RS256", kid: "own", typ: "JWT" };
  if (fault === "nonce") claims.nonce = "another";
  if (fault === "issuer") claims.iss = "https://another.example";
  if (fault === "audience") claims.aud = "other";
  if (fault === "party") Object.assign(claims, { aud: ["tollgate", "other"], azp: "other" });
  if (fault === "expired") Object.assign(claims, { iat: now - 900, exp: now - 600 });
  if (fault === "access token") head.typ = "at+jwt";
  if (fault === "none") head.alg = "none";
  if (fault === "hmac") head.alg = "HS256";
  const text = `${encode(head)}.${encode(claims)}`;
  if (fault === "none") return `${text}.`;
  if (fault === "hmac") {
    // The public key as a shared secret: what a careless verifier takes.
    return `${text}.${createHmac("sha256", publicKey.export({ type: "spki", format: "pem" })).update(text).digest("base64url")}`;
  }
  const signed = createSign("RSA-SHA256").update(text).sign(fault === "key" ? stranger : own);
  return `${text}.${signed.toString("base64url")}`;
}

createServer(async (request, response) => {
  const url = new URL(request.url, forger);
  const json = (value, status = 200) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  };
  if (url.pathname === "/fault") {
    fault = url.searchParams.get("name") ?? "";
    return json({ fault });
  }
  if (url.pathname === "/asked") return json(asked);
  if (url.pathname === "/.well-known/openid-configuration") {
    return json({
      issuer: forger,
      authorization_endpoint: `${forger}/auth`,
      token_endpoint: `${forger}/token`,
      jwks_uri: `${forger}/jwks`,
      authorization_response_iss_parameter_supported: true,
      code_challenge_methods_supported: ["S256"],
    });
  }
  if (url.pathname === "/jwks") {
    return json({ keys: [{ ...publicKey.export({ format: "jwk" }), kid: "own", use: "sig", alg: "RS256" }] });
  }
  if (url.pathname === "/auth") {
    const code = randomBytes(8).toString("hex");
    codes.set(code, url.searchParams.get("nonce"));
    asked.push(Object.fromEntries(url.searchParams));
    const back = new URL(url.searchParams.get("redirect_uri"));
    back.searchParams.set("code", code);
    back.searchParams.set("state", fault === "state" ? "another" : url.searchParams.get("state"));
    if (fault !== "unnamed") back.searchParams.set("iss", fault === "mixed up" ? "https://another.example" : forger);
    response.writeHead(302, { location: back.href });
    return response.end();
  }
  if (url.pathname === "/token") {
    const given = await body(request);
    const nonce = codes.get(given.get("code"));
    if (fault !== "generous") codes.delete(given.get("code"));
    if (!nonce || !given.get("code_verifier")) return json({ error: "invalid_grant" }, 400);
    return json({ access_token: "a", token_type: "Bearer", id_token: idToken(nonce) });
  }
  return json({ error: "not_found" }, 404);
}).listen(Number(forgerPort), "127.0.0.1", () => console.log("forger"));
