// The official TypeScript SDKs as clients that hold results to what is declared: `1`, `2 legacy` or `2 modern`, URL, KEY, and
// the tools to call. Prints what came of each.
const [version, era, url, key, ...names] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
let client, transport;
if (version === "1") {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  client = new Client({ name: "values", version: "1" });
} else {
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  const mode = era === "modern" ? { pin: "2026-07-28" } : "legacy";
  client = new Client({ name: "values", version: "2" }, { versionNegotiation: { mode } });
}
await client.connect(transport);
const saw = { listed: (await client.listTools()).tools, results: {} };
for (const name of names) {
  saw.results[name] = await client.callTool({ name, arguments: {} }).catch((error) => ({ thrown: String(error) }));
}
await client.close();
console.log(JSON.stringify(saw));
